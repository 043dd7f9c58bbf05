/*
 * program: what a profile knows of the control flow of all modules of one process, as one graph.
 *
 * A *node* is a piece of a basic block that runs in one go: blocks are cut behind their calls. An *arc* is a way that control was seen to go, or
 * is known to go by the map, from the end of a node to the start of another, with its count. Only blocks that ran are here.
 *
 * Where control goes, best evidence first: the edges and branch stacks of the profile, also between modules; the map (direct branches and calls,
 * jump tables, with the counts of flow_infer); for calls through the PLT an exported function of that name in another module; for the rest
 * nothing: `unknown` nodes go to the functions that ran more often than the known arcs explain.
 */
#ifndef ANALYZE_SIMULATE_PROGRAM_H
#define ANALYZE_SIMULATE_PROGRAM_H

#include "analyze/layout/flow.h"
#include "formats/map.h"
#include "formats/profile.h"

#define PROGRAM_NONE UINT32_MAX
#define PROGRAM_INSN_UNIT 256 /* node.insns counts in this part of an instruction: repeated string instructions make fractions */

enum program_kind {
	PROGRAM_FLOW,	/* arcs lead on in the same activation: fall-through, branch, jump table, tail call */
	PROGRAM_CALL,	/* arcs lead to callees; `next` is where they return to, PROGRAM_NONE if never */
	PROGRAM_RETURN, /* no arcs */
};

enum program_flag {
	PROGRAM_INDIRECT = 1u << 0, /* leaves through a register or memory: lands in original code even from the image */
	PROGRAM_UNKNOWN = 1u << 1,  /* where it goes was not seen: any function of the pool */
	PROGRAM_ENTRY = 1u << 2,    /* first node of a function */
	PROGRAM_FIRST = 1u << 3,    /* first node of its block */
	PROGRAM_STUB = 1u << 4,	    /* the jump of a PLT stub; the image calls through its slot instead */
};

struct program_node {
	uint32_t start, size; /* text offset, bytes */
	uint32_t insns;	      /* in PROGRAM_INSN_UNIT */
	uint32_t next;	      /* node that follows a call, or PROGRAM_NONE */
	uint32_t first_arc, arc_count;
	uint32_t block, function; /* of the map of its module; function: the root of its group */
	uint16_t module;
	uint8_t kind, flags;
};

struct program_arc {
	uint32_t to;
	uint32_t below; /* share of this arc and those before it, in 2^-32 (the last one: 2^32 - 1); for the draw */
	uint64_t count;
};

struct program_module {
	const struct map *map;	/* borrowed */
	uint32_t profile_index; /* PROFILE_NO_MODULE: not in the profile, no nodes */
	struct flow flow;
	uint32_t *node_of_block; /* [map->block_count] first node, or PROGRAM_NONE */
	uint64_t weight;	 /* of the profile in this module */
};

/* A place to begin, or to go to from an unknown node, with its weight: sums are for the draw. */
struct program_start {
	uint32_t node;
	uint64_t count, sum; /* sum: counts up to and with this one */
};

struct program {
	struct program_module *modules; /* in the order of the maps */
	struct program_node *nodes;
	struct program_arc *arcs;
	uint64_t *executed; /* [node_count] executions of the node by the profile */
	uint64_t *sum;	    /* [node_count] instructions executed in nodes up to and with this one */
	struct program_start *pool;
	uint32_t *caller_first;	       /* [node_count + 1] into callers; only entry nodes have any */
	struct program_start *callers; /* nodes that lead to the entry by call or tail jump */
	uint32_t module_count, node_count, arc_count, pool_count;
	uint64_t weight_total, weight_inside; /* of the profile: all of it; in nodes */
};

/*
 * Maps without their module in the profile stay without nodes. Without a profile (NULL) all blocks become nodes, and there are no arcs. `maps` are borrowed and must outlive the program. ERR_MISMATCH when two maps are of
 * the same module, ERR_NO when nothing of the profile lies in these maps, ERR_MEMORY.
 */
int program_init(struct program *p, const struct profile *profile, const struct map *maps, uint32_t map_count, struct err *e) MUST_CHECK;
void program_free(struct program *p);

/* Node that starts at this vaddr of profile module `module`, or the one that holds it; PROGRAM_NONE. */
uint32_t program_node_at(const struct program *p, uint32_t module, uint64_t vaddr, bool *ret_is_start);

#endif
