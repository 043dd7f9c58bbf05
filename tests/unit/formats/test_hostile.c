/*
 * Inputs whose checksums are right but whose contents are not: every byte of each golden sample, uncompressed, takes a range of values. Readers
 * may refuse or accept, but what they accept must be fit to be written and read again (tests/fuzz/format_oracle.h aborts otherwise).
 */
#include "formats/base/file.h"
#include "tests/fuzz/format_oracle.h"
#include "tests/golden/stream_profile.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef int oracle_function(const uint8_t *data, size_t size);

static struct writer unpacked(const char *path, enum container_kind kind)
{
	struct file_data file;
	struct container c;
	struct writer w = {0};
	struct err e = {0};
	if (file_read(path, &file, &e) || container_check(file.data, file.size, path, kind, 1, &c, &e) || reseal_unpack(&c, &w, &e))
		fail_msg("%s", e.text);
	file_data_free(&file);
	return w;
}

static void sweep(const char *path, enum container_kind kind, oracle_function *oracle)
{
	static const uint8_t values[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0x81, 0xc0, 0xfe, 0xff};
	struct writer w = unpacked(path, kind);
	uint8_t *altered = malloc(w.size);
	unsigned accepted = 0, tried = 0;
	assert_non_null(altered);
	assert_int_equal(oracle(w.data, w.size), 1);
	for (size_t at = 16; at < w.size; at++) {
		for (size_t i = 0; i < sizeof values + 8; i++) {
			memcpy(altered, w.data, w.size);
			altered[at] = i < sizeof values ? values[i] : (uint8_t)(altered[at] ^ 1u << (i - sizeof values));
			reseal(altered, w.size);
			accepted += (unsigned)oracle(altered, w.size);
			tried++;
		}
	}
	/* Both outcomes must occur, or the sweep has not reached the contents. */
	print_message("%s: %u of %u accepted\n", path, accepted, tried);
	assert_true(accepted > tried / 100);
	assert_true(accepted < tried);
	free(altered);
	writer_free(&w);
}

static void altered_maps_do_no_harm(void **state)
{
	(void)state;
	sweep("tests/golden/map-1.rmap", CONTAINER_MAP, oracle_map);
}

static void altered_profiles_do_no_harm(void **state)
{
	(void)state;
	sweep("tests/golden/profile-1.rprof", CONTAINER_PROFILE, oracle_profile);
}

/* What is accepted must be fit to be copied, course and all. */
static int oracle_course(const uint8_t *data, size_t size)
{
	struct writer once = {0}, twice = {0};
	struct err e = {0};
	if (stream_copy(data, size, &once, &e)) {
		assert_true(e.code > 0 && e.text[0]);
		writer_free(&once);
		return 0;
	}
	if (stream_copy(once.data, once.size, &twice, &e))
		fail_msg("accepted, but: %s", e.text);
	assert_int_equal(once.size, twice.size);
	assert_memory_equal(once.data, twice.data, once.size);
	writer_free(&once);
	writer_free(&twice);
	return 1;
}

static void altered_courses_do_no_harm(void **state)
{
	(void)state;
	sweep("tests/golden/profile-1.1.rprof", CONTAINER_PROFILE, oracle_course);
}

static void altered_plans_do_no_harm(void **state)
{
	(void)state;
	sweep("tests/golden/plan-1.rplan", CONTAINER_PLAN, oracle_plan);
}

/* A small file must not make the reader take a lot of memory: counts are bounded by bytes before anything is allocated. */
static void chunk_that_claims_too_much_is_refused(void **state)
{
	(void)state;
	struct container_writer cw;
	struct writer w = {0}, raw = {0};
	struct container c;
	struct err e = {0};
	container_put_header(&cw, &w, CONTAINER_MAP, 1, 0);
	write_u32(&raw, 0);
	container_put_chunk(&cw, &w, CONTAINER_TAG('H', 'E', 'A', 'D'), CONTAINER_REQUIRED, raw.data, raw.size);
	container_put_end(&cw, &w);
	w.data[24 + 4] |= CONTAINER_LZ4;
	reseal_u64(w.data + 24 + 16, 4000);
	reseal(w.data, w.size);
	assert_int_equal(container_check(w.data, w.size, "x", CONTAINER_MAP, 1, &c, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "more than LZ4 can"));
	writer_free(&w);
	writer_free(&raw);
}

static void unknown_chunks_are_skipped_or_refused_as_they_ask(void **state)
{
	(void)state;
	for (uint32_t required = 0; required <= CONTAINER_REQUIRED; required += CONTAINER_REQUIRED) {
		struct writer w = unpacked("tests/golden/map-1.rmap", CONTAINER_MAP), more = {0};
		struct container c;
		struct container_writer cw;
		struct container_chunk k = {0};
		struct err e = {0};
		struct map m;
		assert_int_equal(container_check(w.data, w.size, "x", CONTAINER_MAP, 1, &c, &e), 0);
		container_put_header(&cw, &more, CONTAINER_MAP, 1, 9); /* a later minor version */
		for (bool has = container_next(&c, NULL, &k); has; has = container_next(&c, &k, &k)) {
			container_put_chunk(&cw, &more, CONTAINER_TAG('N', '\n', 'W', '!'), required, "?", 1);
			container_put_chunk(&cw, &more, k.tag, k.flags, w.data + k.offset, (size_t)k.stored_length);
		}
		container_put_end(&cw, &more);
		int status = map_decode(more.data, more.size, "x", &m, &e);
		if (required) {
			assert_int_equal(status, -ERR_UNSUPPORTED);
			assert_non_null(strstr(e.text, "'N?W!'"));
		} else {
			assert_int_equal(status, 0);
			map_free(&m);
		}
		writer_free(&w);
		writer_free(&more);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(altered_maps_do_no_harm),
	    cmocka_unit_test(altered_profiles_do_no_harm),
	    cmocka_unit_test(altered_courses_do_no_harm),
	    cmocka_unit_test(altered_plans_do_no_harm),
	    cmocka_unit_test(chunk_that_claims_too_much_is_refused),
	    cmocka_unit_test(unknown_chunks_are_skipped_or_refused_as_they_ask),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
