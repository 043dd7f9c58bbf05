/*
 * tally: adds up counts and edges in any order, into the sorted, unique arrays of a profile. Sums stop at 2^64 - 1.
 */
#ifndef PROFILE_TALLY_H
#define PROFILE_TALLY_H

#include "formats/base/err.h"
#include "formats/profile.h"

#include <stddef.h>

struct tally_slot {
	struct profile_edge edge; /* a count is an edge without `to`; count 0 = free slot */
};

struct tally_table {
	struct tally_slot *slots;
	size_t count, capacity;
};

/* Start with {0}; tally_free. */
struct tally {
	struct tally_table counts, edges;
};

/* 0 or ERR_MEMORY. Nothing happens when count is 0. */
int tally_add_count(struct tally *tally, const struct profile_count *count, struct err *e) MUST_CHECK;
int tally_add_edge(struct tally *tally, const struct profile_edge *edge, struct err *e) MUST_CHECK;

/* Makes the arrays counts and edges of `profile`, which had none. */
int tally_finish(const struct tally *tally, struct profile *profile, struct err *e) MUST_CHECK;
void tally_free(struct tally *tally);

#endif
