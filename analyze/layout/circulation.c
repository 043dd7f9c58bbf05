#include "analyze/layout/circulation.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* The spanning tree: node_count is the artificial root. Children of a node are a doubly linked list. */
struct tree {
	struct circulation_arc *arcs; /* the caller's, then one artificial arc from each node to the root */
	uint32_t *parent, *arc, *depth, *child, *next, *previous, *stack;
	int64_t *potential; /* reduced cost of an arc: cost + potential[from] - potential[to] */
	uint8_t *upper;	    /* [arc] 1: out of the tree, at its capacity */
	uint8_t *in_tree;
	size_t arc_count; /* the caller's */
	uint32_t root;
	size_t cursor, block; /* of the pricing search */
};

void circulation_reset(struct circulation *c, uint32_t node_count)
{
	c->node_count = node_count;
	c->arc_count = 0;
}

static int grow(struct circulation *c, size_t need, struct err *e)
{
	if (need <= c->arc_capacity)
		return 0;
	size_t n = need + need / 2 + 256;
	struct circulation_arc *arcs = realloc(c->arcs, n * sizeof *arcs);
	if (!arcs)
		return err_set(e, ERR_MEMORY, "no memory for a flow network of %zu arcs", n);
	c->arcs = arcs;
	c->arc_capacity = n;
	return 0;
}

int circulation_add(struct circulation *c, uint32_t from, uint32_t to, int64_t capacity, int64_t cost, struct err *e)
{
	int err = grow(c, c->arc_count + 1, e);
	if (err)
		return err;
	c->arcs[c->arc_count++] = (struct circulation_arc){from, to, capacity, cost, 0};
	return 0;
}

void circulation_free(struct circulation *c)
{
	free(c->arcs);
	free(c->work);
	*c = (struct circulation){0};
}

static void *carve(char **at, size_t bytes)
{
	void *p = *at;
	*at += (bytes + 15) & ~(size_t)15;
	return p;
}

static int tree_init(struct tree *t, struct circulation *c, struct err *e)
{
	size_t nodes = (size_t)c->node_count + 1, arcs = c->arc_count + c->node_count;
	size_t need = 7 * ((nodes * sizeof(uint32_t) + 15) & ~(size_t)15) + nodes * sizeof(int64_t) + 2 * arcs + 64;
	int err = grow(c, arcs, e);
	if (err)
		return err;
	if (need > c->work_size) {
		void *work = realloc(c->work, need * 2);
		if (!work)
			return err_set(e, ERR_MEMORY, "no memory for a flow network of %zu nodes", nodes);
		c->work = work;
		c->work_size = need * 2;
	}
	char *at = c->work;
	t->arcs = c->arcs;
	t->arc_count = c->arc_count;
	t->root = c->node_count;
	uint32_t **lists[] = {&t->parent, &t->arc, &t->depth, &t->child, &t->next, &t->previous, &t->stack};
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
		*lists[i] = carve(&at, nodes * sizeof(uint32_t));
	t->potential = carve(&at, nodes * sizeof(int64_t));
	t->upper = carve(&at, arcs);
	t->in_tree = carve(&at, arcs);
	memset(t->upper, 0, arcs);
	memset(t->in_tree, 0, arcs);
	t->cursor = 0;
	t->block = 16;
	while (t->block * t->block < t->arc_count)
		t->block += t->block / 2;
	return 0;
}

/* A star: every node hangs from the root by an artificial arc towards the root with flow 0, which makes the tree strongly feasible. */
static void tree_make_star(struct tree *t)
{
	uint32_t n = t->root;
	for (uint32_t v = 0; v < n; v++) {
		uint32_t a = (uint32_t)t->arc_count + v;
		t->arcs[a] = (struct circulation_arc){v, n, CIRCULATION_UNBOUNDED, 0, 0};
		t->parent[v] = n;
		t->arc[v] = a;
		t->depth[v] = 1;
		t->child[v] = NONE;
		t->next[v] = v + 1 < n ? v + 1 : NONE;
		t->previous[v] = v ? v - 1 : NONE;
		t->potential[v] = 0;
		t->in_tree[a] = 1;
	}
	t->parent[n] = t->arc[n] = NONE;
	t->depth[n] = 0;
	t->child[n] = n ? 0 : NONE;
	t->next[n] = t->previous[n] = NONE;
	t->potential[n] = 0;
}

static void unlink_child(struct tree *t, uint32_t v)
{
	if (t->previous[v] != NONE)
		t->next[t->previous[v]] = t->next[v];
	else
		t->child[t->parent[v]] = t->next[v];
	if (t->next[v] != NONE)
		t->previous[t->next[v]] = t->previous[v];
}

static void link_child(struct tree *t, uint32_t v, uint32_t parent, uint32_t arc)
{
	t->parent[v] = parent;
	t->arc[v] = arc;
	t->previous[v] = NONE;
	t->next[v] = t->child[parent];
	if (t->next[v] != NONE)
		t->previous[t->next[v]] = v;
	t->child[parent] = v;
}

/* The best violating arc of the next block of arcs that has one; NONE at the optimum. */
static uint32_t find_entering(struct tree *t)
{
	size_t left = t->arc_count, in_block = t->block, at = t->cursor;
	int64_t best = 0;
	uint32_t found = NONE;
	for (; left; left--) {
		if (at >= t->arc_count)
			at = 0;
		const struct circulation_arc *a = &t->arcs[at];
		if (!t->in_tree[at]) {
			int64_t reduced = a->cost + t->potential[a->from] - t->potential[a->to];
			int64_t violation = t->upper[at] ? reduced : -reduced;
			if (violation > best && a->capacity > 0) {
				best = violation;
				found = (uint32_t)at;
			}
		}
		at++;
		if (!--in_block) {
			if (found != NONE)
				break;
			in_block = t->block;
		}
	}
	t->cursor = at;
	return found;
}

static uint32_t find_join(const struct tree *t, uint32_t u, uint32_t v)
{
	while (u != v) {
		if (t->depth[u] >= t->depth[v])
			u = t->parent[u];
		else
			v = t->parent[v];
	}
	return u;
}

/* How much may go over the tree arc above `v`, towards the parent (`up`) or away from it. */
static int64_t residual(const struct tree *t, uint32_t v, bool up)
{
	const struct circulation_arc *a = &t->arcs[t->arc[v]];
	bool along = (a->from == v) == up;
	return along ? (a->capacity >= CIRCULATION_UNBOUNDED ? CIRCULATION_UNBOUNDED : a->capacity - a->flow) : a->flow;
}

static void push(struct tree *t, uint32_t v, bool up, int64_t amount)
{
	struct circulation_arc *a = &t->arcs[t->arc[v]];
	a->flow += (a->from == v) == up ? amount : -amount;
}

/* Hangs the subtree that contains `inner` and whose top is `top` from `outer` by `arc`, and corrects depth and potential in it. */
static void rehang(struct tree *t, uint32_t top, uint32_t inner, uint32_t outer, uint32_t arc)
{
	uint32_t v = inner, parent = outer, above = arc;
	for (;;) {
		uint32_t old_parent = t->parent[v], old_arc = t->arc[v];
		unlink_child(t, v);
		link_child(t, v, parent, above);
		if (v == top)
			break;
		parent = v;
		above = old_arc;
		v = old_parent;
	}
	uint32_t depth = 0;
	t->stack[depth++] = inner;
	while (depth) {
		uint32_t u = t->stack[--depth];
		const struct circulation_arc *a = &t->arcs[t->arc[u]];
		t->depth[u] = t->depth[t->parent[u]] + 1;
		t->potential[u] = a->from == u ? t->potential[a->to] - a->cost : t->potential[a->from] + a->cost;
		for (uint32_t k = t->child[u]; k != NONE; k = t->next[k])
			t->stack[depth++] = k;
	}
}

/*
 * Pushes what the cycle closed by the arc allows. Of the arcs that block, the last one on the way round from the join in the direction of
 * the push leaves the tree: that keeps the tree strongly feasible.
 */
static void pivot(struct tree *t, uint32_t entering)
{
	struct circulation_arc *in = &t->arcs[entering];
	uint32_t first = t->upper[entering] ? in->to : in->from, second = t->upper[entering] ? in->from : in->to;
	uint32_t join = find_join(t, first, second), leaving = NONE;
	int64_t amount = in->capacity;
	bool on_first = false;
	for (uint32_t v = first; v != join; v = t->parent[v])
		if (residual(t, v, false) < amount) {
			amount = residual(t, v, false);
			leaving = v;
			on_first = true;
		}
	for (uint32_t v = second; v != join; v = t->parent[v])
		if (residual(t, v, true) <= amount) {
			amount = residual(t, v, true);
			leaving = v;
			on_first = false;
		}
	if (amount) {
		in->flow += t->upper[entering] ? -amount : amount;
		for (uint32_t v = first; v != join; v = t->parent[v])
			push(t, v, false, amount);
		for (uint32_t v = second; v != join; v = t->parent[v])
			push(t, v, true, amount);
	}
	if (leaving == NONE) {
		t->upper[entering] ^= 1;
		return;
	}
	uint32_t out = t->arc[leaving];
	t->in_tree[out] = 0;
	t->upper[out] = t->arcs[out].flow != 0;
	t->in_tree[entering] = 1;
	t->upper[entering] = 0;
	rehang(t, leaving, on_first ? first : second, on_first ? second : first, entering);
}

int circulation_solve(struct circulation *c, struct err *e)
{
	struct tree t;
	int err = tree_init(&t, c, e);
	if (err)
		return err;
	tree_make_star(&t);
	for (size_t i = 0; i < c->arc_count; i++)
		c->arcs[i].flow = 0;
	for (uint32_t entering; (entering = find_entering(&t)) != NONE;)
		pivot(&t, entering);
	return 0;
}
