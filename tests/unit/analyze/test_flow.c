/* flow: inference on random control-flow graphs and on small ones with a known answer. */
#include "tests/unit/analyze/random_map.h"

#include "analyze/layout/flow.h"
#include "formats/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct module_identity subject(const struct map *m)
{
	return m->module;
}

/* Samples drawn at random: blocks in proportion to nothing, which is the worst that can come. */
static struct profile_sample *draw_samples(struct random_map *r, size_t count)
{
	struct profile_sample *s = calloc(count, sizeof *s);
	for (size_t i = 0; i < count; i++) {
		uint32_t b = (uint32_t)random_below(&r->seed, r->map.block_count);
		s[i].address = r->map.text_base + r->map.blocks[b].start;
	}
	return s;
}

/* What flows out of each block by its edges equals its count unless control may leave there; what flows in never exceeds it. */
static void check_conservation(const struct map *m, const struct flow *f)
{
	uint64_t *in = calloc(m->block_count, sizeof *in), *out = calloc(m->block_count, sizeof *out);
	for (uint32_t b = 0; b < m->block_count; b++) {
		const struct map_block *k = &m->blocks[b];
		out[b] += f->taken[b] + f->next[b];
		if (k->taken != MAP_NONE && map_function_of_block(m, k->taken) == map_function_of_block(m, b))
			in[k->taken] += f->taken[b];
		if (k->next != MAP_NONE)
			in[k->next] += f->next[b];
	}
	for (uint32_t t = 0; t < m->table_count; t++)
		for (uint32_t i = 0; i < m->tables[t].count; i++) {
			out[m->tables[t].block] += f->table[m->tables[t].first + i];
			in[m->table_targets[m->tables[t].first + i]] += f->table[m->tables[t].first + i];
		}
	for (uint32_t b = 0; b < m->block_count; b++) {
		assert_true(in[b] <= f->block[b]);
		assert_true(out[b] <= f->block[b]);
		/* Every block of these graphs goes on or returns. */
		if (m->blocks[b].terminator == MAP_FALLS || m->blocks[b].terminator == MAP_JUMP)
			assert_int_equal(out[b], f->block[b]);
	}
	free(in);
	free(out);
}

static void random_graphs_conserve_flow(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct random_map r;
		random_map_make(&r, seed, 1 + (uint32_t)(seed % 9), 2 + (uint32_t)(seed * 7 % 60));
		struct module_identity module = subject(&r.map);
		size_t count = 1 + seed * 3;
		struct profile p = {.info.source = PROFILE_CLOCK, .modules = &module, .module_count = 1, .sample_count = count};
		p.samples = draw_samples(&r, count);
		struct flow f, again;
		struct err e = {0};
		assert_int_equal(flow_infer(&r.map, &p, 0, &f, &e), 0);
		check_conservation(&r.map, &f);
		assert_int_equal(f.sampled_total, count);
		for (uint32_t b = 0; b < r.map.block_count; b++)
			if (f.sampled[b])
				assert_true(f.block[b] > 0);
		assert_int_equal(flow_infer(&r.map, &p, 0, &again, &e), 0);
		assert_memory_equal(f.block, again.block, r.map.block_count * sizeof *f.block);
		assert_memory_equal(f.taken, again.taken, r.map.block_count * sizeof *f.taken);
		flow_free(&f);
		flow_free(&again);
		free(p.samples);
		map_free(&r.map);
	}
}

/* One function: blocks of `insns` instructions, one byte each. */
static struct map small_map(struct map_block *blocks, uint32_t n, struct map_function *function)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < n; i++) {
		blocks[i].start = at;
		blocks[i].size = blocks[i].insns;
		at += blocks[i].size;
	}
	blocks[0].flags = MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET;
	*function = (struct map_function){.size = at, .block_count = n};
	struct map m = {.module = {.file_size = 1, .text_hash = 1, .path = (char *)"small"}, .text_size = at};
	m.functions = function;
	m.function_count = 1;
	m.blocks = blocks;
	m.block_count = n;
	return m;
}

static struct flow infer_small(const struct map *m, const uint32_t *samples, size_t count)
{
	struct module_identity module = subject(m);
	struct profile p = {.info.source = PROFILE_CLOCK, .modules = &module, .module_count = 1, .sample_count = count};
	struct flow f;
	struct err e = {0};
	p.samples = calloc(count, sizeof *p.samples);
	for (size_t i = 0; i < count; i++)
		p.samples[i].address = m->blocks[samples[i]].start;
	assert_int_equal(flow_infer(m, &p, 0, &f, &e), 0);
	free(p.samples);
	return f;
}

/* 0 -> 1 -> 2 (loop, sampled) -> 3 return: the ways to and from the loop have no samples. */
static void unsampled_way_into_a_sampled_loop_is_found(void **state)
{
	(void)state;
	struct map_block b[] = {
	    {.insns = 4, .terminator = MAP_BRANCH, .taken = 3, .next = 1},
	    {.insns = 3, .terminator = MAP_FALLS, .taken = MAP_NONE, .next = 2},
	    {.insns = 5, .terminator = MAP_BRANCH, .taken = 2, .next = 3},
	    {.insns = 2, .terminator = MAP_RETURN, .taken = MAP_NONE, .next = MAP_NONE},
	};
	struct map_function function;
	struct map m = small_map(b, 4, &function);
	uint32_t samples[40];
	for (int i = 0; i < 40; i++)
		samples[i] = 2;
	struct flow f = infer_small(&m, samples, 40);
	for (int i = 0; i < 4; i++)
		assert_true(f.block[i] > 0);
	assert_true(f.block[2] > f.block[1] * 8);
	assert_true(f.taken[2] > 0 && f.next[2] > 0 && f.next[0] > 0);
	assert_int_equal(f.taken[2] + f.next[2], f.block[2]);
	flow_free(&f);
}

/* 0 branches to 1 or 2, both to 3. Only 0 and 3 are sampled, 2 ends in ud2: flow goes by 1. */
static void unsampled_middle_prefers_the_way_that_returns(void **state)
{
	(void)state;
	struct map_block b[] = {
	    {.insns = 6, .terminator = MAP_BRANCH, .taken = 2, .next = 1},
	    {.insns = 9, .terminator = MAP_JUMP, .taken = 3, .next = MAP_NONE},
	    {.insns = 2, .terminator = MAP_STOP, .taken = MAP_NONE, .next = MAP_NONE},
	    {.insns = 6, .terminator = MAP_RETURN, .taken = MAP_NONE, .next = MAP_NONE},
	};
	struct map_function function;
	struct map m = small_map(b, 4, &function);
	uint32_t samples[] = {0, 0, 0, 3, 3, 3};
	struct flow f = infer_small(&m, samples, 6);
	assert_int_equal(f.block[1], f.block[0]);
	assert_int_equal(f.block[3], f.block[0]);
	assert_int_equal(f.block[2], 0);
	/* Most likely: 6 samples in 21 instructions. */
	assert_in_range(f.block[0], 65536 * 6 / 21 / 2, 65536 * 6 / 21 * 2);
	flow_free(&f);
}

/* A long arm that should have had fifty samples and has none is not taken; the short arm cannot be ruled out. */
static void exposure_decides_what_an_unsampled_arm_gets(void **state)
{
	(void)state;
	struct map_block b[] = {
	    {.insns = 4, .terminator = MAP_BRANCH, .taken = 2, .next = 1},
	    {.insns = 50, .terminator = MAP_JUMP, .taken = 3, .next = MAP_NONE},
	    {.insns = 1, .terminator = MAP_FALLS, .taken = MAP_NONE, .next = 3},
	    {.insns = 4, .terminator = MAP_RETURN, .taken = MAP_NONE, .next = MAP_NONE},
	};
	struct map_function function;
	struct map m = small_map(b, 4, &function);
	uint32_t samples[] = {0, 0, 0, 0, 3, 3, 3, 3};
	struct flow f = infer_small(&m, samples, 8);
	assert_true(f.block[2] > f.block[1] * 20);
	assert_int_equal(f.block[1] + f.block[2], f.block[0]);
	flow_free(&f);
}

static void exact_counts_are_copied(void **state)
{
	(void)state;
	struct map_block b[] = {
	    {.insns = 4, .terminator = MAP_BRANCH, .taken = 2, .next = 1},
	    {.insns = 3, .terminator = MAP_FALLS, .taken = MAP_NONE, .next = 2},
	    {.insns = 4, .terminator = MAP_RETURN, .taken = MAP_NONE, .next = MAP_NONE},
	};
	struct map_function function;
	struct map m = small_map(b, 3, &function);
	struct module_identity module = subject(&m);
	struct profile_count counts[] = {{0, 100, 0}, {3, 100, 0}, {4, 30, 0}, {7, 100, 0}};
	struct profile_edge edges[] = {{.from = 3, .to = 7, .count = 70, .kind = PROFILE_EDGE_JUMP}};
	struct profile p = {.info.source = PROFILE_EXACT,
			    .modules = &module,
			    .module_count = 1,
			    .counts = counts,
			    .count_count = 4,
			    .edges = edges,
			    .edge_count = 1};
	struct flow f;
	struct err e = {0};
	assert_int_equal(flow_infer(&m, &p, 0, &f, &e), 0);
	assert_int_equal(f.block[0], 100);
	assert_int_equal(f.taken[0], 70);
	assert_int_equal(f.next[0], 30);
	assert_int_equal(f.next[1], 30);
	flow_free(&f);
	/* Without the edge it follows from the counts. */
	p.edge_count = 0;
	assert_int_equal(flow_infer(&m, &p, 0, &f, &e), 0);
	assert_int_equal(f.block[1], 30);
	assert_int_equal(f.taken[0], 70);
	assert_int_equal(f.next[0], 30);
	flow_free(&f);
}

/* Callgrind counts each repetition of a string instruction: the block did not run so often. */
static void repeated_string_instruction_does_not_inflate_its_block(void **state)
{
	(void)state;
	struct map_block b[] = {{.insns = 4, .terminator = MAP_RETURN, .taken = MAP_NONE, .next = MAP_NONE}};
	struct map_function function;
	struct map m = small_map(b, 1, &function);
	struct module_identity module = subject(&m);
	struct profile_count counts[] = {{0, 10, 0}, {1, 10, 0}, {2, 5000, 0}, {3, 10, 0}};
	struct profile p = {.info.source = PROFILE_EXACT, .modules = &module, .module_count = 1, .counts = counts, .count_count = 4};
	struct flow f;
	struct err e = {0};
	assert_int_equal(flow_infer(&m, &p, 0, &f, &e), 0);
	assert_int_equal(f.block[0], 10);
	flow_free(&f);
}

static void profile_of_another_module_is_refused(void **state)
{
	(void)state;
	struct map_block b[] = {{.insns = 4, .terminator = MAP_RETURN, .taken = MAP_NONE, .next = MAP_NONE}};
	struct map_function function;
	struct map m = small_map(b, 1, &function);
	struct module_identity module = {.file_size = 1, .text_hash = 2, .path = (char *)"other"};
	struct profile p = {.modules = &module, .module_count = 1};
	struct flow f = {.sampled_total = 77};
	struct err e = {0};
	assert_int_equal(flow_infer(&m, &p, 0, &f, &e), -ERR_MISMATCH);
	assert_int_equal(f.sampled_total, 77);
	assert_int_equal(flow_infer(&m, &p, 5, &f, &e), -ERR_MISMATCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_graphs_conserve_flow),
	    cmocka_unit_test(unsampled_way_into_a_sampled_loop_is_found),
	    cmocka_unit_test(unsampled_middle_prefers_the_way_that_returns),
	    cmocka_unit_test(exposure_decides_what_an_unsampled_arm_gets),
	    cmocka_unit_test(exact_counts_are_copied),
	    cmocka_unit_test(repeated_string_instruction_does_not_inflate_its_block),
	    cmocka_unit_test(profile_of_another_module_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
