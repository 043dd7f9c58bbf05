/*
 * cfg: the control-flow graph of one function with its split parts, as small dense arrays.
 *
 * A *group* is a function that is its own parent together with the parts (.cold) that name it as parent: one control-flow graph in several
 * ranges. cfg_index is made once per map; cfg_load fills the same `struct cfg` again and again, so a walk over all groups allocates little.
 */
#ifndef ANALYZE_LAYOUT_CFG_H
#define ANALYZE_LAYOUT_CFG_H

#include "formats/base/err.h"
#include "formats/map.h"

#define CFG_EXIT UINT32_MAX /* an edge that leaves the group: return, tail jump, unknown indirect jump, unmapped target */

struct cfg_index {
	const struct map *map;
	uint32_t *function_of_block; /* [block_count] */
	uint32_t *group_of_function; /* [function_count] the function at the root: itself or its parent */
	uint32_t *group_first;	     /* [function_count + 1] into group_functions */
	uint32_t *group_functions;   /* the functions of each group, ascending */
	uint32_t *table_of_block;    /* [block_count] or MAP_NONE */
	uint32_t *call_first;	     /* [block_count + 1] calls of block b: call_order[call_first[b] .. call_first[b + 1]) */
	uint32_t *call_order;	     /* call indices by block */
	uint32_t *local;	     /* [block_count] index inside its group's cfg */
};

/* ERR_MEMORY. `map` is borrowed and must outlive the index. */
int cfg_index_init(struct cfg_index *index, const struct map *map, struct err *e) MUST_CHECK;
void cfg_index_free(struct cfg_index *index);

static inline uint32_t cfg_group_of_block(const struct cfg_index *x, uint32_t block)
{
	return x->group_of_function[x->function_of_block[block]];
}

enum cfg_edge_kind { CFG_TAKEN, CFG_NEXT, CFG_TABLE, CFG_LEAVE /* return, stop, unknown indirect: no counter of its own */ };

struct cfg_edge {
	uint32_t from, to; /* local block indices; `to` may be CFG_EXIT */
	uint32_t slot;	   /* CFG_TABLE: index into map->table_targets (the first of equal targets); otherwise the map block of `from` */
	uint8_t kind;	   /* enum cfg_edge_kind */
	uint8_t back;	   /* goes to a block that is on the depth-first stack: a loop's back edge */
};

struct cfg {
	uint32_t group;	     /* root function */
	uint32_t count;	     /* blocks */
	uint32_t *block;     /* map block index of each local block; ascending; local 0 is the root's entry */
	uint32_t *first_out; /* [count + 1] edges are sorted by `from` */
	uint32_t *first_in;  /* [count + 1] into in_edges */
	uint32_t *in_edges;  /* edge indices by `to`; edges to CFG_EXIT are not in it */
	struct cfg_edge *edges;
	uint32_t edge_count;
	size_t block_capacity, edge_capacity;
	uint32_t *scratch; /* [2 * block_capacity] */
};

/* Loads the group whose root is function `group` (group_of_function[group] == group). A zeroed cfg is a valid start. ERR_MEMORY. */
int cfg_load(struct cfg *cfg, const struct cfg_index *index, uint32_t group, struct err *e) MUST_CHECK;
void cfg_free(struct cfg *cfg);

/*
 * Static opinion without any profile. ret_cold [count]: 1 for blocks that end in a noreturn call or ud2, landing pads, blocks of split parts
 * (.cold), and blocks all of whose ways lead to such blocks or come from them.
 */
void cfg_find_cold(const struct cfg *cfg, const struct cfg_index *index, uint8_t *ret_cold);

#endif
