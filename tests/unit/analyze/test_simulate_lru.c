/* Caches and tables of the simulator on traces whose misses can be counted by hand. */
#include "analyze/simulate/lru.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void stream_twice(struct lru_cache *c, uint64_t bytes)
{
	for (int pass = 0; pass < 2; pass++)
		for (uint64_t at = 0; at < bytes; at += 4)
			lru_cache_fetch(c, at, 4);
}

static void stream_that_fits_misses_once_per_line(void **state)
{
	(void)state;
	struct lru_cache c;
	assert_int_equal(lru_cache_init(&c, 32768, 8, 64, NULL), 0);
	stream_twice(&c, 32768);
	assert_int_equal(c.misses, 512);
	lru_cache_free(&c);
}

/* LRU loses everything on a cycle one line longer than the cache: in the one set that has nine lines for eight ways. */
static void cycle_one_line_too_long_misses_in_one_set(void **state)
{
	(void)state;
	struct lru_cache c;
	assert_int_equal(lru_cache_init(&c, 32768, 8, 64, NULL), 0);
	stream_twice(&c, 32768 + 64);
	assert_int_equal(c.misses, 513 + 9);
	lru_cache_free(&c);
}

static void conflicting_lines_evict_the_least_recent(void **state)
{
	(void)state;
	struct lru_cache c;
	assert_int_equal(lru_cache_init(&c, 1024, 2, 64, NULL), 0); /* 8 sets: 512 bytes apart is the same set */
	const uint64_t trace[] = {0, 512, 0, 1024, 0, 512, 1024};
	/*                        miss miss hit miss hit miss miss */
	for (size_t i = 0; i < sizeof trace / sizeof *trace; i++)
		lru_cache_fetch(&c, trace[i], 1);
	assert_int_equal(c.misses, 5);
	lru_cache_free(&c);
}

static void instruction_across_two_lines_fetches_both(void **state)
{
	(void)state;
	struct lru_cache c;
	assert_int_equal(lru_cache_init(&c, 1024, 2, 64, NULL), 0);
	lru_cache_fetch(&c, 60, 8);
	assert_int_equal(c.misses, 2);
	lru_cache_fetch(&c, 64, 1);
	assert_int_equal(c.misses, 2);
	lru_cache_fetch(&c, 10, 300); /* lines 0..4, of which 0 and 1 are there */
	assert_int_equal(c.misses, 5);
	lru_cache_free(&c);
}

static void prefetch_halves_the_misses_of_a_stream(void **state)
{
	(void)state;
	struct lru_cache c;
	assert_int_equal(lru_cache_init(&c, 32768, 8, 64, NULL), 0);
	c.prefetch = true;
	for (uint64_t at = 0; at < 8192; at += 4)
		lru_cache_fetch(&c, at, 4);
	assert_int_equal(c.misses, 64);
	lru_cache_free(&c);
}

static void impossible_caches_are_refused(void **state)
{
	(void)state;
	const uint64_t bad[][3] = {{0, 8, 64},	   {32768, 0, 64},  {32768, 8, 0}, {32768, 8, 48},	{32768, 7, 64},
				   {30000, 8, 64}, {32768, 65, 64}, {64, 8, 64},   {UINT64_MAX, 8, 64}, {1ull << 40, 8, 64}};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct lru_cache c;
		struct err e;
		assert_int_equal(lru_cache_init(&c, bad[i][0], bad[i][1], bad[i][2], &e), -ERR_USAGE);
	}
}

static void table_keeps_the_most_recent_keys(void **state)
{
	(void)state;
	struct lru_table t;
	assert_int_equal(lru_table_init(&t, 3, NULL), 0);
	const uint64_t trace[] = {1, 2, 3, 1, 4, 1, 3, 2, 2};
	/*                        m  m  m  h  m  h  h  m  h: 4 pushes 2 out, 2 pushes 4 out */
	for (size_t i = 0; i < sizeof trace / sizeof *trace; i++)
		lru_table_touch(&t, trace[i]);
	assert_int_equal(t.misses, 5);
	lru_table_touch(&t, 1);
	assert_int_equal(t.misses, 5);
	lru_table_touch(&t, 4);
	assert_int_equal(t.misses, 6);
	lru_table_free(&t);
}

/* Against a list kept the slow way, with many collisions of buckets. */
static void table_equals_a_plain_list(void **state)
{
	(void)state;
	enum { SIZE = 13 };
	struct lru_table t;
	uint64_t list[SIZE], misses = 0, seed = 1;
	size_t used = 0;
	assert_int_equal(lru_table_init(&t, SIZE, NULL), 0);
	for (int step = 0; step < 20000; step++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		uint64_t key = (seed >> 33) % 20 << (seed >> 60);
		size_t at = 0;
		while (at < used && list[at] != key)
			at++;
		misses += at == used;
		if (at == used && used < SIZE)
			used++;
		if (at == SIZE)
			at--;
		for (; at > 0; at--)
			list[at] = list[at - 1];
		list[0] = key;
		lru_table_touch(&t, key);
		assert_int_equal(t.misses, misses);
	}
	lru_table_free(&t);
}

static void table_of_one_entry_and_of_none(void **state)
{
	(void)state;
	struct lru_table t;
	struct err e;
	assert_int_equal(lru_table_init(&t, 1, NULL), 0);
	for (uint64_t i = 0; i < 10; i++)
		lru_table_touch(&t, i / 2 % 2);
	assert_int_equal(t.misses, 5);
	lru_table_free(&t);
	assert_int_equal(lru_table_init(&t, 0, &e), -ERR_USAGE);
	assert_int_equal(lru_table_init(&t, UINT64_MAX, &e), -ERR_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(stream_that_fits_misses_once_per_line),	cmocka_unit_test(cycle_one_line_too_long_misses_in_one_set),
	    cmocka_unit_test(conflicting_lines_evict_the_least_recent), cmocka_unit_test(instruction_across_two_lines_fetches_both),
	    cmocka_unit_test(prefetch_halves_the_misses_of_a_stream),	cmocka_unit_test(impossible_caches_are_refused),
	    cmocka_unit_test(table_keeps_the_most_recent_keys),		cmocka_unit_test(table_equals_a_plain_list),
	    cmocka_unit_test(table_of_one_entry_and_of_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
