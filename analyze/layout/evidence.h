/*
 * evidence: what a profile says about the blocks and edges of one map, before any inference.
 */
#ifndef ANALYZE_LAYOUT_EVIDENCE_H
#define ANALYZE_LAYOUT_EVIDENCE_H

#include "analyze/layout/flow.h"

enum evidence_kind {
	EVIDENCE_SAMPLES,  /* weight is samples in the block */
	EVIDENCE_COUNTS,   /* count is executions; edges unknown */
	EVIDENCE_BRANCHES, /* count is executions seen, taken and table edges are known, but sampled: not quite consistent */
	EVIDENCE_EXACT,	   /* counts and edges are exact */
};

struct evidence {
	enum evidence_kind kind;
	uint64_t *weight; /* [block_count] samples or executed instructions in the block */
	uint64_t *count;  /* [block_count] executions; zeros for EVIDENCE_SAMPLES */
	uint64_t *taken;  /* [block_count] */
	uint64_t *next;	  /* [block_count] only what branch stacks saw fall through */
	uint64_t *table;  /* [table_target_count] first of equal targets of one table */
	struct flow_arc *arcs;
	size_t arc_count, arc_capacity;
	uint64_t outside, total;
};

/* ERR_MEMORY. */
int evidence_gather(struct evidence *ev, const struct map *map, const struct profile *profile, uint32_t module, struct err *e) MUST_CHECK;
void evidence_free(struct evidence *ev);

#endif
