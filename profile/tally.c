#include "profile/tally.h"

#include <stdbool.h>
#include <stdlib.h>

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 29;
}

static bool is_same(const struct profile_edge *a, const struct profile_edge *b)
{
	return a->from == b->from && a->to == b->to && a->from_module == b->from_module && a->to_module == b->to_module &&
	       a->kind == b->kind;
}

/* The slot of this edge, or the free one where it belongs. */
static struct profile_edge *find(const struct tally_table *table, const struct profile_edge *edge)
{
	uint64_t hash = mix(mix(mix(edge->from, edge->to), edge->from_module), (uint64_t)edge->to_module << 2 | edge->kind);
	size_t i = (size_t)hash & (table->capacity - 1);
	while (table->slots[i].edge.count && !is_same(&table->slots[i].edge, edge))
		i = (i + 1) & (table->capacity - 1);
	return &table->slots[i].edge;
}

static int grow(struct tally_table *table)
{
	struct tally_table bigger = {.count = table->count, .capacity = table->capacity ? table->capacity * 2 : 1024};
	bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
	if (!bigger.slots)
		return -1;
	for (size_t i = 0; i < table->capacity; i++)
		if (table->slots[i].edge.count)
			*find(&bigger, &table->slots[i].edge) = table->slots[i].edge;
	free(table->slots);
	*table = bigger;
	return 0;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static int add_to(struct tally_table *table, const struct profile_edge *edge, struct err *e)
{
	if (!edge->count)
		return 0;
	if ((table->count + 1) * 3 > table->capacity * 2 && grow(table))
		return err_set(e, ERR_MEMORY, "no memory for more than %zu counts", table->count);
	struct profile_edge *slot = find(table, edge);
	if (!slot->count) {
		*slot = *edge;
		table->count++;
		return 0;
	}
	slot->count = add(slot->count, edge->count);
	slot->mispredicted = add(slot->mispredicted, edge->mispredicted);
	return 0;
}

int tally_add_count(struct tally *tally, const struct profile_count *count, struct err *e)
{
	struct profile_edge edge = {.from = count->address, .from_module = count->module, .count = count->count};
	return add_to(&tally->counts, &edge, e);
}

int tally_add_edge(struct tally *tally, const struct profile_edge *edge, struct err *e)
{
	return add_to(&tally->edges, edge, e);
}

static int by_place(const void *left, const void *right)
{
	const struct profile_edge *a = left, *b = right;
	if (a->from_module != b->from_module)
		return a->from_module < b->from_module ? -1 : 1;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	if (a->to_module != b->to_module)
		return a->to_module < b->to_module ? -1 : 1;
	if (a->to != b->to)
		return a->to < b->to ? -1 : 1;
	return a->kind - b->kind;
}

/* The used slots, sorted; malloc'ed. NULL when memory is out. */
static struct profile_edge *sorted(const struct tally_table *table)
{
	struct profile_edge *edges = calloc(table->count + 1, sizeof *edges);
	size_t n = 0;
	if (!edges)
		return NULL;
	for (size_t i = 0; i < table->capacity; i++)
		if (table->slots[i].edge.count)
			edges[n++] = table->slots[i].edge;
	qsort(edges, n, sizeof *edges, by_place);
	return edges;
}

int tally_finish(const struct tally *tally, struct profile *profile, struct err *e)
{
	struct profile_edge *counts = sorted(&tally->counts), *edges = sorted(&tally->edges);
	profile->counts = calloc(tally->counts.count + 1, sizeof *profile->counts);
	if (!counts || !edges || !profile->counts) {
		free(counts);
		free(edges);
		return err_set(e, ERR_MEMORY, "no memory for %zu counts and %zu edges", tally->counts.count, tally->edges.count);
	}
	for (size_t i = 0; i < tally->counts.count; i++)
		profile->counts[i] =
		    (struct profile_count){.address = counts[i].from, .count = counts[i].count, .module = counts[i].from_module};
	free(counts);
	profile->count_count = tally->counts.count;
	profile->edges = edges;
	profile->edge_count = tally->edges.count;
	return 0;
}

void tally_free(struct tally *tally)
{
	free(tally->counts.slots);
	free(tally->edges.slots);
	*tally = (struct tally){0};
}
