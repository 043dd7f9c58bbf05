#include "formats/bitpack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 1000u

static size_t assert_round_trip(const uint64_t *values, size_t count, unsigned minimum_width)
{
	uint64_t back[COUNT];
	struct writer w = {0};
	bitpack_put(&w, values, count, minimum_width);
	assert_false(w.failed);
	struct reader r = reader_of(w.data, w.size);
	bitpack_get(&r, back, count);
	assert_false(r.failed);
	assert_int_equal(reader_left(&r), 0);
	if (count)
		assert_memory_equal(back, values, count * sizeof *back);
	size_t size = w.size;
	writer_free(&w);
	return size;
}

static void extreme_values_come_back(void **state)
{
	(void)state;
	const uint64_t values[] = {0, UINT64_MAX, 1, UINT64_MAX - 1, (uint64_t)1 << 63, 2, 0, 0x7fffffffffffffff, 3};
	for (size_t count = 0; count <= sizeof values / sizeof *values; count++)
		assert_round_trip(values, count, 0);
	for (unsigned shift = 0; shift < 64; shift++)
		assert_round_trip((uint64_t[]){(uint64_t)1 << shift, ((uint64_t)1 << shift) - 1, 0, 0, 0, 0}, 6, 0);
}

static void equal_zeros_take_no_bits_unless_asked(void **state)
{
	(void)state;
	uint64_t values[COUNT] = {0};
	assert_int_equal(assert_round_trip(values, COUNT, 0), 1);
	assert_int_equal(assert_round_trip(values, COUNT, 1), 1 + COUNT / 8);
}

/* A vdso address among the gaps of a program's addresses. */
static void one_outlier_does_not_spoil_a_column(void **state)
{
	(void)state;
	uint64_t values[COUNT];
	for (size_t i = 0; i < COUNT; i++)
		values[i] = 100 + i * 7919 % 150;
	size_t without = assert_round_trip(values, COUNT, 0);
	values[COUNT / 2] = 0x7ffc12345678;
	size_t with = assert_round_trip(values, COUNT, 0);
	assert_true(without <= COUNT + 1);
	assert_true(with <= without + COUNT / 4 + 16);
}

static void malformed_columns_fail(void **state)
{
	(void)state;
	static const struct {
		uint8_t bytes[12];
		size_t size, count;
	} cases[] = {
	    {{0}, 0, 1},   /* nothing */
	    {{65}, 12, 1}, /* neither width nor order */
	    {{0x7f}, 12, 1},
	    {{0xbf}, 12, 1},		/* order 63 */
	    {{8}, 1, 1},		/* cut off */
	    {{4, 0xf0}, 2, 1},		/* filled with ones */
	    {{0x80, 0, 0, 0, 0}, 5, 1}, /* no end of zeros */
	    {{0x80}, 12, 1},		/* 64 zeros and more */
	    {{0xbe, 8}, 12, 1},		/* 62 + 3 bits do not fit */
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint64_t value;
		struct reader r = reader_of(cases[i].bytes, cases[i].size);
		bitpack_get(&r, &value, cases[i].count);
		if (!r.failed)
			fail_msg("case %zu is accepted", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(extreme_values_come_back),
	    cmocka_unit_test(equal_zeros_take_no_bits_unless_asked),
	    cmocka_unit_test(one_outlier_does_not_spoil_a_column),
	    cmocka_unit_test(malformed_columns_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
