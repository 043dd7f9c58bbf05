/*
 * apply: a plan into a running process, as a transaction.
 *
 * check -> find modules -> compare functions -> place -> map (journal first) -> write, compare -> stop -> compare patches -> move PCs -> patch ->
 * resume. Killed at any step, the target runs on correctly and its journal tells a later undo or apply what is there.
 */
#ifndef APPLY_APPLY_H
#define APPLY_APPLY_H

#include "apply/patch.h"
#include "apply/stage.h"
#include "apply/target.h"
#include "formats/plan.h"

struct apply_options {
	uint64_t max_pause;  /* nanoseconds: stopping that takes longer is given up */
	uint32_t tries;	     /* stops tried; 0 = 1 */
	bool dry_run;	     /* stop before anything is changed */
	bool no_huge;	     /* do not ask for huge pages */
	bool without_unwind; /* apply although exceptions could not pass through the image */
};

struct apply_report {
	struct apply_module {
		const struct plan_module *plan; /* borrowed from the plan */
		char path[256];
		char skipped[240]; /* why it was left out; empty: it is in */
		raddr code;
		uint64_t bias, code_size, data_size;
		uint32_t functions, left_out, bound_slots;
	} * modules; /* owned; in plan order, skipped ones last */
	uint32_t module_count;
	uint32_t patches[PATCH_STATE_COUNT]; /* by what became of them; PATCH_WANTED: made */
	uint32_t threads, moved, stops, stacks_cut;
	uint32_t calls_cut;	    /* calls that a stop made return a part of what they were to write (tracee.h) */
	uint64_t pause, stage_time; /* nanoseconds: first interrupt to last thread let go; all work before while it ran */
	uint64_t journal_size;
	bool repaired; /* the leftovers of a killed tool were taken back first */
};

void apply_report_free(struct apply_report *r);

/*
 * Applies `plan` to `t` (opened). ERR_REFUSED: see target_check, stage_init, stage_place, and: applied already, exceptions could not pass
 * (there are unwind tables but no hook); target untouched. ERR_BUSY: could not be stopped within max_pause, target as before.
 * ERR_ROLLED_BACK: failed after patching had begun, undone. ERR_INCONSISTENT: and could not be undone. ERR_GONE.
 */
int apply_plan(struct target *t, const struct plan *plan, const struct apply_options *options, struct apply_report *ret_report,
	       struct err *e) MUST_CHECK;

/*
 * Reads a plan, "-" from stdin. A plan is code: its file must be regular, owned by root or the effective user, and nobody else may write it;
 * that is judged by the descriptor that is read, so it does not matter who may rename files there, nor through which links it is found. A pipe
 * as stdin is trusted. ERR_REFUSED; as plan_read.
 */
int apply_read_plan(const char *path, struct plan *ret_plan, struct err *e) MUST_CHECK;

#endif
