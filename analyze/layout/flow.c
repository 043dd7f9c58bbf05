#include "analyze/layout/flow.h"

#include "analyze/layout/callgraph.h"
#include "analyze/layout/evidence.h"
#include "analyze/layout/infer.h"

#include <stdlib.h>
#include <string.h>

#define SWEEPS 3		    /* over the call graph */
#define WANT_MAX (INT64_C(1) << 40) /* keeps sums of flows far from overflow */

struct work {
	const struct map *map;
	struct flow *flow;
	struct evidence evidence;
	struct cfg_index index;
	struct callgraph calls;
	struct cfg cfg;
	struct infer infer;
	uint64_t *group_weight; /* [function_count] samples in the group */
	int64_t *enter;		/* [function_count] inferred calls of the group */
	int64_t *floor;		/* [block_count] what the call graph asks for */
	uint8_t *dirty;		/* [function_count] to be solved again */
	int64_t least;		/* flow below this is of no interest */
};

static int allocate(struct work *w, struct err *e)
{
	const struct map *m = w->map;
	struct flow *f = w->flow;
	size_t blocks = (size_t)m->block_count + 1, functions = (size_t)m->function_count + 1;
	f->block = calloc(blocks, sizeof *f->block);
	f->taken = calloc(blocks, sizeof *f->taken);
	f->next = calloc(blocks, sizeof *f->next);
	f->table = calloc((size_t)m->table_target_count + 1, sizeof *f->table);
	f->call = calloc((size_t)m->call_count + 1, sizeof *f->call);
	w->group_weight = calloc(functions, sizeof *w->group_weight);
	w->enter = calloc(functions, sizeof *w->enter);
	w->floor = calloc(blocks, sizeof *w->floor);
	w->dirty = calloc(functions, sizeof *w->dirty);
	if (!f->block || !f->taken || !f->next || !f->table || !f->call || !w->group_weight || !w->enter || !w->floor || !w->dirty)
		return err_set(e, ERR_MEMORY, "no memory for the flow of %u blocks", m->block_count);
	return 0;
}

static uint64_t least_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Counts and edges are exact: a branch that was never seen taken fell through. */
static void copy_exact(struct work *w)
{
	const struct map *m = w->map;
	const struct evidence *ev = &w->evidence;
	struct flow *f = w->flow;
	for (uint32_t b = 0; b < m->block_count; b++) {
		uint64_t n = ev->count[b];
		f->block[b] = n;
		switch (m->blocks[b].terminator) {
		case MAP_FALLS:
			f->next[b] = n;
			break;
		case MAP_JUMP:
			f->taken[b] = n;
			break;
		case MAP_BRANCH:
			f->taken[b] = least_of(ev->taken[b], n);
			f->next[b] = n - f->taken[b];
			break;
		}
	}
	for (uint32_t i = 0; i < m->table_target_count; i++)
		f->table[i] = ev->table[i];
}

/* Where control may come into the group from outside. */
static uint8_t entrance_of(const struct work *w, uint32_t i)
{
	const struct map_block *b = &w->map->blocks[w->cfg.block[i]];
	bool unknown_jump = w->map->functions[w->cfg.group].flags & MAP_FUNCTION_UNKNOWN_JUMP;
	if (!i)
		return 1;
	if (b->flags & MAP_BLOCK_LANDING_PAD)
		return 2;
	if (b->flags & MAP_BLOCK_POINTED)
		return unknown_jump ? 1 : 2;
	if ((b->flags & (MAP_BLOCK_TARGET | MAP_BLOCK_TABLE_TARGET)) && w->cfg.first_in[i] == w->cfg.first_in[i + 1])
		return unknown_jump ? 1 : 2;
	return 0;
}

static int64_t want_of(const struct work *w, uint32_t b)
{
	const struct evidence *ev = &w->evidence;
	uint64_t insns = w->map->blocks[b].insns ? w->map->blocks[b].insns : 1;
	uint64_t want = ev->kind == EVIDENCE_SAMPLES ? least_of(ev->weight[b], WANT_MAX) * INFER_UNIT / insns : ev->count[b];
	if (ev->weight[b] && !want)
		want = 1;
	return (int64_t)least_of(want, WANT_MAX);
}

static void fill_edge_wants(struct work *w)
{
	struct infer *in = &w->infer;
	in->edges_known = true;
	for (uint32_t k = 0; k < w->cfg.edge_count; k++) {
		const struct cfg_edge *edge = &w->cfg.edges[k];
		const uint64_t *seen = edge->kind == CFG_TAKEN	? w->evidence.taken
				       : edge->kind == CFG_NEXT ? w->evidence.next
								: w->evidence.table;
		bool known = edge->kind == CFG_TABLE || w->map->blocks[w->cfg.block[edge->from]].terminator == MAP_BRANCH;
		in->edge_want[k] = known ? (int64_t)least_of(seen[edge->slot], WANT_MAX) : -1;
	}
}

static void store(struct work *w)
{
	const struct infer *in = &w->infer;
	struct flow *f = w->flow;
	int64_t enter = 0;
	for (uint32_t i = 0; i < w->cfg.count; i++)
		f->block[w->cfg.block[i]] = (uint64_t)in->block[i];
	enter = w->cfg.count ? in->enter[0] : 0;
	for (uint32_t k = 0; k < w->cfg.edge_count; k++) {
		const struct cfg_edge *edge = &w->cfg.edges[k];
		uint64_t n = (uint64_t)in->edge[k];
		if (edge->kind == CFG_TAKEN)
			f->taken[edge->slot] = n;
		else if (edge->kind == CFG_NEXT)
			f->next[edge->slot] = n;
		else if (edge->kind == CFG_TABLE)
			f->table[edge->slot] = n;
	}
	w->enter[w->cfg.group] = enter;
}

static int solve_group(struct work *w, uint32_t group, struct err *e)
{
	int err = cfg_load(&w->cfg, &w->index, group, e);
	if (!err)
		err = infer_prepare(&w->infer, &w->cfg, e);
	if (err)
		return err;
	struct infer *in = &w->infer;
	cfg_find_cold(&w->cfg, &w->index, in->cold);
	bool samples = w->evidence.kind == EVIDENCE_SAMPLES;
	for (uint32_t i = 0; i < w->cfg.count; i++) {
		uint32_t b = w->cfg.block[i];
		in->want[i] = want_of(w, b);
		in->floor[i] = w->floor[b];
		in->length[i] = !samples ? 16 : w->map->blocks[b].insns ? w->map->blocks[b].insns : 1;
		in->entrance[i] = entrance_of(w, i);
	}
	in->smooth = samples;
	if (w->evidence.kind == EVIDENCE_BRANCHES)
		fill_edge_wants(w);
	err = infer_solve(in, &w->cfg, e);
	if (!err)
		store(w);
	return err;
}

static int solve_dirty(struct work *w, struct err *e)
{
	int err = 0;
	for (uint32_t g = 0; !err && g < w->map->function_count; g++) {
		if (!w->dirty[g])
			continue;
		w->dirty[g] = 0;
		err = solve_group(w, g, e);
	}
	return err;
}

static uint64_t site_flow(const struct work *w, const struct callgraph_site *site)
{
	return site->call == MAP_NONE ? w->flow->taken[site->block] : w->flow->block[site->block];
}

static uint32_t entry_block(const struct work *w, uint32_t function)
{
	return w->map->functions[function].first_block;
}

static void ask(struct work *w, uint32_t block, int64_t amount)
{
	if (amount > WANT_MAX)
		amount = WANT_MAX;
	if (amount <= w->floor[block])
		return;
	w->floor[block] = amount;
	w->dirty[cfg_group_of_block(&w->index, block)] = 1;
}

/* The callers say more than the callee's own samples. Without any sample in it, the more it should have had the less we believe it. */
static void raise_callee(struct work *w, uint32_t g, int64_t calls)
{
	if (!w->group_weight[g]) {
		const struct map_block *b = &w->map->blocks[entry_block(w, g)];
		double expected = (double)calls * (b->insns + 4.0) / INFER_UNIT;
		calls = (int64_t)((double)calls * 2 / (2 + expected));
	}
	if (calls >= w->least)
		ask(w, entry_block(w, g), calls);
}

/* The callee ran more often than its known callers explain: somebody among them calls it. Sampled callers first. */
static void raise_callers(struct work *w, uint32_t g, int64_t missing)
{
	const struct callgraph *cg = &w->calls;
	uint32_t first = cg->first_by_callee[g], end = cg->first_by_callee[g + 1];
	double sum = 0;
	for (uint32_t i = first; i < end; i++)
		sum += (double)w->enter[cfg_group_of_block(&w->index, cg->sites[cg->by_callee[i]].block)];
	if (!sum && end - first > 4)
		return; /* anybody's guess */
	for (uint32_t i = first; i < end; i++) {
		const struct callgraph_site *site = &cg->sites[cg->by_callee[i]];
		double part = sum ? (double)w->enter[cfg_group_of_block(&w->index, site->block)] / sum : 1.0 / (end - first);
		int64_t amount = (int64_t)((double)missing * part);
		if (amount >= w->least)
			ask(w, site->block, amount + (int64_t)w->flow->block[site->block]);
	}
}

static void sweep_calls(struct work *w)
{
	const struct callgraph *cg = &w->calls;
	for (uint32_t g = 0; g < w->map->function_count; g++) {
		uint32_t first = cg->first_by_callee[g], end = cg->first_by_callee[g + 1];
		if (first == end || !w->map->functions[g].block_count)
			continue;
		uint64_t calls = 0;
		for (uint32_t i = first; i < end; i++)
			calls += site_flow(w, &cg->sites[cg->by_callee[i]]);
		int64_t known = (int64_t)least_of(calls, WANT_MAX), runs = w->enter[g];
		bool pointed = w->map->blocks[entry_block(w, g)].flags & MAP_BLOCK_POINTED;
		if (known > runs + runs / 4)
			raise_callee(w, g, known);
		else if (runs > known * 2 && !pointed)
			raise_callers(w, g, runs - known);
	}
}

static int infer_sampled(struct work *w, struct err *e)
{
	const struct map *m = w->map;
	for (uint32_t b = 0; b < m->block_count; b++)
		if (w->evidence.weight[b] || w->evidence.count[b]) {
			w->group_weight[cfg_group_of_block(&w->index, b)] += w->evidence.weight[b];
			w->dirty[cfg_group_of_block(&w->index, b)] = 1;
		}
	int err = solve_dirty(w, e);
	if (err || w->evidence.kind != EVIDENCE_SAMPLES)
		return err;
	err = callgraph_init(&w->calls, &w->index, e);
	/* A block of a few instructions at this flow has a sample in one profile of a hundred times this one. */
	w->least = (int64_t)(w->evidence.total * INFER_UNIT / 5000000) + 1;
	for (int sweep = 0; !err && sweep < SWEEPS; sweep++) {
		sweep_calls(w);
		err = solve_dirty(w, e);
	}
	return err;
}

static int infer_all(struct work *w, const struct profile *profile, uint32_t module, struct err *e)
{
	int err = allocate(w, e);
	if (!err)
		err = evidence_gather(&w->evidence, w->map, profile, module, e);
	if (!err)
		err = cfg_index_init(&w->index, w->map, e);
	if (err)
		return err;
	if (w->evidence.kind == EVIDENCE_EXACT)
		copy_exact(w);
	else
		err = infer_sampled(w, e);
	if (err)
		return err;
	struct flow *f = w->flow;
	for (uint32_t c = 0; c < w->map->call_count; c++)
		f->call[c] = f->block[w->map->calls[c].block];
	f->sampled = w->evidence.weight;
	f->sampled_outside = w->evidence.outside;
	f->sampled_total = w->evidence.total;
	f->arcs = w->evidence.arcs;
	f->arc_count = w->evidence.arc_count;
	w->evidence.weight = NULL;
	w->evidence.arcs = NULL;
	return 0;
}

int flow_infer(const struct map *map, const struct profile *profile, uint32_t module, struct flow *ret_flow, struct err *e)
{
	if (module >= profile->module_count || !module_same(&map->module, &profile->modules[module]))
		return err_set(e, ERR_MISMATCH, "the profile was not taken from the module of this map (%s)",
			       map->module.path ? map->module.path : "?");
	struct flow flow = {0};
	struct work w = {.map = map, .flow = &flow};
	int err = infer_all(&w, profile, module, e);
	evidence_free(&w.evidence);
	cfg_index_free(&w.index);
	callgraph_free(&w.calls);
	cfg_free(&w.cfg);
	infer_free(&w.infer);
	free(w.group_weight);
	free(w.enter);
	free(w.floor);
	free(w.dirty);
	if (err)
		flow_free(&flow);
	else
		*ret_flow = flow;
	return err;
}

static void reach(const struct map *m, struct flow *f, uint32_t function, uint64_t count)
{
	if (function == MAP_NONE || !m->functions[function].block_count)
		return;
	uint64_t *entry = &f->block[m->functions[function].first_block];
	if (!*entry)
		*entry = count;
}

void flow_reach_callees(const struct map *m, const struct profile *profile, uint32_t module, struct flow *f)
{
	for (uint32_t c = 0; c < m->call_count; c++)
		if (m->calls[c].kind == MAP_CALL_DIRECT && m->calls[c].target != MAP_NONE && f->call[c])
			reach(m, f, map_function_at(m, m->calls[c].target), f->call[c]);
	for (uint32_t b = 0; b < m->block_count; b++)
		if (f->taken[b] && m->blocks[b].taken != MAP_NONE && (m->blocks[m->blocks[b].taken].flags & MAP_BLOCK_ENTRY))
			reach(m, f, map_function_of_block(m, m->blocks[b].taken), f->taken[b]);
	for (size_t i = 0; i < profile->edge_count; i++) {
		const struct profile_edge *edge = &profile->edges[i];
		uint32_t to = edge->to_module == module ? map_offset(m, (vaddr){edge->to}) : MAP_NONE;
		uint32_t function = to == MAP_NONE || edge->kind == PROFILE_EDGE_RETURN ? MAP_NONE : map_function_at(m, to);
		if (function != MAP_NONE && m->functions[function].start == to)
			reach(m, f, function, edge->count);
	}
}

void flow_free(struct flow *f)
{
	free(f->block);
	free(f->taken);
	free(f->next);
	free(f->table);
	free(f->call);
	free(f->sampled);
	free(f->arcs);
	*f = (struct flow){0};
}
