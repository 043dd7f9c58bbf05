/* The emitter on a module small enough to be run: what the image computes is what the original computes, in any order of its blocks. */
#include "analyze/emit/emit.h"

#include "analyze/emit/validate.h"
#include "analyze/layout/random.h"
#include "tests/unit/analyze/tiny_module.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>

#include <cmocka.h>

typedef long (*function)(long);

struct loaded {
	uint8_t *base;
	size_t size;
};

/* All blocks, or about `keep` of 100 of them, shuffled when `seed` is not 0. */
static struct layout order_of(const struct map *map, uint64_t seed, unsigned keep)
{
	struct layout layout = {.blocks = malloc((map->block_count + 1) * sizeof *layout.blocks)};
	assert_non_null(layout.blocks);
	for (uint32_t b = 0; b < map->block_count; b++)
		if (keep >= 100 || random_below(&seed, 100) < keep)
			layout.blocks[layout.count++] = b;
	for (size_t i = layout.count; seed && i > 1; i--) {
		size_t k = random_below(&seed, i);
		uint32_t swap = layout.blocks[i - 1];
		layout.blocks[i - 1] = layout.blocks[k];
		layout.blocks[k] = swap;
	}
	return layout;
}

static struct plan_module emit(const struct tiny *t, struct layout layout, uint32_t alignment)
{
	struct emit_options options = emit_options_default();
	struct emit_report report;
	struct plan_module module;
	struct err e = {0};
	options.reentry_everywhere = true;
	options.function_alignment = alignment;
	if (emit_module_with(&t->image, &t->linear.map, NULL, &layout, &options, &module, &report, &e))
		fail_msg("%s", e.text);
	assert_int_equal(report.dropped_count, 0);
	emit_report_free(&report);
	layout_free(&layout);
	return module;
}

/* What apply does: the region somewhere in reach, relocated by its distance from where it was linked. */
static struct loaded load(const struct plan_module *m)
{
	struct loaded l = {.size = (m->code_size + 4095u) & ~4095u};
	uint64_t bias = (uintptr_t)tiny_begin - TINY_VADDR;
	uint8_t *hint = (uint8_t *)((uintptr_t)tiny_begin & ~0xfffull) - (512u << 20);
	l.base = mmap(hint, l.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(l.base != MAP_FAILED);
	memcpy(l.base, m->code, m->code_size);
	uint64_t delta = (uintptr_t)l.base - bias - m->region_vaddr;
	for (uint32_t i = 0; i < m->relocation_count; i++)
		store_u32(l.base + m->relocations[i], load_u32(l.base + m->relocations[i]) - (uint32_t)delta);
	assert_int_equal(mprotect(l.base, l.size, PROT_READ | PROT_EXEC), 0);
	return l;
}

static const struct plan_function *function_at(const struct plan_module *m, const uint8_t *start)
{
	for (uint32_t i = 0; i < m->function_count; i++)
		if (TINY_VADDR + m->functions[i].start == tiny_vaddr(start))
			return &m->functions[i];
	return NULL;
}

static function as_function(const uint8_t *code)
{
	function f;
	memcpy(&f, &code, sizeof f);
	return f;
}

/* Runs every function from the image's entry and from the original, for a few arguments. */
static void compare_results(const struct plan_module *m)
{
	const uint8_t *const functions[] = {tiny_sum, tiny_step, tiny_loop, tiny_jump, tiny_callee};
	struct loaded l = load(m);
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		const struct plan_function *f = function_at(m, functions[i]);
		for (long n = 0; f && f->entry != PLAN_NONE && n < 40; n++)
			assert_int_equal(as_function(l.base + f->entry)(n), as_function(functions[i])(n));
	}
	assert_int_equal(munmap(l.base, l.size), 0);
}

static void assert_proven(const struct tiny *t, const struct plan_module *m)
{
	struct err e = {0};
	if (validate_module(&t->image, m, &e))
		fail_msg("%s", e.text);
}

static void any_order_computes_the_same(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct plan_module m = emit(&t, order_of(&t.linear.map, seed, seed % 3 ? 75 : 100), seed % 4 ? 0 : 16);
		assert_proven(&t, &m);
		compare_results(&m);
		plan_module_free(&m);
	}
	tiny_free(&t);
}

static uint32_t count_runs(const struct plan_module *m, unsigned kind)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < m->run_count; i++)
		n += m->runs[i].kind == kind;
	return n;
}

static void original_order_needs_no_jumps_but_exits(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	struct plan_module m = emit(&t, order_of(&t.linear.map, 0, 100), 0);
	/* The ways home behind ud2; two jumps after each of jrcxz and loop. */
	assert_int_equal(count_runs(&m, PLAN_RUN_INSERTED), 1 + 2 * 2);
	assert_int_equal(count_runs(&m, PLAN_RUN_DELETED), 0);
	plan_module_free(&m);
	tiny_free(&t);
}

static void calls_to_stubs_go_through_their_slot(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	struct plan_module m = emit(&t, order_of(&t.linear.map, 0, 100), 0);
	/* A call and a jump to the stub, and the original's own call through the slot. */
	assert_int_equal(m.slot_count, 3);
	unsigned calls = 0;
	for (uint32_t i = 0; i < m.slot_count; i++) {
		assert_int_equal(m.slots[i].slot, tiny_vaddr(tiny_slot));
		assert_int_equal(m.code[m.slots[i].at], 0xff);
		calls += m.code[m.slots[i].at + 1] == 0x15;
		assert_true(m.code[m.slots[i].at + 1] == 0x15 || m.code[m.slots[i].at + 1] == 0x25);
	}
	assert_int_equal(calls, 2);
	plan_module_free(&m);
	tiny_free(&t);
}

static void entry_patch_stands_behind_endbr(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	struct plan_module m = emit(&t, order_of(&t.linear.map, 0, 100), 0);
	const struct plan_function *f = function_at(&m, tiny_sum);
	const struct plan_patch *patch = &m.patches[f->first_patch];
	assert_int_equal(patch->kind, PLAN_PATCH_ENTRY);
	assert_int_equal(patch->at, f->start + 4);
	assert_int_equal(patch->target, f->entry + 4);
	assert_memory_equal(patch->original, tiny_sum + 4, PLAN_PATCH_SIZE);
	plan_module_free(&m);
	tiny_free(&t);
}

/* A breakpoint on the first byte must not be in the way. */
static void entry_patch_stands_behind_the_first_instruction_where_it_can(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	struct plan_module m = emit(&t, order_of(&t.linear.map, 0, 100), 0);
	const struct {
		const uint8_t *function;
		uint32_t behind; /* 0: the function ends too soon, or a loop begins too soon */
	} cases[] = {{tiny_step, 2}, {tiny_jump, 7}, {tiny_loop, 0}, {tiny_callee, 0}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct plan_function *f = function_at(&m, cases[i].function);
		const struct plan_patch *patch = &m.patches[f->first_patch];
		assert_true(f->patch_count);
		assert_int_equal(patch->kind, PLAN_PATCH_ENTRY);
		assert_int_equal(patch->at, f->start + cases[i].behind);
		assert_int_equal(patch->target, f->entry + cases[i].behind);
		assert_memory_equal(patch->original, cases[i].function + cases[i].behind, PLAN_PATCH_SIZE);
	}
	plan_module_free(&m);
	tiny_free(&t);
}

static void short_function_is_padded_and_not_patched(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	struct plan_module m = emit(&t, order_of(&t.linear.map, 0, 100), 0);
	const struct plan_function *f = function_at(&m, tiny_short);
	static const uint8_t expected[PLAN_PATCH_SIZE] = {0xc3, 0xcc, 0xcc, 0xcc, 0xcc};
	assert_int_equal(f->patch_count, 0);
	assert_memory_equal(m.code + f->entry, expected, sizeof expected);
	plan_module_free(&m);
	tiny_free(&t);
}

/* With only the entry block in the layout the blocks under the patch are added. */
static void blocks_under_a_patch_are_added(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	uint32_t step = map_function_at(&t.linear.map, (uint32_t)(tiny_vaddr(tiny_loop) - TINY_VADDR));
	struct layout layout = {.blocks = malloc(sizeof *layout.blocks), .count = 1};
	assert_non_null(layout.blocks);
	layout.blocks[0] = t.linear.map.functions[step].first_block;
	struct plan_module m = emit(&t, layout, 0);
	assert_proven(&t, &m);
	assert_int_equal(m.function_count, 1);
	assert_true(m.patch_count >= 1);
	plan_module_free(&m);
	tiny_free(&t);
}

static void function_that_cannot_be_copied_is_dropped_and_reported(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	struct layout layout = order_of(&t.linear.map, 0, 100);
	uint32_t loop = map_function_at(&t.linear.map, (uint32_t)(tiny_vaddr(tiny_loop) - TINY_VADDR));
	/* A map that lies about where a block ends. */
	t.linear.map.blocks[t.linear.map.functions[loop].first_block].size--;
	struct emit_options options = emit_options_default();
	struct emit_report report;
	struct plan_module m;
	assert_int_equal(emit_module_with(&t.image, &t.linear.map, NULL, &layout, &options, &m, &report, NULL), 0);
	assert_int_equal(report.dropped_count, 1);
	assert_int_equal(report.dropped[0].function, loop);
	assert_null(function_at(&m, tiny_loop));
	assert_proven(&t, &m);
	compare_results(&m);
	emit_report_free(&report);
	plan_module_free(&m);
	layout_free(&layout);
	tiny_free(&t);
}

static void map_of_another_file_is_refused(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	struct layout layout = order_of(&t.linear.map, 0, 100);
	struct plan_module m;
	uint32_t dropped;
	struct err e;
	t.image.identity.build_id[0]++;
	assert_int_equal(emit_module(&t.image, &t.linear.map, NULL, &layout, &m, &dropped, &e), -ERR_MISMATCH);
	layout_free(&layout);
	tiny_free(&t);
}

static void block_twice_is_an_error(void **state)
{
	(void)state;
	struct tiny t;
	tiny_make(&t);
	struct layout layout = order_of(&t.linear.map, 0, 100);
	struct plan_module m;
	uint32_t dropped;
	layout.blocks[1] = layout.blocks[0];
	assert_int_equal(emit_module(&t.image, &t.linear.map, NULL, &layout, &m, &dropped, NULL), -ERR_INTERNAL);
	layout_free(&layout);
	tiny_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(any_order_computes_the_same),
	    cmocka_unit_test(original_order_needs_no_jumps_but_exits),
	    cmocka_unit_test(calls_to_stubs_go_through_their_slot),
	    cmocka_unit_test(entry_patch_stands_behind_endbr),
	    cmocka_unit_test(entry_patch_stands_behind_the_first_instruction_where_it_can),
	    cmocka_unit_test(short_function_is_padded_and_not_patched),
	    cmocka_unit_test(blocks_under_a_patch_are_added),
	    cmocka_unit_test(function_that_cannot_be_copied_is_dropped_and_reported),
	    cmocka_unit_test(map_of_another_file_is_refused),
	    cmocka_unit_test(block_twice_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
