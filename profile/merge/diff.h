/*
 * diff: how much two profiles agree about what is hot.
 *
 * The overlap of two distributions is the sum over all places of the lesser of both shares: 1 when they are the same, 0 when they have nothing
 * in common. A place is a basic block where a map of its module is at hand, otherwise an address. A block's weight is the samples in
 * it or, where counts are exact, the instructions executed in it: both are proportional to time spent by instructions, so samples and exact
 * counts can be compared; by bare address they cannot, since a sample names one instruction of a block.
 * Edges are compared where both have them: transfers of control from block to block, without returns (exact profiles have none) and runs.
 */
#ifndef PROFILE_MERGE_DIFF_H
#define PROFILE_MERGE_DIFF_H

#include "formats/base/err.h"
#include "formats/map.h"
#include "formats/profile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct diff_options {
	const struct map *maps; /* matched to modules by identity */
	size_t map_count;
	const char *const *names; /* only modules with one of these paths or last parts of paths; NULL: all */
	size_t name_count;
};

struct diff_part {
	uint64_t weight[2]; /* of both profiles */
	size_t places;	    /* with weight in either */
	double overlap;	    /* 0..1 */
};

/* A function, or a page where there is no map, and what it takes away from the overlap. */
struct diff_mover {
	const struct module_identity *module; /* of one of the profiles; NULL: in no file */
	const char *name;		      /* of the map; NULL = none */
	uint64_t address, size;
	bool is_function;
	double share[2];
	double moved; /* half the sum of the differences of its blocks' shares */
};

struct diff {
	struct diff_part blocks, edges;
	bool has_edges;
	struct diff_mover *movers; /* owned; the most moved first, those that did not move are left out */
	size_t mover_count;
};

/*
 * Compares two profiles that hold only counts and edges, as merge_read makes them; both, and the maps, must outlive the result. `names` are
 * for messages. ERR_FORMAT: one has no weight (in these modules). ERR_MEMORY.
 */
int diff_make(const struct profile profiles[2], const char *const names[2], const struct diff_options *options, struct diff *ret_diff,
	      struct err *e) MUST_CHECK;
void diff_free(struct diff *diff);

#endif
