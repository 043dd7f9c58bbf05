#include "analyze/layout/cfg.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "no memory for the control-flow graph");
}

static uint32_t root_of(const struct map *m, uint32_t f)
{
	/* Parents are one level deep; an odd map must not make us loop. */
	for (int hops = 0; hops < 4 && m->functions[f].parent != f && m->functions[f].parent < m->function_count; hops++)
		f = m->functions[f].parent;
	return f;
}

static void index_functions(struct cfg_index *x)
{
	const struct map *m = x->map;
	uint32_t n = m->function_count;
	for (uint32_t f = 0; f < n; f++) {
		x->group_of_function[f] = root_of(m, f);
		for (uint32_t i = 0; i < m->functions[f].block_count; i++)
			x->function_of_block[m->functions[f].first_block + i] = f;
	}
	/* Odd maps again: every root must be its own root. */
	for (uint32_t f = 0; f < n; f++)
		if (x->group_of_function[x->group_of_function[f]] != x->group_of_function[f])
			x->group_of_function[f] = f;
	for (uint32_t f = 0; f < n; f++)
		if (x->group_of_function[x->group_of_function[f]] != x->group_of_function[f])
			x->group_of_function[f] = f;
	for (uint32_t f = 0; f < n; f++)
		x->group_first[x->group_of_function[f] + 1]++;
	for (uint32_t f = 0; f < n; f++)
		x->group_first[f + 1] += x->group_first[f];
	for (uint32_t f = n; f-- > 0;)
		x->group_functions[--x->group_first[x->group_of_function[f] + 1]] = f;
	/* The decrements moved each start one slot up: slot g + 1 now holds the start of g. */
	for (uint32_t f = 0; f < n; f++)
		x->group_first[f] = x->group_first[f + 1];
	x->group_first[n] = n;
}

static void index_blocks(struct cfg_index *x)
{
	const struct map *m = x->map;
	uint32_t n = m->block_count;
	for (uint32_t b = 0; b < n; b++)
		x->table_of_block[b] = MAP_NONE;
	for (uint32_t t = m->table_count; t-- > 0;)
		if (m->tables[t].block < n)
			x->table_of_block[m->tables[t].block] = t;
	for (uint32_t c = 0; c < m->call_count; c++)
		x->call_first[m->calls[c].block + 1]++;
	for (uint32_t b = 0; b < n; b++)
		x->call_first[b + 1] += x->call_first[b];
	uint32_t *fill = x->local; /* free until a cfg is loaded */
	memcpy(fill, x->call_first, n * sizeof *fill);
	for (uint32_t c = 0; c < m->call_count; c++)
		x->call_order[fill[m->calls[c].block]++] = c;
}

int cfg_index_init(struct cfg_index *x, const struct map *map, struct err *e)
{
	*x = (struct cfg_index){.map = map};
	size_t blocks = map->block_count, functions = map->function_count;
	x->function_of_block = calloc(blocks + 1, sizeof *x->function_of_block);
	x->group_of_function = calloc(functions + 1, sizeof *x->group_of_function);
	x->group_first = calloc(functions + 2, sizeof *x->group_first);
	x->group_functions = calloc(functions + 1, sizeof *x->group_functions);
	x->table_of_block = calloc(blocks + 1, sizeof *x->table_of_block);
	x->call_first = calloc(blocks + 2, sizeof *x->call_first);
	x->call_order = calloc((size_t)map->call_count + 1, sizeof *x->call_order);
	x->local = calloc(blocks + 1, sizeof *x->local);
	if (!x->function_of_block || !x->group_of_function || !x->group_first || !x->group_functions || !x->table_of_block ||
	    !x->call_first || !x->call_order || !x->local) {
		cfg_index_free(x);
		return no_memory(e);
	}
	index_functions(x);
	index_blocks(x);
	for (uint32_t g = 0; g < functions; g++) {
		uint32_t next = 0;
		for (int pass = 0; pass < 2; pass++) /* the root first, so that its entry is local 0 */
			for (uint32_t i = x->group_first[g]; i < x->group_first[g + 1]; i++) {
				const struct map_function *f = &map->functions[x->group_functions[i]];
				if ((x->group_functions[i] == g) == (pass == 0))
					for (uint32_t k = 0; k < f->block_count; k++)
						x->local[f->first_block + k] = next++;
			}
	}
	return 0;
}

void cfg_index_free(struct cfg_index *x)
{
	free(x->function_of_block);
	free(x->group_of_function);
	free(x->group_first);
	free(x->group_functions);
	free(x->table_of_block);
	free(x->call_first);
	free(x->call_order);
	free(x->local);
	*x = (struct cfg_index){0};
}

static int reserve_blocks(struct cfg *c, size_t need, struct err *e)
{
	if (need <= c->block_capacity)
		return 0;
	size_t n = need + need / 2 + 64;
	cfg_free(c);
	c->block = malloc(n * sizeof *c->block);
	c->first_out = malloc((n + 1) * sizeof *c->first_out);
	c->first_in = malloc((n + 1) * sizeof *c->first_in);
	c->scratch = malloc(2 * n * sizeof *c->scratch);
	if (!c->block || !c->first_out || !c->first_in || !c->scratch) {
		cfg_free(c);
		return no_memory(e);
	}
	c->block_capacity = n;
	return 0;
}

static int reserve_edges(struct cfg *c, size_t need, struct err *e)
{
	if (need <= c->edge_capacity)
		return 0;
	size_t n = need + need / 2 + 128;
	struct cfg_edge *edges = realloc(c->edges, n * sizeof *edges);
	if (!edges)
		return no_memory(e);
	c->edges = edges;
	uint32_t *in = realloc(c->in_edges, n * sizeof *in);
	if (!in)
		return no_memory(e);
	c->in_edges = in;
	c->edge_capacity = n;
	return 0;
}

void cfg_free(struct cfg *c)
{
	free(c->block);
	free(c->first_out);
	free(c->first_in);
	free(c->in_edges);
	free(c->edges);
	free(c->scratch);
	*c = (struct cfg){0};
}

static uint32_t local_target(const struct cfg_index *x, const struct cfg *c, uint32_t block)
{
	if (block == MAP_NONE || cfg_group_of_block(x, block) != c->group)
		return CFG_EXIT;
	return x->local[block];
}

static void add_edge(struct cfg *c, uint32_t from, uint32_t to, unsigned kind, uint32_t slot)
{
	c->edges[c->edge_count++] = (struct cfg_edge){from, to, slot, (uint8_t)kind, 0};
}

/* One edge for each different target of the jump table; `seen` [count + 1] holds the last block that used the target. */
static void add_table_edges(struct cfg *c, const struct cfg_index *x, uint32_t from, uint32_t *seen)
{
	const struct map_table *t = &x->map->tables[x->table_of_block[c->block[from]]];
	for (uint32_t i = 0; i < t->count; i++) {
		uint32_t to = local_target(x, c, x->map->table_targets[t->first + i]);
		if (to != CFG_EXIT && seen[to] == from)
			continue;
		if (to != CFG_EXIT)
			seen[to] = from;
		add_edge(c, from, to, CFG_TABLE, t->first + i);
	}
	if (!t->count)
		add_edge(c, from, CFG_EXIT, CFG_LEAVE, c->block[from]);
}

static size_t edge_bound(const struct cfg_index *x, uint32_t block)
{
	uint32_t t = x->table_of_block[block];
	return 2 + (t == MAP_NONE ? 0 : x->map->tables[t].count);
}

static void add_edges(struct cfg *c, const struct cfg_index *x, uint32_t i, uint32_t *seen)
{
	uint32_t b = c->block[i];
	const struct map_block *block = &x->map->blocks[b];
	switch (block->terminator) {
	case MAP_BRANCH:
		add_edge(c, i, local_target(x, c, block->taken), CFG_TAKEN, b);
		add_edge(c, i, local_target(x, c, block->next), CFG_NEXT, b);
		break;
	case MAP_JUMP:
		add_edge(c, i, local_target(x, c, block->taken), CFG_TAKEN, b);
		break;
	case MAP_FALLS:
		add_edge(c, i, local_target(x, c, block->next), CFG_NEXT, b);
		break;
	case MAP_JUMP_INDIRECT:
		if (x->table_of_block[b] != MAP_NONE) {
			add_table_edges(c, x, i, seen);
			break;
		}
		add_edge(c, i, CFG_EXIT, CFG_LEAVE, b);
		break;
	default:
		add_edge(c, i, CFG_EXIT, CFG_LEAVE, b);
	}
}

static void index_edges(struct cfg *c)
{
	memset(c->first_in, 0, (c->count + 1) * sizeof *c->first_in);
	for (uint32_t i = 0; i < c->edge_count; i++)
		if (c->edges[i].to != CFG_EXIT)
			c->first_in[c->edges[i].to]++;
	for (uint32_t i = 1; i <= c->count; i++)
		c->first_in[i] += c->first_in[i - 1];
	for (uint32_t i = c->edge_count; i-- > 0;)
		if (c->edges[i].to != CFG_EXIT)
			c->in_edges[--c->first_in[c->edges[i].to]] = i;
}

/* Depth-first from every block without predecessors, then from what is left; iterative. */
static void mark_back_edges(struct cfg *c)
{
	uint32_t *stack = c->scratch, *state = c->scratch + c->block_capacity; /* state: 0 new, edge position + 1 on the stack, MAX done */
	memset(state, 0, c->count * sizeof *state);
	for (uint32_t pass = 0; pass < 2; pass++)
		for (uint32_t root = 0; root < c->count; root++) {
			if (state[root] || (!pass && root && c->first_in[root] != c->first_in[root + 1]))
				continue;
			uint32_t depth = 0;
			stack[depth++] = root;
			state[root] = c->first_out[root] + 1;
			while (depth) {
				uint32_t b = stack[depth - 1], at = state[b] - 1;
				if (at == c->first_out[b + 1]) {
					state[b] = UINT32_MAX;
					depth--;
					continue;
				}
				state[b]++;
				struct cfg_edge *edge = &c->edges[at];
				if (edge->to == CFG_EXIT)
					continue;
				if (!state[edge->to]) {
					stack[depth++] = edge->to;
					state[edge->to] = c->first_out[edge->to] + 1;
				} else if (state[edge->to] != UINT32_MAX) {
					edge->back = 1;
				}
			}
		}
}

int cfg_load(struct cfg *c, const struct cfg_index *x, uint32_t group, struct err *e)
{
	const struct map *m = x->map;
	size_t blocks = 0, edges = 0;
	for (uint32_t i = x->group_first[group]; i < x->group_first[group + 1]; i++) {
		const struct map_function *f = &m->functions[x->group_functions[i]];
		blocks += f->block_count;
		for (uint32_t k = 0; k < f->block_count; k++)
			edges += edge_bound(x, f->first_block + k);
	}
	int err = reserve_blocks(c, blocks + 1, e);
	if (!err)
		err = reserve_edges(c, edges + 1, e);
	if (err)
		return err;
	c->group = group;
	c->count = (uint32_t)blocks;
	c->edge_count = 0;
	for (uint32_t i = x->group_first[group]; i < x->group_first[group + 1]; i++) {
		const struct map_function *f = &m->functions[x->group_functions[i]];
		for (uint32_t k = 0; k < f->block_count; k++)
			c->block[x->local[f->first_block + k]] = f->first_block + k;
	}
	memset(c->scratch, 0xff, c->count * sizeof *c->scratch);
	for (uint32_t i = 0; i < c->count; i++) {
		c->first_out[i] = c->edge_count;
		add_edges(c, x, i, c->scratch);
	}
	c->first_out[c->count] = c->edge_count;
	index_edges(c);
	mark_back_edges(c);
	return 0;
}

void cfg_find_cold(const struct cfg *c, const struct cfg_index *x, uint8_t *ret_cold)
{
	for (uint32_t i = 0; i < c->count; i++) {
		const struct map_block *b = &x->map->blocks[c->block[i]];
		ret_cold[i] = b->terminator == MAP_STOP || b->terminator == MAP_CALL_NORETURN || (b->flags & MAP_BLOCK_LANDING_PAD) ||
			      x->function_of_block[c->block[i]] != c->group;
	}
	/* A block all of whose ways lead into cold blocks is cold; a block reached only from cold blocks too. Two sweeps catch chains. */
	for (int sweep = 0; sweep < 2; sweep++) {
		for (uint32_t i = c->count; i-- > 1;) {
			bool all = !ret_cold[i];
			for (uint32_t k = c->first_out[i]; all && k < c->first_out[i + 1]; k++)
				all = c->edges[k].to != CFG_EXIT && ret_cold[c->edges[k].to];
			ret_cold[i] |= all;
		}
		for (uint32_t i = 1; i < c->count; i++) {
			bool all = !ret_cold[i] && c->first_in[i] != c->first_in[i + 1];
			for (uint32_t k = c->first_in[i]; all && k < c->first_in[i + 1]; k++)
				all = ret_cold[c->edges[c->in_edges[k]].from];
			ret_cold[i] |= all;
		}
	}
	if (c->count)
		ret_cold[0] = 0;
}
