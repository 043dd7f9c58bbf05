/*
 * count: runs a counting plan in a process for a moment, reads its counters and takes it out again.
 *
 * Applied and undone like any plan: a kill at any moment leaves a process that works and can be restored with `undo` (it is slower until then).
 * A counter of kind TARGET holds where an indirect call went last; it is read again and again meanwhile, so each reading is a sample of where
 * the call goes.
 */
#ifndef APPLY_COUNT_H
#define APPLY_COUNT_H

#include "apply/apply.h"
#include "apply/undo.h"
#include "formats/profile.h"

struct count_options {
	struct apply_options apply;
	double seconds; /* how long it counts */
	int stop_fd;	/* readable: stop now; -1 = none */
	/* Called once it counts; may be NULL. */
	void (*counting)(void *context, const struct apply_report *report);
	void *context;
};

struct count_result {
	/*
	 * Source PROFILE_EXACT, event COUNT_EVENT: counts are those of counters BLOCK (and 1 for SEEN), edges of kind jump those of EDGE; edges of
	 * kind call are how often a reading found that target, those outside the plan's modules together as address 0 of no module. An edge of
	 * kind jump beside that of a call or jump through a slot (count 1): apply made it direct, it stays in the image. What has no counter is
	 * not there: repave-analyze complete, repave-analyze exits.
	 */
	struct profile profile;
	struct apply_report apply;
	struct undo_report undo;
	uint64_t counted_ns;
	uint64_t readings; /* of all TARGET counters */
	uint32_t counters;
	uint32_t children, children_left; /* forked meanwhile: undone as well; could not be undone, and still count */
	uint64_t elsewhere;		  /* of the readings: targets in no module of the plan */
};

#define COUNT_EVENT "counters"

/*
 * Errors of apply_plan and undo_process; ERR_REFUSED, with nothing changed, also when a stack cannot be followed (undo_rehearse); ERR_USAGE when the plan does not count. On ERR_GONE the target ended meanwhile. When the image must be
 * kept after undo, that is no error: see undo.kept.
 */
int count_run(struct target *t, const struct plan *plan, const struct count_options *options, struct count_result *ret_result,
	      struct err *e) MUST_CHECK;
void count_result_free(struct count_result *r);

#endif
