/*
 * journal_parts: what the units of journal share. Names are what debuggers and profilers are told of an image: its functions and its frames.
 */
#ifndef APPLY_JOURNAL_PARTS_H
#define APPLY_JOURNAL_PARTS_H

#include "apply/journal.h"

/* Adds functions, strings and where the frames stand; the regions of `j` are those of `s`. ERR_MEMORY; journal_free frees what is there. */
int journal_build_names(const struct stage *s, struct journal *j, struct err *e) MUST_CHECK;
void journal_encode_names(struct writer *w, const struct journal *j);
/* Everything is in range afterwards. Nothing left to read: none, as before version 1.2. ERR_FORMAT, ERR_MEMORY. */
int journal_decode_names(struct reader *r, struct journal *j, struct err *e) MUST_CHECK;

#endif
