/*
 * verify: is what was applied to a process still there as it was written?
 */
#ifndef APPLY_VERIFY_H
#define APPLY_VERIFY_H

#include "apply/journal.h"
#include "apply/target.h"

/*
 * Reads every image, its data and every patch of `j` again. 0: all is as journalled. ERR_NO: something is not; the text says what and where.
 * ERR_GONE, ERR_MEMORY. Target unchanged and not stopped.
 */
int verify_journal(const struct target *t, const struct journal *j, struct err *e) MUST_CHECK;

#endif
