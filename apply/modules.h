/*
 * modules: which mapped file is the module that a plan speaks of, and where it was loaded.
 *
 * Everything is read from the target's memory, not from the file on disk, which may have been replaced since.
 */
#ifndef APPLY_MODULES_H
#define APPLY_MODULES_H

#include "apply/target.h"
#include "formats/plan.h"

/*
 * Finds the module with this plan's build-id. ERR_MISMATCH when it is not mapped (the text says whether a file of that name with another
 * build-id is), when it has no build-id, or when its text is not mapped privately and executable; other errors as target_read. Target unchanged.
 */
int modules_find(const struct target *t, const struct plan_module *plan, uint64_t *ret_bias, struct err *e) MUST_CHECK;

/* Is this module mapped, and there? Requires: target_refresh'ed. */
bool modules_present(const struct target *t, const struct module_identity *module, uint64_t bias);

#endif
