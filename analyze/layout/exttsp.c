#include "analyze/layout/exttsp.h"

#include "formats/base/vec.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define SPLIT_ALWAYS 24 /* a chain of at most this many blocks is tried at every split */
#define CHAIN_MAX 2048	/* longer chains are not merged any more: the score has no reach over such distances */
#define GAIN_LEAST 1e-9

/* A pair of chains with jumps between them. */
struct pair {
	uint32_t chain[2];
	uint32_t first_jump, last_jump; /* list through work.next_jump */
	uint32_t version;
	uint8_t dead;
};

struct chain {
	VEC(uint32_t) nodes;
	VEC(uint32_t) pairs;
	uint32_t first_inner, last_inner; /* jumps inside the chain */
	uint64_t count, size;
	double score;
};

enum shape { X_Y, X1_Y_X2, Y_X2_X1, X2_X1_Y };

/* How to merge: `x` is split before position `at` and `y` put where the shape says. */
struct merge {
	double gain;
	uint32_t x, y, at;
	enum shape shape;
};

struct candidate {
	struct merge merge;
	uint32_t pair, version;
};

struct work {
	const struct exttsp_problem *p;
	struct chain *chains;
	uint32_t *chain_of, *index;		   /* [node] its chain and position in it */
	uint32_t *first_out, *out, *first_in, *in; /* jumps by node */
	uint64_t *address;
	uint32_t *next_jump; /* [jump] */
	uint32_t *mark;	     /* [chain] pair with the chain under work */
	VEC(struct pair) pairs;
	VEC(struct candidate) heap;
	VEC(uint32_t) scratch;
};

static double jump_score(const struct exttsp_jump *j, uint64_t from_end, uint64_t to)
{
	double count = (double)j->count;
	if (from_end == to)
		return count * (j->only ? EXTTSP_FALL_THROUGH_JUMP : EXTTSP_FALL_THROUGH);
	if (from_end < to) {
		uint64_t d = to - from_end;
		return d < EXTTSP_FORWARD_DISTANCE ? count * EXTTSP_FORWARD * (1 - (double)d / EXTTSP_FORWARD_DISTANCE) : 0;
	}
	uint64_t d = from_end - to;
	return d < EXTTSP_BACKWARD_DISTANCE ? count * EXTTSP_BACKWARD * (1 - (double)d / EXTTSP_BACKWARD_DISTANCE) : 0;
}

double exttsp_score(const struct exttsp_problem *p, const uint32_t *order)
{
	uint64_t *address = malloc((p->node_count + (size_t)1) * sizeof *address), at = 0;
	double score = 0;
	if (!address)
		return -1;
	for (uint32_t i = 0; i < p->node_count; i++) {
		address[order[i]] = at;
		at += p->size[order[i]];
	}
	for (uint32_t k = 0; k < p->jump_count; k++)
		score += jump_score(&p->jumps[k], address[p->jumps[k].from] + p->size[p->jumps[k].from], address[p->jumps[k].to]);
	free(address);
	return score;
}

static double list_score(const struct work *w, uint32_t jump)
{
	double score = 0;
	for (; jump != NONE; jump = w->next_jump[jump]) {
		const struct exttsp_jump *j = &w->p->jumps[jump];
		score += jump_score(j, w->address[j->from] + w->p->size[j->from], w->address[j->to]);
	}
	return score;
}

static uint64_t place(struct work *w, const struct chain *c, uint32_t first, uint32_t end, uint64_t at)
{
	for (uint32_t i = first; i < end; i++) {
		w->address[c->nodes.data[i]] = at;
		at += w->p->size[c->nodes.data[i]];
	}
	return at;
}

static bool has_entry(const struct work *w, uint32_t chain)
{
	return w->p->entry != NONE && w->chain_of[w->p->entry] == chain;
}

static uint32_t first_node(const struct work *w, const struct merge *m)
{
	const struct chain *x = &w->chains[m->x], *y = &w->chains[m->y];
	switch (m->shape) {
	case Y_X2_X1:
		return y->nodes.data[0];
	case X2_X1_Y:
		return x->nodes.data[m->at];
	default:
		return x->nodes.data[0];
	}
}

/* Gain of one way to merge; keeps it in `best` when it is better. */
static void try_merge(struct work *w, uint32_t pair, struct merge m, struct merge *best)
{
	const struct chain *x = &w->chains[m.x], *y = &w->chains[m.y];
	uint32_t xn = (uint32_t)x->nodes.count, yn = (uint32_t)y->nodes.count;
	if ((has_entry(w, m.x) || has_entry(w, m.y)) && first_node(w, &m) != w->p->entry)
		return;
	uint64_t at = 0;
	switch (m.shape) {
	case X_Y:
		at = place(w, x, 0, xn, at);
		place(w, y, 0, yn, at);
		break;
	case X1_Y_X2:
		at = place(w, x, 0, m.at, at);
		at = place(w, y, 0, yn, at);
		place(w, x, m.at, xn, at);
		break;
	case Y_X2_X1:
		at = place(w, y, 0, yn, at);
		at = place(w, x, m.at, xn, at);
		place(w, x, 0, m.at, at);
		break;
	case X2_X1_Y:
		at = place(w, x, m.at, xn, at);
		at = place(w, x, 0, m.at, at);
		place(w, y, 0, yn, at);
		break;
	}
	m.gain = list_score(w, w->pairs.data[pair].first_jump);
	if (m.shape != X_Y)
		m.gain += list_score(w, x->first_inner) - x->score;
	if (m.gain > best->gain + GAIN_LEAST)
		*best = m;
}

static void try_splits_at(struct work *w, uint32_t pair, uint32_t x, uint32_t y, uint32_t at, struct merge *best)
{
	if (!at || at >= w->chains[x].nodes.count)
		return;
	for (enum shape s = X1_Y_X2; s <= X2_X1_Y; s++)
		try_merge(w, pair, (struct merge){0, x, y, at, s}, best);
}

/* Splits that let a block of x fall into the first of y, or the last of y fall into a block of x. */
static void try_useful_splits(struct work *w, uint32_t pair, uint32_t x, uint32_t y, struct merge *best)
{
	const struct chain *cy = &w->chains[y];
	uint32_t head = cy->nodes.data[0], tail = cy->nodes.data[cy->nodes.count - 1];
	for (uint32_t i = w->first_in[head]; i < w->first_in[head + 1]; i++) {
		uint32_t from = w->p->jumps[w->in[i]].from;
		if (w->chain_of[from] == x)
			try_splits_at(w, pair, x, y, w->index[from] + 1, best);
	}
	for (uint32_t i = w->first_out[tail]; i < w->first_out[tail + 1]; i++) {
		uint32_t to = w->p->jumps[w->out[i]].to;
		if (w->chain_of[to] == x)
			try_splits_at(w, pair, x, y, w->index[to], best);
	}
}

static struct merge best_merge(struct work *w, uint32_t pair)
{
	struct merge best = {.gain = 0};
	const struct pair *p = &w->pairs.data[pair];
	if (w->chains[p->chain[0]].nodes.count + w->chains[p->chain[1]].nodes.count > CHAIN_MAX)
		return best;
	for (int k = 0; k < 2; k++) {
		uint32_t x = p->chain[k], y = p->chain[!k];
		try_merge(w, pair, (struct merge){0, x, y, 0, X_Y}, &best);
		if (w->chains[x].nodes.count <= SPLIT_ALWAYS)
			for (uint32_t at = 1; at < w->chains[x].nodes.count; at++)
				try_splits_at(w, pair, x, y, at, &best);
		else
			try_useful_splits(w, pair, x, y, &best);
	}
	return best;
}

/* The heap: largest gain first, then the older pair. A candidate whose version is not its pair's is out of date. */
static bool before(const struct candidate *a, const struct candidate *b)
{
	return a->merge.gain != b->merge.gain ? a->merge.gain > b->merge.gain : a->pair < b->pair;
}

static int heap_push(struct work *w, struct candidate c)
{
	if (vec_push(&w->heap, c))
		return -1;
	size_t i = w->heap.count - 1;
	for (; i && before(&c, &w->heap.data[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap.data[i] = w->heap.data[(i - 1) / 2];
	w->heap.data[i] = c;
	return 0;
}

static struct candidate heap_pop(struct work *w)
{
	struct candidate top = w->heap.data[0], last = w->heap.data[--w->heap.count];
	size_t i = 0, n = w->heap.count;
	while (2 * i + 1 < n) {
		size_t k = 2 * i + 1;
		if (k + 1 < n && before(&w->heap.data[k + 1], &w->heap.data[k]))
			k++;
		if (!before(&w->heap.data[k], &last))
			break;
		w->heap.data[i] = w->heap.data[k];
		i = k;
	}
	if (n)
		w->heap.data[i] = last;
	return top;
}

static int refresh_pair(struct work *w, uint32_t pair)
{
	struct candidate c = {.merge = best_merge(w, pair), .pair = pair, .version = ++w->pairs.data[pair].version};
	return c.merge.gain > 0 ? heap_push(w, c) : 0;
}

static void append_jumps(struct work *w, uint32_t *first, uint32_t *last, uint32_t from, uint32_t from_last)
{
	if (from == NONE)
		return;
	if (*first == NONE)
		*first = from;
	else
		w->next_jump[*last] = from;
	*last = from_last;
}

static int append_nodes(struct work *w, const struct chain *c, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++)
		if (vec_push(&w->scratch, c->nodes.data[i]))
			return -1;
	return 0;
}

static int merge_nodes(struct work *w, const struct merge *m)
{
	struct chain *x = &w->chains[m->x], *y = &w->chains[m->y];
	size_t xn = x->nodes.count, at = m->at;
	int err = 0;
	w->scratch.count = 0;
	if (m->shape == Y_X2_X1)
		err |= append_nodes(w, y, 0, y->nodes.count);
	if (m->shape == X_Y)
		at = xn;
	if (m->shape == X_Y || m->shape == X1_Y_X2)
		err |= append_nodes(w, x, 0, at) | append_nodes(w, y, 0, y->nodes.count) | append_nodes(w, x, at, xn);
	else
		err |= append_nodes(w, x, at, xn) | append_nodes(w, x, 0, at);
	if (m->shape == X2_X1_Y)
		err |= append_nodes(w, y, 0, y->nodes.count);
	x->nodes.count = 0;
	if (err || vec_reserve(&x->nodes, w->scratch.count))
		return -1;
	memcpy(x->nodes.data, w->scratch.data, w->scratch.count * sizeof *w->scratch.data);
	x->nodes.count = w->scratch.count;
	vec_free(&y->nodes);
	for (uint32_t i = 0; i < x->nodes.count; i++) {
		w->chain_of[x->nodes.data[i]] = m->x;
		w->index[x->nodes.data[i]] = i;
	}
	return 0;
}

/* Pairs of y become pairs of x; two pairs with the same third chain become one. */
static int merge_pairs(struct work *w, uint32_t xi, uint32_t yi)
{
	struct chain *x = &w->chains[xi], *y = &w->chains[yi];
	size_t kept = 0;
	for (size_t i = 0; i < x->pairs.count; i++) {
		struct pair *p = &w->pairs.data[x->pairs.data[i]];
		if (p->dead)
			continue;
		x->pairs.data[kept++] = x->pairs.data[i];
		w->mark[p->chain[p->chain[0] == xi]] = x->pairs.data[i];
	}
	x->pairs.count = kept;
	for (size_t i = 0; i < y->pairs.count; i++) {
		struct pair *p = &w->pairs.data[y->pairs.data[i]];
		if (p->dead)
			continue;
		uint32_t side = p->chain[1] == yi, other = p->chain[!side];
		if (w->mark[other] != NONE) {
			struct pair *q = &w->pairs.data[w->mark[other]];
			append_jumps(w, &q->first_jump, &q->last_jump, p->first_jump, p->last_jump);
			p->dead = 1;
			p->version++;
		} else {
			p->chain[side] = xi;
			if (vec_push(&x->pairs, y->pairs.data[i]))
				return -1;
		}
	}
	vec_free(&y->pairs);
	for (size_t i = 0; i < x->pairs.count; i++) {
		struct pair *p = &w->pairs.data[x->pairs.data[i]];
		w->mark[p->chain[p->chain[0] == xi]] = NONE;
	}
	return 0;
}

static int apply_merge(struct work *w, uint32_t pair, const struct merge *m)
{
	struct chain *x = &w->chains[m->x], *y = &w->chains[m->y];
	struct pair *p = &w->pairs.data[pair];
	p->dead = 1;
	p->version++;
	append_jumps(w, &x->first_inner, &x->last_inner, y->first_inner, y->last_inner);
	append_jumps(w, &x->first_inner, &x->last_inner, p->first_jump, p->last_jump);
	x->count += y->count;
	x->size += y->size;
	if (merge_nodes(w, m) || merge_pairs(w, m->x, m->y))
		return -1;
	place(w, x, 0, (uint32_t)x->nodes.count, 0);
	x->score = list_score(w, x->first_inner);
	return 0;
}

static int refresh_chain(struct work *w, uint32_t chain)
{
	for (size_t i = 0; i < w->chains[chain].pairs.count; i++)
		if (refresh_pair(w, w->chains[chain].pairs.data[i]))
			return -1;
	return 0;
}

static void index_jumps(struct work *w)
{
	const struct exttsp_problem *p = w->p;
	for (uint32_t k = 0; k < p->jump_count; k++) {
		w->first_out[p->jumps[k].from]++;
		w->first_in[p->jumps[k].to]++;
	}
	for (uint32_t i = 1; i <= p->node_count; i++) {
		w->first_out[i] += w->first_out[i - 1];
		w->first_in[i] += w->first_in[i - 1];
	}
	for (uint32_t k = p->jump_count; k-- > 0;) {
		w->out[--w->first_out[p->jumps[k].from]] = k;
		w->in[--w->first_in[p->jumps[k].to]] = k;
	}
}

static int add_jump(struct work *w, uint32_t k)
{
	const struct exttsp_jump *j = &w->p->jumps[k];
	if (j->from == j->to) {
		append_jumps(w, &w->chains[j->from].first_inner, &w->chains[j->from].last_inner, k, k);
		return 0;
	}
	uint32_t pair = w->mark[j->to];
	if (pair == NONE) { /* perhaps made from the other side */
		const struct chain *to = &w->chains[j->to];
		for (size_t i = 0; i < to->pairs.count && pair == NONE; i++)
			if (w->pairs.data[to->pairs.data[i]].chain[1] == j->from || w->pairs.data[to->pairs.data[i]].chain[0] == j->from)
				pair = to->pairs.data[i];
	}
	if (pair == NONE) {
		pair = (uint32_t)w->pairs.count;
		if (vec_push(&w->pairs, (struct pair){{j->from, j->to}, NONE, NONE, 0, 0}) || vec_push(&w->chains[j->from].pairs, pair) ||
		    vec_push(&w->chains[j->to].pairs, pair))
			return -1;
	}
	w->mark[j->to] = pair;
	append_jumps(w, &w->pairs.data[pair].first_jump, &w->pairs.data[pair].last_jump, k, k);
	return 0;
}

static int make_chains(struct work *w)
{
	const struct exttsp_problem *p = w->p;
	for (uint32_t i = 0; i < p->node_count; i++) {
		struct chain *c = &w->chains[i];
		c->first_inner = c->last_inner = NONE;
		c->count = p->count[i];
		c->size = p->size[i];
		w->chain_of[i] = i;
		if (vec_push(&c->nodes, i))
			return -1;
	}
	memset(w->mark, 0xff, p->node_count * sizeof *w->mark);
	memset(w->next_jump, 0xff, p->jump_count * sizeof *w->next_jump);
	for (uint32_t i = 0; i < p->node_count; i++) {
		for (uint32_t k = w->first_out[i]; k < w->first_out[i + 1]; k++)
			if (p->jumps[w->out[k]].count && add_jump(w, w->out[k]))
				return -1;
		for (uint32_t k = w->first_out[i]; k < w->first_out[i + 1]; k++)
			w->mark[p->jumps[w->out[k]].to] = NONE;
	}
	for (uint32_t i = 0; i < p->node_count; i++) {
		place(w, &w->chains[i], 0, 1, 0);
		w->chains[i].score = list_score(w, w->chains[i].first_inner);
	}
	return 0;
}

/* Blocks that follow each other whatever happens are one: the only way out of the one is the only way into the other. */
static int merge_forced(struct work *w)
{
	const struct exttsp_problem *p = w->p;
	for (uint32_t i = 0; i < p->node_count; i++) {
		if (w->first_out[i + 1] - w->first_out[i] != 1)
			continue;
		const struct exttsp_jump *j = &p->jumps[w->out[w->first_out[i]]];
		if (w->first_in[j->to + 1] - w->first_in[j->to] != 1 || j->to == p->entry || !j->count)
			continue;
		uint32_t x = w->chain_of[i], y = w->chain_of[j->to];
		if (x == y)
			continue;
		uint32_t pair = NONE;
		for (size_t k = 0; k < w->chains[y].pairs.count && pair == NONE; k++) {
			const struct pair *q = &w->pairs.data[w->chains[y].pairs.data[k]];
			if (!q->dead && (q->chain[0] == x || q->chain[1] == x))
				pair = w->chains[y].pairs.data[k];
		}
		if (pair != NONE && apply_merge(w, pair, &(struct merge){0, x, y, 0, X_Y}))
			return -1;
	}
	return 0;
}

static int merge_by_gain(struct work *w)
{
	for (uint32_t i = 0; i < w->pairs.count; i++)
		if (!w->pairs.data[i].dead && refresh_pair(w, i))
			return -1;
	while (w->heap.count) {
		struct candidate c = heap_pop(w);
		if (w->pairs.data[c.pair].version != c.version || w->pairs.data[c.pair].dead)
			continue;
		if (apply_merge(w, c.pair, &c.merge) || refresh_chain(w, c.merge.x))
			return -1;
	}
	return 0;
}

struct ranked {
	uint32_t chain;
	uint8_t entry;
	double density;
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->entry != y->entry)
		return x->entry ? -1 : 1;
	if (x->density != y->density)
		return x->density > y->density ? -1 : 1;
	return x->chain < y->chain ? -1 : 1;
}

static int write_order(struct work *w, uint32_t *ret_order, uint32_t *ret_chain)
{
	VEC(struct ranked) ranked = {0};
	for (uint32_t i = 0; i < w->p->node_count; i++) {
		const struct chain *c = &w->chains[i];
		if (c->nodes.count &&
		    vec_push(&ranked, (struct ranked){i, has_entry(w, i), c->size ? (double)c->count / (double)c->size : 0})) {
			vec_free(&ranked);
			return -1;
		}
	}
	qsort(ranked.data, ranked.count, sizeof *ranked.data, compare_ranked);
	uint32_t n = 0;
	for (uint32_t r = 0; r < ranked.count; r++) {
		const struct chain *c = &w->chains[ranked.data[r].chain];
		for (size_t i = 0; i < c->nodes.count; i++) {
			if (ret_chain)
				ret_chain[n] = r;
			ret_order[n++] = c->nodes.data[i];
		}
	}
	vec_free(&ranked);
	return 0;
}

static void keep_original_if_better(const struct exttsp_problem *p, uint32_t *order, uint32_t *chain)
{
	if (p->entry && p->entry != NONE)
		return;
	uint32_t *original = malloc((p->node_count + (size_t)1) * sizeof *original);
	if (!original)
		return; /* only a matter of speed */
	for (uint32_t i = 0; i < p->node_count; i++)
		original[i] = i;
	if (exttsp_score(p, original) > exttsp_score(p, order)) {
		memcpy(order, original, p->node_count * sizeof *order);
		if (chain)
			memset(chain, 0, p->node_count * sizeof *chain);
	}
	free(original);
}

static int run(struct work *w, uint32_t *ret_order, uint32_t *ret_chain)
{
	index_jumps(w);
	if (make_chains(w) || merge_forced(w) || merge_by_gain(w) || write_order(w, ret_order, ret_chain))
		return -1;
	keep_original_if_better(w->p, ret_order, ret_chain);
	return 0;
}

int exttsp_order(const struct exttsp_problem *p, uint32_t *ret_order, uint32_t *ret_chain, struct err *e)
{
	size_t n = (size_t)p->node_count + 2, m = (size_t)p->jump_count + 1;
	struct work w = {.p = p};
	w.chains = calloc(n, sizeof *w.chains);
	w.chain_of = calloc(7 * n + 3 * m, sizeof *w.chain_of);
	w.address = calloc(n, sizeof *w.address);
	int failed = -1;
	if (w.chains && w.chain_of && w.address) {
		w.index = w.chain_of + n;
		w.first_out = w.index + n;
		w.first_in = w.first_out + n;
		w.mark = w.first_in + n;
		w.out = w.mark + n;
		w.in = w.out + m;
		w.next_jump = w.in + m;
		failed = run(&w, ret_order, ret_chain);
	}
	for (uint32_t i = 0; w.chains && i < p->node_count; i++) {
		vec_free(&w.chains[i].nodes);
		vec_free(&w.chains[i].pairs);
	}
	vec_free(&w.pairs);
	vec_free(&w.heap);
	vec_free(&w.scratch);
	free(w.chains);
	free(w.chain_of);
	free(w.address);
	return failed ? err_set(e, ERR_MEMORY, "no memory to order %u blocks", p->node_count) : 0;
}
