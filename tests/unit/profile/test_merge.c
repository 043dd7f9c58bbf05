#include "profile/merge/merge.h"
#include "tests/golden/sample_profile.h"
#include "tests/golden/stream_profile.h"
#include "tests/unit/profile/random_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHECK(call)                                                                                                                        \
	do {                                                                                                                               \
		struct err e = {0};                                                                                                        \
		if (call)                                                                                                                  \
			fail_msg("%s", e.text);                                                                                            \
	} while (0)

static struct writer encoded(const struct profile *p)
{
	struct writer w = {0};
	CHECK(profile_encode(p, &w, &e));
	return w;
}

/* The merge of these files, as bytes; weights may be NULL. */
static struct writer merged(const struct writer *const *files, const uint64_t *weights, size_t count)
{
	struct merge *m;
	struct profile p;
	CHECK(merge_new(&m, &e));
	for (size_t i = 0; i < count; i++)
		CHECK(merge_add(m, files[i]->data, files[i]->size, "file", weights ? weights[i] : 1, &e));
	CHECK(merge_finish(m, &p, &e));
	merge_free(m);
	assert_int_equal(p.sample_count + p.branch_count, 0);
	assert_true(p.complete);
	struct writer w = encoded(&p);
	profile_free(&p);
	return w;
}

static void assert_same(struct writer a, struct writer b)
{
	assert_int_equal(a.size, b.size);
	assert_memory_equal(a.data, b.data, a.size);
	writer_free(&a);
	writer_free(&b);
}

static void any_order_and_any_grouping_give_the_same_bytes(void **state)
{
	(void)state;
	static const enum profile_source sources[] = {PROFILE_BRANCH_STACKS, PROFILE_EXACT, PROFILE_CYCLES, PROFILE_CLOCK};
	struct random_source r = {1};
	for (int round = 0; round < 400; round++) {
		struct writer f[3];
		for (int i = 0; i < 3; i++) {
			struct profile p = random_profile(&r, sources[round % 4]);
			f[i] = encoded(&p);
			profile_free(&p);
		}
		struct writer *a = &f[0], *b = &f[1], *c = &f[2];
		struct writer ab = merged((const struct writer *[]){a, b}, NULL, 2), bc = merged((const struct writer *[]){c, b}, NULL, 2);
		struct writer one = merged((const struct writer *[]){a}, NULL, 1);
		assert_same(merged((const struct writer *[]){a, b, c}, NULL, 3), merged((const struct writer *[]){c, a, b}, NULL, 3));
		assert_same(merged((const struct writer *[]){&ab, c}, NULL, 2), merged((const struct writer *[]){a, &bc}, NULL, 2));
		assert_same(merged((const struct writer *[]){c, &ab}, NULL, 2), merged((const struct writer *[]){b, a, c}, NULL, 3));
		assert_same(merged((const struct writer *[]){&one}, NULL, 1), merged((const struct writer *[]){a}, NULL, 1));
		assert_same(merged((const struct writer *[]){a, b}, (const uint64_t[]){3, 1}, 2),
			    merged((const struct writer *[]){a, b, a, a}, NULL, 4));
		for (int i = 0; i < 3; i++)
			writer_free(&f[i]);
		writer_free(&ab);
		writer_free(&bc);
		writer_free(&one);
	}
}

static void samples_and_branches_become_counts_edges_and_runs(void **state)
{
	(void)state;
	struct profile_branch branches[] = {
	    {0x50, 0x10, 0, 0, 1}, {0x30, 0x40, 0, 0, 0}, {0x20, 0x28, 0, 0, 0}, {0x99, 0x18, PROFILE_NO_MODULE, 0, 0}};
	struct profile_sample samples[] = {
	    {.address = 0x14, .first_branch = 0, .branch_count = 4},
	    {.address = 0x14, .first_branch = 1, .branch_count = 2},
	    {.address = 0xffff, .module = PROFILE_NO_MODULE},
	    {.address = 0xaaaa, .module = PROFILE_NO_MODULE},
	};
	struct profile p = sample_profile(), m;
	p.info.source = PROFILE_BRANCH_STACKS;
	p.samples = samples;
	p.sample_count = 4;
	p.branches = branches;
	p.branch_count = 4;
	p.count_count = p.edge_count = 0;
	struct writer file = encoded(&p), sum = merged((const struct writer *[]){&file}, NULL, 1);
	CHECK(profile_decode(sum.data, sum.size, "sum", &m, &e));
	assert_int_equal(m.module_count, 1); /* the other one is not named */
	assert_int_equal(m.count_count, 2);
	assert_int_equal(m.counts[0].address, 0x14);
	assert_int_equal(m.counts[0].count, 2);
	assert_int_equal(m.counts[1].module, PROFILE_NO_MODULE);
	assert_int_equal(m.counts[1].address, 0);
	assert_int_equal(m.counts[1].count, 2);
	static const struct profile_edge expected[] = {
	    {0x18, 0x20, 1, 0, 0, 0, PROFILE_EDGE_RUN}, {0x20, 0x28, 2, 0, 0, 0, PROFILE_EDGE_JUMP},
	    {0x28, 0x30, 2, 0, 0, 0, PROFILE_EDGE_RUN}, {0x30, 0x40, 2, 0, 0, 0, PROFILE_EDGE_JUMP},
	    {0x40, 0x50, 1, 0, 0, 0, PROFILE_EDGE_RUN}, {0x50, 0x10, 1, 1, 0, 0, PROFILE_EDGE_JUMP},
	    {0, 0x18, 1, 0, PROFILE_NO_MODULE, 0, 0},
	};
	assert_int_equal(m.edge_count, 7);
	for (size_t i = 0; i < 7; i++) {
		assert_int_equal(profile_compare_edges(&m.edges[i], &expected[i]), 0);
		assert_int_equal(m.edges[i].count, expected[i].count);
		assert_int_equal(m.edges[i].mispredicted, expected[i].mispredicted);
	}
	profile_free(&m);
	writer_free(&file);
	writer_free(&sum);
}

static void samples_of_exact_profiles_are_left_out_and_counted(void **state)
{
	(void)state;
	struct profile p = sample_profile(), m;
	struct merge *merge;
	struct merge_totals t;
	p.info.source = PROFILE_EXACT;
	struct writer file = encoded(&p);
	CHECK(merge_new(&merge, &e));
	CHECK(merge_add(merge, file.data, file.size, "file", 2, &e));
	merge_totals_of(merge, &t);
	assert_int_equal(t.left_out, 2 * SAMPLE_PROFILE_SAMPLES);
	assert_int_equal(t.addresses, 4);
	CHECK(merge_finish(merge, &m, &e));
	assert_int_equal(m.counts[0].count + m.counts[1].count + m.counts[2].count + m.counts[3].count, 2 * 7 + 2 + 4 + UINT64_MAX);
	profile_free(&m);
	merge_free(merge);
	writer_free(&file);
}

static void other_kinds_and_bad_files_are_refused_and_leave_nothing(void **state)
{
	(void)state;
	struct random_source r = {7};
	struct profile clock = random_profile(&r, PROFILE_CLOCK), exact = random_profile(&r, PROFILE_EXACT), m;
	struct writer good = encoded(&clock), other = encoded(&exact);
	struct merge *merge;
	struct err refusal = {0};
	CHECK(merge_new(&merge, &e));
	CHECK(merge_add(merge, good.data, good.size, "good", 1, &e));
	assert_int_equal(merge_add(merge, other.data, other.size, "other", 1, &refusal), -ERR_MISMATCH);
	assert_non_null(strstr(refusal.text, "other: made from exact"));
	assert_int_equal(merge_add(merge, other.data, 20, "short", 1, &refusal), -ERR_FORMAT);
	good.data[good.size / 2] ^= 1;
	assert_int_equal(merge_add(merge, good.data, good.size, "altered", 1, &refusal), -ERR_FORMAT);
	good.data[good.size / 2] ^= 1;
	CHECK(merge_finish(merge, &m, &e));
	assert_same(encoded(&m), merged((const struct writer *[]){&good}, NULL, 1));
	profile_free(&m);
	profile_free(&clock);
	profile_free(&exact);
	merge_free(merge);
	writer_free(&good);
	writer_free(&other);
}

static void courses_are_left_out_but_not_silently(void **state)
{
	(void)state;
	struct profile_info info = sample_profile_info();
	struct profile_window windows[SAMPLE_COURSE_WINDOWS];
	struct writer with = {0}, only = {0};
	struct merge_totals totals;
	struct profile_stream *s;
	struct profile_place step = {0x1000, PROFILE_NO_MODULE};
	struct merge *m;
	struct err why = {0};
	int fd = memfd_create("course", 0);
	sample_course(windows);
	CHECK(stream_sample_profile(&with, &e));
	CHECK(profile_stream_open(fd, "memfd", &info, &s, &e));
	CHECK(profile_stream_course(s, &windows[0], &step, 1, &e));
	CHECK(profile_stream_close(s, &info, &e));
	CHECK(stream_take(fd, &only, &e));
	CHECK(merge_new(&m, &e));
	CHECK(merge_add(m, with.data, with.size, "with", 3, &e));
	assert_int_equal(merge_add(m, only.data, only.size, "only", 1, &why), -ERR_UNSUPPORTED);
	assert_non_null(strstr(why.text, "only a recorded course"));
	merge_totals_of(m, &totals);
	assert_int_equal(totals.files, 1);
	assert_int_equal(totals.steps, SAMPLE_COURSE_STEPS);
	merge_free(m);
	writer_free(&with);
	writer_free(&only);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(any_order_and_any_grouping_give_the_same_bytes),
	    cmocka_unit_test(samples_and_branches_become_counts_edges_and_runs),
	    cmocka_unit_test(samples_of_exact_profiles_are_left_out_and_counted),
	    cmocka_unit_test(other_kinds_and_bad_files_are_refused_and_leave_nothing),
	    cmocka_unit_test(courses_are_left_out_but_not_silently),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
