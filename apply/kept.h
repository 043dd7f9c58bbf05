/*
 * kept: what earlier undos had to leave in a process, as the next plan finds it.
 *
 * An image stays when a saved PC may lead into it. Through such a frame an exception may still be thrown, so the hooks on what unwinders ask stay
 * too, and lead to the stub of that image. The next plan replaces them by its own, and its directory has the tables of the kept images besides
 * those of its own ones: frames of all of them are found by way of the newest. Hence none of them is freed before that one is.
 */
#ifndef APPLY_KEPT_H
#define APPLY_KEPT_H

#include "apply/journal.h"
#include "apply/stage.h"

struct kept {
	struct journal *journals; /* owned: all of the process */
	uint32_t count;
	struct journal *hooked; /* whose hooks stand, or NULL */
	struct stage_kept for_stage;
	struct stage_table *tables;	/* owned */
	struct placement_range *places; /* owned */
};

/* Requires: target_refresh'ed; what can be undone is. ERR_BUSY: an older version kept it, which did not note where its tables are. */
int kept_load(const struct target *t, struct kept *ret_kept, struct err *e) MUST_CHECK;
void kept_free(struct kept *k);

/*
 * A kept image has ways back into original code. Where one plan goes on in the image another may leave it, so they may lead to the inside of a patch of the
 * new plan: such patches are dropped for good (PATCH_PC_INSIDE). Requires: as for kept_load; no patch is written.
 */
int kept_drop_patches(const struct kept *k, const struct target *t, struct patch_set *set, struct err *e) MUST_CHECK;

/* Notes in the journal of a plan that is about to be applied whose hooks it replaces. ERR_MEMORY; ERR_BUSY: there are too many. */
int kept_note(const struct kept *k, struct journal *j, struct err *e) MUST_CHECK;

/* The hooks are replaced: none of the kept image's patches stands any more. Requires: the new ones are written. */
int kept_replaced(const struct target *t, struct kept *k, struct err *e) MUST_CHECK;

#endif
