/* layout: properties on random maps with random flows. */
#include "tests/unit/analyze/random_map.h"

#include "analyze/layout/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct flow infer(struct random_map *r, size_t count)
{
	struct module_identity module = r->map.module;
	struct profile p = {.info.source = PROFILE_CLOCK, .modules = &module, .module_count = 1, .sample_count = count};
	struct flow f;
	struct err e = {0};
	p.samples = calloc(count + 1, sizeof *p.samples);
	for (size_t i = 0; i < count; i++) {
		/* squared: some blocks much hotter than others */
		uint64_t b = random_below(&r->seed, random_below(&r->seed, r->map.block_count) + 1);
		p.samples[i].address = r->map.text_base + r->map.blocks[b].start;
	}
	assert_int_equal(flow_infer(&r->map, &p, 0, &f, &e), 0);
	free(p.samples);
	return f;
}

static unsigned grade_of(const struct map *m, uint32_t block)
{
	return m->functions[map_function_of_block(m, block)].grade;
}

static void check_layout(const struct map *m, const struct layout *l)
{
	uint8_t *seen = calloc(m->block_count + 1, 1);
	for (size_t i = 0; i < l->count; i++) {
		assert_true(l->blocks[i] < m->block_count);
		assert_false(seen[l->blocks[i]]);
		seen[l->blocks[i]] = 1;
		assert_int_not_equal(grade_of(m, l->blocks[i]), MAP_UNTOUCHABLE);
	}
	free(seen);
}

static void random_flows_give_valid_equal_layouts_that_cover(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct random_map r;
		random_map_make(&r, seed, 1 + (uint32_t)(seed * 3 % 40), 2 + (uint32_t)(seed * 7 % 50));
		for (uint32_t f = 0; f < r.map.function_count; f++)
			if (r.map.functions[f].grade == MAP_ENTRY_FIXED)
				r.map.functions[f].grade = MAP_MOVABLE;
		struct flow f = infer(&r, 200);
		struct layout_options options = {.coverage = 0.95};
		struct layout l, again;
		struct err e = {0};
		assert_int_equal(layout_make(&r.map, &f, &options, &l, &e), 0);
		check_layout(&r.map, &l);
		double all = 0, held = 0;
		for (uint32_t b = 0; b < r.map.block_count; b++)
			if (grade_of(&r.map, b) == MAP_MOVABLE)
				all += (double)f.block[b] * r.map.blocks[b].insns;
		for (size_t i = 0; i < l.count; i++)
			held += (double)f.block[l.blocks[i]] * r.map.blocks[l.blocks[i]].insns;
		assert_true(held >= all * 0.95 - 1e-6);
		assert_int_equal(layout_make(&r.map, &f, &options, &again, &e), 0);
		assert_int_equal(l.count, again.count);
		if (l.count)
			assert_memory_equal(l.blocks, again.blocks, l.count * sizeof *l.blocks);
		layout_free(&l);
		layout_free(&again);
		flow_free(&f);
		map_free(&r.map);
	}
}

static void entry_fixed_function_needs_a_caller_in_the_image(void **state)
{
	(void)state;
	struct map_block blocks[] = {
	    {.start = 0, .size = 10, .insns = 3, .terminator = MAP_RETURN, .taken = MAP_NONE, .next = MAP_NONE, .flags = 3},
	    {.start = 16, .size = 10, .insns = 3, .terminator = MAP_RETURN, .taken = MAP_NONE, .next = MAP_NONE, .flags = 3},
	};
	struct map_function functions[] = {
	    {.start = 0, .size = 10, .parent = 0, .first_block = 0, .block_count = 1, .grade = MAP_MOVABLE},
	    {.start = 16, .size = 10, .parent = 1, .first_block = 1, .block_count = 1, .grade = MAP_ENTRY_FIXED},
	};
	struct map_call call = {.site = 2, .block = 0, .target = 16, .size = 5, .kind = MAP_CALL_DIRECT};
	struct map m = {.functions = functions, .function_count = 2, .blocks = blocks, .block_count = 2, .calls = &call, .text_size = 32};
	uint64_t counts[] = {100, 100}, zeros[] = {0, 0}, calls[] = {100};
	struct flow f = {.block = counts, .taken = zeros, .next = zeros, .table = zeros, .call = calls};
	struct layout_options options = {.coverage = 1};
	struct layout l;
	struct err e = {0};
	assert_int_equal(layout_make(&m, &f, &options, &l, &e), 0);
	assert_int_equal(l.count, 1);
	assert_int_equal(l.blocks[0], 0);
	layout_free(&l);
	m.call_count = 1;
	assert_int_equal(layout_make(&m, &f, &options, &l, &e), 0);
	assert_int_equal(l.count, 2);
	layout_free(&l);
}

static void no_flow_gives_an_empty_layout(void **state)
{
	(void)state;
	struct random_map r;
	random_map_make(&r, 3, 10, 10);
	struct flow f = infer(&r, 0);
	struct layout_options options = {.coverage = 0.999};
	struct layout l;
	struct err e = {0};
	assert_int_equal(layout_make(&r.map, &f, &options, &l, &e), 0);
	assert_int_equal(l.count, 0);
	layout_free(&l);
	flow_free(&f);
	map_free(&r.map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_flows_give_valid_equal_layouts_that_cover),
	    cmocka_unit_test(entry_fixed_function_needs_a_caller_in_the_image),
	    cmocka_unit_test(no_flow_gives_an_empty_layout),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
