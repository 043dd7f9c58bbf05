/*
 * infer: consistent block and edge flows of one function group from noisy wants.
 *
 * Model. A block of n instructions that runs f times gets a Poisson number of samples with mean proportional to n f. Its negative log
 * likelihood n f - w log f is convex in f, so the most likely flow is a minimum-cost flow; the cost is made piecewise linear with breaks at
 * 1/16, 1/4, 1/2, 1, 2 and 4 times the wanted flow w/n. A block that was sampled must run; a block without samples costs its length for each
 * unit of flow, and more when it is cold by its form. After that
 *   - loops that no flow reaches are joined to the entry and the exit by cheapest ways,
 *   - ways without samples that had too little exposure to be ruled out get the share that a Beta prior leaves them.
 * Flow is conserved exactly in every block.
 */
#ifndef ANALYZE_LAYOUT_INFER_H
#define ANALYZE_LAYOUT_INFER_H

#include "analyze/layout/cfg.h"
#include "analyze/layout/circulation.h"

#define INFER_UNIT 65536 /* flow of one sample per instruction */

struct infer {
	/* in, all [count] */
	int64_t *want;	/* flow in units, 0 = not seen */
	int64_t *floor; /* from the call graph: at least about this much, 0 = nothing known */
	uint8_t *cold;
	uint16_t *length;   /* instructions, at least 1 */
	uint8_t *entrance;  /* control may come from outside the group: 1 normally, 2 seldom (landing pad), 0 never */
	int64_t *edge_want; /* [edge_count]; -1 = not known. Used only when edges_known */
	bool edges_known;
	bool smooth;  /* give unsampled ways their share */
	double prior; /* weight of the prior in samples; infer_prepare sets the measured best, 0.05 */
	/* out */
	int64_t *block; /* [count] */
	int64_t *edge;	/* [edge_count] */
	int64_t *enter; /* [count] flow that came from outside */
	int64_t *quit;	/* [count] flow that vanished: a block left where the graph shows no way out */
	/* inside */
	size_t block_capacity, edge_capacity;
	struct circulation network;
	uint32_t *heap, *heap_at, *way_in, *way_out, *queue;
	int64_t *near_in, *near_out;
};

/* Makes room for this cfg and sets every input to "nothing known". A zeroed struct is a valid start. ERR_MEMORY. */
int infer_prepare(struct infer *in, const struct cfg *cfg, struct err *e) MUST_CHECK;
/* ERR_MEMORY. */
int infer_solve(struct infer *in, const struct cfg *cfg, struct err *e) MUST_CHECK;
void infer_free(struct infer *in);

#endif
