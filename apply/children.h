/*
 * children: processes that were forked while an image was applied have a copy of it, and keep it when the parent's is undone.
 */
#ifndef APPLY_CHILDREN_H
#define APPLY_CHILDREN_H

#include "apply/undo.h"

/*
 * Undoes the plan with `plan_hash`, applied to `parent`, in every process that started since `since` (clock ticks after boot) and has inherited
 * it, whoever is its parent now. Only what this user may see and touch is found. *ret_undone: how many; *ret_failed: how many could not be undone,
 * with the last reason in `e` (0 is returned all the same: the children run correctly). ERR_MEMORY, ERR_IO.
 */
int children_undo(const struct target *parent, uint64_t plan_hash, uint64_t since, const struct undo_options *options, uint32_t *ret_undone,
		  uint32_t *ret_failed, struct err *e) MUST_CHECK;

/* Now, in clock ticks after boot, as /proc/PID/stat counts starts. */
uint64_t children_now(void);

#endif
