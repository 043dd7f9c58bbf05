/*
 * order: an order of functions that brings callers and callees together and dense code before sparse code.
 *
 * Cache-directed sort (CDSort, Newell, Pupyrev and others 2023, as in LLVM's code layout): chains of functions are merged by the gain in
 * locality of the calls between them and of the cache lines they share; the chains then stand by falling density.
 */
#ifndef ANALYZE_LAYOUT_ORDER_H
#define ANALYZE_LAYOUT_ORDER_H

#include "formats/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct order_arc {
	uint32_t from, to;
	uint32_t offset; /* of the call in `from`, bytes from its first block in the layout */
	uint64_t count;
};

struct order_problem {
	uint32_t node_count, arc_count;
	const uint32_t *size;	/* [node_count] bytes, at least 1 */
	const uint64_t *weight; /* [node_count] executed instructions */
	const struct order_arc *arcs;
};

/* Writes all nodes in order. Deterministic: ties by index. ERR_MEMORY. */
int order_functions(const struct order_problem *p, uint32_t *ret_order, struct err *e) MUST_CHECK;

#endif
