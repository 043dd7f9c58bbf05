#include "analyze/layout/layout.h"

#include "analyze/layout/callgraph.h"
#include "analyze/layout/exttsp.h"
#include "analyze/layout/order.h"
#include "analyze/layout/select.h"
#include "analyze/layout/torture.h"
#include "formats/base/vec.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* The ordered blocks of one group: hot[first_hot .. +hot_count), warm[first_warm .. +warm_count). */
struct piece {
	uint32_t group, first_hot, hot_count, first_warm, warm_count, size;
	uint64_t weight;
};

struct work {
	const struct map *map;
	const struct flow *flow;
	struct cfg_index index;
	struct callgraph calls;
	struct cfg cfg;
	uint8_t *zone;	    /* [block_count] */
	uint32_t *piece_of; /* [function_count] */
	uint32_t *offset;   /* [block_count] of hot blocks in their piece */
	VEC(struct piece) pieces;
	VEC(uint32_t) hot, warm;
	VEC(struct order_arc) arcs;
	/* of the group under work */
	VEC(uint32_t) node_block, node_size, order, chain;
	VEC(uint64_t) node_count;
	VEC(struct exttsp_jump) jumps;
	uint32_t *node_of; /* [block_count] */
};

static int no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "no memory for the layout");
}

static int collect_nodes(struct work *w)
{
	w->node_block.count = w->node_size.count = w->node_count.count = w->jumps.count = 0;
	for (uint32_t i = 0; i < w->cfg.count; i++) {
		uint32_t b = w->cfg.block[i];
		w->node_of[b] = NONE;
		if (!w->zone[b])
			continue;
		w->node_of[b] = (uint32_t)w->node_block.count;
		if (vec_push(&w->node_block, b) || vec_push(&w->node_size, w->map->blocks[b].size) ||
		    vec_push(&w->node_count, w->flow->block[b]))
			return -1;
	}
	return 0;
}

static uint64_t edge_flow(const struct flow *f, const struct cfg_edge *edge)
{
	return edge->kind == CFG_TAKEN	 ? f->taken[edge->slot]
	       : edge->kind == CFG_NEXT	 ? f->next[edge->slot]
	       : edge->kind == CFG_TABLE ? f->table[edge->slot]
					 : 0;
}

static int collect_jumps(struct work *w)
{
	for (uint32_t k = 0; k < w->cfg.edge_count; k++) {
		const struct cfg_edge *edge = &w->cfg.edges[k];
		/* A jump table cannot fall through, wherever its targets stand. */
		if (edge->to == CFG_EXIT || edge->kind == CFG_TABLE || edge->kind == CFG_LEAVE)
			continue;
		uint32_t from = w->node_of[w->cfg.block[edge->from]], to = w->node_of[w->cfg.block[edge->to]];
		if (from == NONE || to == NONE)
			continue;
		uint8_t only = w->map->blocks[w->cfg.block[edge->from]].terminator != MAP_BRANCH;
		if (vec_push(&w->jumps, (struct exttsp_jump){from, to, edge_flow(w->flow, edge), only}))
			return -1;
	}
	return 0;
}

static int order_group(struct work *w, struct err *e)
{
	uint32_t n = (uint32_t)w->node_block.count;
	w->order.count = w->chain.count = 0;
	if (vec_reserve(&w->order, n) || vec_reserve(&w->chain, n))
		return no_memory(e);
	uint32_t entry = w->node_of[w->cfg.block[0]];
	struct exttsp_problem p = {n, (uint32_t)w->jumps.count, w->node_size.data, w->node_count.data, w->jumps.data, entry};
	return exttsp_order(&p, w->order.data, w->chain.data, e);
}

/* Of positions [first, end), one chain: warm blocks at either end go to the warm zone. */
static int place_chain(struct work *w, struct piece *piece, uint32_t first, uint32_t end)
{
	uint32_t hot_first = first, hot_end = end;
	while (hot_first < end && w->zone[w->node_block.data[w->order.data[hot_first]]] != SELECT_HOT)
		hot_first++;
	while (hot_end > hot_first && w->zone[w->node_block.data[w->order.data[hot_end - 1]]] != SELECT_HOT)
		hot_end--;
	for (uint32_t i = first; i < end; i++) {
		uint32_t b = w->node_block.data[w->order.data[i]];
		if (i < hot_first || i >= hot_end) {
			if (vec_push(&w->warm, b))
				return -1;
			piece->warm_count++;
			continue;
		}
		if (vec_push(&w->hot, b))
			return -1;
		piece->hot_count++;
		w->offset[b] = piece->size;
		piece->size += w->map->blocks[b].size;
		piece->weight += w->flow->block[b] * (w->map->blocks[b].insns ? w->map->blocks[b].insns : 1);
	}
	return 0;
}

static int add_piece(struct work *w, uint32_t group, struct err *e)
{
	if (collect_nodes(w) || collect_jumps(w))
		return no_memory(e);
	uint32_t n = (uint32_t)w->node_block.count;
	if (!n)
		return 0;
	int err = order_group(w, e);
	if (err)
		return err;
	struct piece piece = {.group = group, .first_hot = (uint32_t)w->hot.count, .first_warm = (uint32_t)w->warm.count};
	for (uint32_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && w->chain.data[end] == w->chain.data[i];)
			end++;
		if (place_chain(w, &piece, i, end))
			return no_memory(e);
	}
	w->piece_of[group] = (uint32_t)w->pieces.count;
	return vec_push(&w->pieces, piece) ? no_memory(e) : 0;
}

static int make_pieces(struct work *w, struct err *e)
{
	memset(w->piece_of, 0xff, w->map->function_count * sizeof *w->piece_of);
	for (uint32_t b = 0; b < w->map->block_count; b++)
		if (w->zone[b])
			w->piece_of[cfg_group_of_block(&w->index, b)] = 0; /* to be made */
	for (uint32_t g = 0; g < w->map->function_count; g++) {
		if (w->piece_of[g] == NONE)
			continue;
		int err = cfg_load(&w->cfg, &w->index, g, e);
		if (!err)
			err = add_piece(w, g, e);
		if (err)
			return err;
	}
	return 0;
}

static int add_arc(struct work *w, uint32_t block, uint32_t callee, uint64_t count)
{
	uint32_t group = w->index.group_of_function[callee];
	uint32_t from = w->piece_of[cfg_group_of_block(&w->index, block)], to = w->piece_of[group];
	if (!count || w->zone[block] == SELECT_OUT || from == NONE || to == NONE)
		return 0;
	return vec_push(&w->arcs, (struct order_arc){from, to, w->offset[block], count});
}

static int collect_arcs(struct work *w)
{
	for (uint32_t i = 0; i < w->calls.site_count; i++) {
		const struct callgraph_site *s = &w->calls.sites[i];
		if (add_arc(w, s->block, s->callee, s->call == MAP_NONE ? w->flow->taken[s->block] : w->flow->call[s->call]))
			return -1;
	}
	for (size_t i = 0; i < w->flow->arc_count; i++) {
		const struct flow_arc *a = &w->flow->arcs[i];
		if (add_arc(w, w->map->calls[a->call].block, a->function, a->count))
			return -1;
	}
	return 0;
}

static int write_pieces(struct work *w, const uint32_t *order, struct layout *ret_layout, struct err *e)
{
	uint32_t *blocks = malloc((w->hot.count + w->warm.count + 1) * sizeof *blocks);
	if (!blocks)
		return no_memory(e);
	size_t n = 0;
	for (size_t i = 0; i < w->pieces.count; i++) {
		const struct piece *p = &w->pieces.data[order[i]];
		for (uint32_t k = 0; k < p->hot_count; k++)
			blocks[n++] = w->hot.data[p->first_hot + k];
	}
	for (size_t i = 0; i < w->pieces.count; i++) {
		const struct piece *p = &w->pieces.data[order[i]];
		for (uint32_t k = 0; k < p->warm_count; k++)
			blocks[n++] = w->warm.data[p->first_warm + k];
	}
	*ret_layout = (struct layout){blocks, n};
	return 0;
}

static int order_pieces(struct work *w, struct layout *ret_layout, struct err *e)
{
	uint32_t n = (uint32_t)w->pieces.count;
	if (collect_arcs(w))
		return no_memory(e);
	uint32_t *size = malloc((n + (size_t)1) * 2 * sizeof *size), *order = size + n + 1;
	uint64_t *weight = malloc((n + (size_t)1) * sizeof *weight);
	int err;
	if (!size || !weight) {
		err = no_memory(e);
		goto out;
	}
	for (uint32_t i = 0; i < n; i++) {
		size[i] = w->pieces.data[i].size ? w->pieces.data[i].size : 1;
		weight[i] = w->pieces.data[i].weight;
	}
	struct order_problem p = {n, (uint32_t)w->arcs.count, size, weight, w->arcs.data};
	err = order_functions(&p, order, e);
	if (!err)
		err = write_pieces(w, order, ret_layout, e);
out:
	free(size);
	free(weight);
	return err;
}

static int optimise(struct work *w, double coverage, struct layout *ret_layout, struct err *e)
{
	int err = callgraph_init(&w->calls, &w->index, e);
	if (!err)
		err = select_blocks(&w->index, &w->calls, w->flow, coverage, w->zone, e);
	if (!err)
		err = make_pieces(w, e);
	return err ? err : order_pieces(w, ret_layout, e);
}

/* Appends what is not in the layout of each group that is, at the end. */
static int add_rest(const struct work *w, struct layout *layout, struct err *e)
{
	const struct map *m = w->map;
	uint8_t *there = calloc((size_t)m->block_count + m->function_count + 1, 1), *wanted = there + m->block_count;
	uint32_t *blocks = realloc(layout->blocks, ((size_t)m->block_count + 1) * sizeof *blocks);
	if (blocks)
		layout->blocks = blocks;
	if (!there || !blocks) {
		free(there);
		return no_memory(e);
	}
	for (size_t i = 0; i < layout->count; i++) {
		there[blocks[i]] = 1;
		wanted[cfg_group_of_block(&w->index, blocks[i])] = 1;
	}
	for (uint32_t b = 0; b < m->block_count; b++)
		if (!there[b] && wanted[cfg_group_of_block(&w->index, b)] && select_allowed(&w->index, b))
			blocks[layout->count++] = b;
	free(there);
	return 0;
}

static int make(struct work *w, const struct layout_options *options, struct layout *ret_layout, struct err *e)
{
	int err = cfg_index_init(&w->index, w->map, e);
	if (err || options->torture_seed)
		return err ? err : torture_layout(&w->index, options, ret_layout, e);
	size_t blocks = (size_t)w->map->block_count + 1;
	w->zone = calloc(blocks, 1);
	w->piece_of = calloc((size_t)w->map->function_count + 1, sizeof *w->piece_of);
	w->offset = calloc(blocks, sizeof *w->offset);
	w->node_of = calloc(blocks, sizeof *w->node_of);
	if (!w->zone || !w->piece_of || !w->offset || !w->node_of)
		return no_memory(e);
	struct layout layout;
	err = optimise(w, options->whole ? 1 : options->coverage, &layout, e);
	if (!err && options->whole)
		err = add_rest(w, &layout, e);
	if (!err)
		*ret_layout = layout;
	return err;
}

int layout_make(const struct map *map, const struct flow *flow, const struct layout_options *options, struct layout *ret_layout,
		struct err *e)
{
	struct work w = {.map = map, .flow = flow};
	int err = make(&w, options, ret_layout, e);
	cfg_index_free(&w.index);
	callgraph_free(&w.calls);
	cfg_free(&w.cfg);
	free(w.zone);
	free(w.piece_of);
	free(w.offset);
	free(w.node_of);
	vec_free(&w.pieces);
	vec_free(&w.hot);
	vec_free(&w.warm);
	vec_free(&w.arcs);
	vec_free(&w.node_block);
	vec_free(&w.node_size);
	vec_free(&w.node_count);
	vec_free(&w.order);
	vec_free(&w.chain);
	vec_free(&w.jumps);
	return err;
}

void layout_free(struct layout *layout)
{
	free(layout->blocks);
	*layout = (struct layout){0};
}
