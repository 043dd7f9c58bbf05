/*
 * merge: many profiles added up into one that has no samples, only totals.
 *
 * What is added, so that a plan from the merge is the plan from all that was merged:
 *   sample         a count of 1 at its address
 *   branch record  an edge (kind jump: records do not say), mispredicted or not
 *   what was executed between two branch records of one sample in one module: an edge of kind run
 *   count, edge    themselves
 * In a profile that is exact, samples say less than its counts and in another unit; they are left out. A recorded course is an order, of which there
 * is no sum: it is left out and counted, and a profile that has nothing else is refused. An address in no module means nothing in another process;
 * such are added up at address 0.
 *
 * The outcome depends only on the set of profiles and their weights, not on order or grouping: every part of it is a sum that stops at 2^64 - 1,
 * a minimum, or "all the same, or nothing". A weight of n is the same as n times the same file. Memory is for distinct addresses, edges and
 * modules, and for the largest file's bytes and one of its chunks.
 */
#ifndef PROFILE_MERGE_MERGE_H
#define PROFILE_MERGE_MERGE_H

#include "formats/base/err.h"
#include "formats/profile.h"

#include <stddef.h>
#include <stdint.h>

struct merge;

struct merge_totals {
	uint64_t files;
	uint64_t incomplete; /* of them, whose recorder was killed */
	uint64_t weight;     /* samples, single and counted, or executed instructions in them, times their weights */
	uint64_t left_out;   /* samples in exact profiles */
	uint64_t steps;	     /* of courses, left out */
	size_t addresses, edges, modules;
};

int merge_new(struct merge **ret_merge, struct err *e) MUST_CHECK;
void merge_free(struct merge *merge);

/*
 * Adds the profile in `data`, `weight` (1 or more) times. After an error other than ERR_MEMORY it is not in the merge, no part of it.
 * ERR_FORMAT, ERR_UNSUPPORTED: it cannot be read, or holds only a course. ERR_MISMATCH: its numbers are of another kind than those before (profile_source).
 */
int merge_add(struct merge *merge, const void *data, size_t size, const char *name, uint64_t weight, struct err *e) MUST_CHECK;
void merge_totals_of(const struct merge *merge, struct merge_totals *ret_totals);

/* The sum (free it with profile_free). The merge is empty then. ERR_MEMORY. */
int merge_finish(struct merge *merge, struct profile *ret_profile, struct err *e) MUST_CHECK;

/* One file as a sum. Errors of file_read, merge_add. */
int merge_read(const char *path, struct profile *ret_profile, struct err *e) MUST_CHECK;

#endif
