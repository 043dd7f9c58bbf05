/* torture: random layouts have all that can be moved, in all neighbourhoods, and depend on the seed alone. */
#include "tests/unit/analyze/random_map.h"

#include "analyze/layout/torture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define FUNCTIONS 200

struct world {
	struct random_map random;
	struct cfg_index index;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	if (!w)
		return -1;
	random_map_make(&w->random, 5, FUNCTIONS, 30);
	*state = w;
	return cfg_index_init(&w->index, &w->random.map, NULL);
}

static int teardown(void **state)
{
	struct world *w = *state;
	cfg_index_free(&w->index);
	map_free(&w->random.map);
	free(w);
	return 0;
}

static struct layout make(const struct cfg_index *index, const struct layout_options *options)
{
	struct layout l;
	struct err e = {0};
	if (torture_layout(index, options, &l, &e))
		fail_msg("%s", e.text);
	return l;
}

static struct layout make_seed(const struct cfg_index *index, uint64_t seed)
{
	return make(index, &(struct layout_options){.torture_seed = seed});
}

/* How many blocks of each function there are in the layout; each block at most once. */
static void count_blocks(const struct world *w, const struct layout *l, uint32_t *ret_count)
{
	const struct map *m = &w->random.map;
	uint8_t *seen = calloc(m->block_count, 1);
	assert_non_null(seen);
	memset(ret_count, 0, FUNCTIONS * sizeof *ret_count);
	for (size_t i = 0; i < l->count; i++) {
		assert_true(l->blocks[i] < m->block_count);
		assert_false(seen[l->blocks[i]]);
		seen[l->blocks[i]] = 1;
		ret_count[w->index.function_of_block[l->blocks[i]]]++;
	}
	free(seen);
}

static void whatever_can_be_moved_is_moved_whole_in_half_or_nearly(void **state)
{
	const struct world *w = *state;
	uint32_t count[FUNCTIONS], grades[3] = {0}, whole = 0, half = 0, functions = 0;
	struct layout l = make_seed(&w->index, 11);
	count_blocks(w, &l, count);
	for (uint32_t f = 0; f < FUNCTIONS; f++) {
		const struct map_function *function = &w->random.map.functions[f];
		grades[function->grade] += count[f] != 0;
		if (function->grade == MAP_UNTOUCHABLE || function->block_count < 10)
			continue;
		functions++;
		whole += count[f] == function->block_count;
		half += count[f] < function->block_count * 7 / 10;
	}
	assert_int_equal(grades[MAP_UNTOUCHABLE], 0);
	assert_true(grades[MAP_ENTRY_FIXED]);
	assert_true(grades[MAP_MOVABLE] > FUNCTIONS * 3 / 4);
	assert_in_range(whole, functions / 6, functions / 2);
	assert_in_range(half, functions / 8, functions / 2);
	layout_free(&l);
}

static void blocks_have_all_kinds_of_neighbours(void **state)
{
	const struct world *w = *state;
	const struct map *m = &w->random.map;
	size_t falls = 0, jumps = 0, elsewhere = 0;
	struct layout l = make_seed(&w->index, 12);
	for (size_t i = 1; i < l.count; i++) {
		const struct map_block *before = &m->blocks[l.blocks[i - 1]];
		falls += before->next == l.blocks[i];
		jumps += before->taken == l.blocks[i] && before->next != l.blocks[i];
		elsewhere += w->index.function_of_block[l.blocks[i - 1]] != w->index.function_of_block[l.blocks[i]];
	}
	assert_in_range(falls, l.count / 20, l.count / 2);
	assert_in_range(jumps, l.count / 20, l.count / 2);
	assert_in_range(elsewhere, l.count / 4, l.count * 3 / 4);
	layout_free(&l);
}

static void same_seed_gives_the_same_and_another_seed_another(void **state)
{
	const struct world *w = *state;
	struct layout a = make_seed(&w->index, 11), b = make_seed(&w->index, 11), c = make_seed(&w->index, 12);
	assert_int_equal(a.count, b.count);
	assert_memory_equal(a.blocks, b.blocks, a.count * sizeof *a.blocks);
	assert_true(a.count != c.count || memcmp(a.blocks, c.blocks, a.count * sizeof *a.blocks));
	layout_free(&a);
	layout_free(&b);
	layout_free(&c);
}

static void range_of_functions_has_their_blocks_in_the_same_order(void **state)
{
	const struct world *w = *state;
	const struct map *m = &w->random.map;
	struct layout_options options = {.torture_seed = 11};
	struct layout all = make(&w->index, &options);
	options.torture_first = map_vaddr(m, m->functions[20].start);
	options.torture_last = map_vaddr(m, m->functions[60].start);
	struct layout part = make(&w->index, &options);
	size_t next = 0;
	assert_in_range(part.count, 1, all.count - 1);
	for (size_t i = 0; i < all.count; i++) {
		uint32_t function = w->index.function_of_block[all.blocks[i]];
		if (function < 20 || function > 60)
			continue;
		assert_true(next < part.count);
		assert_int_equal(part.blocks[next++], all.blocks[i]);
	}
	assert_int_equal(next, part.count);
	layout_free(&all);
	layout_free(&part);
}

/* Even functions jump to the odd ones behind them. */
static void function_that_another_jumps_to_often_stands_behind_it(void **state)
{
	(void)state;
	struct map_function functions[64];
	struct map_block blocks[64];
	struct map m = {.functions = functions, .blocks = blocks, .function_count = 64, .block_count = 64, .text_size = 640};
	struct cfg_index index;
	size_t behind = 0, count = 0;
	for (uint32_t i = 0; i < 64; i++) {
		functions[i] = (struct map_function){.start = 10 * i, .size = 10, .parent = i, .first_block = i, .block_count = 1};
		blocks[i] = (struct map_block){.start = 10 * i, .size = 10, .insns = 2, .next = MAP_NONE, .taken = MAP_NONE};
		blocks[i].terminator = MAP_RETURN;
		functions[i].grade = MAP_MOVABLE;
		if (i % 2)
			continue;
		blocks[i].terminator = MAP_JUMP;
		blocks[i].taken = i + 1;
	}
	assert_int_equal(cfg_index_init(&index, &m, NULL), 0);
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct layout l = make_seed(&index, seed);
		for (size_t i = 1; i < l.count; i++)
			behind += blocks[l.blocks[i - 1]].taken == l.blocks[i];
		count += l.count;
		layout_free(&l);
	}
	assert_true(behind > count / 20);
	cfg_index_free(&index);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(whatever_can_be_moved_is_moved_whole_in_half_or_nearly, setup, teardown),
	    cmocka_unit_test_setup_teardown(blocks_have_all_kinds_of_neighbours, setup, teardown),
	    cmocka_unit_test_setup_teardown(same_seed_gives_the_same_and_another_seed_another, setup, teardown),
	    cmocka_unit_test_setup_teardown(range_of_functions_has_their_blocks_in_the_same_order, setup, teardown),
	    cmocka_unit_test(function_that_another_jumps_to_often_stands_behind_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
