/*
 * flow: how often each block and edge of a map was executed, worked out from what a profile has.
 *
 * Counts are comparable only within one flow. Exact counts and edges are taken as they are; samples are turned into counts (weight per
 * instruction) and made consistent over each function's CFG, so that what a hot path must pass through is hot too. That is a minimum-cost
 * flow per function in the manner of He, Mestre, Pupyrev, Wang and Yu, "Profile inference revisited" (2021), with costs from the Poisson
 * likelihood of the samples; then calls tie the functions together.
 */
#ifndef ANALYZE_LAYOUT_FLOW_H
#define ANALYZE_LAYOUT_FLOW_H

#include "formats/base/err.h"
#include "formats/map.h"
#include "formats/profile.h"

/* An indirect call that the profile saw going to a function of the same module. */
struct flow_arc {
	uint32_t call, function; /* indices into map->calls and map->functions */
	uint64_t count;
};

struct flow {
	uint64_t *block;   /* [map->block_count] executions */
	uint64_t *taken;   /* [map->block_count] times the block's taken edge was followed (also tail jumps that leave the function) */
	uint64_t *next;	   /* [map->block_count] times the fall-through edge was followed */
	uint64_t *table;   /* [map->table_target_count] times this target of its jump table was taken */
	uint64_t *call;	   /* [map->call_count] times the call was made */
	uint64_t *sampled; /* [map->block_count] raw weight seen in the profile, before inference */
	uint64_t sampled_outside; /* weight in the module that fell in no block */
	uint64_t sampled_total;	  /* all weight in the module */
	struct flow_arc *arcs;	  /* sorted by (call, function), unique */
	size_t arc_count;
};

/* `module` indexes profile->modules. Deterministic. ERR_MEMORY; ERR_MISMATCH when the profile's module is not the map's. */
int flow_infer(const struct map *map, const struct profile *profile, uint32_t module, struct flow *ret_flow, struct err *e) MUST_CHECK;
/*
 * Gives the entries of functions that are called, from anywhere in the profile, but of which nothing is known the executions of their calls:
 * what to look at next. Breaks the conservation of flow there.
 */
void flow_reach_callees(const struct map *map, const struct profile *profile, uint32_t module, struct flow *flow);
void flow_free(struct flow *flow);

#endif
