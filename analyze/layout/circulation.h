/*
 * circulation: minimum-cost circulation by the network simplex method.
 *
 * Arcs have a capacity, a cost per unit (may be negative) and a flow; every node keeps inflow = outflow. Lower bounds and convex costs are
 * expressed by parallel arcs with negative cost and finite capacity. Primal simplex on a strongly feasible spanning tree (Cunningham 1976;
 * Ahuja, Magnanti and Orlin, "Network Flows", section 11.6): no cycling, no scaling, integers only, hence deterministic.
 */
#ifndef ANALYZE_LAYOUT_CIRCULATION_H
#define ANALYZE_LAYOUT_CIRCULATION_H

#include "formats/base/err.h"

#include <stddef.h>
#include <stdint.h>

#define CIRCULATION_UNBOUNDED (INT64_MAX / 4)

struct circulation_arc {
	uint32_t from, to;
	int64_t capacity, cost, flow;
};

struct circulation {
	uint32_t node_count;
	struct circulation_arc *arcs; /* grown by circulation_add; circulation_free */
	size_t arc_count, arc_capacity;
	void *work; /* the solver's memory, kept between problems */
	size_t work_size;
};

/* Forgets the arcs, keeps the memory. A zeroed struct is a valid start. */
void circulation_reset(struct circulation *c, uint32_t node_count);
/* Adds an arc with flow 0; its index is arc_count - 1 afterwards. Negative cost needs a capacity below CIRCULATION_UNBOUNDED. ERR_MEMORY. */
int circulation_add(struct circulation *c, uint32_t from, uint32_t to, int64_t capacity, int64_t cost, struct err *e) MUST_CHECK;
/* Finds flows of least total cost. ERR_MEMORY. */
int circulation_solve(struct circulation *c, struct err *e) MUST_CHECK;
void circulation_free(struct circulation *c);

#endif
