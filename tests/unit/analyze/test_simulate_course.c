/*
 * The simulator on a hand-made module:
 *
 *   main   0x000 A: 16 bytes, 4 instructions; calls leaf at its end, then falls into B
 *          0x010 B: 8 bytes, 2 instructions; branches back to A, 999 times of 1000
 *          0x018 C: 8 bytes, 2 instructions; returns
 *   leaf   0x100 D: 16 bytes, 4 instructions; returns
 */
#include "analyze/simulate/course.h"
#include "analyze/simulate/lackey.h"
#include "analyze/simulate/stacks.h"

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
	struct course_result result;
	fixture_init(&x, true, true);
	struct course_options options = course_options_default();
	options.instructions = 2000000;
	options.episode = 100000;
	assert_int_equal(course_run(&options, &x.follow, &result, NULL), 0);
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
		struct course_result result;
		fixture_init(&x, true, true);
		struct course_options options = course_options_default();
		options.instructions = options.episode = 500000;
		options.seed = i < 2 ? 7 : 8;
		assert_int_equal(course_run(&options, &x.follow, &result, NULL), 0);
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
	assert_true(x.machine.in_image);
	assert_int_equal(after->taken, 1);
	assert_int_equal(before->taken, 0);
	follow_to(&x.follow, 3); /* the direct call goes to the copy */
	assert_true(x.machine.in_image);
	assert_int_equal(after->exits, 0);
	follow_to(&x.follow, 1); /* and back */
	assert_true(x.machine.in_image);
	assert_int_equal(x.follow.depth, 0);
	assert_int_equal(after->taken, 3);
	assert_int_equal(before->taken, 2);
	follow_to(&x.follow, 0); /* the branch back */
	follow_to(&x.follow, 3);
	follow_to(&x.follow, 1);
	assert_int_equal(after->taken, 6);
	follow_to(&x.follow, 2); /* out, by the added jump; in the original it falls through */
	assert_false(x.machine.in_image);
	assert_int_equal(after->exits, 1);
	assert_int_equal(after->taken, 7);
	assert_int_equal(before->taken, 5);
	assert_int_equal(machine_finish(&x.machine, NULL), 0);
	assert_int_equal(before->bytes, 48);
	/* 5 bytes of the patch, C, the 45 of the image */
	assert_int_equal(after->bytes, 5 + 8 + 45);
	fixture_free(&x);
}

static int replay_text(struct fixture *x, const char *text, struct lackey_result *ret_result, struct err *e)
{
	FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	assert_non_null(file);
	struct lackey_options options = {0};
	int status = lackey_replay(file, "trace", &options, &x->follow, ret_result, e);
	fclose(file);
	return status;
}

static void trace_is_replayed_exactly(void **state)
{
	(void)state;
	struct fixture x;
	struct lackey_result result;
	struct err e = {0};
	fixture_init(&x, false, true);
	const char *text = "==1== Lackey\n--1-- Reading syms from /bin/tiny\n--1--    svma 0x0000001000, avma 0x0004001000\n"
			   "SB 04001000\nSB 04001100\nSB 04001010\nSB 04001000\nSB 04001100\nSB 04001010\nSB 04001018\nSB 0badc0de\n";
	assert_int_equal(replay_text(&x, text, &result, &e), 0);
	assert_int_equal(result.superblocks, 8);
	assert_int_equal(result.outside, 1);
	assert_int_equal(result.modules, 1);
	assert_int_equal(x.machine.insns, (2 * (4 + 4 + 2) + 2) * PROGRAM_INSN_UNIT);
	assert_int_equal(x.machine.before.counts.taken, 5);
	assert_int_equal(x.machine.after.counts.taken, 7);
	fixture_free(&x);
}

/* A superblock that ended by its length, and a string instruction that repeats, go on in the middle of a block. */
static void superblock_in_the_middle_of_a_block_goes_on(void **state)
{
	(void)state;
	struct fixture x;
	struct lackey_result result;
	fixture_init(&x, false, false);
	const char *text =
	    "--1-- Reading syms from /other/dir/tiny\n--1--    svma 0x1000, avma 0x1000\nSB 1100\nSB 1108\nSB 1108\nSB 1108\n";
	assert_int_equal(replay_text(&x, text, &result, NULL), 0);
	assert_int_equal(x.machine.insns, (4 + 2) * PROGRAM_INSN_UNIT);
	fixture_free(&x);
}

static void bad_traces_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum err_code code;
		const char *says;
	} bad[] = {
	    {"hello\n", ERR_FORMAT, "no line"},
	    {"", ERR_FORMAT, "no line"},
	    {"SB 1000\n", ERR_MISMATCH, "where"},
	    {"--1-- Reading syms from /bin/other\n--1--  svma 0x1000, avma 0x1000\nSB 1000\n", ERR_MISMATCH, "where"},
	    {"x\nSB 10z0\n", ERR_FORMAT, "trace:2"},
	    {"SB \n", ERR_FORMAT, "trace:1"},
	    {"SB 11112222333344445\n", ERR_FORMAT, "trace:1"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct fixture x;
		struct lackey_result result;
		struct err e = {0};
		fixture_init(&x, false, false);
		assert_int_equal(replay_text(&x, bad[i].text ? bad[i].text : "", &result, &e), -(int)bad[i].code);
		assert_non_null(strstr(e.text, bad[i].says));
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
	    cmocka_unit_test(trace_is_replayed_exactly),
	    cmocka_unit_test(superblock_in_the_middle_of_a_block_goes_on),
	    cmocka_unit_test(bad_traces_are_refused),
	    cmocka_unit_test(branch_stacks_are_replayed_in_order),
	    cmocka_unit_test(deep_recursion_forgets_the_oldest_callers),
	    cmocka_unit_test(plan_of_another_module_is_named),
	    cmocka_unit_test(profile_of_another_module_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
