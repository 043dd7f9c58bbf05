#include "analyze/layout/callgraph.h"

#include <stdlib.h>

#define GRAIN_BITS 6

/* For each 64 bytes of text the first function that ends after their start: a constant-time stand-in for a binary search. */
struct finder {
	const struct map *map;
	uint32_t *first;
};

static int finder_init(struct finder *f, const struct map *m, struct err *e)
{
	size_t grains = (size_t)(m->text_size >> GRAIN_BITS) + 2;
	f->map = m;
	f->first = malloc(grains * sizeof *f->first);
	if (!f->first)
		return err_set(e, ERR_MEMORY, "no memory to find functions");
	uint32_t k = 0;
	for (size_t g = 0; g < grains; g++) {
		while (k < m->function_count && (uint64_t)m->functions[k].start + m->functions[k].size <= (uint64_t)g << GRAIN_BITS)
			k++;
		f->first[g] = k;
	}
	return 0;
}

/* Index of the function that starts at the offset, or MAP_NONE. */
static uint32_t find_start(const struct finder *f, uint32_t offset)
{
	const struct map *m = f->map;
	if (offset >= m->text_size)
		return MAP_NONE;
	for (uint32_t k = f->first[offset >> GRAIN_BITS]; k < m->function_count && m->functions[k].start <= offset; k++)
		if (m->functions[k].start == offset)
			return k;
	return MAP_NONE;
}

static uint32_t tail_callee(const struct cfg_index *x, uint32_t b)
{
	const struct map *m = x->map;
	const struct map_block *block = &m->blocks[b];
	if ((block->terminator != MAP_JUMP && block->terminator != MAP_BRANCH) || block->taken == MAP_NONE)
		return MAP_NONE;
	if (!(m->blocks[block->taken].flags & MAP_BLOCK_ENTRY) || cfg_group_of_block(x, block->taken) == cfg_group_of_block(x, b))
		return MAP_NONE;
	uint32_t f = x->function_of_block[block->taken];
	return x->group_of_function[f] == f ? f : MAP_NONE;
}

static void collect_sites(struct callgraph *g, const struct cfg_index *x, const struct finder *finder)
{
	const struct map *m = x->map;
	for (uint32_t b = 0; b < m->block_count; b++) {
		for (uint32_t i = x->call_first[b]; i < x->call_first[b + 1]; i++) {
			uint32_t c = x->call_order[i];
			if (m->calls[c].kind != MAP_CALL_DIRECT)
				continue;
			uint32_t f = find_start(finder, m->calls[c].target);
			if (f != MAP_NONE && x->group_of_function[f] == f)
				g->sites[g->site_count++] = (struct callgraph_site){b, f, c};
		}
		uint32_t f = tail_callee(x, b);
		if (f != MAP_NONE)
			g->sites[g->site_count++] = (struct callgraph_site){b, f, MAP_NONE};
	}
}

static void index_callees(struct callgraph *g, uint32_t functions)
{
	for (uint32_t i = 0; i < g->site_count; i++)
		g->first_by_callee[g->sites[i].callee]++;
	for (uint32_t f = 1; f <= functions; f++)
		g->first_by_callee[f] += g->first_by_callee[f - 1];
	for (uint32_t i = g->site_count; i-- > 0;)
		g->by_callee[--g->first_by_callee[g->sites[i].callee]] = i;
}

int callgraph_init(struct callgraph *g, const struct cfg_index *x, struct err *e)
{
	*g = (struct callgraph){0};
	const struct map *m = x->map;
	struct finder finder = {0};
	size_t bound = (size_t)m->call_count + 1;
	for (uint32_t b = 0; b < m->block_count; b++)
		bound += m->blocks[b].terminator == MAP_JUMP || m->blocks[b].terminator == MAP_BRANCH;
	g->sites = malloc(bound * sizeof *g->sites);
	g->by_callee = malloc(bound * sizeof *g->by_callee);
	g->first_by_callee = calloc((size_t)m->function_count + 1, sizeof *g->first_by_callee);
	int err;
	if (!g->sites || !g->by_callee || !g->first_by_callee)
		err = err_set(e, ERR_MEMORY, "no memory for the call graph");
	else
		err = finder_init(&finder, m, e);
	if (!err) {
		collect_sites(g, x, &finder);
		index_callees(g, m->function_count);
	} else {
		callgraph_free(g);
	}
	free(finder.first);
	return err;
}

void callgraph_free(struct callgraph *g)
{
	free(g->sites);
	free(g->by_callee);
	free(g->first_by_callee);
	*g = (struct callgraph){0};
}
