#include "analyze/layout/infer.h"

#include "analyze/layout/infer_parts.h"

#include <stdlib.h>
#include <string.h>

#define SCALE 16 /* cost of one unit of flow through one instruction without samples */
#define COST_COLD (SCALE * 300)
#define COST_SELDOM (SCALE * 100)
#define COST_RELIEF (SCALE * 10000) /* flow out of nowhere or into nothing: only where the graph shows no way */
#define COST_MUST (SCALE * 1000000) /* a sampled block that would not run */
#define COST_EDGE 1

static int reserve_blocks(struct infer *in, size_t need, struct err *e)
{
	if (need <= in->block_capacity)
		return 0;
	size_t n = need + need / 2 + 64;
	struct {
		void **at;
		size_t size;
	} arrays[] = {
	    {(void **)&in->want, 8},	{(void **)&in->floor, 8},   {(void **)&in->block, 8},	 {(void **)&in->enter, 8},
	    {(void **)&in->quit, 8},	{(void **)&in->near_in, 8}, {(void **)&in->near_out, 8}, {(void **)&in->heap, 4},
	    {(void **)&in->heap_at, 4}, {(void **)&in->way_in, 4},  {(void **)&in->way_out, 4},	 {(void **)&in->queue, 4},
	    {(void **)&in->length, 2},	{(void **)&in->cold, 1},    {(void **)&in->entrance, 1},
	};
	for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
		void *grown = realloc(*arrays[i].at, n * arrays[i].size);
		if (!grown)
			return err_set(e, ERR_MEMORY, "no memory for the flow of %zu blocks", n);
		*arrays[i].at = grown;
	}
	in->block_capacity = n;
	return 0;
}

static int reserve_edges(struct infer *in, size_t need, struct err *e)
{
	if (need <= in->edge_capacity)
		return 0;
	size_t n = need + need / 2 + 64;
	int64_t *edge = realloc(in->edge, n * sizeof *edge);
	if (edge)
		in->edge = edge;
	int64_t *want = realloc(in->edge_want, n * sizeof *want);
	if (want)
		in->edge_want = want;
	if (!edge || !want)
		return err_set(e, ERR_MEMORY, "no memory for the flow of %zu edges", n);
	in->edge_capacity = n;
	return 0;
}

int infer_prepare(struct infer *in, const struct cfg *cfg, struct err *e)
{
	int err = reserve_blocks(in, (size_t)cfg->count + 1, e);
	if (!err)
		err = reserve_edges(in, (size_t)cfg->edge_count + 1, e);
	if (err)
		return err;
	for (uint32_t i = 0; i < cfg->count; i++) {
		in->want[i] = in->floor[i] = 0;
		in->cold[i] = in->entrance[i] = 0;
		in->length[i] = 1;
	}
	for (uint32_t i = 0; i < cfg->edge_count; i++)
		in->edge_want[i] = -1;
	in->edges_known = false;
	in->smooth = false;
	in->prior = 0.05;
	return 0;
}

void infer_free(struct infer *in)
{
	void *all[] = {in->want,   in->floor,	in->block, in->enter,  in->quit, in->near_in,  in->near_out, in->heap,	   in->heap_at,
		       in->way_in, in->way_out, in->queue, in->length, in->cold, in->entrance, in->edge,     in->edge_want};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free(all[i]);
	circulation_free(&in->network);
	*in = (struct infer){0};
}

/* Parallel arcs for one convex cost: `parts` of the wanted flow (in 16ths) and the slope up to there (in 1/1000 of the length). */
struct slope {
	uint16_t sixteenths;
	int32_t per_mille;
};

/* Derivative of n f - w log f, averaged over each stretch: n (1 - ln(b/a) / (b - a)) with a and b in units of the wanted flow. */
static const struct slope slopes[] = {{4, -6390}, {8, -1770}, {16, -386}, {32, 307}, {64, 653}};

static int add_wanted(struct circulation *c, uint32_t from, uint32_t to, int64_t want, int64_t length, struct err *e)
{
	int64_t done = want / 16 ? want / 16 : want;
	int err = circulation_add(c, from, to, done, -COST_MUST, e);
	for (size_t i = 0; !err && i < sizeof slopes / sizeof *slopes; i++) {
		int64_t end = want / 16 * slopes[i].sixteenths + want % 16 * slopes[i].sixteenths / 16;
		if (end <= done)
			continue;
		err = circulation_add(c, from, to, end - done, SCALE * length * slopes[i].per_mille / 1000, e);
		done = end;
	}
	if (err)
		return err;
	return circulation_add(c, from, to, CIRCULATION_UNBOUNDED, SCALE * length, e);
}

/* `floor` is softer than samples: half of it is worth a detour, the rest little. */
static int add_floored(struct circulation *c, uint32_t from, uint32_t to, int64_t floor, int64_t length, struct err *e)
{
	int err = circulation_add(c, from, to, floor / 2 + 1, -(int64_t)COST_COLD * 2, e);
	if (!err)
		err = circulation_add(c, from, to, floor / 2 + 1, -(int64_t)SCALE * 40, e);
	return err ? err : circulation_add(c, from, to, CIRCULATION_UNBOUNDED, SCALE * length, e);
}

static int add_block(struct infer *in, uint32_t i, struct err *e)
{
	struct circulation *c = &in->network;
	int64_t length = in->length[i] < 64 ? in->length[i] : 64;
	if (in->want[i] > in->floor[i] / 4)
		return add_wanted(c, 2 * i, 2 * i + 1, in->want[i] > in->floor[i] ? in->want[i] : in->floor[i], length, e);
	if (in->floor[i])
		return add_floored(c, 2 * i, 2 * i + 1, in->floor[i], length, e);
	return circulation_add(c, 2 * i, 2 * i + 1, CIRCULATION_UNBOUNDED, SCALE * length + (in->cold[i] ? COST_COLD : 0), e);
}

static int add_edge(struct infer *in, const struct cfg *cfg, uint32_t k, struct err *e)
{
	const struct cfg_edge *edge = &cfg->edges[k];
	uint32_t outside = 2 * cfg->count, to = edge->to == CFG_EXIT ? outside : 2 * edge->to;
	int64_t cost = COST_EDGE + (edge->kind == CFG_TAKEN);
	if (in->edges_known && in->edge_want[k] >= 0) {
		int err = in->edge_want[k] ? circulation_add(&in->network, 2 * edge->from + 1, to, in->edge_want[k], -SCALE * 8, e) : 0;
		if (err)
			return err;
		cost += SCALE * 8;
	}
	return circulation_add(&in->network, 2 * edge->from + 1, to, CIRCULATION_UNBOUNDED, cost, e);
}

static int build_network(struct infer *in, const struct cfg *cfg, struct err *e)
{
	uint32_t outside = 2 * cfg->count;
	int err = 0;
	circulation_reset(&in->network, outside + 1);
	/* The first arcs are, in this order: an edge's last arc is found again by its position in the rebuilt sequence. */
	for (uint32_t i = 0; !err && i < cfg->count; i++) {
		int64_t cost = in->entrance[i] == 1 ? 0 : in->entrance[i] == 2 ? COST_SELDOM : COST_RELIEF;
		err = circulation_add(&in->network, outside, 2 * i, CIRCULATION_UNBOUNDED, cost, e);
		if (!err)
			err = circulation_add(&in->network, 2 * i + 1, outside, CIRCULATION_UNBOUNDED, COST_RELIEF, e);
	}
	for (uint32_t k = 0; !err && k < cfg->edge_count; k++)
		err = add_edge(in, cfg, k, e);
	for (uint32_t i = 0; !err && i < cfg->count; i++)
		err = add_block(in, i, e);
	return err;
}

static void read_network(struct infer *in, const struct cfg *cfg)
{
	const struct circulation_arc *arc = in->network.arcs;
	for (uint32_t i = 0; i < cfg->count; i++) {
		in->enter[i] = (arc++)->flow;
		in->quit[i] = (arc++)->flow;
		in->block[i] = in->enter[i];
	}
	for (uint32_t k = 0; k < cfg->edge_count; k++) {
		in->edge[k] = (arc++)->flow;
		if (in->edges_known && in->edge_want[k] > 0)
			in->edge[k] += (arc++)->flow;
		if (cfg->edges[k].to != CFG_EXIT)
			in->block[cfg->edges[k].to] += in->edge[k];
	}
}

int infer_solve(struct infer *in, const struct cfg *cfg, struct err *e)
{
	int err = build_network(in, cfg, e);
	if (!err)
		err = circulation_solve(&in->network, e);
	if (err)
		return err;
	read_network(in, cfg);
	infer_find_ways(in, cfg);
	infer_join_islands(in, cfg);
	if (in->smooth)
		infer_smooth(in, cfg);
	return 0;
}
