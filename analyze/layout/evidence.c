#include "analyze/layout/evidence.h"

#include <stdlib.h>
#include <string.h>

struct gather {
	struct evidence *ev;
	const struct map *map;
	const struct profile *profile;
	uint8_t
	    *ours; /* [module_count] is it the map's? Merged profiles may name one module twice: with all of its identity and with less */
	uint32_t *table_of_block;
	uint64_t *fell; /* [block_count + 1] difference array: ranges of blocks run through without a taken branch */
};

void evidence_free(struct evidence *ev)
{
	free(ev->weight);
	free(ev->count);
	free(ev->taken);
	free(ev->next);
	free(ev->table);
	free(ev->arcs);
	*ev = (struct evidence){0};
}

static bool is_ours(const struct gather *g, uint32_t module)
{
	return module != PROFILE_NO_MODULE && g->ours[module];
}

static uint32_t block_of(const struct gather *g, uint64_t address)
{
	uint32_t offset = map_offset(g->map, (vaddr){address});
	return offset == MAP_NONE ? MAP_NONE : map_block_at(g->map, offset);
}

static void add_weight(struct gather *g, uint32_t block, uint64_t weight)
{
	g->ev->total += weight;
	if (block == MAP_NONE)
		g->ev->outside += weight;
	else
		g->ev->weight[block] += weight;
}

/* Executions of a block: the lesser of the first two, since a repeated string instruction counts each repetition; a later one may follow a call
   that threw. */
static void gather_executions(struct gather *g)
{
	uint32_t previous = MAP_NONE, module = PROFILE_NO_MODULE, seen = 0;
	uint64_t first = 0;
	for (size_t i = 0; i < g->profile->count_count; i++) {
		const struct profile_count *c = &g->profile->counts[i];
		uint32_t b = is_ours(g, c->module) ? block_of(g, c->address) : MAP_NONE;
		if (b == MAP_NONE)
			continue;
		if (b != previous || c->module != module) {
			g->ev->count[b] += c->count;
			first = c->count;
			seen = 1;
		} else if (++seen == 2 && c->count < first) {
			g->ev->count[b] -= first - c->count;
		}
		previous = b;
		module = c->module;
	}
}

/* Outside of exact profiles counts are those of samples, as merges and imports make them: weight and no more. */
static void gather_counts(struct gather *g)
{
	for (size_t i = 0; i < g->profile->count_count; i++) {
		const struct profile_count *c = &g->profile->counts[i];
		if (is_ours(g, c->module))
			add_weight(g, block_of(g, c->address), c->count);
	}
	if (g->profile->info.source == PROFILE_EXACT)
		gather_executions(g);
}

static void gather_samples(struct gather *g)
{
	for (size_t i = 0; i < g->profile->sample_count; i++) {
		const struct profile_sample *s = &g->profile->samples[i];
		if (is_ours(g, s->module))
			add_weight(g, block_of(g, s->address), 1);
	}
}

static uint32_t find_table_slot(const struct gather *g, uint32_t from, uint32_t to)
{
	uint32_t t = g->table_of_block[from];
	for (uint32_t i = 0; t != MAP_NONE && i < g->map->tables[t].count; i++)
		if (g->map->table_targets[g->map->tables[t].first + i] == to)
			return g->map->tables[t].first + i;
	return MAP_NONE;
}

/* A transfer from inside the block that is not its end can only be a call. */
static int add_call_arc(struct gather *g, uint64_t from, uint32_t target, uint64_t count, struct err *e)
{
	const struct map *m = g->map;
	struct evidence *ev = g->ev;
	uint32_t offset = map_offset(m, (vaddr){from}), c = map_call_from(m, offset);
	if (c >= m->call_count || m->calls[c].site != offset || m->calls[c].kind == MAP_CALL_DIRECT)
		return 0;
	if (!(m->blocks[target].flags & MAP_BLOCK_ENTRY))
		return 0;
	if (ev->arc_count == ev->arc_capacity) {
		size_t n = ev->arc_capacity * 2 + 64;
		struct flow_arc *arcs = realloc(ev->arcs, n * sizeof *arcs);
		if (!arcs)
			return err_set(e, ERR_MEMORY, "no memory for %zu call arcs", n);
		ev->arcs = arcs;
		ev->arc_capacity = n;
	}
	ev->arcs[ev->arc_count++] = (struct flow_arc){c, map_function_of_block(m, target), count};
	return 0;
}

/* One transfer of control, `count` times. Returns from a call are of no interest: the call is. */
static int add_transfer(struct gather *g, uint64_t from, uint64_t to, uint64_t count, struct err *e)
{
	uint32_t source = block_of(g, from), target = block_of(g, to);
	if (source == MAP_NONE || target == MAP_NONE)
		return 0;
	const struct map_block *b = &g->map->blocks[source];
	bool starts = g->map->text_base + g->map->blocks[target].start == to;
	if (starts && (b->terminator == MAP_JUMP || b->terminator == MAP_BRANCH) && b->taken == target)
		g->ev->taken[source] += count;
	else if (starts && b->terminator == MAP_BRANCH && b->next == target)
		g->ev->next[source] += count;
	else if (b->terminator == MAP_JUMP_INDIRECT && find_table_slot(g, source, target) != MAP_NONE)
		g->ev->table[find_table_slot(g, source, target)] += count;
	else if (starts)
		return add_call_arc(g, from, target, count, e);
	return 0;
}

/*
 * Everything between where one branch landed and where the next one left was executed, `count` times. A block counts when its start was: after the
 * return from each of its calls a range begins inside of it.
 */
static void add_range(struct gather *g, uint64_t start, uint64_t end, uint64_t count)
{
	uint32_t first = block_of(g, start), last = block_of(g, end);
	if (first == MAP_NONE || last == MAP_NONE || last < first || last - first > 4096)
		return;
	bool inside = map_vaddr(g->map, g->map->blocks[first].start).v != start;
	if (!inside || last > first) {
		g->fell[first + inside] += count;
		g->fell[last + 1] -= count;
	}
	for (uint32_t b = first; b < last; b++)
		if (g->map->blocks[b].terminator == MAP_BRANCH)
			g->ev->next[b] += count;
}

static int gather_edges(struct gather *g, struct err *e)
{
	for (size_t i = 0; i < g->profile->edge_count; i++) {
		const struct profile_edge *edge = &g->profile->edges[i];
		if (!is_ours(g, edge->from_module) || !is_ours(g, edge->to_module) || edge->kind == PROFILE_EDGE_RETURN)
			continue;
		if (edge->kind == PROFILE_EDGE_RUN) {
			add_range(g, edge->from, edge->to, edge->count);
			continue;
		}
		int err = add_transfer(g, edge->from, edge->to, edge->count, e);
		if (err)
			return err;
	}
	return 0;
}

static int gather_branches(struct gather *g, struct err *e)
{
	for (size_t i = 0; i < g->profile->sample_count; i++) {
		const struct profile_sample *s = &g->profile->samples[i];
		for (uint32_t k = 0; k < s->branch_count; k++) {
			const struct profile_branch *b = &g->profile->branches[s->first_branch + k];
			if (is_ours(g, b->from_module) && is_ours(g, b->to_module)) {
				int err = add_transfer(g, b->from, b->to, 1, e);
				if (err)
					return err;
			}
			if (k && is_ours(g, b->to_module) && is_ours(g, b[-1].from_module))
				add_range(g, b->to, b[-1].from, 1);
		}
	}
	return 0;
}

static void count_runs(struct gather *g)
{
	uint64_t running = 0;
	for (uint32_t b = 0; b < g->map->block_count; b++) {
		running += g->fell[b];
		g->ev->count[b] += running;
	}
}

static int compare_arcs(const void *a, const void *b)
{
	const struct flow_arc *x = a, *y = b;
	if (x->call != y->call)
		return x->call < y->call ? -1 : 1;
	if (x->function != y->function)
		return x->function < y->function ? -1 : 1;
	return 0; /* equal ones are added up, so their order does not matter */
}

static void merge_arcs(struct evidence *ev)
{
	if (!ev->arc_count)
		return;
	qsort(ev->arcs, ev->arc_count, sizeof *ev->arcs, compare_arcs);
	size_t kept = 0;
	for (size_t i = 1; i < ev->arc_count; i++) {
		if (!compare_arcs(&ev->arcs[kept], &ev->arcs[i]))
			ev->arcs[kept].count += ev->arcs[i].count;
		else
			ev->arcs[++kept] = ev->arcs[i];
	}
	ev->arc_count = kept + 1;
}

static bool has_jumps(const struct profile *p)
{
	for (size_t i = 0; i < p->edge_count; i++)
		if (p->edges[i].kind == PROFILE_EDGE_JUMP)
			return true;
	return false;
}

static enum evidence_kind kind_of(const struct profile *p)
{
	if (p->branch_count)
		return EVIDENCE_BRANCHES;
	if (!p->count_count && !p->edge_count)
		return EVIDENCE_SAMPLES;
	if (p->info.source == PROFILE_BRANCH_STACKS)
		return EVIDENCE_BRANCHES;
	if (p->info.source != PROFILE_EXACT)
		return EVIDENCE_SAMPLES; /* counts of samples, as merges and imports make them */
	return has_jumps(p) ? EVIDENCE_EXACT : EVIDENCE_COUNTS;
}

/* Edges without block counts (aggregated branch records): a block ran at least as often as it was entered or left by them. */
static void raise_counts_to_edges(struct gather *g)
{
	struct evidence *ev = g->ev;
	const struct map *m = g->map;
	for (uint32_t b = 0; b < m->block_count; b++) {
		uint64_t left = ev->taken[b] + ev->next[b];
		if (ev->count[b] < left)
			ev->count[b] = left;
		if (ev->taken[b] && m->blocks[b].taken != MAP_NONE && ev->count[m->blocks[b].taken] < ev->taken[b])
			ev->count[m->blocks[b].taken] = ev->taken[b];
	}
}

static int gather_all(struct gather *g, struct err *e)
{
	int err = 0;
	for (uint32_t b = 0; b < g->map->block_count; b++)
		g->table_of_block[b] = MAP_NONE;
	for (uint32_t t = g->map->table_count; t-- > 0;)
		g->table_of_block[g->map->tables[t].block] = t;
	g->ev->kind = kind_of(g->profile);
	gather_counts(g);
	gather_samples(g);
	err = gather_edges(g, e);
	if (!err && g->ev->kind == EVIDENCE_BRANCHES) {
		err = gather_branches(g, e);
		if (!err) {
			count_runs(g);
			raise_counts_to_edges(g);
		}
	}
	merge_arcs(g->ev);
	return err;
}

int evidence_gather(struct evidence *ev, const struct map *map, const struct profile *profile, uint32_t module, struct err *e)
{
	*ev = (struct evidence){0};
	size_t n = (size_t)map->block_count + 1;
	struct gather g = {.ev = ev, .map = map, .profile = profile};
	g.ours = calloc(profile->module_count + 1, 1);
	g.table_of_block = malloc(n * sizeof *g.table_of_block);
	g.fell = calloc(n, sizeof *g.fell);
	ev->weight = calloc(n, sizeof *ev->weight);
	ev->count = calloc(n, sizeof *ev->count);
	ev->taken = calloc(n, sizeof *ev->taken);
	ev->next = calloc(n, sizeof *ev->next);
	ev->table = calloc((size_t)map->table_target_count + 1, sizeof *ev->table);
	int err;
	for (size_t i = 0; g.ours && i < profile->module_count; i++)
		g.ours[i] = i == module || module_same(&profile->modules[i], &map->module);
	if (!g.ours || !g.table_of_block || !g.fell || !ev->weight || !ev->count || !ev->taken || !ev->next || !ev->table)
		err = err_set(e, ERR_MEMORY, "no memory for the evidence of %u blocks", map->block_count);
	else
		err = gather_all(&g, e);
	free(g.ours);
	free(g.table_of_block);
	free(g.fell);
	if (err)
		evidence_free(ev);
	return err;
}
