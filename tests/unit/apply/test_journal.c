#include "apply/journal.h"
#include "formats/base/hash.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* One region of two runs and two patches. The text is at 0x1000, biased by 0x10000; the image at 0x40000000. */
static void sample(struct journal *j, struct journal_region *region, struct patch *patches, struct plan_run *runs)
{
	static char path[] = "/usr/bin/sample";
	*region = (struct journal_region){
	    .module = {.build_id = {1, 2, 3}, .build_id_size = 3, .path = path},
	    .bias = 0x10000,
	    .text_base = 0x1000,
	    .text_size = 0x500,
	    .code = {0x40000000},
	    .data = {0x40001000},
	    .code_mapped = 0x1000,
	    .counters = {0x40008000},
	    .counters_mapped = 0x2000,
	    .code_size = 0x40,
	    .code_hash = 7,
	    .functions = 2,
	    .left_out = 1,
	    .run_count = 2,
	    .data_mapped = 0x1000,
	    .data_size = 0x100,
	    .fde_table = 0x1000,
	    .fde_count = 2,
	    .eh_frame = 0x1010,
	    .eh_frame_size = 0xf0,
	    .function_count = 2,
	};
	patches[0] = (struct patch){.at = {0x11010}, .original = {1, 2, 3, 4, 5}, .written = {0xe9, 1, 2, 3, 4}};
	patches[1] =
	    (struct patch){.at = {0x11015}, .original = {6, 7, 8, 9, 10}, .written = {0xe9, 5, 6, 7, 8}, .kind = PLAN_PATCH_REENTRY};
	runs[0] = (struct plan_run){.image = 0, .original = 0x10, .image_size = 0x10, .original_size = 0x10, .kind = PLAN_RUN_COPY};
	runs[1] = (struct plan_run){.image = 0x10, .original = 0x80, .image_size = 5, .original_size = 2, .kind = PLAN_RUN_REWRITTEN};
	static struct journal_function functions[2];
	static char strings[] = "\0first";
	static raddr replaced[JOURNAL_REPLACED_MAX + 1];
	replaced[0].v = 0x50000000;
	replaced[1].v = 0x60000000;
	functions[0] = (struct journal_function){0x10, 0x40, 1};
	functions[1] = (struct journal_function){0x80, 0x20, 0};
	*j = (struct journal){
	    .state = JOURNAL_APPLIED,
	    .applied_at = 1700000000,
	    .start_time = 99,
	    .plan_hash = 0xabc,
	    .version = "0.1",
	    .kept_because = "none",
	    .regions = region,
	    .patches = patches,
	    .runs = runs,
	    .region_count = 1,
	    .patch_count = 2,
	    .run_count = 2,
	    .functions = functions,
	    .strings = strings,
	    .function_count = 2,
	    .string_size = sizeof strings,
	    .replaced = replaced,
	    .replaced_count = 2,
	    .dropped = {0, 4, 3, 2, 1},
	};
}

static struct writer encoded(void)
{
	struct journal j;
	struct journal_region region;
	struct patch patches[2];
	struct plan_run runs[2];
	struct writer w = {0};
	sample(&j, &region, patches, runs);
	assert_int_equal(journal_encode(&j, &w, NULL), 0);
	return w;
}

static void what_is_encoded_decodes_to_the_same(void **state)
{
	(void)state;
	struct writer w = encoded();
	struct journal j;
	assert_int_equal(journal_decode(w.data, w.size, &j, NULL), 0);
	assert_int_equal(j.state, JOURNAL_APPLIED);
	assert_int_equal(j.applied_at, 1700000000);
	assert_int_equal(j.start_time, 99);
	assert_int_equal(j.plan_hash, 0xabc);
	assert_string_equal(j.version, "0.1");
	assert_int_equal(j.region_count, 1);
	assert_string_equal(j.regions[0].module.path, "/usr/bin/sample");
	assert_int_equal(j.regions[0].code.v, 0x40000000);
	assert_int_equal(j.regions[0].left_out, 1);
	assert_int_equal(j.regions[0].counters.v, 0x40008000);
	assert_int_equal(j.regions[0].counters_mapped, 0x2000);
	assert_int_equal(j.patches[1].at.v, 0x11015);
	assert_memory_equal(j.patches[1].written, ((uint8_t[]){0xe9, 5, 6, 7, 8}), 5);
	assert_int_equal(j.patches[1].kind, PLAN_PATCH_REENTRY);
	assert_int_equal(j.dropped[1], 4);
	assert_int_equal(j.regions[0].fde_count, 2);
	assert_int_equal(j.regions[0].eh_frame_size, 0xf0);
	assert_int_equal(j.regions[0].function_count, 2);
	assert_int_equal(j.functions[1].start, 0x80);
	assert_string_equal(j.strings + j.functions[0].name, "first");
	assert_int_equal(j.replaced_count, 2);
	assert_int_equal(j.replaced[1].v, 0x60000000);
	struct writer again = {0};
	assert_int_equal(journal_encode(&j, &again, NULL), 0);
	assert_int_equal(again.size, w.size);
	assert_memory_equal(again.data, w.data, w.size);
	writer_free(&again);
	writer_free(&w);
	journal_free(&j);
}

/* Undo unmaps them: they must be whole pages, and not more than an image can have. */
static void impossible_counters_are_refused(void **state)
{
	(void)state;
	static const uint64_t cases[][2] = {{0x40008001, 0x2000}, {0x40008000, 0x2001}, {0x40008000, 1ull << 32}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct journal j, decoded;
		struct journal_region region;
		struct patch patches[2];
		struct plan_run runs[2];
		struct writer w = {0};
		sample(&j, &region, patches, runs);
		region.counters.v = cases[i][0];
		region.counters_mapped = cases[i][1];
		assert_int_equal(journal_encode(&j, &w, NULL), 0);
		assert_int_equal(journal_decode(w.data, w.size, &decoded, NULL), -ERR_FORMAT);
		writer_free(&w);
	}
}

static void expect_format_error(const struct journal *j, const char *text)
{
	struct journal decoded;
	struct writer w = {0};
	struct err e = {0};
	assert_int_equal(journal_encode(j, &w, NULL), 0);
	assert_int_equal(journal_decode(w.data, w.size, &decoded, &e), -ERR_FORMAT);
	if (!strstr(e.text, text))
		fail_msg("'%s' is not in '%s'", text, e.text);
	writer_free(&w);
}

/* Whoever reads names and frames believes that they are in range. */
static void impossible_names_and_frames_are_refused(void **state)
{
	(void)state;
	static const char frames[] = "frames of a region", functions[] = "functions of a region";
	static const struct {
		size_t field;
		uint32_t value;
		const char *text;
	} cases[] = {
	    {offsetof(struct journal_region, fde_table), 0xff8, frames},
	    {offsetof(struct journal_region, fde_table), 0x10f1, frames},
	    {offsetof(struct journal_region, fde_count), 33, frames},
	    {offsetof(struct journal_region, fde_count), UINT32_MAX, frames},
	    {offsetof(struct journal_region, eh_frame), 0xfff, frames},
	    {offsetof(struct journal_region, eh_frame_size), 0xf1, frames},
	    {offsetof(struct journal_region, first_function), 1, functions},
	    {offsetof(struct journal_region, first_function), 3, functions},
	    {offsetof(struct journal_region, function_count), UINT32_MAX, functions},
	};
	struct journal j;
	struct journal_region region;
	struct patch patches[2];
	struct plan_run runs[2];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		sample(&j, &region, patches, runs);
		memcpy((char *)&region + cases[i].field, &cases[i].value, sizeof cases[i].value);
		expect_format_error(&j, cases[i].text);
	}
	sample(&j, &region, patches, runs);
	j.functions[1].name = j.string_size;
	expect_format_error(&j, "name of function 1");
	sample(&j, &region, patches, runs);
	j.string_size--;
	expect_format_error(&j, "bad names");
}

/* A journal of version 1.1 ends with the counters, one of 1.2 with the names. */
static void older_journals_have_less(void **state)
{
	(void)state;
	struct journal j;
	struct journal_region region;
	struct patch patches[2];
	struct plan_run runs[2];
	struct writer w = {0};
	sample(&j, &region, patches, runs);
	j.replaced_count = 0;
	size_t replaced = 4, names = 8 + 6 * 4 + 2 * 12 + j.string_size;
	assert_int_equal(journal_encode(&j, &w, NULL), 0);
	for (unsigned minor = 1; minor < 3; minor++) {
		uint64_t total = w.size - replaced - (minor == 1 ? names : 0), sum = hash_bytes(w.data + 256, total - 256);
		memcpy(w.data + 16, &total, sizeof total);
		memcpy(w.data + 24, &sum, sizeof sum);
		w.data[10] = (uint8_t)minor;
		assert_int_equal(journal_decode(w.data, total, &j, NULL), 0);
		assert_int_equal(j.regions[0].counters_mapped, 0x2000);
		assert_int_equal(j.regions[0].function_count, minor == 1 ? 0 : 2);
		assert_int_equal(j.regions[0].fde_count, minor == 1 ? 0 : 2);
		assert_int_equal(j.replaced_count, 0);
		journal_free(&j);
	}
	writer_free(&w);
}

/* Tools of version 1 would free one that replaces others as if it stood alone. */
static void one_that_replaces_others_has_another_version(void **state)
{
	(void)state;
	struct journal j;
	struct journal_region region;
	struct patch patches[2];
	struct plan_run runs[2];
	for (uint32_t count = 0; count < 2; count++) {
		struct writer w = {0};
		sample(&j, &region, patches, runs);
		j.replaced_count = count;
		assert_int_equal(journal_encode(&j, &w, NULL), 0);
		assert_int_equal(w.data[8], count ? 2 : 1);
		writer_free(&w);
	}
	sample(&j, &region, patches, runs);
	j.replaced_count = JOURNAL_REPLACED_MAX + 1;
	expect_format_error(&j, "replaced");
}

/* The states that a tool leaves which is killed: the live one, and the one that it was replacing. */
static void the_live_one_is_that_which_replaces(void **state)
{
	(void)state;
	raddr replaced[] = {{0x1000}};
	for (unsigned turned = 0; turned < 2; turned++) {
		struct journal list[2] = {0}, *older = &list[turned], *newer = &list[!turned];
		*older = (struct journal){.address = {0x1000}, .state = JOURNAL_UNDOING};
		*newer = (struct journal){.address = {0x2000}, .state = JOURNAL_STAGING, .replaced = replaced, .replaced_count = 1};
		assert_ptr_equal(journals_live(list, 2), older);
		assert_null(journals_half_replaced(list, 2, older));
		newer->state = JOURNAL_PATCHING;
		assert_ptr_equal(journals_live(list, 2), newer);
		assert_ptr_equal(journals_half_replaced(list, 2, newer), older);
		older->state = JOURNAL_REVERTED;
		assert_ptr_equal(journals_live(list, 2), newer);
		assert_null(journals_half_replaced(list, 2, newer));
		newer->state = JOURNAL_REVERTED;
		assert_null(journals_live(list, 2));
	}
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	struct writer w = encoded();
	for (size_t size = 0; size < w.size; size++) {
		uint8_t *copy = malloc(size ? size : 1); /* exact, so that a sanitizer sees a byte too many */
		struct journal j;
		if (size)
			memcpy(copy, w.data, size);
		assert_int_not_equal(journal_decode(copy, size, &j, NULL), 0);
		free(copy);
	}
	writer_free(&w);
}

static void every_flipped_bit_of_length_and_body_is_refused(void **state)
{
	(void)state;
	struct writer w = encoded();
	for (size_t bit = 0; bit < w.size * 8; bit++) {
		struct journal j;
		size_t byte = bit / 8;
		bool minor = byte == 10 || byte == 11, outside = byte >= 32 && byte < 256; /* not under the checksum */
		w.data[byte] ^= (uint8_t)(1u << bit % 8);
		int status = journal_decode(w.data, w.size, &j, NULL);
		if (!status)
			journal_free(&j);
		if (!minor && !outside)
			assert_int_not_equal(status, 0);
		w.data[byte] ^= (uint8_t)(1u << bit % 8);
	}
	writer_free(&w);
}

static void image_addresses_lead_home(void **state)
{
	(void)state;
	struct journal j;
	struct journal_region region;
	struct patch patches[2];
	struct plan_run runs[2];
	sample(&j, &region, patches, runs);
	assert_int_equal(journal_original(&j, (raddr){0x40000003}, false).v, 0x11013);
	/* A rewritten call: its start, no byte inside, and its return address. */
	assert_int_equal(journal_original(&j, (raddr){0x40000010}, false).v, 0x11080);
	assert_int_equal(journal_original(&j, (raddr){0x40000012}, false).v, 0);
	assert_int_equal(journal_original(&j, (raddr){0x40000015}, true).v, 0x11082);
	assert_int_equal(journal_original(&j, (raddr){0x3fffffff}, false).v, 0);
	assert_null(journal_region_of(&j, (raddr){0x40001000}));
	/* Nobody is in it, and something else may stand there. */
	j.state = JOURNAL_UNMAPPING;
	assert_null(journal_region_of(&j, (raddr){0x40000003}));
	j.state = JOURNAL_STAGING;
	assert_null(journal_region_of(&j, (raddr){0x40000003}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_encoded_decodes_to_the_same),
	    cmocka_unit_test(impossible_counters_are_refused),
	    cmocka_unit_test(every_truncation_is_refused),
	    cmocka_unit_test(every_flipped_bit_of_length_and_body_is_refused),
	    cmocka_unit_test(image_addresses_lead_home),
	    cmocka_unit_test(impossible_names_and_frames_are_refused),
	    cmocka_unit_test(older_journals_have_less),
	    cmocka_unit_test(one_that_replaces_others_has_another_version),
	    cmocka_unit_test(the_live_one_is_that_which_replaces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
