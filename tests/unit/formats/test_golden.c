/*
 * The golden samples of every version: they stay readable, they say what they said, and nothing that is cut or altered is taken for whole.
 */
#include "formats/base/file.h"
#include "tests/golden/sample_map.h"
#include "tests/golden/sample_plan.h"
#include "tests/golden/sample_profile.h"
#include "tests/golden/stream_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHECK(call)                                                                                                                        \
	do {                                                                                                                               \
		struct err e = {0};                                                                                                        \
		if (call)                                                                                                                  \
			fail_msg("%s", e.text);                                                                                            \
	} while (0)

/* What one file can be read as. `ret_count` gets the number of samples and steps of a profile, *ret_complete whether it is whole. */
typedef int decode_function(const void *data, size_t size, size_t *ret_count, bool *ret_complete, struct writer *again, struct err *e);

static int decode_map(const void *data, size_t size, size_t *ret_count, bool *ret_complete, struct writer *again, struct err *e)
{
	struct map m;
	int status = map_decode(data, size, "golden", &m, e);
	if (status)
		return status;
	*ret_count = 0;
	*ret_complete = true;
	status = again ? map_encode(&m, again, e) : 0;
	map_free(&m);
	return status;
}

static int decode_plan(const void *data, size_t size, size_t *ret_count, bool *ret_complete, struct writer *again, struct err *e)
{
	struct plan p;
	int status = plan_decode(data, size, "golden", &p, e);
	if (status)
		return status;
	*ret_count = 0;
	*ret_complete = true;
	status = again ? plan_encode(&p, again, e) : 0;
	plan_free(&p);
	return status;
}

static int decode_profile(const void *data, size_t size, size_t *ret_count, bool *ret_complete, struct writer *again, struct err *e)
{
	struct profile p, whole = sample_profile();
	int status = profile_decode(data, size, "golden", &p, e);
	if (status)
		return status;
	*ret_count = p.sample_count + p.course.steps;
	*ret_complete = p.complete;
	assert_true(p.sample_count <= whole.sample_count);
	for (size_t i = 0; i < p.sample_count; i++) {
		assert_int_equal(p.samples[i].time_ns, whole.samples[i].time_ns);
		assert_int_equal(p.samples[i].address, whole.samples[i].address);
		assert_int_equal(p.samples[i].thread, whole.samples[i].thread);
	}
	profile_free(&p);
	return again ? stream_copy(data, size, again, e) : 0;
}

static const struct golden {
	const char *path;
	decode_function *decode;
	bool stream;  /* may be cut */
	bool current; /* of the version that is written today */
} goldens[] = {
    {"tests/golden/map-1.rmap", decode_map, false, true},
    {"tests/golden/profile-1.rprof", decode_profile, true, false},
    {"tests/golden/plan-1.rplan", decode_plan, false, true},
    {"tests/golden/profile-1.1.rprof", decode_profile, true, true},
};
#define GOLDEN_COUNT (sizeof goldens / sizeof *goldens)

static void samples_are_read_and_written_again_byte_for_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_COUNT; i++) {
		struct file_data file;
		struct writer again = {0};
		size_t count;
		bool complete;
		CHECK(file_read(goldens[i].path, &file, &e));
		CHECK(goldens[i].decode(file.data, file.size, &count, &complete, &again, &e));
		assert_true(complete);
		if (goldens[i].current) {
			assert_int_equal(again.size, file.size);
			assert_memory_equal(again.data, file.data, file.size);
		}
		writer_free(&again);
		file_data_free(&file);
	}
}

/* The samples in the tree and the program that made them agree: so the golden tests above compare with known contents. */
static void samples_hold_what_the_generator_says(void **state)
{
	(void)state;
	struct map map = sample_map();
	struct plan plan = sample_plan();
	struct writer w[GOLDEN_COUNT] = {{0}};
	CHECK(map_encode(&map, &w[0], &e));
	CHECK(plan_encode(&plan, &w[2], &e));
	CHECK(stream_sample_profile(&w[3], &e));
	for (size_t i = 0; i < GOLDEN_COUNT; i++) {
		struct file_data file;
		if (!goldens[i].current)
			continue;
		CHECK(file_read(goldens[i].path, &file, &e));
		assert_int_equal(w[i].size, file.size);
		assert_memory_equal(w[i].data, file.data, file.size);
		file_data_free(&file);
		writer_free(&w[i]);
	}
}

static void profile_of_version_1_0_holds_what_it_held(void **state)
{
	(void)state;
	struct profile p, whole = sample_profile();
	struct file_data file;
	CHECK(file_read("tests/golden/profile-1.rprof", &file, &e));
	CHECK(profile_decode(file.data, file.size, "1.0", &p, &e));
	assert_int_equal(p.sample_count, whole.sample_count);
	assert_int_equal(p.branch_count, whole.branch_count);
	assert_int_equal(p.count_count, whole.count_count);
	assert_int_equal(p.edge_count, whole.edge_count);
	assert_int_equal(p.module_count, whole.module_count);
	assert_int_equal(p.course.steps, 0);
	for (size_t i = 0; i < p.count_count; i++)
		assert_int_equal(p.counts[i].count, whole.counts[i].count);
	for (size_t i = 0; i < p.edge_count; i++)
		assert_int_equal(p.edges[i].to, whole.edges[i].to);
	assert_string_equal(p.info.command, whole.info.command);
	profile_free(&p);
	file_data_free(&file);
}

/* Exact-size copies, so that ASan sees one byte too far. */
static uint8_t *copy_of(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	assert_non_null(copy);
	if (size)
		memcpy(copy, data, size);
	return copy;
}

static void every_truncation_is_seen(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_COUNT; i++) {
		struct file_data file;
		size_t last = 0, accepted = 0;
		CHECK(file_read(goldens[i].path, &file, &e));
		for (size_t size = 0; size < file.size; size++) {
			uint8_t *cut = copy_of(file.data, size);
			struct err e = {0};
			size_t count = 0;
			bool complete = false;
			int status = goldens[i].decode(cut, size, &count, &complete, NULL, &e);
			free(cut);
			if (status) {
				assert_int_equal(status, -ERR_FORMAT);
				assert_true(strlen(e.text) > 10);
				assert_int_equal(accepted, 0); /* once it has begun, a longer part is readable too */
				continue;
			}
			assert_true(goldens[i].stream);
			assert_false(complete);
			assert_true(count >= last);
			last = count;
			accepted++;
		}
		assert_int_equal(accepted > 0, goldens[i].stream);
		file_data_free(&file);
	}
}

static void every_flipped_bit_is_seen(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_COUNT; i++) {
		struct file_data file;
		CHECK(file_read(goldens[i].path, &file, &e));
		uint8_t *altered = copy_of(file.data, file.size);
		for (size_t bit = 0; bit < 8 * file.size; bit++) {
			struct err e = {0};
			size_t count;
			bool complete;
			altered[bit / 8] ^= (uint8_t)(1 << bit % 8);
			int status = goldens[i].decode(altered, file.size, &count, &complete, NULL, &e);
			if (!status)
				fail_msg("%s: bit %zu flipped and not seen", goldens[i].path, bit);
			assert_true(status == -ERR_FORMAT || status == -ERR_UNSUPPORTED);
			altered[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		free(altered);
		file_data_free(&file);
	}
}

static void bytes_after_the_end_are_seen(void **state)
{
	(void)state;
	for (size_t i = 0; i < GOLDEN_COUNT; i++) {
		struct file_data file;
		CHECK(file_read(goldens[i].path, &file, &e));
		uint8_t *longer = malloc(file.size + 1);
		assert_non_null(longer);
		memcpy(longer, file.data, file.size);
		longer[file.size] = 0;
		size_t count;
		bool complete;
		assert_int_equal(goldens[i].decode(longer, file.size + 1, &count, &complete, NULL, NULL), -ERR_FORMAT);
		free(longer);
		file_data_free(&file);
	}
}

static void random_bytes_are_refused(void **state)
{
	(void)state;
	uint64_t seed = 42;
	struct file_data file;
	CHECK(file_read(goldens[0].path, &file, &e));
	for (unsigned round = 0; round < 3000; round++) {
		size_t size = round % 300, count;
		bool complete;
		uint8_t *noise = copy_of(file.data, size < file.size ? size : file.size);
		for (size_t i = round % 2 ? 0 : 24; i < size && i < file.size; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			noise[i] = (uint8_t)(seed >> 56);
		}
		for (size_t i = 0; i < GOLDEN_COUNT; i++)
			assert_true(goldens[i].decode(noise, size < file.size ? size : file.size, &count, &complete, NULL, NULL) < 0);
		free(noise);
	}
	file_data_free(&file);
}

static void another_kind_is_refused_by_name(void **state)
{
	(void)state;
	struct file_data file;
	struct err why = {0};
	struct plan plan;
	CHECK(file_read(goldens[0].path, &file, &e));
	assert_int_equal(plan_decode(file.data, file.size, "x", &plan, &why), -ERR_UNSUPPORTED);
	assert_non_null(strstr(why.text, "is a map, not a plan"));
	file_data_free(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(samples_are_read_and_written_again_byte_for_byte),
	    cmocka_unit_test(samples_hold_what_the_generator_says),
	    cmocka_unit_test(profile_of_version_1_0_holds_what_it_held),
	    cmocka_unit_test(every_truncation_is_seen),
	    cmocka_unit_test(every_flipped_bit_is_seen),
	    cmocka_unit_test(bytes_after_the_end_are_seen),
	    cmocka_unit_test(random_bytes_are_refused),
	    cmocka_unit_test(another_kind_is_refused_by_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
