#include "analyze/layout/select.h"

#include "formats/base/vec.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
/* A block is worth having when it runs once in so many calls of its function. */
#define WARM_SHARE 4096

struct work {
	const struct cfg_index *index;
	const struct map *map;
	const struct callgraph *calls;
	const struct flow *flow;
	uint8_t *zone;
	uint64_t threshold;
	struct cfg cfg;
	VEC(uint32_t) heap;
	uint64_t *width; /* [local] of the widest way from the entry */
	uint32_t *way;	 /* [local] block before it on that way */
	size_t capacity;
	uint8_t *reached; /* [function] */
};

struct ranked {
	uint64_t count;
	uint32_t block;
};

static uint32_t insns_of(const struct map *m, uint32_t b)
{
	return m->blocks[b].insns ? m->blocks[b].insns : 1;
}

bool select_allowed(const struct cfg_index *x, uint32_t block)
{
	uint32_t f = x->function_of_block[block];
	return x->map->functions[f].grade != MAP_UNTOUCHABLE && x->map->functions[x->group_of_function[f]].grade != MAP_UNTOUCHABLE &&
	       x->map->blocks[block].size;
}

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

/* The least count of the blocks that hold the wanted share of the executed instructions. */
static int find_threshold(struct work *w, double coverage, struct err *e)
{
	VEC(struct ranked) ranked = {0};
	double total = 0, held = 0;
	for (uint32_t b = 0; b < w->map->block_count; b++) {
		if (!w->flow->block[b] || !select_allowed(w->index, b))
			continue;
		total += (double)w->flow->block[b] * insns_of(w->map, b);
		if (vec_push(&ranked, (struct ranked){w->flow->block[b], b})) {
			vec_free(&ranked);
			return err_set(e, ERR_MEMORY, "no memory to rank the blocks");
		}
	}
	if (ranked.count)
		qsort(ranked.data, ranked.count, sizeof *ranked.data, compare_ranked);
	w->threshold = UINT64_MAX;
	for (size_t i = 0; i < ranked.count && held < total * coverage; i++) {
		held += (double)ranked.data[i].count * insns_of(w->map, ranked.data[i].block);
		w->threshold = ranked.data[i].count;
	}
	vec_free(&ranked);
	return 0;
}

static uint64_t edge_flow(const struct work *w, const struct cfg_edge *edge)
{
	switch (edge->kind) {
	case CFG_TAKEN:
		return w->flow->taken[edge->slot];
	case CFG_NEXT:
		return w->flow->next[edge->slot];
	case CFG_TABLE:
		return w->flow->table[edge->slot];
	default:
		return 0;
	}
}

static int reserve(struct work *w, struct err *e)
{
	size_t need = (size_t)w->cfg.count + 1;
	if (need <= w->capacity)
		return 0;
	need *= 2;
	uint64_t *width = realloc(w->width, need * sizeof *width);
	if (width)
		w->width = width;
	uint32_t *way = realloc(w->way, need * sizeof *way);
	if (way)
		w->way = way;
	if (!width || !way)
		return err_set(e, ERR_MEMORY, "no memory to select blocks");
	w->capacity = need;
	return 0;
}

static bool wider(const struct work *w, uint32_t a, uint32_t b)
{
	return w->width[a] != w->width[b] ? w->width[a] > w->width[b] : a < b;
}

static int heap_push(struct work *w, uint32_t b)
{
	if (vec_push(&w->heap, b))
		return -1;
	size_t i = w->heap.count - 1;
	for (; i && wider(w, b, w->heap.data[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap.data[i] = w->heap.data[(i - 1) / 2];
	w->heap.data[i] = b;
	return 0;
}

static uint32_t heap_pop(struct work *w)
{
	uint32_t top = w->heap.data[0], last = w->heap.data[--w->heap.count];
	size_t i = 0, n = w->heap.count;
	while (2 * i + 1 < n) {
		size_t k = 2 * i + 1;
		if (k + 1 < n && wider(w, w->heap.data[k + 1], w->heap.data[k]))
			k++;
		if (!wider(w, w->heap.data[k], last))
			break;
		w->heap.data[i] = w->heap.data[k];
		i = k;
	}
	if (n)
		w->heap.data[i] = last;
	return top;
}

/*
 * The widest way from the entry to every block: the least flow on it is as large as can be. A block may be in the heap more than once, with
 * the key it has now: a wider key moves nothing, so late copies are only skipped.
 */
static int find_widest(struct work *w)
{
	const struct cfg *c = &w->cfg;
	for (uint32_t i = 0; i < c->count; i++) {
		w->width[i] = 0;
		w->way[i] = NONE;
	}
	w->heap.count = 0;
	w->width[0] = UINT64_MAX;
	if (heap_push(w, 0))
		return -1;
	while (w->heap.count) {
		uint32_t b = heap_pop(w);
		for (uint32_t k = c->first_out[b]; k < c->first_out[b + 1]; k++) {
			uint32_t to = c->edges[k].to;
			if (to == CFG_EXIT || !to)
				continue;
			uint64_t width = edge_flow(w, &c->edges[k]);
			if (width > w->width[b])
				width = w->width[b];
			if (width <= w->width[to])
				continue;
			w->width[to] = width;
			w->way[to] = b;
			if (heap_push(w, to))
				return -1;
		}
	}
	return 0;
}

static void set_zone(struct work *w, uint32_t local, uint8_t zone)
{
	uint32_t b = w->cfg.block[local];
	if (w->zone[b] < zone && select_allowed(w->index, b))
		w->zone[b] = zone;
}

static void select_in_group(struct work *w)
{
	const struct cfg *c = &w->cfg;
	uint64_t entry = w->flow->block[c->block[0]], least = entry / WARM_SHARE;
	for (uint32_t i = 0; i < c->count; i++) {
		uint64_t n = w->flow->block[c->block[i]];
		if (n < w->threshold)
			continue;
		for (uint32_t k = i; k != NONE; k = w->way[k])
			set_zone(w, k, SELECT_HOT);
	}
	if (least > w->threshold / 16)
		least = w->threshold / 16;
	for (uint32_t i = 0; i < c->count; i++)
		if (w->flow->block[c->block[i]] > least)
			set_zone(w, i, SELECT_WARM);
}

static int select_group(struct work *w, uint32_t group, struct err *e)
{
	int err = cfg_load(&w->cfg, w->index, group, e);
	if (!err)
		err = reserve(w, e);
	if (err)
		return err;
	if (find_widest(w))
		return err_set(e, ERR_MEMORY, "no memory to select blocks");
	select_in_group(w);
	return 0;
}

/* Is there a block behind an entry that cannot be patched that can be, so that control may come in there? */
static bool has_way_in(const struct work *w, uint32_t group)
{
	const struct map_function *f = &w->map->functions[group];
	if (f->grade != MAP_ENTRY_FIXED || (f->flags & MAP_FUNCTION_UNKNOWN_JUMP))
		return false;
	for (uint32_t b = f->first_block + 1; b < f->first_block + f->block_count; b++)
		if (w->zone[b] == SELECT_HOT && map_patchable(w->map, w->map->blocks[b].start, NULL))
			return true;
	return false;
}

/* Functions that can be entered: patched ones, and those that code selected so far calls directly. */
static void drop_unreachable(struct work *w)
{
	const struct map *m = w->map;
	for (uint32_t g = 0; g < m->function_count; g++)
		w->reached[g] = w->index->group_of_function[g] == g && (m->functions[g].grade == MAP_MOVABLE || has_way_in(w, g));
	for (bool again = true; again;) { /* as often as the longest chain of such functions, hardly ever more than three times */
		again = false;
		for (uint32_t i = 0; i < w->calls->site_count; i++) {
			const struct callgraph_site *s = &w->calls->sites[i];
			if (w->zone[s->block] == SELECT_OUT || w->reached[s->callee] || m->functions[s->callee].grade != MAP_ENTRY_FIXED ||
			    !w->reached[cfg_group_of_block(w->index, s->block)])
				continue;
			w->reached[s->callee] = 1;
			again = true;
		}
	}
	for (uint32_t b = 0; b < m->block_count; b++)
		if (w->zone[b] && !w->reached[cfg_group_of_block(w->index, b)])
			w->zone[b] = SELECT_OUT;
}

static int select_all(struct work *w, double coverage, struct err *e)
{
	const struct map *m = w->map;
	int err = find_threshold(w, coverage, e);
	/* reached doubles as "has a hot block" first */
	for (uint32_t b = 0; !err && b < m->block_count; b++)
		if (w->flow->block[b] && w->flow->block[b] >= w->threshold && select_allowed(w->index, b))
			w->reached[cfg_group_of_block(w->index, b)] = 1;
	for (uint32_t g = 0; !err && g < m->function_count; g++)
		if (w->reached[g])
			err = select_group(w, g, e);
	if (err)
		return err;
	drop_unreachable(w);
	return 0;
}

int select_blocks(const struct cfg_index *index, const struct callgraph *calls, const struct flow *flow, double coverage, uint8_t *ret_zone,
		  struct err *e)
{
	struct work w = {.index = index, .map = index->map, .calls = calls, .flow = flow, .zone = ret_zone};
	memset(ret_zone, SELECT_OUT, w.map->block_count);
	w.reached = calloc((size_t)w.map->function_count + 1, 1);
	int err = w.reached ? select_all(&w, coverage, e) : err_set(e, ERR_MEMORY, "no memory to select blocks");
	cfg_free(&w.cfg);
	vec_free(&w.heap);
	free(w.width);
	free(w.way);
	free(w.reached);
	return err;
}
