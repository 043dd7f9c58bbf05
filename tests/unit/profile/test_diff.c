#include "profile/merge/diff.h"
#include "tests/unit/profile/random_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[2] = {"first", "second"};
static const struct diff_options plain;
static struct module_identity modules[2] = {
    {.build_id = {1}, .build_id_size = 1, .text_hash = 5, .path = (char *)(uintptr_t) "/lib/a"},
    {.build_id = {2}, .build_id_size = 1, .path = (char *)(uintptr_t) "/lib/b"},
};

static struct diff made(struct profile a, struct profile b, const struct diff_options *options)
{
	struct profile both[2] = {a, b};
	struct diff d;
	struct err e = {0};
	if (diff_make(both, names, options, &d, &e))
		fail_msg("%s", e.text);
	return d;
}

/* Two functions: f has blocks 0x1000..0x1010 and 0x1010..0x1020 (returns, with a call at 0x1012), g has 0x1040..0x1050. */
static struct map two_functions(void)
{
	static struct map_function functions[] = {
	    {.start = 0, .size = 0x20, .block_count = 2, .name = 1},
	    {.start = 0x40, .size = 0x10, .parent = 1, .first_block = 2, .block_count = 1, .name = 3}};
	static struct map_block blocks[] = {
	    {.start = 0, .size = 0x10, .taken = MAP_NONE, .next = 1, .insns = 4, .terminator = MAP_FALLS, .flags = MAP_BLOCK_ENTRY},
	    {.start = 0x10, .size = 0x10, .taken = MAP_NONE, .next = MAP_NONE, .insns = 4, .terminator = MAP_RETURN},
	    {.start = 0x40,
	     .size = 0x10,
	     .taken = MAP_NONE,
	     .next = MAP_NONE,
	     .insns = 4,
	     .terminator = MAP_RETURN,
	     .flags = MAP_BLOCK_ENTRY}};
	static struct map_call calls[] = {{.site = 0x12, .block = 1, .target = 0x40, .size = 5}};
	static char strings[] = "\0f\0g";
	return (struct map){.module = modules[0],
			    .text_base = 0x1000,
			    .text_size = 0x1000,
			    .functions = functions,
			    .function_count = 2,
			    .blocks = blocks,
			    .block_count = 3,
			    .calls = calls,
			    .call_count = 1,
			    .strings = strings,
			    .string_size = sizeof strings};
}

static void equal_profiles_overlap_by_exactly_1_and_foreign_ones_by_0(void **state)
{
	(void)state;
	struct profile_count a[] = {{0x10, 3, 0}, {0x20, UINT64_MAX, 0}, {0x10, 7, 1}}, b[] = {{0x11, 5, 0}};
	struct profile p = {.modules = modules, .module_count = 2, .counts = a, .count_count = 3}, q = p;
	struct diff d = made(p, p, &plain);
	assert_true(d.blocks.overlap == 1 && !d.mover_count && !d.has_edges);
	diff_free(&d);
	q.counts = b;
	q.count_count = 1;
	d = made(p, q, &plain);
	assert_true(d.blocks.overlap == 0);
	diff_free(&d);
}

static void the_lesser_shares_are_added_up(void **state)
{
	(void)state;
	/* 50, 30, 20 % against 10, 60, 30 %: 10 + 30 + 20 */
	struct profile_count a[] = {{0x1000, 5, 0}, {0x2000, 3, 0}, {0x10, 2, 1}}, b[] = {{0x1000, 10, 0}, {0x2000, 60, 0}, {0x10, 30, 1}};
	struct profile p = {.modules = modules, .module_count = 2, .counts = a, .count_count = 3}, q = p;
	q.counts = b;
	struct diff d = made(p, q, &plain), back = made(q, p, &plain);
	assert_true(d.blocks.overlap > 0.5999 && d.blocks.overlap < 0.6001);
	assert_true(d.blocks.overlap == back.blocks.overlap);
	assert_int_equal(d.mover_count, 3);
	assert_int_equal(d.movers[0].address, 0x1000);
	assert_true(d.movers[0].share[0] == 0.5 && d.movers[0].share[1] == 0.1);
	double moved = d.movers[0].moved + d.movers[1].moved + d.movers[2].moved;
	assert_true(moved > 0.3999 && moved < 0.4001);
	diff_free(&d);
	diff_free(&back);
	const char *only[] = {"b"};
	struct diff_options options = {.names = only, .name_count = 1};
	d = made(p, q, &options);
	assert_true(d.blocks.overlap == 1 && d.blocks.places == 1 && d.blocks.weight[1] == 30);
	diff_free(&d);
}

static void maps_make_samples_and_exact_counts_comparable(void **state)
{
	(void)state;
	struct map map = two_functions();
	/* 4 instructions of f's first block 10 times each = 40, g's first 60; samples: 4 and 6 somewhere in them. */
	struct profile_count exact[] = {{0x1000, 10, 0}, {0x1004, 10, 0}, {0x1008, 10, 0}, {0x100c, 10, 0}, {0x1040, 60, 0}};
	struct profile_count sampled[] = {{0x1008, 4, 1}, {0x1044, 6, 1}};
	struct module_identity less[2] = {modules[1],
					  {.build_id = {1}, .build_id_size = 1, .path = modules[0].path}}; /* by build-id alone */
	struct profile p = {.info = {.source = PROFILE_EXACT}, .modules = modules, .module_count = 2, .counts = exact, .count_count = 5};
	struct profile q = {.info = {.source = PROFILE_CLOCK}, .modules = less, .module_count = 2, .counts = sampled, .count_count = 2};
	struct diff_options options = {.maps = &map, .map_count = 1};
	struct diff d = made(p, q, &options);
	assert_true(d.blocks.overlap == 1);
	assert_int_equal(d.blocks.places, 2);
	diff_free(&d);
	sampled[0].count = 6;
	sampled[1].count = 4;
	d = made(p, q, &options);
	assert_int_equal(d.mover_count, 2);
	assert_string_equal(d.movers[0].name, "f");
	assert_true(d.movers[0].is_function && d.movers[0].moved > 0.0999 && d.movers[0].moved < 0.1001);
	diff_free(&d);
}

static void edges_are_compared_without_returns_and_runs(void **state)
{
	(void)state;
	struct map map = two_functions();
	struct profile_count count = {0x1000, 1, 0};
	struct profile_edge exact[] = {{.from = 0x1012, .to = 0x1040, .count = 9, .kind = PROFILE_EDGE_CALL}};
	struct profile_edge branches[] = {{.from = 0x1012, .to = 0x1040, .count = 3},
					  {.from = 0x1017, .to = 0x1044, .count = 4, .kind = PROFILE_EDGE_RUN},
					  {.from = 0x104f, .to = 0x1017, .count = 3}}; /* a return that does not say so */
	struct profile p = {.modules = modules, .module_count = 2, .counts = &count, .count_count = 1, .edges = exact, .edge_count = 1},
		       q = p;
	q.edges = branches;
	q.edge_count = 3;
	struct diff_options options = {.maps = &map, .map_count = 1};
	struct diff d = made(p, q, &options);
	assert_true(d.has_edges && d.edges.overlap == 1);
	assert_int_equal(d.edges.places, 1);
	diff_free(&d);
}

static void nothing_to_compare_is_refused(void **state)
{
	(void)state;
	struct profile_count count = {0x1000, 1, 0};
	struct profile both[2] = {{.modules = modules, .module_count = 1, .counts = &count, .count_count = 1},
				  {.modules = modules, .module_count = 1}};
	struct diff d;
	struct err e = {0};
	assert_int_equal(diff_make(both, names, &plain, &d, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "second: nothing to compare"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(equal_profiles_overlap_by_exactly_1_and_foreign_ones_by_0),
	    cmocka_unit_test(the_lesser_shares_are_added_up),
	    cmocka_unit_test(maps_make_samples_and_exact_counts_comparable),
	    cmocka_unit_test(edges_are_compared_without_returns_and_runs),
	    cmocka_unit_test(nothing_to_compare_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
