/* slowdown: which samples are at counters, and what that means. */
#include "profile/exact/slowdown.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct plan_run runs[] = {
    {.image = 0, .original = 0x10, .image_size = 4, .original_size = 4, .kind = PLAN_RUN_COPY},
    {.image = 4, .original = 0x14, .image_size = 7, .kind = PLAN_RUN_COUNTER},
    {.image = 11, .original = 0x14, .image_size = 9, .original_size = 9, .kind = PLAN_RUN_COPY},
    {.image = 20, .original = 0x1d, .image_size = 7, .kind = PLAN_RUN_COUNTER},
    {.image = 27, .original = 0x1d, .image_size = 7, .kind = PLAN_RUN_COUNTER},
    {.image = 34, .original = 0x1d, .image_size = 6, .original_size = 6, .kind = PLAN_RUN_COPY},
};

static void samples_at_counters_and_behind_them_count(void **state)
{
	(void)state;
	const struct plan_module plan = {.runs = runs, .run_count = sizeof runs / sizeof *runs, .code_size = 40};
	struct slowdown_region region = {&plan, {0x1000}};
	struct slowdown s = {.regions = &region, .region_count = 1};
	raddr original;
	for (uint64_t at = 0xff0; at < 0x1040; at++) {
		uint64_t before = s.counting, inside = s.image, offset = at - 0x1000;
		assert_false(slowdown_translate(&s, (raddr){at}, &original));
		bool counter = (offset >= 4 && offset <= 11) || (offset >= 20 && offset <= 34);
		assert_int_equal(s.counting - before, at >= 0x1000 && offset < 40 && counter);
		assert_int_equal(s.image - inside, at >= 0x1000 && offset < 40);
	}
	assert_int_equal(s.image, 40);
}

static void factor_is_time_over_time_without(void **state)
{
	(void)state;
	struct slowdown s = {.counting = 0};
	assert_true(slowdown_factor(&s, 100) == 1);
	assert_true(slowdown_factor(&s, 0) == 1);
	s.counting = 50;
	assert_true(slowdown_factor(&s, 100) == 2);
	s.counting = 75;
	assert_true(slowdown_factor(&s, 100) == 4);
	s.counting = 100; /* nothing but counters: says nothing, and must not divide by zero */
	assert_true(slowdown_factor(&s, 100) == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(samples_at_counters_and_behind_them_count),
	    cmocka_unit_test(factor_is_time_over_time_without),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
