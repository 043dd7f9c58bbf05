/* What counters do not say: where indirect calls and jumps go, and who is returned to. */
#include "analyze/layout/exits_parts.h"

#include <stdlib.h>

#define ROUNDS 32 /* chains of tail jumps that are followed */

/* --- where indirect calls go --- */

/* What was read of one call or jump. */
struct readings {
	const struct profile_edge *first;
	size_t count;
	double sum; /* of those that are readings */
	bool bound; /* it was made direct: it stays in the image */
};

static struct readings readings_at(const struct profile *p, uint32_t module, uint64_t site)
{
	size_t low = 0, high = p->edge_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct profile_edge *x = &p->edges[middle];
		if (x->from_module < module || (x->from_module == module && x->from < site))
			low = middle + 1;
		else
			high = middle;
	}
	struct readings r = {.first = p->edges + low};
	for (; low < p->edge_count && p->edges[low].from_module == module && p->edges[low].from == site; low++) {
		r.count++;
		r.bound |= p->edges[low].kind == PROFILE_EDGE_JUMP;
		r.sum += p->edges[low].kind == PROFILE_EDGE_CALL ? (double)p->edges[low].count : 0;
	}
	return r;
}

/* It arrives at the start of a function of the image, `share` times; false when that is not in the image. */
static bool arrive(struct exits_work *w, const struct exits_tail *from, const struct profile_edge *edge, bool call, double share)
{
	uint32_t to = exits_subject_of(w, edge->to_module);
	uint32_t offset = to == w->count ? MAP_NONE : map_offset(w->subjects[to].map, (vaddr){edge->to});
	uint32_t group = offset == MAP_NONE ? MAP_NONE : exits_group_starting(w, to, offset);
	if (group == MAP_NONE)
		return false;
	if (call)
		w->entries[to][group].readers += share;
	else
		w->failed |= vec_push(&w->tails, ((struct exits_tail){from->from_subject, from->from, to, group, share})) != 0;
	return true;
}

void exits_add_indirect(struct exits_work *w, uint32_t subject, uint32_t block, uint32_t site, enum exits_kind kind, bool call)
{
	const struct exits_subject *s = &w->subjects[subject];
	uint64_t executed = s->complete->inside[block];
	struct readings r = readings_at(w->profile, s->module, map_vaddr(s->map, site).v);
	struct exits_tail from = {.from_subject = subject, .from = cfg_group_of_block(&w->index[subject], block)};
	struct exits_place place = {.from = map_vaddr(s->map, site).v,
				    .count = executed,
				    .subject = subject,
				    .to_subject = (uint32_t)w->count,
				    .kind = (uint8_t)kind};
	double back = 0;
	for (size_t i = 0; i < r.count; i++) {
		const struct profile_edge *edge = &r.first[i];
		double share = r.sum > 0 ? (double)executed * ((double)edge->count / r.sum) : 0;
		uint32_t to = exits_subject_of(w, edge->to_module);
		if (edge->kind != PROFILE_EDGE_CALL)
			continue;
		bool patched = to != w->count && exits_leads_back(&w->subjects[to], (uint32_t)(edge->to - w->subjects[to].map->text_base));
		if ((patched || r.bound) && arrive(w, &from, edge, call, share))
			back += share;
		if ((double)edge->count == r.sum) {
			place.to = edge->to;
			place.to_subject = to;
		}
	}
	place.back = back < (double)executed ? (uint64_t)(back + 0.5) : executed;
	place.nowhere = r.sum > 0 ? 0 : executed;
	if (r.bound)
		w->result->modules[subject].made_direct += executed;
	else
		exits_add(w, place);
}

/* --- who is returned to --- */

/* A function of the image. An activation is one execution of it that was in the image. */
struct group {
	double entered, again; /* at its start; in its middle */
	double all;	       /* activations */
	double called, jumped; /* of them: begun by calls, and by jumps, in the image */
	double inside, passed; /* share of `all` that returns to the image; activations of which that was passed on by jumps */
	double returns;	       /* executed in the image */
};

static double above_zero(double value)
{
	return value > 0 ? value : 0;
}

static void add_block(const struct exits_work *w, uint32_t subject, uint32_t block, struct group *groups)
{
	const struct exits_subject *s = &w->subjects[subject];
	uint32_t function = cfg_group_of_block(&w->index[subject], block);
	struct group *g = &groups[function];
	uint64_t entered = s->complete->entered[block];
	if (s->map->blocks[block].start == s->map->functions[function].start) {
		g->entered += (double)entered;
	} else {
		g->again += (double)entered;
		w->result->modules[subject].reentered += entered;
	}
	if (s->map->blocks[block].terminator == MAP_RETURN)
		g->returns += (double)s->complete->inside[block];
}

/* What came in in the middle beyond what had left before: the start ran in original code, for somebody outside. */
static void begin_groups(const struct exits_work *w, uint32_t subject, struct group *groups)
{
	const struct exits_subject *s = &w->subjects[subject];
	for (uint32_t b = 0; b < s->map->block_count; b++)
		if (s->complete->there[b])
			add_block(w, subject, b, groups);
	for (uint32_t f = 0; f < s->map->function_count; f++) {
		struct group *g = &groups[f];
		double called = w->entries[subject][f].calls + w->entries[subject][f].readers;
		g->all = g->entered + above_zero(g->again - w->entries[subject][f].left);
		g->called = called < g->entered ? called : g->entered;
		g->inside = g->all > 0 ? g->called / g->all : 0;
	}
}

/* A jump from function to function passes on who is returned to. Each round follows one more of a chain. */
static void follow_tails(const struct exits_work *w, struct group **groups)
{
	for (size_t i = 0; i < w->tails.count; i++)
		groups[w->tails.data[i].to_subject][w->tails.data[i].to].jumped += w->tails.data[i].count;
	for (unsigned round = 0; round < ROUNDS && w->tails.count; round++) {
		for (size_t i = 0; i < w->tails.count; i++)
			groups[w->tails.data[i].to_subject][w->tails.data[i].to].passed = 0;
		for (size_t i = 0; i < w->tails.count; i++) {
			const struct exits_tail *t = &w->tails.data[i];
			groups[t->to_subject][t->to].passed += groups[t->from_subject][t->from].inside * t->count;
		}
		for (size_t i = 0; i < w->tails.count; i++) {
			struct group *g = &groups[w->tails.data[i].to_subject][w->tails.data[i].to];
			double inside = g->all > 0 ? (g->called + g->passed) / g->all : 0;
			g->inside = inside < 1 ? inside : 1;
		}
	}
}

static void add_function(struct exits_work *w, uint32_t subject, uint32_t function, const struct group *g)
{
	const struct exits_subject *s = &w->subjects[subject];
	w->result->modules[subject].entered += (uint64_t)(above_zero(g->entered - g->called - g->jumped) + 0.5);
	exits_add(w, (struct exits_place){.from = map_vaddr(s->map, s->map->functions[function].start).v,
					  .count = (uint64_t)(g->returns * (1 - g->inside) + 0.5),
					  .subject = subject,
					  .to_subject = (uint32_t)w->count,
					  .kind = EXITS_RETURN});
}

int exits_add_returns(struct exits_work *w)
{
	struct group **groups = calloc(w->count + 1, sizeof *groups);
	bool failed = !groups;
	for (uint32_t i = 0; i < w->count && !failed; i++) {
		groups[i] = calloc((size_t)w->subjects[i].map->function_count + 1, sizeof **groups);
		failed = !groups[i];
		if (!failed)
			begin_groups(w, i, groups[i]);
	}
	if (!failed)
		follow_tails(w, groups);
	for (uint32_t i = 0; i < w->count && !failed; i++)
		for (uint32_t f = 0; f < w->subjects[i].map->function_count; f++)
			add_function(w, i, f, &groups[i][f]);
	for (uint32_t i = 0; groups && i < w->count; i++)
		free(groups[i]);
	free(groups);
	return failed ? -1 : 0;
}
