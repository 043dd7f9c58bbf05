/*
 * tally: adds up counts and edges in any order, into the sorted, unique arrays of a profile. Sums stop at 2^64 - 1.
 *
 * Memory is for distinct addresses and edges: 24 and 48 bytes each, times 1.5 to 3 for the room a hash table needs.
 */
#ifndef PROFILE_TALLY_H
#define PROFILE_TALLY_H

#include "formats/base/err.h"
#include "formats/profile.h"

#include <stddef.h>

/* Start with {0}; tally_free. A slot whose amount is 0 is free. */
struct tally {
	struct profile_count *counts;
	struct profile_edge *edges;
	size_t count_count, count_capacity;
	size_t edge_count, edge_capacity;
};

/* a + b and a * b, at most 2^64 - 1. */
static inline uint64_t tally_sum(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static inline uint64_t tally_product(uint64_t a, uint64_t b)
{
	uint64_t product;
	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* 0 or ERR_MEMORY. Nothing happens when count is 0. */
int tally_add_count(struct tally *tally, const struct profile_count *count, struct err *e) MUST_CHECK;
int tally_add_edge(struct tally *tally, const struct profile_edge *edge, struct err *e) MUST_CHECK;

/*
 * Moves what was added into the arrays counts and edges of `profile`, which had none; the tally is empty then. `number` (may be NULL) has
 * the new number of each module that was named; different modules keep different numbers.
 */
void tally_finish(struct tally *tally, const uint32_t *number, struct profile *profile);
void tally_free(struct tally *tally);

#endif
