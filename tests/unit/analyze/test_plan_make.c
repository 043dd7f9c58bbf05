/* plan_make on a real library: the same bytes on any number of threads and in any order of the maps, and reasons for what is left out. */
#include "analyze/emit/plan_make.h"

#include "analyze/code/map_build.h"
#include "formats/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define UNWINDER "/lib/x86_64-linux-gnu/libgcc_s.so.1"
#define OTHER "/lib/x86_64-linux-gnu/libz.so.1"

struct world {
	char directory[64], unwinder[96], other[96], profile[96];
};

static bool write_map(const char *elf, const char *path)
{
	struct image image;
	struct map map;
	struct writer w = {0};
	if (image_open(elf, &image, NULL))
		return false;
	bool fine = !map_build(&image, 1, &map, NULL);
	if (fine) {
		fine = !map_encode(&map, &w, NULL) && !file_write(path, w.data, w.size, NULL);
		map_free(&map);
	}
	writer_free(&w);
	image_close(&image);
	return fine;
}

/* Equal counts of every block of the first movable functions of the unwinder. */
static bool write_profile(const struct world *w, uint32_t functions)
{
	struct map map;
	struct writer out = {0};
	if (map_read(w->unwinder, &map, NULL))
		return false;
	struct profile_count *counts = calloc(map.block_count + 1u, sizeof *counts);
	struct profile p = {
	    .info = {.source = PROFILE_EXACT, .event = (char *)"test", .kernel = (char *)"", .cpu = (char *)"", .command = (char *)""},
	    .modules = &map.module,
	    .module_count = 1,
	    .counts = counts,
	    .complete = true};
	for (uint32_t f = 0; f < functions && f < map.function_count; f++)
		for (uint32_t b = 0; map.functions[f].grade == MAP_MOVABLE && b < map.functions[f].block_count; b++)
			counts[p.count_count++] = (struct profile_count){
			    .address = map_vaddr(&map, map.blocks[map.functions[f].first_block + b].start).v, .count = 1000};
	bool fine = counts && !profile_encode(&p, &out, NULL) && !file_write(w->profile, out.data, out.size, NULL);
	free(counts);
	writer_free(&out);
	map_free(&map);
	return fine;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	if (!w)
		return -1;
	strcpy(w->directory, "/tmp/test_plan_make.XXXXXX");
	if (!mkdtemp(w->directory))
		return -1;
	snprintf(w->unwinder, sizeof w->unwinder, "%s/unwinder.rmap", w->directory);
	snprintf(w->other, sizeof w->other, "%s/other.rmap", w->directory);
	snprintf(w->profile, sizeof w->profile, "%s/p.rprof", w->directory);
	*state = w;
	return write_map(UNWINDER, w->unwinder) && write_map(OTHER, w->other) && write_profile(w, 60) ? 0 : -1;
}

static int teardown(void **state)
{
	struct world *w = *state;
	unlink(w->unwinder);
	unlink(w->other);
	unlink(w->profile);
	rmdir(w->directory);
	free(w);
	return 0;
}

static void make(const char *profile, const char *first, const char *second, const struct plan_make_options *options,
		 struct plan_make_result *result, struct writer *bytes)
{
	const char *const maps[] = {first, second};
	struct err e = {0};
	if (plan_make(profile, maps, second ? 2 : 1, options, result, &e) || plan_encode(&result->plan, bytes, &e))
		fail_msg("%s", e.text);
}

static void same_bytes_on_any_threads_and_in_any_order(void **state)
{
	struct world *w = *state;
	struct plan_make_options options = plan_make_options_default();
	options.layout.torture_seed = 11;
	options.emit.reentry_everywhere = true;
	struct plan_make_result a, b;
	struct writer bytes_a = {0}, bytes_b = {0};
	options.threads = 1;
	make(NULL, w->unwinder, w->other, &options, &a, &bytes_a);
	options.threads = 4;
	make(NULL, w->other, w->unwinder, &options, &b, &bytes_b);
	assert_int_equal(a.plan.module_count, 2);
	assert_int_equal(bytes_a.size, bytes_b.size);
	assert_memory_equal(bytes_a.data, bytes_b.data, bytes_a.size);
	plan_make_result_free(&a);
	plan_make_result_free(&b);
	writer_free(&bytes_a);
	writer_free(&bytes_b);
}

/* Patches of the functions, without those at entries. */
static void count_reentries(const struct plan_module *m, uint32_t *ret_without, uint32_t *ret_many)
{
	*ret_without = *ret_many = 0;
	for (uint32_t f = 0; f < m->function_count; f++) {
		uint32_t count = 0;
		for (uint32_t i = 0; i < m->functions[f].patch_count; i++)
			count += m->patches[m->functions[f].first_patch + i].kind == PLAN_PATCH_REENTRY;
		*ret_without += !count;
		*ret_many += count > 10;
	}
}

static void drawn_reentries_are_none_some_or_all_and_others_for_another_seed(void **state)
{
	struct world *w = *state;
	struct plan_make_options options = plan_make_options_default();
	struct plan_make_result a, b;
	struct writer bytes_a = {0}, bytes_b = {0};
	uint32_t without, many;
	options.layout.torture_seed = 11; /* one layout */
	options.emit.reentry_everywhere = true;
	options.emit.reentry_maximum = 1000;
	options.emit.reentry_seed = 1;
	make(NULL, w->unwinder, NULL, &options, &a, &bytes_a);
	options.emit.reentry_seed = 2;
	make(NULL, w->unwinder, NULL, &options, &b, &bytes_b);
	const struct plan_module *m = &a.plan.modules[0], *n = &b.plan.modules[0];
	count_reentries(m, &without, &many);
	assert_true(without > m->function_count / 6 && without < m->function_count);
	assert_true(many > m->function_count / 40);
	assert_true(m->patch_count != n->patch_count || memcmp(m->patches, n->patches, m->patch_count * sizeof *m->patches));
	plan_make_result_free(&a);
	plan_make_result_free(&b);
	writer_free(&bytes_a);
	writer_free(&bytes_b);
}

static void unwinder_gets_the_stub_and_modules_without_samples_a_reason(void **state)
{
	struct world *w = *state;
	struct plan_make_options options = plan_make_options_default();
	struct plan_make_result r;
	struct writer bytes = {0};
	make(w->profile, w->other, w->unwinder, &options, &r, &bytes);
	assert_int_equal(r.module_count, 2);
	assert_true(r.modules[0].planned && r.modules[0].is_hook);
	assert_false(r.modules[1].planned);
	assert_string_equal(r.modules[1].reason, "not in the profile");
	assert_int_equal(r.plan.module_count, 1);
	const struct plan_module *m = &r.plan.modules[0];
	uint32_t stubs = 0;
	for (uint32_t i = 0; i < m->run_count; i++) {
		if (m->runs[i].kind != PLAN_RUN_STUB)
			continue;
		stubs++;
		for (uint32_t f = 0; f < m->function_count; f++)
			if (m->functions[f].start == m->runs[i].original) {
				assert_int_equal(m->functions[f].entry, m->runs[i].image);
				assert_int_equal(m->patches[m->functions[f].first_patch].target, m->runs[i].image);
			}
	}
	assert_int_equal(stubs, 1);
	assert_int_not_equal(m->directory, PLAN_NONE);
	assert_true(m->stats.weight_covered * 10 > m->stats.weight_total * 9);
	assert_true(m->stats.taken_after <= m->stats.taken_before);
	plan_make_result_free(&r);
	writer_free(&bytes);
}

static void nothing_hot_is_no_plan(void **state)
{
	struct world *w = *state;
	struct plan_make_options options = plan_make_options_default();
	struct plan_make_result r;
	struct err e = {0};
	const char *const maps[] = {w->other};
	assert_int_equal(plan_make(w->profile, maps, 1, &options, &r, &e), -ERR_NO);
	assert_non_null(strstr(e.text, "not in the profile"));
}

static void map_that_is_none_is_refused(void **state)
{
	struct world *w = *state;
	struct plan_make_options options = plan_make_options_default();
	struct plan_make_result r;
	const char *const maps[] = {w->unwinder, w->profile};
	assert_int_equal(plan_make(w->profile, maps, 2, &options, &r, NULL), -ERR_UNSUPPORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(drawn_reentries_are_none_some_or_all_and_others_for_another_seed),
	    cmocka_unit_test(same_bytes_on_any_threads_and_in_any_order),
	    cmocka_unit_test(unwinder_gets_the_stub_and_modules_without_samples_a_reason),
	    cmocka_unit_test(nothing_hot_is_no_plan),
	    cmocka_unit_test(map_that_is_none_is_refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
