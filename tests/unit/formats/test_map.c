#include "tests/golden/sample_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct writer encode(const struct map *m)
{
	struct err e = {0};
	struct writer w = {0};
	if (map_encode(m, &w, &e))
		fail_msg("%s", e.text);
	return w;
}

static struct map decode(const void *data, size_t size)
{
	struct err e = {0};
	struct map m;
	if (map_decode(data, size, "test", &m, &e))
		fail_msg("%s", e.text);
	return m;
}

#define assert_array(a, b, array, count)                                                                                                   \
	do {                                                                                                                               \
		assert_int_equal((a)->count, (b)->count);                                                                                  \
		for (size_t i_ = 0; i_ < (a)->count; i_++)                                                                                 \
			assert_memory_equal(&(a)->array[i_], &(b)->array[i_], sizeof *(a)->array);                                         \
	} while (0)

static void encoded_then_decoded_is_equal(void **state)
{
	(void)state;
	struct map m = sample_map();
	struct writer w = encode(&m);
	struct map d = decode(w.data, w.size);
	assert_string_equal(d.module.path, m.module.path);
	assert_true(module_same(&d.module, &m.module));
	assert_int_equal(d.text_base, m.text_base);
	assert_int_equal(d.text_size, m.text_size);
	assert_int_equal(d.pie, m.pie);
	assert_array(&m, &d, blocks, block_count);
	assert_array(&m, &d, calls, call_count);
	assert_array(&m, &d, table_targets, table_target_count);
	assert_array(&m, &d, syscalls, syscall_count);
	assert_array(&m, &d, strings, string_size);
	assert_int_equal(d.function_count, m.function_count);
	for (uint32_t i = 0; i < m.function_count; i++) {
		assert_int_equal(d.functions[i].start, m.functions[i].start);
		assert_int_equal(d.functions[i].size, m.functions[i].size);
		assert_int_equal(d.functions[i].parent, m.functions[i].parent);
		assert_int_equal(d.functions[i].first_block, m.functions[i].first_block);
		assert_int_equal(d.functions[i].block_count, m.functions[i].block_count);
		assert_int_equal(d.functions[i].name, m.functions[i].name);
		assert_int_equal(d.functions[i].reasons, m.functions[i].reasons);
		assert_int_equal(d.functions[i].grade, m.functions[i].grade);
		assert_int_equal(d.functions[i].flags, m.functions[i].flags);
	}
	assert_int_equal(d.import_count, 2);
	assert_int_equal(d.imports[1].slot, 0x404010);
	assert_int_equal(d.imports[1].stub, MAP_NONE);
	assert_int_equal(d.imports[0].name, 10);
	assert_int_equal(d.table_count, 1);
	assert_int_equal(d.tables[0].address, 0x402000);
	assert_int_equal(d.tables[0].block, 2);
	assert_int_equal(d.tables[0].count, 3);
	assert_int_equal(d.tables[0].proven, 1);
	struct writer again = encode(&d);
	assert_int_equal(again.size, w.size);
	assert_memory_equal(again.data, w.data, w.size);
	writer_free(&again);
	writer_free(&w);
	map_free(&d);
}

static void empty_map_round_trips(void **state)
{
	(void)state;
	struct map m = {0};
	struct writer w = encode(&m);
	struct map d = decode(w.data, w.size);
	assert_int_equal(d.function_count, 0);
	assert_string_equal(d.module.path, "");
	assert_int_equal(d.string_size, 1);
	assert_int_equal(map_block_at(&d, 0), MAP_NONE);
	assert_int_equal(map_function_at(&d, 0), MAP_NONE);
	assert_int_equal(map_call_from(&d, 0), 0);
	map_free(&d);
	writer_free(&w);
}

static void lookups_find_ranges_and_nothing_between(void **state)
{
	(void)state;
	struct map m = sample_map();
	assert_int_equal(map_function_at(&m, 0xf), MAP_NONE);
	assert_int_equal(map_function_at(&m, 0x10), 0);
	assert_int_equal(map_function_at(&m, 0x1f), 0);
	assert_int_equal(map_function_at(&m, 0x20), MAP_NONE);
	assert_int_equal(map_function_at(&m, 0xc7), 3);
	assert_int_equal(map_function_at(&m, MAP_NONE), MAP_NONE);
	assert_int_equal(map_block_at(&m, 0x4f), 0);
	assert_int_equal(map_block_at(&m, 0x50), 1);
	assert_int_equal(map_block_at(&m, 0x80), MAP_NONE);
	assert_int_equal(map_block_at(&m, 0xc8), MAP_NONE);
	assert_int_equal(map_function_of_block(&m, 7), 2);
	assert_int_equal(map_function_of_block(&m, 9), MAP_NONE);
	assert_int_equal(map_call_from(&m, 0x42), 0);
	assert_int_equal(map_call_from(&m, 0x43), 1);
	assert_int_equal(map_call_from(&m, 0xac), 4);
	assert_string_equal(map_function_name(&m, 2), "hot");
	assert_null(map_function_name(&m, 3));
	assert_null(map_function_name(&m, 4));
	assert_int_equal(map_offset(&m, (vaddr){0x401010}), 0x10);
	assert_int_equal(map_offset(&m, (vaddr){0x400fff}), MAP_NONE);
}

static void patchable_only_where_nothing_lands_inside(void **state)
{
	(void)state;
	struct map_function f[] = {{.start = 0, .size = 40, .block_count = 4},
				   {.start = 40, .size = 8, .parent = 1, .first_block = 4, .block_count = 1}};
	struct map_block b[] = {
	    {0, 4, MAP_NONE, 1, 1, MAP_FALLS, MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET},
	    {4, 12, MAP_NONE, 2, 3, MAP_FALLS, 0},
	    {16, 4, MAP_NONE, 3, 1, MAP_FALLS, MAP_BLOCK_TARGET},
	    {20, 20, MAP_NONE, MAP_NONE, 3, MAP_RETURN, MAP_BLOCK_TARGET},
	    {40, 8, MAP_NONE, MAP_NONE, 3, MAP_RETURN, MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET},
	};
	struct map_call c[] = {{.site = 20, .block = 3, .target = MAP_NONE, .size = 2, .kind = MAP_CALL_INDIRECT},
			       {.site = 27, .block = 3, .target = 0, .size = 5, .kind = MAP_CALL_DIRECT}};
	struct map m = {.text_size = 100, .functions = f, .function_count = 2, .blocks = b, .block_count = 5, .calls = c, .call_count = 2};
	struct err e;
	assert_int_equal(map_validate(&m, "test", &e), 0);
	uint32_t last = 99;
	assert_true(map_patchable(&m, 0, &last)); /* falls into block 1, which nothing targets */
	assert_int_equal(last, 1);
	assert_true(map_patchable(&m, 11, &last)); /* ends where block 2 starts */
	assert_int_equal(last, 1);
	assert_false(map_patchable(&m, 12, &last)); /* block 2 is a target */
	assert_false(map_patchable(&m, 16, NULL));  /* so is block 3 */
	assert_false(map_patchable(&m, 20, NULL));  /* the call returns to 22 */
	assert_true(map_patchable(&m, 22, NULL));   /* a return to the first byte is fine */
	assert_true(map_patchable(&m, 27, NULL));   /* so is one to the byte after the last */
	assert_false(map_patchable(&m, 28, NULL));
	assert_true(map_patchable(&m, 35, NULL));
	assert_false(map_patchable(&m, 36, NULL)); /* leaves the function */
	assert_true(map_patchable(&m, 43, NULL));
	assert_false(map_patchable(&m, 44, NULL)); /* leaves all blocks */
	assert_false(map_patchable(&m, 48, NULL));
	assert_false(map_patchable(&m, UINT32_MAX, NULL));
}

/* Each case breaks one rule of map.h; the text must say which. */
static void broken_maps_are_refused_with_their_own_text(void **state)
{
	(void)state;
#define BREAK(change, words)                                                                                                               \
	do {                                                                                                                               \
		struct map m = sample_map();                                                                                               \
		struct map_function f[4];                                                                                                  \
		struct map_block b[9];                                                                                                     \
		struct map_call c[4];                                                                                                      \
		struct map_import n[2];                                                                                                    \
		struct map_table t[1];                                                                                                     \
		uint32_t g[3], s[2];                                                                                                       \
		memcpy(f, m.functions, sizeof f), memcpy(b, m.blocks, sizeof b), memcpy(c, m.calls, sizeof c);                             \
		memcpy(n, m.imports, sizeof n), memcpy(t, m.tables, sizeof t), memcpy(g, m.table_targets, sizeof g);                       \
		memcpy(s, m.syscalls, sizeof s);                                                                                           \
		m.functions = f, m.blocks = b, m.calls = c, m.imports = n, m.tables = t, m.table_targets = g, m.syscalls = s;              \
		struct err e = {0};                                                                                                        \
		change;                                                                                                                    \
		struct writer w_ = {0};                                                                                                    \
		assert_int_equal(map_encode(&m, &w_, &e), -ERR_FORMAT);                                                                    \
		if (!strstr(e.text, words))                                                                                                \
			fail_msg("'%s' does not say '%s'", e.text, words);                                                                 \
		writer_free(&w_);                                                                                                          \
	} while (0)
	BREAK(m.text_size = UINT32_MAX, "below 4 GiB");
	BREAK(m.text_base = UINT64_MAX, "wraps");
	BREAK(m.pie = 2, "pie is 2");
	BREAK(m.string_size--, "NUL");
	BREAK(f[1].start = 0x1f, "before the end");
	BREAK(f[0].size = 0, "no bytes");
	BREAK(f[3].size = 0x1000, "outside the text");
	BREAK(f[3].parent = 4, "parent 4");
	BREAK(f[2].first_block = 5, "first block");
	BREAK(f[3].block_count = 0, "belong to functions");
	BREAK(f[3].block_count = 2, "more than there are");
	BREAK(f[3].name = 17, "outside the strings");
	BREAK(f[3].grade = 3, "unknown grade");
	BREAK(f[3].grade = MAP_UNTOUCHABLE, "does not follow");
	BREAK(f[2].grade = MAP_MOVABLE, "does not follow");
	BREAK(b[1].size = 0, "no bytes");
	BREAK(b[1].insns = 0, "no instructions");
	BREAK(b[5].start = 0x7f, "before the end");
	BREAK(b[8].size = 9, "not inside its function");
	BREAK(b[8].terminator = 7, "unknown terminator");
	BREAK(b[1].flags = MAP_BLOCK_POINTED, "not marked as a target");
	BREAK(b[5].flags |= MAP_BLOCK_ENTRY, "marked as an entry");
	BREAK(b[1].taken = 2, "does not jump");
	BREAK(b[0].taken = 9, "does not exist");
	BREAK(b[0].taken = 1, "not marked as a target");
	BREAK(b[2].next = 3, "does not fall through");
	BREAK(b[0].next = 2, "does not start at its end");
	BREAK((b[7].terminator = MAP_FALLS, b[7].next = 8), "does not start at its end");
	BREAK(c[1].site = 0x42, "not after the one before");
	BREAK(c[3].block = 9, "does not exist");
	BREAK(c[3].block = 6, "not inside block");
	BREAK(c[3].size = 0, "not inside block");
	BREAK(c[3].kind = 4, "unknown kind");
	BREAK(c[1].target = 0, "indirect but");
	BREAK(c[0].target = 0x1000, "outside the text");
	BREAK(c[2].target = 2, "import 2");
	BREAK(n[0].stub = 0x1000, "stub");
	BREAK(n[0].name = 17, "outside the strings");
	BREAK(t[0].block = 3, "indirect jump");
	BREAK(t[0].first = 1, "more than there are");
	BREAK(t[0].kind = 3, "unknown kind");
	BREAK(t[0].proven = 2, "proven");
	BREAK(g[1] = 9, "table target 1");
	BREAK(g[1] = 1, "table target 1");
	BREAK(s[0] = 0x8a, "out of order");
	BREAK(s[1] = 0x1000, "outside the text");
}

static void every_reason_has_a_name_and_a_text(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MAP_REASON_COUNT; i++) {
		assert_non_null(map_reason_name(i));
		assert_true(strlen(map_reason_text(i)) > 5);
	}
	assert_string_equal(map_reason_name(MAP_REASON_COUNT), "unknown");
	assert_string_equal(map_grade_name(MAP_ENTRY_FIXED), "entry-fixed");
	assert_string_equal(map_grade_name(3), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(encoded_then_decoded_is_equal),
	    cmocka_unit_test(empty_map_round_trips),
	    cmocka_unit_test(lookups_find_ranges_and_nothing_between),
	    cmocka_unit_test(patchable_only_where_nothing_lands_inside),
	    cmocka_unit_test(broken_maps_are_refused_with_their_own_text),
	    cmocka_unit_test(every_reason_has_a_name_and_a_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
