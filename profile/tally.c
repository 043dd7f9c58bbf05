#include "profile/tally.h"

#include <stdbool.h>
#include <stdlib.h>

enum { CAPACITY_MIN = 1024 };

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 29;
}

/* The slot of this count, or the free one where it belongs. There always is a free one. */
static struct profile_count *find_count(const struct tally *t, const struct profile_count *c)
{
	size_t i = (size_t)mix(mix(0, c->address), c->module) & (t->count_capacity - 1);
	while (t->counts[i].count && (t->counts[i].address != c->address || t->counts[i].module != c->module))
		i = (i + 1) & (t->count_capacity - 1);
	return &t->counts[i];
}

static struct profile_edge *find_edge(const struct tally *t, const struct profile_edge *edge)
{
	uint64_t hash = mix(mix(mix(edge->from, edge->to), edge->from_module), (uint64_t)edge->to_module << 2 | edge->kind);
	size_t i = (size_t)hash & (t->edge_capacity - 1);
	while (t->edges[i].count && profile_compare_edges(&t->edges[i], edge))
		i = (i + 1) & (t->edge_capacity - 1);
	return &t->edges[i];
}

/* Two thirds full is full. */
static bool is_full(size_t count, size_t capacity)
{
	return (count + 1) * 3 > capacity * 2;
}

static int grow_counts(struct tally *t, struct err *e)
{
	struct tally bigger = {.count_capacity = t->count_capacity ? t->count_capacity * 2 : CAPACITY_MIN};
	bigger.counts = calloc(bigger.count_capacity, sizeof *bigger.counts);
	if (!bigger.counts)
		return err_set(e, ERR_MEMORY, "no memory for more than %zu counts", t->count_count);
	for (size_t i = 0; i < t->count_capacity; i++)
		if (t->counts[i].count)
			*find_count(&bigger, &t->counts[i]) = t->counts[i];
	free(t->counts);
	t->counts = bigger.counts;
	t->count_capacity = bigger.count_capacity;
	return 0;
}

static int grow_edges(struct tally *t, struct err *e)
{
	struct tally bigger = {.edge_capacity = t->edge_capacity ? t->edge_capacity * 2 : CAPACITY_MIN};
	bigger.edges = calloc(bigger.edge_capacity, sizeof *bigger.edges);
	if (!bigger.edges)
		return err_set(e, ERR_MEMORY, "no memory for more than %zu edges", t->edge_count);
	for (size_t i = 0; i < t->edge_capacity; i++)
		if (t->edges[i].count)
			*find_edge(&bigger, &t->edges[i]) = t->edges[i];
	free(t->edges);
	t->edges = bigger.edges;
	t->edge_capacity = bigger.edge_capacity;
	return 0;
}

int tally_add_count(struct tally *tally, const struct profile_count *count, struct err *e)
{
	if (!count->count)
		return 0;
	int status = is_full(tally->count_count, tally->count_capacity) ? grow_counts(tally, e) : 0;
	if (status)
		return status;
	struct profile_count *slot = find_count(tally, count);
	if (!slot->count) {
		*slot = *count;
		tally->count_count++;
	} else {
		slot->count = tally_sum(slot->count, count->count);
	}
	return 0;
}

int tally_add_edge(struct tally *tally, const struct profile_edge *edge, struct err *e)
{
	if (!edge->count)
		return 0;
	int status = is_full(tally->edge_count, tally->edge_capacity) ? grow_edges(tally, e) : 0;
	if (status)
		return status;
	struct profile_edge *slot = find_edge(tally, edge);
	if (!slot->count) {
		*slot = *edge;
		tally->edge_count++;
	} else {
		slot->count = tally_sum(slot->count, edge->count);
		slot->mispredicted = tally_sum(slot->mispredicted, edge->mispredicted);
	}
	return 0;
}

static uint32_t renumber(const uint32_t *number, uint32_t module)
{
	return number && module != PROFILE_NO_MODULE ? number[module] : module;
}

/* The used slots move to the front of their table, which becomes the array: no second copy while memory is at its peak. */
void tally_finish(struct tally *tally, const uint32_t *number, struct profile *profile)
{
	size_t counts = 0, edges = 0;
	for (size_t i = 0; i < tally->count_capacity; i++) {
		if (!tally->counts[i].count)
			continue;
		tally->counts[counts] = tally->counts[i];
		tally->counts[counts].module = renumber(number, tally->counts[counts].module);
		counts++;
	}
	for (size_t i = 0; i < tally->edge_capacity; i++) {
		if (!tally->edges[i].count)
			continue;
		struct profile_edge *edge = &tally->edges[edges++];
		*edge = tally->edges[i];
		edge->from_module = renumber(number, edge->from_module);
		edge->to_module = renumber(number, edge->to_module);
	}
	if (counts)
		qsort(tally->counts, counts, sizeof *tally->counts, profile_compare_counts);
	if (edges)
		qsort(tally->edges, edges, sizeof *tally->edges, profile_compare_edges);
	profile->counts = tally->counts;
	profile->count_count = counts;
	profile->edges = tally->edges;
	profile->edge_count = edges;
	*tally = (struct tally){0};
}

void tally_free(struct tally *tally)
{
	free(tally->counts);
	free(tally->edges);
	*tally = (struct tally){0};
}
