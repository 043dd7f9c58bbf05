/*
 * The simulator on a hand-made module:
 *
 *   main   0x000 A: 16 bytes, 4 instructions; calls leaf at its end, then falls into B
 *          0x010 B: 8 bytes, 2 instructions; branches back to A, 999 times of 1000
 *          0x018 C: 8 bytes, 2 instructions; returns
 *   leaf   0x100 D: 16 bytes, 4 instructions; returns
 */
#include "analyze/simulate/drawn.h"
#include "analyze/simulate/recorded.h"
#include "analyze/simulate/stacks.h"
#include "tests/golden/stream_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEXT 0x1000

struct fixture {
	struct map_function functions[2];
	struct map_block blocks[4];
	struct map_call calls[1];
	struct map map;
	struct profile_count counts[10];
	struct profile_edge edges[2];
	struct profile profile;
	struct plan_function plan_functions[2];
	struct plan_patch patches[2];
	struct plan_run runs[6];
	uint8_t code[64];
	struct plan_module plan_module;
	struct plan plan;
	struct program program;
	struct place place;
	struct machine machine;
	struct follow follow;
};

static const struct module_identity identity = {.build_id = {1}, .build_id_size = 20, .path = (char *)"/bin/tiny"};

static void make_map(struct fixture *x)
{
	x->functions[0] = (struct map_function){.start = 0, .size = 0x50, .parent = 0, .first_block = 0, .block_count = 3};
	x->functions[1] = (struct map_function){.start = 0x100, .size = 16, .parent = 1, .first_block = 3, .block_count = 1};
	x->blocks[0] = (struct map_block){0, 16, MAP_NONE, 1, 4, MAP_FALLS, MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET};
	x->blocks[1] = (struct map_block){16, 8, 0, 2, 2, MAP_BRANCH, 0};
	x->blocks[2] = (struct map_block){24, 8, MAP_NONE, MAP_NONE, 2, MAP_RETURN, 0};
	x->blocks[3] = (struct map_block){0x100, 16, MAP_NONE, MAP_NONE, 4, MAP_RETURN, MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET};
	x->calls[0] = (struct map_call){11, 0, 0x100, 5, MAP_CALL_DIRECT};
	x->map = (struct map){.module = identity,
			      .text_base = TEXT,
			      .text_size = 0x1000,
			      .functions = x->functions,
			      .blocks = x->blocks,
			      .calls = x->calls,
			      .strings = (char *)"",
			      .function_count = 2,
			      .block_count = 4,
			      .call_count = 1,
			      .string_size = 1};
}

/* main runs once, its loop 1000 times. */
static void make_profile(struct fixture *x)
{
	static const uint32_t at[] = {0, 3, 7, 11, 16, 20, 24, 28, 0x100, 0x108};
	for (size_t i = 0; i < 10; i++)
		x->counts[i] = (struct profile_count){TEXT + at[i], i == 6 || i == 7 ? 1 : 1000, 0};
	x->edges[0] = (struct profile_edge){TEXT + 11, TEXT + 0x100, 1000, 0, 0, 0, PROFILE_EDGE_CALL};
	x->edges[1] = (struct profile_edge){TEXT + 20, TEXT, 999, 0, 0, 0, PROFILE_EDGE_JUMP};
	x->profile = (struct profile){.info = {.source = PROFILE_EXACT},
				      .modules = (struct module_identity *)&identity,
				      .counts = x->counts,
				      .edges = x->edges,
				      .module_count = 1,
				      .count_count = 10,
				      .edge_count = 2};
}

/* The image: A, then B, then D: C stays where it was, so leaving the loop needs the added jump. */
static void make_plan(struct fixture *x)
{
	x->runs[0] = (struct plan_run){0, 0, 24, 24, PLAN_RUN_COPY};
	x->runs[1] = (struct plan_run){24, 24, 5, 0, PLAN_RUN_INSERTED};
	x->runs[2] = (struct plan_run){29, 0x100, 16, 16, PLAN_RUN_COPY};
	x->patches[0] = (struct plan_patch){.at = 0, .target = 0, .function = 0};
	x->patches[1] = (struct plan_patch){.at = 0x100, .target = 29, .function = 1};
	x->plan_module = (struct plan_module){.module = identity,
					      .text_base = TEXT,
					      .text_size = 0x1000,
					      .code = x->code,
					      .code_size = 45,
					      .patches = x->patches,
					      .runs = x->runs,
					      .patch_count = 2,
					      .run_count = 3};
	x->plan = (struct plan){.modules = &x->plan_module, .module_count = 1};
}

static void fixture_init(struct fixture *x, bool has_profile, bool has_plan)
{
	*x = (struct fixture){0};
	make_map(x);
	make_profile(x);
	if (has_plan)
		make_plan(x);
	struct machine_options options = machine_options_default();
	struct err e = {0};
	if (program_init(&x->program, has_profile ? &x->profile : NULL, &x->map, 1, &e) ||
	    place_init(&x->place, &x->program, &x->plan, &e) || machine_init(&x->machine, &x->program, &x->place, &options, &e) ||
	    follow_init(&x->follow, &x->machine, &e))
		fail_msg("%s", e.text);
}

static void fixture_free(struct fixture *x)
{
	follow_free(&x->follow);
	machine_free(&x->machine);
	place_free(&x->place);
	program_free(&x->program);
}

static void blocks_are_cut_behind_calls(void **state)
{
	(void)state;
	struct fixture x;
	fixture_init(&x, true, false);
	const struct program *p = &x.program;
	assert_int_equal(p->node_count, 4);
	assert_int_equal(p->nodes[0].kind, PROGRAM_CALL);
	assert_int_equal(p->nodes[0].next, 1);
	assert_int_equal(p->nodes[0].size, 16);
	assert_int_equal(p->nodes[1].arc_count, 2);
	assert_int_equal(p->nodes[3].kind, PROGRAM_RETURN);
	assert_int_equal(p->arcs[p->nodes[0].first_arc].to, 3);
	/* Only main is entered by nobody: once, beside the 999 jumps back. */
	assert_int_equal(p->pool_count, 1);
	assert_int_equal(p->pool[0].node, 0);
	assert_int_equal(p->pool[0].count, 1);
	fixture_free(&x);
}

static void drawn_course_runs_each_block_in_its_share(void **state)
{
	(void)state;
	struct fixture x;
	struct drawn_result result;
	fixture_init(&x, true, true);
	struct drawn_options options = drawn_options_default();
	options.instructions = 2000000;
	options.episode = 100000;
	assert_int_equal(drawn_run(&options, &x.follow, &result, NULL), 0);
	assert_int_equal(machine_finish(&x.machine, NULL), 0);
	assert_int_equal(result.episodes, 20);
	assert_true(result.deviation < 0.01);
	/* In the ten instructions of a round: call, return and jump back. */
	double taken = (double)x.machine.before.counts.taken / machine_instructions(&x.machine);
	assert_true(taken > 0.298 && taken < 0.302);
	/* The whole program is five lines, so only the first touch of each can miss, and that is while the caches warm. */
	assert_int_equal(x.machine.before.counts.cache_misses, 0);
	assert_int_equal(x.machine.before.counts.lines, 2);
	assert_int_equal(x.machine.before.counts.bytes, 48);
	fixture_free(&x);
}

static void same_seed_gives_the_same_counts_another_seed_others(void **state)
{
	(void)state;
	struct machine_counts counts[3];
	for (int i = 0; i < 3; i++) {
		struct fixture x;
		struct drawn_result result;
		fixture_init(&x, true, true);
		struct drawn_options options = drawn_options_default();
		options.instructions = options.episode = 500000;
		options.seed = i < 2 ? 7 : 8;
		assert_int_equal(drawn_run(&options, &x.follow, &result, NULL), 0);
		assert_int_equal(machine_finish(&x.machine, NULL), 0);
		counts[i] = x.machine.after.counts;
		fixture_free(&x);
	}
	assert_memory_equal(&counts[0], &counts[1], sizeof counts[0]);
	assert_memory_not_equal(&counts[0], &counts[2], sizeof counts[0]);
}

/* Two rounds of the loop, step by step, in both layouts. */
static void steps_in_the_image_and_out_of_it(void **state)
{
	(void)state;
	struct fixture x;
	fixture_init(&x, false, true);
	const struct machine_counts *after = &x.machine.after.counts, *before = &x.machine.before.counts;
	follow_start(&x.follow, 0); /* through the patch at the entry */
	assert_true(x.machine.at.in_image);
	assert_int_equal(after->taken, 1);
	assert_int_equal(before->taken, 0);
	follow_to(&x.follow, 3); /* the direct call goes to the copy */
	assert_true(x.machine.at.in_image);
	assert_int_equal(after->exits, 0);
	follow_to(&x.follow, 1); /* and back */
	assert_true(x.machine.at.in_image);
	assert_int_equal(x.follow.depth, 0);
	assert_int_equal(after->taken, 3);
	assert_int_equal(before->taken, 2);
	follow_to(&x.follow, 0); /* the branch back */
	follow_to(&x.follow, 3);
	follow_to(&x.follow, 1);
	assert_int_equal(after->taken, 6);
	follow_to(&x.follow, 2); /* out, by the added jump; in the original it falls through */
	assert_false(x.machine.at.in_image);
	assert_int_equal(after->exits, 1);
	assert_int_equal(after->taken, 7);
	assert_int_equal(before->taken, 5);
	assert_int_equal(machine_finish(&x.machine, NULL), 0);
	assert_int_equal(before->bytes, 48);
	/* 5 bytes of the patch, C, the 45 of the image */
	assert_int_equal(after->bytes, 5 + 8 + 45);
	fixture_free(&x);
}

#define ELSEWHERE 0xbadc0de

struct piece {
	uint32_t thread;
	bool gap;
	uint32_t offsets[8]; /* in the text; ends with UINT32_MAX */
};

static struct file_data make_course(const struct piece *pieces, size_t count)
{
	struct profile_info info = sample_profile_info();
	struct profile_stream *s;
	struct writer w = {0};
	struct err e = {0};
	uint32_t module;
	int fd = memfd_create("course", 0);
	if (profile_stream_open(fd, "memfd", &info, &s, &e) || profile_stream_module(s, &identity, &module, &e))
		fail_msg("%s", e.text);
	for (size_t i = 0; i < count; i++) {
		struct profile_place steps[8];
		struct profile_window window = {.thread = pieces[i].thread, .gap = pieces[i].gap};
		size_t n = 0;
		for (; n < 8 && pieces[i].offsets[n] != UINT32_MAX; n++)
			steps[n] = (struct profile_place){TEXT + pieces[i].offsets[n],
							  pieces[i].offsets[n] == ELSEWHERE ? PROFILE_NO_MODULE : module};
		if (profile_stream_course(s, &window, steps, n, &e))
			fail_msg("%s", e.text);
	}
	if (profile_stream_close(s, &info, &e) || stream_take(fd, &w, &e))
		fail_msg("%s", e.text);
	return (struct file_data){.data = w.data, .size = w.size};
}

static struct recorded_result replay(struct fixture *x, const struct piece *pieces, size_t count, uint64_t instructions)
{
	struct file_data file = make_course(pieces, count);
	struct recorded_options options = {.instructions = instructions};
	struct recorded_result result;
	struct err e = {0};
	if (recorded_replay(&file, "course", 1, &options, &x->machine, &result, &e))
		fail_msg("%s", e.text);
	file_data_free(&file);
	return result;
}

static void course_is_replayed_exactly(void **state)
{
	(void)state;
	struct fixture x;
	const struct piece pieces[] = {{1, false, {0, 0x100, 16, 0, 0x100, 16, 24, ELSEWHERE}}};
	fixture_init(&x, false, true);
	struct recorded_result result = replay(&x, pieces, 1, 0);
	assert_int_equal(result.steps, 8);
	assert_int_equal(result.outside, 1);
	assert_int_equal(result.gaps, 0);
	assert_int_equal(x.machine.insns, (2 * (4 + 4 + 2) + 2) * PROGRAM_INSN_UNIT);
	assert_int_equal(x.machine.before.counts.taken, 5);
	assert_int_equal(x.machine.after.counts.taken, 7);
	fixture_free(&x);
}

/* A superblock that ended by its length, and a string instruction that repeats, go on in the middle of a block. */
static void step_in_the_middle_of_a_block_goes_on(void **state)
{
	(void)state;
	struct fixture x;
	const struct piece pieces[] = {{1, false, {0x100, 0x108, 0x108, 0x108, UINT32_MAX}}};
	fixture_init(&x, false, false);
	replay(&x, pieces, 1, 0);
	assert_int_equal(x.machine.insns, (4 + 2) * PROGRAM_INSN_UNIT);
	fixture_free(&x);
}

/* B branches to A, not to itself: what repeats is its first instruction. */
static void repeated_first_instruction_counts_once_each_time(void **state)
{
	(void)state;
	struct fixture x;
	const struct piece pieces[] = {{1, false, {16, 16, 16, 24, UINT32_MAX}}};
	fixture_init(&x, false, false);
	replay(&x, pieces, 1, 0);
	assert_int_equal(x.machine.insns, (2 + 1 + 1 + 2) * PROGRAM_INSN_UNIT);
	fixture_free(&x);
}

/* A falls into B, which branches back: a loop of two blocks has one step a round. */
static void loop_over_several_blocks_is_no_repetition(void **state)
{
	(void)state;
	struct fixture x;
	const struct piece pieces[] = {{1, false, {0, 0, 0, 24, UINT32_MAX}}};
	fixture_init(&x, false, false);
	x.map.call_count = 0;
	program_free(&x.program);
	place_free(&x.place);
	assert_int_equal(program_init(&x.program, NULL, &x.map, 1, NULL), 0);
	assert_int_equal(place_init(&x.place, &x.program, &x.plan, NULL), 0);
	replay(&x, pieces, 1, 0);
	assert_int_equal(x.machine.insns, (3 * (4 + 2) + 2) * PROGRAM_INSN_UNIT);
	assert_int_equal(x.machine.before.counts.taken, 2);
	fixture_free(&x);
}

static void every_instruction_as_a_step_is_the_same_course(void **state)
{
	(void)state;
	struct fixture x;
	const struct piece pieces[] = {{1, false, {0, 3, 7, 11, 0x100, 0x104, 0x108, 0x10c}}, {1, false, {16, 20, 24, 28, UINT32_MAX}}};
	fixture_init(&x, false, true);
	replay(&x, pieces, 2, 0);
	assert_int_equal(x.machine.insns, (4 + 4 + 2 + 2) * PROGRAM_INSN_UNIT);
	assert_int_equal(x.machine.before.counts.taken, 2);
	fixture_free(&x);
}

/* Both threads call leaf; each returns to where it was called from, the one to the image. */
static void threads_have_their_own_callers(void **state)
{
	(void)state;
	struct fixture x;
	const struct piece pieces[] = {
	    {1, false, {0, 0x100, UINT32_MAX}}, {2, false, {24, 0x100, UINT32_MAX}}, {1, false, {16, UINT32_MAX}}};
	fixture_init(&x, false, true);
	replay(&x, pieces, 3, 0);
	assert_true(x.machine.at.in_image); /* B, as the call in A was made there */
	assert_int_equal(x.machine.insns, (4 + 4 + 2 + 4 + 2) * PROGRAM_INSN_UNIT);
	/* call and return of the first; C does not call leaf: nothing is known of how the second came there, so both its steps are apart */
	assert_int_equal(x.machine.before.counts.taken, 3);
	fixture_free(&x);
}

static void more_threads_than_are_kept_forget_their_callers(void **state)
{
	(void)state;
	struct fixture x;
	struct piece pieces[2 * RECORDED_THREADS_MAX + 2];
	size_t n = 0;
	pieces[n++] = (struct piece){0, false, {0, 0x100, UINT32_MAX}};
	for (uint32_t i = 1; i <= 2 * RECORDED_THREADS_MAX; i++)
		pieces[n++] = (struct piece){i, false, {24, UINT32_MAX}};
	pieces[n++] = (struct piece){0, false, {16, UINT32_MAX}};
	fixture_init(&x, false, true);
	replay(&x, pieces, n, 0);
	assert_false(x.machine.at.in_image);
	fixture_free(&x);
}

/* Nothing leads over a gap: no branch, no return; and the first quarter of what comes after is not counted. */
static void gap_breaks_the_course_and_warms_up(void **state)
{
	(void)state;
	struct fixture x;
	const struct piece pieces[] = {{1, false, {0, 0x100, UINT32_MAX}}, {1, true, {16, 0, 0x100, 16, 0, 0x100, 16, 24}}};
	fixture_init(&x, false, true);
	struct recorded_result result = replay(&x, pieces, 2, 0);
	assert_int_equal(result.gaps, 1);
	assert_int_equal(machine_finish(&x.machine, NULL), 0);
	assert_int_equal((int)machine_instructions(&x.machine), 4 + 4 + (4 + 2 + 4 + 4 + 2 + 2));
	assert_int_equal(x.machine.before.counts.taken, 1 + 5);
	fixture_free(&x);
}

static void course_stops_at_the_limit_also_while_it_warms_up(void **state)
{
	(void)state;
	const struct piece pieces[] = {{1, true, {0, 0x100, 16, 0, 0x100, 16, 24, 0}}, {1, false, {0, UINT32_MAX}}};
	for (uint64_t limit = 1; limit < 20; limit++) {
		struct fixture x;
		fixture_init(&x, false, false);
		struct recorded_result result = replay(&x, pieces, 2, limit);
		assert_true(x.machine.insns >= limit * PROGRAM_INSN_UNIT && x.machine.insns <= (limit + 4) * PROGRAM_INSN_UNIT);
		assert_true(result.steps < 8);
		assert_true(machine_instructions(&x.machine) < (double)limit + 4);
		fixture_free(&x);
	}
}

static void branch_stacks_are_replayed_in_order(void **state)
{
	(void)state;
	struct fixture x;
	struct stacks_result result;
	fixture_init(&x, true, true);
	/* Newest first: B -> A, D -> B (return), A -> D (call). Two stacks. */
	struct profile_branch branches[] = {
	    {TEXT + 20, TEXT, 0, 0, 0}, {TEXT + 0x108, TEXT + 16, 0, 0, 0}, {TEXT + 11, TEXT + 0x100, 0, 0, 0}};
	struct profile_sample samples[] = {{.address = TEXT, .first_branch = 0, .branch_count = 3},
					   {.address = TEXT, .first_branch = 0, .branch_count = 3}};
	x.profile.branches = branches;
	x.profile.branch_count = 3;
	x.profile.samples = samples;
	x.profile.sample_count = 2;
	stacks_replay(&x.profile, 0, &x.follow, &result);
	assert_int_equal(result.samples, 2);
	assert_int_equal(result.branches, 6);
	assert_int_equal(result.outside, 0);
	assert_int_equal(x.machine.insns, 2 * (4 + 2 + 4) * PROGRAM_INSN_UNIT); /* D, B, A */
	assert_int_equal(x.machine.before.counts.taken, 2 * 2);
	stacks_replay(&x.profile, 100, &x.follow, &result);
	assert_true(result.samples > 2);
	fixture_free(&x);
}

/* 400 rounds of ten instructions; of a long stack the first quarter is not counted. */
static void long_stacks_warm_up(void **state)
{
	(void)state;
	enum { COUNT = 1200 };
	static struct profile_branch branches[COUNT];
	struct fixture x;
	struct stacks_result result;
	struct profile_sample sample = {.address = TEXT, .branch_count = COUNT};
	fixture_init(&x, true, true);
	for (int i = 0; i < COUNT; i += 3) {
		branches[i] = (struct profile_branch){TEXT + 20, TEXT, 0, 0, 0};
		branches[i + 1] = (struct profile_branch){TEXT + 0x108, TEXT + 16, 0, 0, 0};
		branches[i + 2] = (struct profile_branch){TEXT + 11, TEXT + 0x100, 0, 0, 0};
	}
	x.profile.branches = branches;
	x.profile.branch_count = COUNT;
	x.profile.samples = &sample;
	x.profile.sample_count = 1;
	stacks_replay(&x.profile, 0, &x.follow, &result);
	assert_int_equal(x.machine.insns, COUNT / 3 * 10 * PROGRAM_INSN_UNIT);
	assert_int_equal(machine_finish(&x.machine, NULL), 0);
	assert_int_equal((int)machine_instructions(&x.machine), COUNT / 4 * 10);
	assert_int_equal(x.machine.before.counts.cache_misses, 0);
	fixture_free(&x);
}

static void deep_recursion_forgets_the_oldest_callers(void **state)
{
	(void)state;
	struct fixture x;
	fixture_init(&x, false, false);
	for (uint32_t i = 0; i < 3 * FOLLOW_DEPTH_MAX; i++)
		follow_push(&x.follow, i == 3 * FOLLOW_DEPTH_MAX - 1 ? 1 : 2, false);
	assert_true(x.follow.depth <= FOLLOW_DEPTH_MAX);
	assert_true(follow_return(&x.follow));
	assert_int_equal(x.follow.last, 1);
	fixture_free(&x);
}

static void plan_of_another_module_is_named(void **state)
{
	(void)state;
	struct fixture x;
	struct err e = {0};
	struct place place;
	fixture_init(&x, true, true);
	x.plan_module.module.build_id[0] = 2;
	x.plan_module.module.path = (char *)"/bin/other";
	assert_int_equal(place_init(&place, &x.program, &x.plan, &e), -ERR_MISMATCH);
	assert_non_null(strstr(e.text, "/bin/other"));
	fixture_free(&x);
}

static void profile_of_another_module_is_refused(void **state)
{
	(void)state;
	struct fixture x = {0};
	struct err e = {0};
	struct module_identity other = {.build_id = {9}, .build_id_size = 20, .path = (char *)"/bin/other"};
	make_map(&x);
	make_profile(&x);
	x.profile.modules = &other;
	assert_int_equal(program_init(&x.program, &x.profile, &x.map, 1, &e), -ERR_NO);
	struct map twice[2] = {x.map, x.map};
	assert_int_equal(program_init(&x.program, &x.profile, twice, 2, &e), -ERR_MISMATCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(blocks_are_cut_behind_calls),
	    cmocka_unit_test(drawn_course_runs_each_block_in_its_share),
	    cmocka_unit_test(same_seed_gives_the_same_counts_another_seed_others),
	    cmocka_unit_test(steps_in_the_image_and_out_of_it),
	    cmocka_unit_test(course_is_replayed_exactly),
	    cmocka_unit_test(step_in_the_middle_of_a_block_goes_on),
	    cmocka_unit_test(repeated_first_instruction_counts_once_each_time),
	    cmocka_unit_test(loop_over_several_blocks_is_no_repetition),
	    cmocka_unit_test(every_instruction_as_a_step_is_the_same_course),
	    cmocka_unit_test(threads_have_their_own_callers),
	    cmocka_unit_test(more_threads_than_are_kept_forget_their_callers),
	    cmocka_unit_test(gap_breaks_the_course_and_warms_up),
	    cmocka_unit_test(course_stops_at_the_limit_also_while_it_warms_up),
	    cmocka_unit_test(branch_stacks_are_replayed_in_order),
	    cmocka_unit_test(long_stacks_warm_up),
	    cmocka_unit_test(deep_recursion_forgets_the_oldest_callers),
	    cmocka_unit_test(plan_of_another_module_is_named),
	    cmocka_unit_test(profile_of_another_module_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
