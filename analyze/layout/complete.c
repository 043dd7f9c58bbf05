#include "analyze/layout/complete.h"

#include "analyze/layout/cfg.h"
#include "formats/base/vec.h"

#include <stdlib.h>
#include <string.h>

#define UNKNOWN INT64_MIN
#define COUNT_MAX (INT64_MAX >> 16) /* no counter gets there; sums of those of a function cannot overflow */

enum arc_what { ARC_BLOCK, ARC_EDGE, ARC_DOOR };

/* The same arcs as in emit_probe.c: a block leads from node 2i to 2i + 1, the outside is node 2n. */
struct arc {
	int64_t flow; /* UNKNOWN */
	uint32_t a, b, id;
	uint8_t what;
};

struct work {
	const struct map *map;
	const struct plan_module *plan;
	const struct profile *profile;
	struct complete *result;
	struct cfg_index index;
	struct cfg cfg;
	uint8_t *door, *seen;	       /* [block_count] entered through a patch; marked */
	int64_t *block, *next, *taken; /* [block_count] what was counted, UNKNOWN where nothing was */
	bool guessing;		       /* in this group: the rest depends on a guess */
	VEC(struct arc) arcs;
	VEC(uint8_t) cold;			 /* [local block] by its form */
	VEC(uint32_t) first, at, unknown, queue; /* arcs by node; unknown arcs of each node; nodes to look at */
};

static int no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "no memory to complete the counts");
}

static int64_t count_at(const struct work *w, uint32_t module, uint64_t address)
{
	size_t low = 0, high = w->profile->count_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct profile_count *c = &w->profile->counts[middle];
		if (c->module < module || (c->module == module && c->address < address))
			low = middle + 1;
		else
			high = middle;
	}
	const struct profile_count *c = &w->profile->counts[low];
	bool found = low < w->profile->count_count && c->module == module && c->address == address;
	return found && c->count < COUNT_MAX ? (int64_t)c->count : 0;
}

static int64_t edge_at(const struct work *w, uint32_t module, uint64_t from, uint64_t to)
{
	size_t low = 0, high = w->profile->edge_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct profile_edge *x = &w->profile->edges[middle];
		if (x->from_module < module || (x->from_module == module && x->from < from))
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < w->profile->edge_count; low++) {
		const struct profile_edge *x = &w->profile->edges[low];
		if (x->from_module != module || x->from != from)
			break;
		if (x->to == to && x->to_module == module && x->kind == PROFILE_EDGE_JUMP && x->count < COUNT_MAX)
			return (int64_t)x->count;
	}
	return 0;
}

/* A counter that was never written is a count of zero. */
static void read_counter(struct work *w, const struct plan_counter *c, uint32_t module)
{
	uint64_t from = w->plan->text_base + c->from;
	uint32_t b = map_block_at(w->map, c->from);
	if (b == MAP_NONE)
		return;
	if (c->kind == PLAN_COUNTER_BLOCK)
		w->block[b] = count_at(w, module, from);
	else if (c->kind == PLAN_COUNTER_SEEN)
		w->seen[b] = count_at(w, module, from) ? 2 : 1;
	else if (c->kind == PLAN_COUNTER_EDGE && w->map->blocks[b].next != MAP_NONE &&
		 w->map->blocks[w->map->blocks[b].next].start == c->to)
		w->next[b] = edge_at(w, module, from, w->plan->text_base + c->to);
	else if (c->kind == PLAN_COUNTER_EDGE)
		w->taken[b] = edge_at(w, module, from, w->plan->text_base + c->to);
}

static void read_plan(struct work *w, uint32_t module)
{
	for (uint32_t b = 0; b < w->map->block_count; b++)
		w->block[b] = w->next[b] = w->taken[b] = UNKNOWN;
	for (uint32_t i = 0; i < w->plan->run_count; i++) {
		const struct plan_run *r = &w->plan->runs[i];
		if (!r->original_size)
			continue;
		/* Runs join what is next to each other: one may hold many blocks. */
		for (uint32_t b = map_block_at(w->map, r->original);
		     b != MAP_NONE && b < w->map->block_count && w->map->blocks[b].start < r->original + r->original_size; b++)
			w->result->there[b] = 1;
	}
	for (uint32_t i = 0; i < w->plan->patch_count; i++) {
		uint32_t b = map_block_at(w->map, w->plan->patches[i].at);
		if (b != MAP_NONE)
			w->door[b] = 1;
	}
	for (uint32_t i = 0; i < w->plan->counter_count; i++)
		read_counter(w, &w->plan->counters[i], module);
}

static bool in_image(const struct work *w, uint32_t local)
{
	return local != CFG_EXIT && w->result->there[w->cfg.block[local]];
}

/* As in emit_probe.c: the copy of a block leads to the copy of another function's block only where that begins. */
static bool stays_inside(const struct work *w, const struct cfg_edge *edge)
{
	if (!in_image(w, edge->to) || edge->kind == CFG_TABLE || edge->kind == CFG_LEAVE)
		return false;
	uint32_t from = w->cfg.block[edge->from], to = w->cfg.block[edge->to], function = w->index.function_of_block[to];
	return w->index.function_of_block[from] == function || w->map->functions[function].start == w->map->blocks[to].start;
}

static int add_arcs(struct work *w)
{
	uint32_t outside = 2 * w->cfg.count;
	bool failed = false;
	w->arcs.count = 0;
	for (uint32_t i = 0; i < w->cfg.count; i++) {
		uint32_t b = w->cfg.block[i];
		if (!in_image(w, i))
			continue;
		failed |= vec_push(&w->arcs, (struct arc){w->block[b], 2 * i, 2 * i + 1, i, ARC_BLOCK}) != 0;
		if (!i || w->door[b])
			failed |= vec_push(&w->arcs, (struct arc){UNKNOWN, outside, 2 * i, i, ARC_DOOR}) != 0;
		bool leaves = false;
		for (uint32_t k = w->cfg.first_out[i]; k < w->cfg.first_out[i + 1]; k++) {
			const struct cfg_edge *edge = &w->cfg.edges[k];
			bool indirect = edge->kind == CFG_TABLE || edge->kind == CFG_LEAVE;
			if (indirect && leaves)
				continue; /* all ways of an indirect jump are one arc */
			leaves |= indirect;
			bool inside = stays_inside(w, edge);
			int64_t flow = edge->kind == CFG_TAKEN ? w->taken[b] : edge->kind == CFG_NEXT ? w->next[b] : UNKNOWN;
			if (w->map->blocks[b].terminator != MAP_BRANCH)
				flow = UNKNOWN;
			failed |= vec_push(&w->arcs, (struct arc){flow, 2 * i + 1, inside ? 2 * edge->to : outside, k, ARC_EDGE}) != 0;
		}
	}
	return failed ? -1 : 0;
}

static int index_arcs(struct work *w)
{
	size_t nodes = 2 * (size_t)w->cfg.count + 1;
	w->first.count = w->at.count = w->unknown.count = w->queue.count = 0;
	if (vec_reserve(&w->first, nodes + 1) || vec_reserve(&w->at, 2 * w->arcs.count + 1) || vec_reserve(&w->unknown, nodes) ||
	    vec_reserve(&w->queue, nodes + w->arcs.count + 1))
		return -1;
	w->first.count = nodes + 1;
	memset(w->first.data, 0, (nodes + 1) * sizeof *w->first.data);
	memset(w->unknown.data, 0, nodes * sizeof *w->unknown.data);
	for (size_t i = 0; i < w->arcs.count; i++) {
		const struct arc *arc = &w->arcs.data[i];
		w->first.data[arc->a + 1]++;
		w->first.data[arc->b + 1]++;
		w->unknown.data[arc->a] += arc->flow == UNKNOWN;
		w->unknown.data[arc->b] += arc->flow == UNKNOWN;
	}
	for (size_t n = 0; n < nodes; n++)
		w->first.data[n + 1] += w->first.data[n];
	for (size_t i = w->arcs.count; i-- > 0;) { /* fills each node's part from its end; first[n + 1] becomes the start of n */
		w->at.data[--w->first.data[w->arcs.data[i].a + 1]] = (uint32_t)i;
		w->at.data[--w->first.data[w->arcs.data[i].b + 1]] = (uint32_t)i;
	}
	for (size_t n = 0; n < nodes; n++)
		w->first.data[n] = w->first.data[n + 1];
	w->first.data[nodes] = (uint32_t)(2 * w->arcs.count);
	return 0;
}

/* What is settled after a guess may be wrong. */
static void note_unsure(const struct work *w, const struct arc *arc)
{
	const struct cfg_edge *edge = &w->cfg.edges[arc->id];
	if (arc->what == ARC_EDGE && (edge->kind == CFG_TAKEN || edge->kind == CFG_NEXT))
		w->result->unsure[edge->slot] |= edge->kind == CFG_TAKEN ? 1 : 2;
}

static void settle(struct work *w, struct arc *arc, int64_t flow)
{
	uint32_t outside = 2 * w->cfg.count;
	if (flow < 0) {
		w->result->negative += (uint64_t)-flow;
		flow = 0;
	}
	if (w->guessing)
		note_unsure(w, arc);
	arc->flow = flow;
	w->unknown.data[arc->a]--;
	w->unknown.data[arc->b]--;
	if (arc->a != outside && w->unknown.data[arc->a] == 1)
		w->queue.data[w->queue.count++] = arc->a;
	if (arc->b != outside && w->unknown.data[arc->b] == 1)
		w->queue.data[w->queue.count++] = arc->b;
}

/* The one arc that is not known at a node is what the others leave. */
static void settle_node(struct work *w, uint32_t node)
{
	struct arc *open = NULL;
	int64_t balance = 0;
	for (uint32_t i = w->first.data[node]; i < w->first.data[node + 1]; i++) {
		struct arc *arc = &w->arcs.data[w->at.data[i]];
		if (arc->flow == UNKNOWN)
			open = arc;
		else if (arc->a != arc->b)
			balance += arc->b == node ? arc->flow : -arc->flow;
	}
	if (open && open->a != open->b)
		settle(w, open, open->a == node ? balance : -balance);
	else if (open)
		settle(w, open, 0);
}

/* The unknown edge that is least likely to be followed: into a block that never ran or is cold by its form, hardly ever a way out. */
static size_t least_likely(const struct work *w)
{
	size_t found = w->arcs.count;
	int rank = 3;
	for (size_t i = 0; i < w->arcs.count && rank; i++) {
		const struct arc *arc = &w->arcs.data[i];
		if (arc->flow != UNKNOWN || arc->what != ARC_EDGE)
			continue;
		uint32_t to = w->cfg.edges[arc->id].to;
		int own = to == CFG_EXIT ? 2 : w->cold.data[to] || w->seen[w->cfg.block[to]] == 1 ? 0 : 1;
		if (own < rank) {
			rank = own;
			found = i;
		}
	}
	return found;
}

/*
 * Flow conservation and counters decide everything but circles of what could not be counted. Of each, the least likely arc is taken for never
 * followed.
 */
static void solve(struct work *w)
{
	size_t nodes = 2 * (size_t)w->cfg.count;
	w->guessing = false;
	for (uint32_t n = 0; n < nodes; n++)
		if (w->unknown.data[n] == 1)
			w->queue.data[w->queue.count++] = n;
	for (;;) {
		while (w->queue.count) {
			uint32_t node = w->queue.data[--w->queue.count];
			if (w->unknown.data[node] == 1)
				settle_node(w, node);
		}
		size_t least = least_likely(w);
		if (least == w->arcs.count)
			break;
		w->result->guessed++;
		w->guessing = true;
		settle(w, &w->arcs.data[least], 0);
	}
	for (size_t i = 0; i < w->arcs.count; i++)
		if (w->arcs.data[i].flow == UNKNOWN)
			w->arcs.data[i].flow = 0;
}

static void store(struct work *w)
{
	struct complete *r = w->result;
	for (size_t i = 0; i < w->arcs.count; i++) {
		const struct arc *arc = &w->arcs.data[i];
		uint64_t flow = (uint64_t)arc->flow;
		if (arc->what == ARC_DOOR) {
			r->entered[w->cfg.block[arc->id]] = flow;
		} else if (arc->what == ARC_BLOCK) {
			r->block[w->cfg.block[arc->id]] = r->inside[w->cfg.block[arc->id]] = flow;
			r->total += flow;
			r->blocks += flow != 0;
		} else if (w->cfg.edges[arc->id].kind == CFG_TAKEN) {
			r->taken[w->cfg.edges[arc->id].slot] = flow;
		} else if (w->cfg.edges[arc->id].kind == CFG_NEXT) {
			r->next[w->cfg.edges[arc->id].slot] = flow;
		}
	}
}

/*
 * A jump through a table lands in original code, and where a patch stands comes back from there at once: what came in through the patch came
 * from the tables that have this target, each in proportion to its executions. What no patch accounts for went to the other targets.
 */
static void share_tables(struct work *w, double *jumps)
{
	const struct map *m = w->map;
	struct complete *r = w->result;
	for (uint32_t t = 0; t < m->table_count; t++)
		for (uint32_t i = 0; i < m->tables[t].count; i++)
			jumps[m->table_targets[m->tables[t].first + i]] += (double)r->block[m->tables[t].block];
	for (uint32_t t = 0; t < m->table_count; t++) {
		const struct map_table *table = &m->tables[t];
		double executed = (double)r->block[table->block], left = executed;
		uint32_t closed = 0;
		for (uint32_t i = 0; executed && i < table->count; i++) {
			uint32_t slot = table->first + i, to = m->table_targets[slot];
			if (!w->door[to]) {
				closed++;
				continue;
			}
			/* A table that another one leads to may have been given more executions since the jumps were added up. */
			double all = jumps[to] > executed ? jumps[to] : executed;
			r->table[slot] = (uint64_t)((double)r->entered[to] * (executed / all));
			left -= (double)r->table[slot];
		}
		for (uint32_t i = 0; closed && left >= closed && i < table->count; i++) {
			uint32_t slot = table->first + i, to = m->table_targets[slot];
			if (w->door[to])
				continue;
			r->table[slot] = (uint64_t)(left / closed);
			r->block[to] += r->table[slot];
		}
	}
}

static int complete_group(struct work *w, uint32_t group, struct err *e)
{
	int status = cfg_load(&w->cfg, &w->index, group, e);
	if (status)
		return status;
	w->result->counted[group] = 1;
	if (add_arcs(w) || index_arcs(w) || vec_reserve(&w->cold, (size_t)w->cfg.count + 1))
		return no_memory(e);
	cfg_find_cold(&w->cfg, &w->index, w->cold.data);
	solve(w);
	store(w);
	return 0;
}

/* Also when the image holds only a split part of it. */
static bool group_is_there(const struct work *w, uint32_t group)
{
	for (uint32_t i = w->index.group_first[group]; i < w->index.group_first[group + 1]; i++) {
		const struct map_function *f = &w->map->functions[w->index.group_functions[i]];
		for (uint32_t b = 0; b < f->block_count; b++)
			if (w->result->there[f->first_block + b])
				return true;
	}
	return false;
}

static int complete_all(struct work *w, uint32_t module, struct err *e)
{
	const struct map *m = w->map;
	size_t blocks = (size_t)m->block_count + 1;
	struct complete *r = w->result;
	r->counted = calloc((size_t)m->function_count + 1, 1);
	r->block = calloc(5 * blocks, sizeof *r->block);
	r->table = calloc((size_t)m->table_target_count + 1, sizeof *r->table);
	r->there = calloc(2 * blocks, 1);
	w->door = calloc(2 * blocks, 1);
	w->block = malloc(3 * blocks * sizeof *w->block);
	double *jumps = calloc(blocks, sizeof *jumps);
	int status = cfg_index_init(&w->index, m, e);
	if (!status && (!r->counted || !r->block || !r->table || !r->there || !w->door || !w->block || !jumps))
		status = no_memory(e);
	if (!status) {
		r->taken = r->block + blocks;
		r->next = r->taken + blocks;
		r->inside = r->next + blocks;
		r->entered = r->inside + blocks;
		r->unsure = r->there + blocks;
		w->seen = w->door + blocks;
		w->next = w->block + blocks;
		w->taken = w->next + blocks;
		read_plan(w, module);
	}
	for (uint32_t f = 0; !status && f < m->function_count; f++)
		if (w->index.group_of_function[f] == f && group_is_there(w, f))
			status = complete_group(w, f, e);
	if (!status)
		share_tables(w, jumps);
	free(jumps);
	return status;
}

int complete_counts(const struct map *map, const struct plan_module *plan, const struct profile *profile, uint32_t module,
		    struct complete *ret_complete, struct err *e)
{
	struct complete result = {0};
	struct work w = {.map = map, .plan = plan, .profile = profile, .result = &result};
	if (!module_same(&map->module, &plan->module) || map->text_base != plan->text_base)
		return err_set(e, ERR_MISMATCH, "the map and the plan are of different modules (%s)",
			       map->module.path ? map->module.path : "?");
	int status = complete_all(&w, module, e);
	cfg_index_free(&w.index);
	cfg_free(&w.cfg);
	free(w.door);
	free(w.block);
	vec_free(&w.arcs);
	vec_free(&w.cold);
	vec_free(&w.first);
	vec_free(&w.at);
	vec_free(&w.unknown);
	vec_free(&w.queue);
	if (status)
		complete_free(&result);
	else
		*ret_complete = result;
	return status;
}

void complete_free(struct complete *c)
{
	free(c->counted);
	free(c->block);
	free(c->table);
	free(c->there);
	*c = (struct complete){0};
}
