/*
 * exttsp: an order of basic blocks that maximises the extended travelling-salesman score of Newell and Pupyrev, "Improved Basic Block
 * Reordering" (2020): fall-throughs count full, short jumps a little, by distance.
 *
 * Chains are merged greedily by gain, with splits of the first chain (their section 4), the best pair taken from a heap.
 */
#ifndef ANALYZE_LAYOUT_EXTTSP_H
#define ANALYZE_LAYOUT_EXTTSP_H

#include "formats/base/err.h"

#include <stddef.h>
#include <stdint.h>

/* The published constants. */
#define EXTTSP_FALL_THROUGH 1.0
#define EXTTSP_FALL_THROUGH_JUMP 1.05 /* an unconditional jump that becomes a fall-through vanishes */
#define EXTTSP_FORWARD 0.1
#define EXTTSP_BACKWARD 0.1
#define EXTTSP_FORWARD_DISTANCE 1024
#define EXTTSP_BACKWARD_DISTANCE 640

struct exttsp_jump {
	uint32_t from, to;
	uint64_t count;
	uint8_t only; /* the only way out of `from` */
};

struct exttsp_problem {
	uint32_t node_count, jump_count;
	const uint32_t *size;  /* [node_count] bytes */
	const uint64_t *count; /* [node_count] executions */
	const struct exttsp_jump *jumps;
	uint32_t entry; /* node that must come first, or UINT32_MAX */
};

/* Score of nodes laid out in this order (every node once). */
double exttsp_score(const struct exttsp_problem *p, const uint32_t *order);

/*
 * Writes the order of all nodes; never worse than 0, 1, 2, ... by exttsp_score when the entry is node 0 or none. Deterministic. With
 * `ret_chain` (may be NULL) each position gets the number of the chain it belongs to: chains come entry first, then by falling density.
 * ERR_MEMORY.
 */
int exttsp_order(const struct exttsp_problem *p, uint32_t *ret_order, uint32_t *ret_chain, struct err *e) MUST_CHECK;

#endif
