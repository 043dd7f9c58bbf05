#include "analyze/layout/order.h"

#include "formats/base/vec.h"

#include <stdbool.h>
#include <string.h>

#define NONE UINT32_MAX
/* Constants of the published implementation. */
#define CACHE_ENTRIES 16
#define CACHE_SIZE 2048
#define FREQUENCY_SCALE 0.25
#define CHAIN_MAX 128
#define DENSITY_RATIO 100.0

struct pair {
	uint32_t chain[2];
	uint32_t first_arc, last_arc;
	uint32_t version;
	uint8_t dead;
};

struct chain {
	VEC(uint32_t) nodes;
	VEC(uint32_t) pairs;
	double weight, size;
};

struct candidate {
	double gain;
	uint32_t pair, version;
	uint8_t first; /* which side of the pair comes first */
};

struct work {
	const struct order_problem *p;
	struct chain *chains;
	uint32_t *chain_of, *address, *mark;
	uint32_t *next_arc;
	double total;
	VEC(struct pair) pairs;
	VEC(struct candidate) heap;
};

/* distance ^ -1/4, straight lines between powers of two; 0 counts as 0.1. Without libm it is the same everywhere. */
static double closeness(int64_t distance)
{
	static const double quarter[] = {1, 0.8408964152537145, 0.7071067811865476, 0.5946035575013605, 0.5};
	uint64_t d = (uint64_t)(distance < 0 ? -distance : distance);
	if (!d)
		return 1.7782794100389228;
	unsigned bits = 63 - (unsigned)__builtin_clzll(d);
	double along = (double)(d - (UINT64_C(1) << bits)) / (double)(UINT64_C(1) << bits);
	double near = quarter[bits % 4], far = quarter[bits % 4 + 1];
	return (near + (far - near) * along) / (double)(UINT64_C(1) << bits / 4);
}

static double miss_weight(const struct work *w, double weight, double size)
{
	double share = weight / size * CACHE_SIZE / w->total;
	if (share >= 1)
		return 0;
	double p = 1 - share, p2 = p * p, p4 = p2 * p2, p8 = p4 * p4;
	_Static_assert(CACHE_ENTRIES == 16, "the power is written out");
	return weight * p8 * p8;
}

static double frequency_gain(const struct work *w, const struct chain *a, const struct chain *b)
{
	return miss_weight(w, a->weight, a->size) + miss_weight(w, b->weight, b->size) -
	       miss_weight(w, a->weight + b->weight, a->size + b->size);
}

/* Of all calls between the two chains when chain `a` stands right before the other. */
static double distance_gain(const struct work *w, const struct pair *p, uint32_t a)
{
	double gain = 0;
	int64_t shift = (int64_t)w->chains[a].size;
	for (uint32_t k = p->first_arc; k != NONE; k = w->next_arc[k]) {
		const struct order_arc *arc = &w->p->arcs[k];
		int64_t from = (int64_t)w->address[arc->from] + arc->offset, to = w->address[arc->to];
		if (w->chain_of[arc->from] == a)
			to += shift;
		else
			from += shift;
		gain += (double)arc->count * closeness(from - to);
	}
	return gain;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
	return a->gain != b->gain ? a->gain > b->gain : a->pair < b->pair;
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

static int refresh_pair(struct work *w, uint32_t index)
{
	struct pair *p = &w->pairs.data[index];
	const struct chain *a = &w->chains[p->chain[0]], *b = &w->chains[p->chain[1]];
	p->version++;
	if (a->nodes.count + b->nodes.count > CHAIN_MAX)
		return 0;
	double da = a->weight / a->size, db = b->weight / b->size;
	if (da > db * DENSITY_RATIO || db > da * DENSITY_RATIO)
		return 0;
	double one = distance_gain(w, p, p->chain[0]), two = distance_gain(w, p, p->chain[1]);
	struct candidate c = {.pair = index, .version = p->version, .first = two > one};
	c.gain = (two > one ? two : one) + FREQUENCY_SCALE * frequency_gain(w, a, b);
	return c.gain > 0 ? heap_push(w, c) : 0;
}

static void append_arcs(struct work *w, struct pair *p, uint32_t first, uint32_t last)
{
	if (p->first_arc == NONE)
		p->first_arc = first;
	else
		w->next_arc[p->last_arc] = first;
	p->last_arc = last;
}

static int merge_nodes(struct work *w, uint32_t xi, uint32_t yi)
{
	struct chain *x = &w->chains[xi], *y = &w->chains[yi];
	if (vec_reserve(&x->nodes, y->nodes.count))
		return -1;
	for (size_t i = 0; i < y->nodes.count; i++) {
		uint32_t node = y->nodes.data[i];
		x->nodes.data[x->nodes.count++] = node;
		w->chain_of[node] = xi;
		w->address[node] += (uint32_t)x->size;
	}
	x->weight += y->weight;
	x->size += y->size;
	vec_free(&y->nodes);
	return 0;
}

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
			append_arcs(w, &w->pairs.data[w->mark[other]], p->first_arc, p->last_arc);
			p->dead = 1;
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
		if (refresh_pair(w, x->pairs.data[i]))
			return -1;
	}
	return 0;
}

static int merge_by_gain(struct work *w)
{
	for (uint32_t i = 0; i < w->pairs.count; i++)
		if (refresh_pair(w, i))
			return -1;
	while (w->heap.count) {
		struct candidate c = heap_pop(w);
		struct pair *p = &w->pairs.data[c.pair];
		if (p->dead || p->version != c.version)
			continue;
		uint32_t x = p->chain[c.first], y = p->chain[!c.first];
		p->dead = 1;
		if (merge_nodes(w, x, y) || merge_pairs(w, x, y))
			return -1;
	}
	return 0;
}

static int compare_arcs(const void *a, const void *b, void *context)
{
	const struct order_arc *arcs = context, *x = &arcs[*(const uint32_t *)a], *y = &arcs[*(const uint32_t *)b];
	uint32_t xl = x->from < x->to ? x->from : x->to, xh = x->from < x->to ? x->to : x->from;
	uint32_t yl = y->from < y->to ? y->from : y->to, yh = y->from < y->to ? y->to : y->from;
	if (xl != yl)
		return xl < yl ? -1 : 1;
	if (xh != yh)
		return xh < yh ? -1 : 1;
	return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
}

static int make_pairs(struct work *w)
{
	const struct order_problem *p = w->p;
	VEC(uint32_t) sorted = {0};
	int err = -1;
	for (uint32_t k = 0; k < p->arc_count; k++)
		if (p->arcs[k].from != p->arcs[k].to && p->arcs[k].count && vec_push(&sorted, k))
			goto out;
	if (sorted.count)
		qsort_r(sorted.data, sorted.count, sizeof *sorted.data, compare_arcs, (void *)p->arcs);
	for (size_t i = 0; i < sorted.count; i++) {
		const struct order_arc *a = &p->arcs[sorted.data[i]];
		uint32_t low = a->from < a->to ? a->from : a->to, high = a->from < a->to ? a->to : a->from;
		struct pair *last = w->pairs.count ? &w->pairs.data[w->pairs.count - 1] : NULL;
		if (!last || last->chain[0] != low || last->chain[1] != high) {
			uint32_t index = (uint32_t)w->pairs.count;
			if (vec_push(&w->pairs, (struct pair){{low, high}, NONE, NONE, 0, 0}) || vec_push(&w->chains[low].pairs, index) ||
			    vec_push(&w->chains[high].pairs, index))
				goto out;
			last = &w->pairs.data[index];
		}
		append_arcs(w, last, sorted.data[i], sorted.data[i]);
	}
	err = 0;
out:
	vec_free(&sorted);
	return err;
}

struct ranked {
	double density;
	uint32_t chain;
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->density != y->density)
		return x->density > y->density ? -1 : 1;
	return x->chain < y->chain ? -1 : 1;
}

static int write_order(struct work *w, uint32_t *ret_order)
{
	VEC(struct ranked) ranked = {0};
	for (uint32_t i = 0; i < w->p->node_count; i++)
		if (w->chains[i].nodes.count && vec_push(&ranked, (struct ranked){w->chains[i].weight / w->chains[i].size, i})) {
			vec_free(&ranked);
			return -1;
		}
	if (ranked.count)
		qsort(ranked.data, ranked.count, sizeof *ranked.data, compare_ranked);
	uint32_t n = 0;
	for (size_t r = 0; r < ranked.count; r++)
		for (size_t i = 0; i < w->chains[ranked.data[r].chain].nodes.count; i++)
			ret_order[n++] = w->chains[ranked.data[r].chain].nodes.data[i];
	vec_free(&ranked);
	return 0;
}

static int run(struct work *w, uint32_t *ret_order)
{
	const struct order_problem *p = w->p;
	memset(w->mark, 0xff, p->node_count * sizeof *w->mark);
	memset(w->next_arc, 0xff, p->arc_count * sizeof *w->next_arc);
	for (uint32_t i = 0; i < p->node_count; i++) {
		w->chain_of[i] = i;
		w->chains[i].weight = (double)p->weight[i];
		w->chains[i].size = p->size[i];
		w->total += (double)p->weight[i];
		if (vec_push(&w->chains[i].nodes, i))
			return -1;
	}
	return make_pairs(w) || merge_by_gain(w) || write_order(w, ret_order) ? -1 : 0;
}

int order_functions(const struct order_problem *p, uint32_t *ret_order, struct err *e)
{
	size_t n = (size_t)p->node_count + 1, m = (size_t)p->arc_count + 1;
	struct work w = {.p = p};
	w.chains = calloc(n, sizeof *w.chains);
	w.chain_of = calloc(3 * n + m, sizeof *w.chain_of);
	int failed = -1;
	if (w.chains && w.chain_of) {
		w.address = w.chain_of + n;
		w.mark = w.address + n;
		w.next_arc = w.mark + n;
		failed = run(&w, ret_order);
	}
	for (uint32_t i = 0; w.chains && i < p->node_count; i++) {
		vec_free(&w.chains[i].nodes);
		vec_free(&w.chains[i].pairs);
	}
	vec_free(&w.pairs);
	vec_free(&w.heap);
	free(w.chains);
	free(w.chain_of);
	return failed ? err_set(e, ERR_MEMORY, "no memory to order %u functions", p->node_count) : 0;
}
