/*
 * sample_plan: a small plan of two modules that uses every array and every special value. It is what tests/golden/plan-1.rplan holds. The
 * code is not meant to be run: only what a reader checks is right.
 */
#ifndef TESTS_GOLDEN_SAMPLE_PLAN_H
#define TESTS_GOLDEN_SAMPLE_PLAN_H

#include "formats/plan.h"

#include <string.h>

#define SAMPLE_PLAN_CODE 64u
#define SAMPLE_PLAN_DATA 128u
#define SAMPLE_PLAN_COUNT(array) (uint32_t)(sizeof(array) / sizeof *(array))

static inline void sample_plan_store(uint8_t *bytes, uint32_t at, uint32_t value)
{
	store_u32(bytes + at, value);
}

/* Below the module, as for a PIE whose first segment is at 0: the address wraps. Points into static arrays. */
static inline struct plan_module sample_plan_module(void)
{
	static char path[] = "/usr/sbin/mariadbd", strings[] = "\0do_command\0";
	static uint8_t code[SAMPLE_PLAN_CODE], data[SAMPLE_PLAN_DATA];
	static uint32_t relocations[] = {10, 18, 50, PLAN_REGION_ALIGN + 40};
	static struct plan_function functions[] = {
	    {.start = 0x100, .size = 0x40, .hash = 0x0123456789abcdef, .entry = 0, .first_patch = 0, .patch_count = 2, .name = 1},
	    {.start = 0x200, .size = 5, .hash = 1, .entry = PLAN_NONE, .first_patch = 2, .patch_count = 0},
	    {.start = 0x300, .size = 5, .hash = 2, .entry = 40, .first_patch = 2, .patch_count = 1},
	};
	static struct plan_patch patches[] = {
	    {.at = 0x104, .target = 0, .function = 0, .original = {1, 2, 3, 4, 5}, .kind = PLAN_PATCH_ENTRY},
	    {.at = 0x120, .target = 22, .function = 0, .original = {0xff, 0, 0, 0, 0xe9}, .kind = PLAN_PATCH_REENTRY},
	    {.at = 0x300, .target = 40, .function = 2, .original = {0x55, 0x48, 0x89, 0xe5, 0x90}, .kind = PLAN_PATCH_ENTRY},
	};
	static struct plan_run runs[] = {
	    {.image = 0, .original = 0x104, .image_size = 8, .original_size = 8, .kind = PLAN_RUN_COPY},
	    {.image = 8, .original = 0x10c, .image_size = 6, .original_size = 5, .kind = PLAN_RUN_REWRITTEN},
	    {.image = 14, .original = 0x111, .image_size = 2, .original_size = 2, .kind = PLAN_RUN_COPY},
	    {.image = 16, .original = 0x400, .image_size = 6, .original_size = 0, .kind = PLAN_RUN_INSERTED},
	    {.image = 22, .original = 0x120, .image_size = 10, .original_size = 10, .kind = PLAN_RUN_COPY},
	    {.image = 22, .original = 0x130, .image_size = 0, .original_size = 5, .kind = PLAN_RUN_DELETED},
	    {.image = 40, .original = 0x300, .image_size = 16, .original_size = 0, .kind = PLAN_RUN_STUB},
	};
	static struct plan_slot slots[] = {{.at = 8, .slot = 0x5000}, {.at = 16, .slot = 0x5008}};
	struct plan_module m = {
	    .module = {.build_id = {9, 8, 7}, .build_id_size = 20, .file_size = 26000000, .text_hash = 77, .path = path},
	    .text_base = 0x1000,
	    .text_size = 0x2000,
	    .load_low = 0,
	    .load_high = 0x8000,
	    .region_vaddr = -(uint64_t)(64 << 20),
	    .code = code,
	    .data = data,
	    .code_size = SAMPLE_PLAN_CODE,
	    .data_offset = PLAN_REGION_ALIGN,
	    .data_size = SAMPLE_PLAN_DATA,
	    .relocations = relocations,
	    .functions = functions,
	    .patches = patches,
	    .runs = runs,
	    .slots = slots,
	    .strings = strings,
	    .relocation_count = SAMPLE_PLAN_COUNT(relocations),
	    .function_count = SAMPLE_PLAN_COUNT(functions),
	    .patch_count = SAMPLE_PLAN_COUNT(patches),
	    .run_count = SAMPLE_PLAN_COUNT(runs),
	    .slot_count = SAMPLE_PLAN_COUNT(slots),
	    .string_size = sizeof strings,
	    .fde_table = PLAN_REGION_ALIGN,
	    .fde_count = 2,
	    .eh_frame = PLAN_REGION_ALIGN + 16,
	    .eh_frame_size = 44,
	    .directory = PLAN_REGION_ALIGN + 64,
	    .directory_entries = 2,
	    .stats = {.functions = 3,
		      .blocks = 5,
		      .hot_bytes = 46,
		      .code_bytes = 64,
		      .weight_total = 1000,
		      .weight_covered = 999,
		      .taken_before = 500,
		      .taken_after = 100,
		      .executed_branches = 700,
		      .pages_before = 2,
		      .pages_after = 1,
		      .lines_before = 4,
		      .lines_after = 1,
		      .exits = 3},
	};
	memset(code, 0xcc, sizeof code);
	for (uint32_t i = 0; i < 2; i++) {
		code[slots[i].at] = 0xff;
		code[slots[i].at + 1] = i ? 0x25 : 0x15;
		sample_plan_store(code, slots[i].at + 2, (uint32_t)(slots[i].slot - m.region_vaddr - slots[i].at - 6));
	}
	const uint32_t table[] = {0, PLAN_REGION_ALIGN + 32, 40, PLAN_REGION_ALIGN + 44};
	for (uint32_t i = 0; i < 4; i++)
		sample_plan_store(data, 4 * i, table[i]);
	sample_plan_store(data, 16, 12);
	sample_plan_store(data, 32, 8);
	sample_plan_store(data, 44, 8);
	return m;
}

static inline struct plan sample_plan(void)
{
	static char path[] = "/lib/x86_64-linux-gnu/libc.so.6", options[] = "coverage=0.999 order=ext-tsp";
	static struct plan_module modules[2];
	static uint8_t code[1] = {0xc3};
	modules[0] = sample_plan_module();
	modules[1] = (struct plan_module){
	    .module = {.text_hash = 5, .path = path},
	    .text_base = 0x401000,
	    .text_size = 0x100,
	    .load_low = 0x400000,
	    .load_high = 0x403000,
	    .region_vaddr = 0x800000,
	    .code = code,
	    .code_size = 1,
	    .data_offset = PLAN_REGION_ALIGN,
	    .directory = PLAN_NONE,
	};
	return (struct plan){.modules = modules, .module_count = 2, .inputs_hash = 0xaabbccddeeff0011, .options = options};
}

#endif
