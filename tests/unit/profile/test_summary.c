#include "formats/base/escape.h"
#include "profile/summary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct module_identity modules[2] = {
    {.build_id = {1}, .build_id_size = 1, .path = (char *)(uintptr_t) "/a"},
    {.build_id = {2}, .build_id_size = 1, .path = (char *)(uintptr_t) "/b"},
};

static void samples_are_grouped_by_module_place_and_thread(void **state)
{
	(void)state;
	struct profile_sample samples[] = {
	    {.address = 0x1010, .module = 0, .thread = 7},
	    {.address = 0x1ff0, .module = 0, .thread = 8},
	    {.address = 0x1000, .module = 1, .thread = 8},
	    {.address = 0x2000, .module = 0, .thread = 8},
	    {.address = 0x99, .module = PROFILE_NO_MODULE, .thread = 8},
	};
	struct profile p = {.modules = modules, .module_count = 2, .samples = samples, .sample_count = 5};
	struct summary s;
	assert_int_equal(summary_make(&p, NULL, 0, &s, NULL), 0);
	assert_int_equal(s.weight, 5);
	assert_int_equal(s.module_count, 3);
	assert_int_equal(s.modules[0].module, 0);
	assert_int_equal(s.modules[0].weight, 3);
	assert_int_equal(s.modules[2].module, PROFILE_NO_MODULE);
	assert_int_equal(s.place_count, 4);
	assert_int_equal(s.places[0].weight, 2);
	assert_int_equal(s.places[0].address, 0x1000);
	assert_int_equal(s.thread_count, 2);
	assert_int_equal(s.threads[0].thread, 8);
	assert_int_equal(s.threads[0].weight, 4);
	summary_free(&s);
}

static void functions_are_named_by_the_map_of_their_module(void **state)
{
	(void)state;
	char strings[] = "\0hot";
	struct map_function functions[] = {
	    {.start = 0x10, .size = 0x20, .parent = 0, .name = 1},
	    {.start = 0x40, .size = 0x10, .parent = 0}, /* its cold part */
	    {.start = 0x60, .size = 0x10, .parent = 2},
	};
	struct map map = {.module = modules[0],
			  .text_base = 0x1000,
			  .text_size = 0x1000,
			  .functions = functions,
			  .function_count = 3,
			  .strings = strings,
			  .string_size = sizeof strings};
	struct profile_count counts[] = {
	    {.address = 0x1010, .count = 5, .module = 0},   {.address = 0x1048, .count = 6, .module = 0},
	    {.address = 0x1061, .count = 100, .module = 0}, {.address = 0x1080, .count = 1, .module = 0},
	    {.address = 0x1010, .count = 3, .module = 1},
	};
	struct profile p = {.modules = modules, .module_count = 2, .counts = counts, .count_count = 5};
	struct summary s;
	assert_int_equal(summary_make(&p, &map, 1, &s, NULL), 0);
	assert_int_equal(s.weight, 115);
	assert_int_equal(s.place_count, 4);
	assert_int_equal(s.places[0].weight, 100);
	assert_true(s.places[0].is_function && !s.places[0].name);
	assert_int_equal(s.places[1].weight, 11);
	assert_string_equal(s.places[1].name, "hot");
	assert_int_equal(s.places[1].address, 0x1010);
	assert_false(s.places[2].is_function);
	assert_int_equal(s.places[2].module, 1);
	summary_free(&s);
}

static void empty_profile_has_an_empty_summary(void **state)
{
	(void)state;
	struct profile p = {0};
	struct summary s;
	assert_int_equal(summary_make(&p, NULL, 0, &s, NULL), 0);
	assert_int_equal(s.weight + s.module_count + s.place_count + s.thread_count, 0);
	summary_free(&s);
}

static void strange_bytes_are_escaped_and_long_names_cut(void **state)
{
	(void)state;
	char text[32], four[4];
	assert_string_equal(escape("a\033[2J\\\xc3", text, sizeof text), "a\\x1b[2J\\x5c\\xc3");
	assert_string_equal(escape("abcdefgh", four, sizeof four), "...");
	assert_string_equal(escape("abc", four, sizeof four), "abc");
	assert_string_equal(escape("", four, sizeof four), "");
	char ten[10];
	assert_string_equal(escape("abcdefghij", ten, sizeof ten), "abcdef...");
	assert_string_equal(escape("abcdefghi", ten, sizeof ten), "abcdefghi");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(samples_are_grouped_by_module_place_and_thread),
	    cmocka_unit_test(functions_are_named_by_the_map_of_their_module),
	    cmocka_unit_test(empty_profile_has_an_empty_summary),
	    cmocka_unit_test(strange_bytes_are_escaped_and_long_names_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
