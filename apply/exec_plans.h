/*
 * exec_plans: the plans of one run of exec, and which of them a program gets.
 *
 * A module whose file name contains ".so" is a library, any other a program. A plan with programs is for these programs alone, also where another
 * program maps its libraries; a plan of libraries is for every program that maps one of them.
 */
#ifndef APPLY_EXEC_PLANS_H
#define APPLY_EXEC_PLANS_H

#include "apply/target.h"
#include "formats/plan.h"

struct exec_plans {
	struct plan *list; /* owned */
	uint32_t count;
};

/* Checks whom the file belongs to, reads it, adds it. ERR_UNSUPPORTED for a counting plan; as apply_read_plan. */
int exec_plans_add(struct exec_plans *plans, const char *path, struct err *e) MUST_CHECK;
void exec_plans_free(struct exec_plans *plans);

/* Is some plan for programs? Then it may be for one that the command starts. */
bool exec_plans_have_programs(const struct exec_plans *plans);

enum exec_fit {
	EXEC_FITS,	  /* a plan is for this program */
	EXEC_PERHAPS,	  /* a plan is for a library that it may map */
	EXEC_OTHER_BUILD, /* a plan is for another build of this program */
	EXEC_NOT_MEANT,
};

/* Of a program that was just executed, before its libraries are mapped. Fills `why` unless it fits, or perhaps. Target unchanged. */
enum exec_fit exec_plans_fit(const struct exec_plans *plans, const struct target *t, struct err *why);

/*
 * The modules of all plans that are for this program, as one plan; of modules with equal build-ids the first. Requires: libraries mapped,
 * target_refresh'ed. The caller frees ret_plan->modules alone, the rest is borrowed. ERR_MISMATCH: it maps none of them. ERR_MEMORY.
 */
int exec_plans_choose(const struct exec_plans *plans, const struct target *t, struct plan *ret_plan, struct err *e) MUST_CHECK;

#endif
