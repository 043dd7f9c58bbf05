/*
 * layout: which blocks go into the image and in which order.
 *
 * hot selection (coverage) -> ext-TSP order inside each function (Newell and Pupyrev, "Improved Basic Block Reordering", 2020) ->
 * order of functions by call graph (C3 / CDSort: Ottoni and Maher 2017; Newell et al.) -> one array of block indices.
 */
#ifndef ANALYZE_LAYOUT_LAYOUT_H
#define ANALYZE_LAYOUT_LAYOUT_H

#include "analyze/layout/flow.h"

struct layout_options {
	double coverage;       /* share of executed weight to move, default 0.999 */
	bool whole;	       /* all blocks of every function of which any block ran: nothing is to leave the image */
	uint64_t torture_seed; /* 0: optimise. Otherwise a random layout, see torture.h */
	/* Of a torture layout only the functions that start here, last included, in the order that all have: to find the one that breaks */
	vaddr torture_first, torture_last;
};

struct layout {
	uint32_t *blocks; /* map block indices in image order; each at most once; only blocks of movable or entry-fixed functions */
	size_t count;
};

/* Deterministic. ERR_MEMORY. A flow of zeros gives an empty layout. */
int layout_make(const struct map *map, const struct flow *flow, const struct layout_options *options, struct layout *ret_layout,
		struct err *e) MUST_CHECK;
void layout_free(struct layout *layout);

#endif
