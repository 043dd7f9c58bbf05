/* order: functions by call graph; and circulation, the solver under flow. */
#include "analyze/layout/circulation.h"
#include "analyze/layout/order.h"
#include "analyze/layout/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define NODES 400
#define ARCS 1200

static void random_calls_give_a_permutation_that_is_repeatable(void **state)
{
	(void)state;
	static uint32_t size[NODES], order[NODES], again[NODES];
	static uint64_t weight[NODES];
	static struct order_arc arcs[ARCS];
	uint64_t seed = 5;
	for (int round = 0; round < 10; round++) {
		uint32_t n = 1 + (uint32_t)random_below(&seed, NODES);
		bool seen[NODES] = {0};
		for (uint32_t i = 0; i < n; i++) {
			size[i] = 1 + (uint32_t)random_below(&seed, 900);
			weight[i] = random_below(&seed, 100000);
		}
		for (uint32_t k = 0; k < ARCS; k++) {
			uint32_t from = (uint32_t)random_below(&seed, n);
			arcs[k] = (struct order_arc){from, (uint32_t)random_below(&seed, n), (uint32_t)random_below(&seed, size[from]),
						     random_below(&seed, 1000)};
		}
		struct order_problem p = {n, ARCS, size, weight, arcs};
		struct err e = {0};
		assert_int_equal(order_functions(&p, order, &e), 0);
		assert_int_equal(order_functions(&p, again, &e), 0);
		assert_memory_equal(order, again, n * sizeof *order);
		for (uint32_t i = 0; i < n; i++) {
			assert_true(order[i] < n && !seen[order[i]]);
			seen[order[i]] = true;
		}
	}
}

/* Two pairs that call each other and not the others: partners stand side by side, the denser pair first. */
static void partners_stand_together(void **state)
{
	(void)state;
	uint32_t size[] = {200, 300, 200, 300}, order[4];
	uint64_t weight[] = {1000, 90000, 1000, 90000};
	struct order_arc arcs[] = {{0, 2, 10, 500}, {1, 3, 10, 9000}};
	struct order_problem p = {4, 2, size, weight, arcs};
	struct err e = {0};
	assert_int_equal(order_functions(&p, order, &e), 0);
	assert_int_equal(order[0] % 2, 1);
	assert_int_equal(order[1] % 2, 1);
	assert_int_equal(order[2] % 2, 0);
	assert_int_equal(order[3] % 2, 0);
}

/* Optimal: no cycle of negative cost is left in the residual network (Bellman and Ford). */
static bool has_negative_cycle(const struct circulation *c)
{
	int64_t distance[64] = {0};
	for (uint32_t round = 0; round <= c->node_count; round++) {
		bool changed = false;
		for (size_t i = 0; i < c->arc_count; i++) {
			const struct circulation_arc *a = &c->arcs[i];
			if (a->flow < a->capacity && distance[a->from] + a->cost < distance[a->to]) {
				distance[a->to] = distance[a->from] + a->cost;
				changed = true;
			}
			if (a->flow > 0 && distance[a->to] - a->cost < distance[a->from]) {
				distance[a->from] = distance[a->to] - a->cost;
				changed = true;
			}
		}
		if (!changed)
			return false;
	}
	return true;
}

static void random_circulations_are_feasible_and_optimal(void **state)
{
	(void)state;
	struct circulation c = {0};
	uint64_t seed = 17;
	struct err e = {0};
	int moved = 0;
	for (int round = 0; round < 300; round++) {
		uint32_t n = 2 + (uint32_t)random_below(&seed, 30);
		circulation_reset(&c, n);
		for (uint32_t k = 0; k < n * 4; k++) {
			bool cheap = random_below(&seed, 3) == 0;
			int64_t cost = cheap ? -(int64_t)random_below(&seed, 50) - 1 : (int64_t)random_below(&seed, 30);
			int64_t capacity = cheap || random_below(&seed, 2) ? (int64_t)random_below(&seed, 100) : CIRCULATION_UNBOUNDED;
			assert_int_equal(
			    circulation_add(&c, (uint32_t)random_below(&seed, n), (uint32_t)random_below(&seed, n), capacity, cost, &e), 0);
		}
		assert_int_equal(circulation_solve(&c, &e), 0);
		int64_t balance[64] = {0};
		for (size_t i = 0; i < c.arc_count; i++) {
			assert_true(c.arcs[i].flow >= 0 && c.arcs[i].flow <= c.arcs[i].capacity);
			balance[c.arcs[i].from] -= c.arcs[i].flow;
			balance[c.arcs[i].to] += c.arcs[i].flow;
			moved += c.arcs[i].flow > 0;
		}
		for (uint32_t v = 0; v < n; v++)
			assert_int_equal(balance[v], 0);
		assert_false(has_negative_cycle(&c));
	}
	assert_true(moved > 1000);
	circulation_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_calls_give_a_permutation_that_is_repeatable),
	    cmocka_unit_test(partners_stand_together),
	    cmocka_unit_test(random_circulations_are_feasible_and_optimal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
