/*
 * callgraph: who calls whom by direct calls and tail jumps, by function group (see cfg.h).
 */
#ifndef ANALYZE_LAYOUT_CALLGRAPH_H
#define ANALYZE_LAYOUT_CALLGRAPH_H

#include "analyze/layout/cfg.h"

/* A place that transfers control to the start of a function. */
struct callgraph_site {
	uint32_t block;	 /* map block that holds it */
	uint32_t callee; /* function called; never a part */
	uint32_t call;	 /* index into map->calls; MAP_NONE for a tail jump: the block's taken edge */
};

struct callgraph {
	struct callgraph_site *sites; /* sorted by block */
	uint32_t site_count;
	uint32_t *first_by_callee; /* [function_count + 1] into by_callee */
	uint32_t *by_callee;	   /* site indices */
};

/* ERR_MEMORY. */
int callgraph_init(struct callgraph *graph, const struct cfg_index *index, struct err *e) MUST_CHECK;
void callgraph_free(struct callgraph *graph);

#endif
