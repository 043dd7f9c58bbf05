/*
 * sample_map: a small map that uses every array and every special value. It is what tests/golden/map-1.rmap holds.
 */
#ifndef TESTS_GOLDEN_SAMPLE_MAP_H
#define TESTS_GOLDEN_SAMPLE_MAP_H

#include "formats/map.h"

#define SAMPLE_COUNT(array) (uint32_t)(sizeof(array) / sizeof *(array))

/* Points into static arrays: not to be freed. */
static inline struct map sample_map(void)
{
	static char path[] = "/usr/lib/x86_64-linux-gnu/libsample.so.1", strings[] = "\0main\0hot\0memcpy";
	static struct map_function functions[] = {
	    {.start = 0x10, .size = 0x10, .parent = 0, .reasons = 1u << MAP_REASON_PLT, .grade = MAP_UNTOUCHABLE},
	    {.start = 0x40, .size = 0x60, .parent = 1, .first_block = 0, .block_count = 6, .name = 1, .flags = MAP_FUNCTION_LSDA},
	    {.start = 0xa0,
	     .size = 0x20,
	     .parent = 2,
	     .first_block = 6,
	     .block_count = 2,
	     .name = 6,
	     .reasons = 1u << MAP_REASON_ENTRY_SHORT,
	     .grade = MAP_ENTRY_FIXED,
	     .flags = MAP_FUNCTION_ENDBR},
	    {.start = 0xc0, .size = 8, .parent = 1, .first_block = 8, .block_count = 1, .flags = MAP_FUNCTION_PART},
	};
	static struct map_block blocks[] = {
	    {0x40, 0x10, 2, 1, 4, MAP_BRANCH, MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET},
	    {0x50, 0x08, MAP_NONE, 2, 2, MAP_FALLS, 0},
	    {0x58, 0x08, MAP_NONE, MAP_NONE, 2, MAP_JUMP_INDIRECT, MAP_BLOCK_TARGET},
	    {0x60, 0x10, 8, MAP_NONE, 3, MAP_JUMP, MAP_BLOCK_TARGET | MAP_BLOCK_TABLE_TARGET},
	    {0x70, 0x10, MAP_NONE, MAP_NONE, 3, MAP_RETURN, MAP_BLOCK_TARGET | MAP_BLOCK_TABLE_TARGET},
	    {0x88, 0x10, MAP_NONE, MAP_NONE, 2, MAP_CALL_NORETURN, MAP_BLOCK_TARGET | MAP_BLOCK_LANDING_PAD},
	    {0xa0, 0x04, MAP_NONE, 7, 1, MAP_FALLS, MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET},
	    {0xa4, 0x0c, MAP_NONE, MAP_NONE, 3, MAP_JUMP, 0},
	    {0xc0, 0x08, MAP_NONE, MAP_NONE, UINT16_MAX, MAP_STOP, MAP_BLOCK_TARGET},
	};
	static struct map_call calls[] = {
	    {.site = 0x42, .block = 0, .target = 0xa0, .size = 5, .kind = MAP_CALL_DIRECT},
	    {.site = 0x50, .block = 1, .target = MAP_NONE, .size = 2, .kind = MAP_CALL_INDIRECT},
	    {.site = 0x72, .block = 4, .target = 0, .size = 6, .kind = MAP_CALL_IMPORT},
	    {.site = 0xab, .block = 7, .target = 1, .size = 5, .kind = MAP_TAIL_IMPORT},
	};
	static struct map_import imports[] = {{.slot = 0x404018, .stub = 0x10, .name = 10}, {.slot = 0x404010, .stub = MAP_NONE}};
	static struct map_table tables[] = {
	    {.address = 0x402000, .block = 2, .first = 0, .count = 3, .kind = MAP_TABLE_RELATIVE32, .proven = 1}};
	static uint32_t table_targets[] = {4, 3, 4}, syscalls[] = {0x44, 0x8a};
	struct map map = {
	    .module = {.build_id = {0xde, 0xad, 0xbe, 0xef},
		       .build_id_size = 20,
		       .file_size = 123456,
		       .text_hash = 0x1122334455667788,
		       .path = path},
	    .text_base = 0x401000,
	    .text_size = 0x1000,
	    .pie = 1,
	    .strings = strings,
	    .string_size = sizeof strings,
	    .functions = functions,
	    .blocks = blocks,
	    .calls = calls,
	    .imports = imports,
	    .tables = tables,
	    .table_targets = table_targets,
	    .syscalls = syscalls,
	    .function_count = SAMPLE_COUNT(functions),
	    .block_count = SAMPLE_COUNT(blocks),
	    .call_count = SAMPLE_COUNT(calls),
	    .import_count = SAMPLE_COUNT(imports),
	    .table_count = SAMPLE_COUNT(tables),
	    .table_target_count = SAMPLE_COUNT(table_targets),
	    .syscall_count = SAMPLE_COUNT(syscalls),
	};
	return map;
}

#endif
