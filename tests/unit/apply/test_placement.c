#include "apply/placement.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define HUGE (2 * MIB)

static struct procmap map_of(uint64_t start, uint64_t end, const char *path)
{
	return (struct procmap){.start = {start}, .end = {end}, .read = true, .path = path};
}

static int place(struct procmap *list, size_t count, const struct placement_want *want, uint64_t *ret_address)
{
	struct procmaps maps = {.maps = list, .count = count};
	raddr address = {0};
	struct err e = {0};
	int status = placement_find(&maps, NULL, 0, want, &address, &e);
	*ret_address = address.v;
	return status;
}

static void pie_goes_right_below(void **state)
{
	(void)state;
	const uint64_t base = 0x555555554000;
	struct procmap list[] = {map_of(base, base + 16 * MIB, "/bin/x"), map_of(base + 16 * MIB, base + 20 * MIB, "[heap]")};
	struct placement_want want = {{base}, {base + 16 * MIB}, 3 * MIB, HUGE};
	uint64_t at;
	assert_int_equal(place(list, 2, &want, &at), 0);
	assert_true(at + want.size < base);
	assert_true(base - at < 3 * MIB + HUGE + 4096);
	assert_int_equal(at % HUGE, 0);
}

static void low_executable_leaves_room_for_its_heap(void **state)
{
	(void)state;
	struct procmap list[] = {map_of(0x400000, 0x900000, "/bin/x"), map_of(0xa00000, 0xb00000, "[heap]")};
	struct placement_want want = {{0x400000}, {0x900000}, 3 * MIB, HUGE};
	uint64_t at;
	assert_int_equal(place(list, 2, &want, &at), 0);
	assert_true(at > GIB);
	/* The last byte must still reach the first byte of the module. */
	assert_true(at + want.size - 0x400000 < 2 * GIB);
}

static void low_executable_stays_out_of_popular_numbers(void **state)
{
	(void)state;
	struct procmap list[] = {map_of(0x400000, 0x900000, "/bin/x"), map_of(0xa00000, 0xb00000, "[heap]"), map_of(2 * GIB, 4 * GIB, "")};
	struct placement_want want = {{0x400000}, {0x900000}, 3 * MIB, HUGE};
	uint64_t at;
	for (size_t count = 2; count <= 3; count++) {
		assert_int_equal(place(list, count, &want, &at), 0);
		assert_true(at + want.size <= 0x7f000000 && at > 0x7e000000);
	}
	/* But rather there than nowhere. */
	list[1].end.v = 0x7f000000;
	assert_int_equal(place(list, 2, &want, &at), 0);
	assert_true(at >= 0x7f000000);
}

/* Third or fourth byte zero: what strings leave of pointers. */
static bool holds_string_over_pointer(uint64_t at, uint64_t size)
{
	for (uint64_t page = at; page < at + size; page += 4096)
		if (!(page >> 16 & 0xff) || !(page >> 24 & 0xff))
			return true;
	return false;
}

static void remains_of_pointers_under_strings_are_avoided(void **state)
{
	(void)state;
	for (uint64_t base = 0x7f2fff000000; base < 0x7f3003000000; base += 3 * MIB + 12 * 4096)
		for (uint64_t size = MIB; size <= 14 * MIB; size += MIB)
			for (uint64_t alignment = 4096; alignment <= HUGE; alignment *= 512) {
				struct procmap list[] = {map_of(base, base + 2 * MIB, "/lib/y")};
				struct placement_want want = {{base}, {base + 2 * MIB}, size, alignment};
				uint64_t at;
				assert_int_equal(place(list, 1, &want, &at), 0);
				assert_false(holds_string_over_pointer(at, size));
				assert_int_equal(at % alignment, 0);
				assert_true(at + size < base && base - at < 52 * MIB);
			}
	/* But rather there than nowhere. */
	const uint64_t base = 0x7f30ab200000;
	struct procmap list[] = {map_of(base - 3 * GIB, base - 4 * MIB, ""), map_of(base, base + 3 * GIB, "/lib/y")};
	struct placement_want want = {{base}, {base + MIB}, 3 * MIB, 4096};
	uint64_t at;
	assert_int_equal(place(list, 2, &want, &at), 0);
	assert_true(holds_string_over_pointer(at, want.size));
}

static void module_at_the_edge_of_reach_is_respected(void **state)
{
	(void)state;
	/* All within 2 GiB below is taken; above there is room only beyond reach of the module's start. */
	const uint64_t base = 0x7f0000000000;
	struct procmap list[] = {map_of(base - 3 * GIB, base + 2 * GIB - 5 * MIB, "/lib/y")};
	struct placement_want want = {{base}, {base + MIB}, 8 * MIB, 4096};
	uint64_t at;
	assert_int_equal(place(list, 1, &want, &at), -ERR_REFUSED);
	want.size = MIB;
	assert_int_equal(place(list, 1, &want, &at), 0);
	assert_true(at >= base + 2 * GIB - 5 * MIB + 4096 && at + want.size - base < 2 * GIB);
}

static void gap_below_a_stack_is_not_used(void **state)
{
	(void)state;
	const uint64_t base = 0x7f0000000000;
	struct procmap list[] = {map_of(base - 3 * GIB, base + MIB, "/lib/y"), map_of(base + GIB, base + GIB + MIB, "[stack]"),
				 map_of(base + GIB + MIB, base + 3 * GIB, "")};
	struct placement_want want = {{base}, {base + MIB}, MIB, 4096};
	uint64_t at;
	assert_int_equal(place(list, 3, &want, &at), -ERR_REFUSED);
}

static void taken_ranges_are_avoided(void **state)
{
	(void)state;
	const uint64_t base = 0x555555400000;
	struct procmap list[] = {map_of(base, base + MIB, "/bin/x")};
	struct procmaps maps = {.maps = list, .count = 1};
	struct placement_want want = {{base}, {base + MIB}, 2 * MIB, HUGE};
	struct placement_range taken[8];
	struct err e;
	for (size_t n = 0; n < 8; n++) {
		raddr at;
		assert_int_equal(placement_find(&maps, taken, n, &want, &at, &e), 0);
		for (size_t i = 0; i < n; i++)
			assert_true(at.v >= taken[i].start.v + taken[i].size + 4096 || at.v + want.size + 4096 <= taken[i].start.v);
		taken[n] = (struct placement_range){at, want.size};
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pie_goes_right_below),
	    cmocka_unit_test(low_executable_leaves_room_for_its_heap),
	    cmocka_unit_test(low_executable_stays_out_of_popular_numbers),
	    cmocka_unit_test(remains_of_pointers_under_strings_are_avoided),
	    cmocka_unit_test(module_at_the_edge_of_reach_is_respected),
	    cmocka_unit_test(gap_below_a_stack_is_not_used),
	    cmocka_unit_test(taken_ranges_are_avoided),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
