#include "analyze/layout/executions.h"

#include "analyze/code/insn.h"

#include <stdlib.h>

void executions_add_edge(struct executions *x, struct profile_edge edge)
{
	if (edge.count)
		x->failed |= vec_push(&x->edges, edge) != 0;
}

/* Appends each instruction of a block to `counts` (NULL: none); the address of the last. */
static uint64_t walk_block(const struct map *map, const struct image *image, uint32_t block, struct executions *counts,
			   struct profile_count count)
{
	const struct map_block *b = &map->blocks[block];
	const uint8_t *bytes = image_bytes(image, map_vaddr(map, b->start), b->size);
	count.address = map_vaddr(map, b->start).v;
	for (uint32_t at = 0; bytes && at < b->size;) {
		struct insn i;
		count.address = map_vaddr(map, b->start + at).v;
		if (insn_decode(bytes + at, b->size - at, (vaddr){count.address}, &i))
			break;
		if (counts)
			counts->failed |= vec_push(&counts->counts, count) != 0;
		at += i.length;
	}
	return count.address;
}

uint64_t executions_last(const struct map *map, const struct image *image, uint32_t block)
{
	return walk_block(map, image, block, NULL, (struct profile_count){0});
}

static struct profile_edge edge_of(const struct executions_source *s, uint64_t from, uint32_t to_block, uint64_t count)
{
	return (struct profile_edge){.from = from,
				     .to = map_vaddr(s->map, s->map->blocks[to_block].start).v,
				     .count = count,
				     .from_module = s->module,
				     .to_module = s->module,
				     .kind = PROFILE_EDGE_JUMP};
}

static void add_block(struct executions *x, const struct executions_source *s, uint32_t block, const uint32_t *table_of)
{
	const struct map *map = s->map;
	const struct map_block *b = &map->blocks[block];
	uint64_t last = walk_block(map, s->image, block, x, (struct profile_count){.count = s->block[block], .module = s->module});
	if ((b->terminator == MAP_BRANCH || b->terminator == MAP_JUMP) && b->taken != MAP_NONE)
		executions_add_edge(x, edge_of(s, last, b->taken, s->taken[block]));
	if (table_of[block] == MAP_NONE)
		return;
	const struct map_table *t = &map->tables[table_of[block]];
	for (uint32_t i = 0; i < t->count; i++)
		executions_add_edge(x, edge_of(s, last, map->table_targets[t->first + i], s->table[t->first + i]));
}

static void add_direct_calls(struct executions *x, const struct executions_source *s)
{
	const struct map *map = s->map;
	for (uint32_t i = 0; i < map->call_count; i++) {
		const struct map_call *call = &map->calls[i];
		if (call->kind == MAP_CALL_DIRECT && call->target != MAP_NONE)
			executions_add_edge(x, (struct profile_edge){.from = map_vaddr(map, call->site).v,
								     .to = map_vaddr(map, call->target).v,
								     .count = s->block[call->block],
								     .from_module = s->module,
								     .to_module = s->module,
								     .kind = PROFILE_EDGE_CALL});
	}
}

void executions_add(struct executions *x, const struct executions_source *s)
{
	uint32_t *table_of = malloc(((size_t)s->map->block_count + 1) * sizeof *table_of);
	if (!table_of) {
		x->failed = true;
		return;
	}
	for (uint32_t b = 0; b < s->map->block_count; b++)
		table_of[b] = MAP_NONE;
	for (uint32_t t = s->map->table_count; t-- > 0;)
		table_of[s->map->tables[t].block] = t;
	for (uint32_t b = 0; b < s->map->block_count; b++)
		if (s->block[b])
			add_block(x, s, b, table_of);
	add_direct_calls(x, s);
	free(table_of);
}

static int compare_counts(const void *va, const void *vb)
{
	const struct profile_count *a = va, *b = vb;
	if (a->module != b->module)
		return a->module < b->module ? -1 : 1;
	return a->address < b->address ? -1 : a->address > b->address;
}

static int compare_edges(const void *va, const void *vb)
{
	const struct profile_edge *a = va, *b = vb;
	if (a->from_module != b->from_module)
		return a->from_module < b->from_module ? -1 : 1;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	if (a->to_module != b->to_module)
		return a->to_module < b->to_module ? -1 : 1;
	if (a->to != b->to)
		return a->to < b->to ? -1 : 1;
	return (a->kind > b->kind) - (a->kind < b->kind);
}

static void add_up_edges(struct executions *x)
{
	size_t kept = 0;
	for (size_t i = 1; i < x->edges.count; i++) {
		if (!compare_edges(&x->edges.data[kept], &x->edges.data[i]))
			x->edges.data[kept].count += x->edges.data[i].count;
		else
			x->edges.data[++kept] = x->edges.data[i];
	}
	x->edges.count = x->edges.count ? kept + 1 : 0;
}

int executions_finish(struct executions *x, struct profile *profile, struct err *e)
{
	if (x->failed)
		return err_set(e, ERR_MEMORY, "no memory for the executions");
	if (x->counts.count)
		qsort(x->counts.data, x->counts.count, sizeof *x->counts.data, compare_counts);
	if (x->edges.count)
		qsort(x->edges.data, x->edges.count, sizeof *x->edges.data, compare_edges);
	add_up_edges(x);
	profile->counts = x->counts.data;
	profile->count_count = x->counts.count;
	profile->edges = x->edges.data;
	profile->edge_count = x->edges.count;
	return 0;
}

void executions_free(struct executions *x)
{
	vec_free(&x->counts);
	vec_free(&x->edges);
	*x = (struct executions){0};
}
