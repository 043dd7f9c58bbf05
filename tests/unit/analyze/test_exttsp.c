/* exttsp: against the best of all permutations on small graphs, and never worse than the original order on any. */
#include "analyze/layout/exttsp.h"
#include "analyze/layout/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define NODES_MAX 600

static uint32_t size[NODES_MAX];
static uint64_t count[NODES_MAX];
static struct exttsp_jump jumps[NODES_MAX * 2];

/* Branches and jumps like those of code: mostly near, some back. */
static struct exttsp_problem random_problem(uint64_t *seed, uint32_t n)
{
	struct exttsp_problem p = {n, 0, size, count, jumps, 0};
	for (uint32_t i = 0; i < n; i++) {
		size[i] = 2 + (uint32_t)random_below(seed, 60);
		count[i] = 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t ways = (uint32_t)random_below(seed, 3);
		for (uint32_t k = 0; k < ways; k++) {
			uint32_t to = k && n > 8 ? (uint32_t)(i + n + random_below(seed, 9) - 4) % n : (uint32_t)random_below(seed, n);
			if (k && jumps[p.jump_count - 1].to == to)
				continue;
			uint64_t times = random_below(seed, 4) ? random_below(seed, 1000) : 0;
			jumps[p.jump_count++] = (struct exttsp_jump){i, to, times, ways == 1};
			count[i] += times;
		}
	}
	return p;
}

static void check_permutation(const uint32_t *order, uint32_t n)
{
	bool seen[NODES_MAX] = {0};
	for (uint32_t i = 0; i < n; i++) {
		assert_true(order[i] < n);
		assert_false(seen[order[i]]);
		seen[order[i]] = true;
	}
}

static double best_by_brute_force(const struct exttsp_problem *p, uint32_t *order, uint32_t at)
{
	if (at == p->node_count)
		return exttsp_score(p, order);
	double best = -1;
	for (uint32_t i = at; i < p->node_count; i++) {
		uint32_t keep = order[at];
		order[at] = order[i];
		order[i] = keep;
		double score = best_by_brute_force(p, order, at + 1);
		best = score > best ? score : best;
		order[i] = order[at];
		order[at] = keep;
	}
	return best;
}

static void small_graphs_are_close_to_the_best_order(void **state)
{
	(void)state;
	uint64_t seed = 7;
	double sum = 0, best_sum = 0;
	for (int round = 0; round < 150; round++) {
		uint32_t n = 2 + (uint32_t)random_below(&seed, 6), order[8], all[8] = {0, 1, 2, 3, 4, 5, 6, 7};
		struct exttsp_problem p = random_problem(&seed, n);
		struct err e = {0};
		assert_int_equal(exttsp_order(&p, order, NULL, &e), 0);
		check_permutation(order, n);
		double score = exttsp_score(&p, order), best = best_by_brute_force(&p, all, 1);
		assert_true(score <= best * 1.000001 + 1e-6);
		assert_true(score >= best * 0.6 - 1e-6);
		sum += score;
		best_sum += best;
	}
	assert_true(sum >= best_sum * 0.99);
}

static void large_graphs_are_never_worse_than_the_original_order(void **state)
{
	(void)state;
	uint64_t seed = 99;
	static uint32_t order[NODES_MAX], again[NODES_MAX], original[NODES_MAX], chain[NODES_MAX];
	for (uint32_t i = 0; i < NODES_MAX; i++)
		original[i] = i;
	for (int round = 0; round < 20; round++) {
		uint32_t n = 10 + (uint32_t)random_below(&seed, NODES_MAX - 10);
		struct exttsp_problem p = random_problem(&seed, n);
		struct err e = {0};
		assert_int_equal(exttsp_order(&p, order, chain, &e), 0);
		check_permutation(order, n);
		assert_true(exttsp_score(&p, order) >= exttsp_score(&p, original));
		assert_int_equal(order[0], 0);
		for (uint32_t i = 1; i < n; i++)
			assert_true(chain[i] == chain[i - 1] || chain[i] == chain[i - 1] + 1);
		assert_int_equal(exttsp_order(&p, again, NULL, &e), 0);
		assert_memory_equal(order, again, n * sizeof *order);
	}
}

/* if (seldom) {...}: the seldom arm goes out of the way; the loop keeps its body together. */
static void hot_loop_becomes_straight(void **state)
{
	(void)state;
	uint32_t sizes[] = {10, 10, 30, 10, 5}, order[5];
	uint64_t counts[] = {1, 1000, 1, 1000, 1};
	struct exttsp_jump j[] = {{0, 1, 1, 1}, {1, 2, 1, 0}, {1, 3, 999, 0}, {2, 3, 1, 1}, {3, 1, 999, 0}, {3, 4, 1, 0}};
	struct exttsp_problem p = {5, 6, sizes, counts, j, 0};
	struct err e = {0};
	assert_int_equal(exttsp_order(&p, order, NULL, &e), 0);
	assert_int_equal(order[0], 0);
	for (int i = 1; i < 4; i++)
		if (order[i] == 1)
			assert_true(order[i + 1] == 3 || order[i - 1] == 3);
}

static void score_follows_the_published_formula(void **state)
{
	(void)state;
	uint32_t sizes[] = {100, 156, 44}, order[] = {0, 1, 2};
	uint64_t counts[] = {1, 1, 1};
	struct exttsp_jump j[] = {{0, 1, 8, 0}, {0, 2, 4, 0}, {2, 0, 2, 0}, {1, 2, 16, 1}};
	struct exttsp_problem p = {3, 4, sizes, counts, j, 0};
	double expected = 8 + 4 * 0.1 * (1 - 156.0 / 1024) + 2 * 0.1 * (1 - 300.0 / 640) + 16 * 1.05;
	assert_float_equal(exttsp_score(&p, order), expected, 1e-9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(small_graphs_are_close_to_the_best_order),
	    cmocka_unit_test(large_graphs_are_never_worse_than_the_original_order),
	    cmocka_unit_test(hot_loop_becomes_straight),
	    cmocka_unit_test(score_follows_the_published_formula),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
