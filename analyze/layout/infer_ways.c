/* The steps of infer that follow cheapest ways: joining islands, giving unsampled ways their share. */
#include "analyze/layout/infer_parts.h"

#include <string.h>

#define NONE UINT32_MAX
#define FAR INT64_MAX
#define SCALE 16
#define COST_COLD (SCALE * 300)
#define COST_SELDOM (SCALE * 100)
#define REROUTE_LIMIT 96 /* blocks looked at to find the flow that a way without samples takes its share from */

/* A binary heap of blocks by key, ties by index; heap_at[b] is the position + 1, 0 = not in it. */
struct heap {
	uint32_t *item, *at, count;
	const int64_t *key;
};

static int heap_less(const struct heap *h, uint32_t a, uint32_t b)
{
	return h->key[a] != h->key[b] ? h->key[a] < h->key[b] : a < b;
}

static void heap_put(struct heap *h, uint32_t i, uint32_t block)
{
	h->item[i] = block;
	h->at[block] = i + 1;
}

static void heap_update(struct heap *h, uint32_t block)
{
	uint32_t i = h->at[block] ? h->at[block] - 1 : h->count++;
	while (i && heap_less(h, block, h->item[(i - 1) / 2])) {
		heap_put(h, i, h->item[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(h, i, block);
}

static uint32_t heap_pop(struct heap *h)
{
	uint32_t top = h->item[0], last = h->item[--h->count], i = 0;
	h->at[top] = 0;
	while (h->count) {
		uint32_t k = 2 * i + 1;
		if (k >= h->count)
			break;
		if (k + 1 < h->count && heap_less(h, h->item[k + 1], h->item[k]))
			k++;
		if (!heap_less(h, h->item[k], last))
			break;
		heap_put(h, i, h->item[k]);
		i = k;
	}
	if (h->count)
		heap_put(h, i, last);
	return top;
}

static int64_t block_cost(const struct infer *in, uint32_t b)
{
	return in->block[b] > 0 ? 1 : SCALE * (int64_t)in->length[b] + (in->cold[b] ? COST_COLD : 0);
}

static void relax(struct heap *h, int64_t *near, uint32_t *way, uint32_t block, int64_t cost, uint32_t edge)
{
	if (cost < near[block]) {
		near[block] = cost;
		way[block] = edge;
		heap_update(h, block);
	}
}

static void find_ways_in(struct infer *in, const struct cfg *cfg)
{
	struct heap h = {in->heap, in->heap_at, 0, in->near_in};
	memset(in->heap_at, 0, cfg->count * sizeof *in->heap_at);
	for (uint32_t b = 0; b < cfg->count; b++) {
		in->near_in[b] = FAR;
		in->way_in[b] = NONE;
	}
	for (uint32_t b = 0; b < cfg->count; b++) {
		if (in->entrance[b] == 1 || in->enter[b] > 0)
			relax(&h, in->near_in, in->way_in, b, block_cost(in, b), NONE);
		else if (in->entrance[b])
			relax(&h, in->near_in, in->way_in, b, block_cost(in, b) + COST_SELDOM, NONE);
	}
	while (h.count) {
		uint32_t b = heap_pop(&h);
		for (uint32_t k = cfg->first_out[b]; k < cfg->first_out[b + 1]; k++)
			if (cfg->edges[k].to != CFG_EXIT)
				relax(&h, in->near_in, in->way_in, cfg->edges[k].to, in->near_in[b] + block_cost(in, cfg->edges[k].to), k);
	}
}

static void find_ways_out(struct infer *in, const struct cfg *cfg)
{
	struct heap h = {in->heap, in->heap_at, 0, in->near_out};
	memset(in->heap_at, 0, cfg->count * sizeof *in->heap_at);
	for (uint32_t b = 0; b < cfg->count; b++) {
		in->near_out[b] = FAR;
		in->way_out[b] = NONE;
	}
	for (uint32_t b = 0; b < cfg->count; b++) {
		if (in->quit[b] > 0)
			relax(&h, in->near_out, in->way_out, b, block_cost(in, b), NONE);
		for (uint32_t k = cfg->first_out[b]; k < cfg->first_out[b + 1]; k++)
			if (cfg->edges[k].to == CFG_EXIT)
				relax(&h, in->near_out, in->way_out, b, block_cost(in, b), k);
	}
	while (h.count) {
		uint32_t b = heap_pop(&h);
		for (uint32_t i = cfg->first_in[b]; i < cfg->first_in[b + 1]; i++) {
			uint32_t from = cfg->edges[cfg->in_edges[i]].from;
			relax(&h, in->near_out, in->way_out, from, in->near_out[b] + block_cost(in, from), cfg->in_edges[i]);
		}
	}
}

void infer_find_ways(struct infer *in, const struct cfg *cfg)
{
	find_ways_in(in, cfg);
	find_ways_out(in, cfg);
}

/* Brings `amount` to block `b` from an entrance; the block itself is not counted. */
static void add_way_in(struct infer *in, const struct cfg *cfg, uint32_t b, int64_t amount)
{
	while (in->way_in[b] != NONE) {
		uint32_t k = in->way_in[b];
		in->edge[k] += amount;
		b = cfg->edges[k].from;
		in->block[b] += amount;
	}
	in->enter[b] += amount;
}

static void add_way_out(struct infer *in, const struct cfg *cfg, uint32_t b, int64_t amount)
{
	while (in->way_out[b] != NONE) {
		uint32_t k = in->way_out[b];
		in->edge[k] += amount;
		b = cfg->edges[k].to;
		if (b == CFG_EXIT)
			return;
		in->block[b] += amount;
	}
	in->quit[b] += amount;
}

/* Appends to the queue everything that flow reaches from queue[head..]; heap_at marks what was seen. */
static uint32_t flood(struct infer *in, const struct cfg *cfg, uint32_t head, uint32_t tail)
{
	for (; head < tail; head++)
		for (uint32_t k = cfg->first_out[in->queue[head]]; k < cfg->first_out[in->queue[head] + 1]; k++) {
			uint32_t to = cfg->edges[k].to;
			if (in->edge[k] > 0 && to != CFG_EXIT && !in->heap_at[to]) {
				in->heap_at[to] = 1;
				in->queue[tail++] = to;
			}
		}
	return tail;
}

/* How often a loop with flow `top` is entered when its way in and out was never sampled: what the samples leave room for. */
static int64_t island_flow(int64_t top, int64_t way_cost)
{
	int64_t length = way_cost / SCALE + 1, amount = INFER_UNIT / 4 / length;
	if (amount < top / 64)
		amount = top / 64;
	if (amount > top / 2)
		amount = top / 2;
	return amount > 0 ? amount : 1;
}

static void join_island(struct infer *in, const struct cfg *cfg, uint32_t head, uint32_t tail)
{
	uint32_t door = in->queue[head];
	int64_t top = 0;
	for (uint32_t i = head; i < tail; i++) {
		uint32_t b = in->queue[i];
		if (in->near_in[b] < in->near_in[door])
			door = b;
		if (in->block[b] > top)
			top = in->block[b];
	}
	int64_t cost = in->near_in[door] == FAR ? 0 : in->near_in[door], amount = island_flow(top, cost);
	add_way_in(in, cfg, door, amount);
	in->block[door] += amount;
	add_way_out(in, cfg, door, amount);
	for (uint32_t b = door; in->way_in[b] != NONE; b = cfg->edges[in->way_in[b]].from)
		in->heap_at[b] = in->heap_at[cfg->edges[in->way_in[b]].from] = 1;
	for (uint32_t b = door; in->way_out[b] != NONE && cfg->edges[in->way_out[b]].to != CFG_EXIT; b = cfg->edges[in->way_out[b]].to)
		in->heap_at[cfg->edges[in->way_out[b]].to] = 1;
}

void infer_join_islands(struct infer *in, const struct cfg *cfg)
{
	uint32_t tail = 0;
	memset(in->heap_at, 0, cfg->count * sizeof *in->heap_at);
	for (uint32_t b = 0; b < cfg->count; b++)
		if (in->enter[b] > 0) {
			in->heap_at[b] = 1;
			in->queue[tail++] = b;
		}
	tail = flood(in, cfg, 0, tail);
	for (uint32_t b = 0; b < cfg->count; b++) {
		if (in->block[b] <= 0 || in->heap_at[b])
			continue;
		uint32_t head = 0;
		in->heap_at[b] = 1;
		in->queue[0] = b;
		tail = flood(in, cfg, head, 1);
		join_island(in, cfg, head, tail);
	}
}

/* A way without samples that leaves the flow at one edge and comes back to it, or out of the function. */
struct detour {
	uint32_t edge, from, back; /* back: block where it joins the flow again, or CFG_EXIT */
	int64_t length;		   /* instructions on it */
	bool cold, dead_end;
};

static struct detour trace_detour(const struct infer *in, const struct cfg *cfg, uint32_t k)
{
	struct detour d = {.edge = k, .from = cfg->edges[k].from, .back = cfg->edges[k].to};
	while (d.back != CFG_EXIT && in->block[d.back] == 0) {
		d.length += in->length[d.back];
		d.cold |= in->cold[d.back];
		if (in->way_out[d.back] == NONE) {
			d.dead_end = true;
			break;
		}
		d.back = cfg->edges[in->way_out[d.back]].to;
	}
	return d;
}

/*
 * Beta prior of weight p over the ways out of a branch: after E expected and no seen samples, a way keeps p / (ways (p + E)) of the flow.
 * Most branches are one-sided, so p is small. Measured on a server with exact counts known, 75 k samples (prior: exits per 1000 instructions,
 * KB selected): 1: 0.026, 582; 0.2: 0.026, 367; 0.05: 0.028, 263; none: 0.136, 108.
 */
static int64_t detour_flow(const struct infer *in, const struct cfg *cfg, const struct detour *d)
{
	double flow = (double)in->block[d->from], ways = cfg->first_out[d->from + 1] - cfg->first_out[d->from];
	double expected = flow * (double)(d->length + 1) / INFER_UNIT;
	double share = in->prior / (ways * (in->prior + expected));
	return (int64_t)(flow * share);
}

/* Finds flow from `from` to `back` of which `amount` can be taken; way_back[b] (in heap) is the edge by which b was found. */
static uint32_t find_flow(struct infer *in, const struct cfg *cfg, const struct detour *d, int64_t amount, uint32_t stamp)
{
	uint32_t tail = 0;
	in->queue[tail++] = d->from;
	in->heap_at[d->from] = stamp;
	for (uint32_t head = 0; head < tail && tail < REROUTE_LIMIT; head++)
		for (uint32_t k = cfg->first_out[in->queue[head]]; k < cfg->first_out[in->queue[head] + 1]; k++) {
			uint32_t to = cfg->edges[k].to;
			if (in->edge[k] <= amount)
				continue;
			if (to == d->back)
				return k;
			if (to == CFG_EXIT || in->heap_at[to] == stamp)
				continue;
			in->heap_at[to] = stamp;
			in->heap[to] = k;
			in->queue[tail++] = to;
		}
	return NONE;
}

static void take_flow(struct infer *in, const struct cfg *cfg, const struct detour *d, uint32_t last, int64_t amount)
{
	for (uint32_t k = last;; k = in->heap[cfg->edges[k].from]) {
		in->edge[k] -= amount;
		if (cfg->edges[k].from == d->from)
			return;
		in->block[cfg->edges[k].from] -= amount;
	}
}

static void add_detour(struct infer *in, const struct cfg *cfg, const struct detour *d, int64_t amount)
{
	for (uint32_t k = d->edge;; k = in->way_out[cfg->edges[k].to]) {
		in->edge[k] += amount;
		if (cfg->edges[k].to == d->back)
			return;
		in->block[cfg->edges[k].to] += amount;
	}
}

static void smooth_edge(struct infer *in, const struct cfg *cfg, uint32_t k, uint32_t stamp)
{
	struct detour d = trace_detour(in, cfg, k);
	if (d.cold || d.dead_end)
		return;
	int64_t amount = detour_flow(in, cfg, &d);
	if (amount <= in->block[d.from] >> 14)
		return;
	uint32_t last = d.back == d.from ? NONE : find_flow(in, cfg, &d, amount, stamp);
	if (last != NONE) {
		take_flow(in, cfg, &d, last, amount);
		add_detour(in, cfg, &d, amount);
		return;
	}
	if (d.back == d.from) { /* a loop of its own */
		add_detour(in, cfg, &d, amount);
		in->block[d.from] += amount;
		return;
	}
	add_detour(in, cfg, &d, amount);
	in->block[d.from] += amount;
	add_way_in(in, cfg, d.from, amount);
	if (d.back != CFG_EXIT) {
		in->block[d.back] += amount;
		add_way_out(in, cfg, d.back, amount);
	}
}

void infer_smooth(struct infer *in, const struct cfg *cfg)
{
	infer_find_ways(in, cfg);
	memset(in->heap_at, 0, cfg->count * sizeof *in->heap_at);
	uint32_t stamp = 0;
	for (int pass = 0; pass < 2; pass++)
		for (uint32_t b = 0; b < cfg->count; b++) {
			if (in->block[b] <= 0)
				continue;
			for (uint32_t k = cfg->first_out[b]; k < cfg->first_out[b + 1]; k++)
				if (!in->edge[k] && cfg->edges[k].kind != CFG_LEAVE)
					smooth_edge(in, cfg, k, ++stamp);
		}
}
