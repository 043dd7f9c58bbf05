#include "analyze/code/special.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The table is searched by bisection, so its order matters: each of these sits in another part of it. */
static void every_region_of_the_table_is_found(void **state)
{
	static const char *const ends[] = {"_Exit",
					   "_Unwind_Resume",
					   "_ZSt17__throw_bad_allocv",
					   "_ZSt9terminatev",
					   "__assert_fail",
					   "__chk_fail",
					   "__cxa_rethrow",
					   "__cxa_throw",
					   "__libc_start_main",
					   "__stack_chk_fail",
					   "_exit",
					   "abort",
					   "exit",
					   "longjmp",
					   "quick_exit",
					   "thrd_exit",
					   "siglongjmp",
					   "_ZSt24__throw_out_of_range_fmtPKcz",
					   "__fortify_fail",
					   "__libc_fatal",
					   "pthread_exit"};
	(void)state;
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (!(special_of_name(ends[i]) & SPECIAL_NO_RETURN))
			fail_msg("%s is not known", ends[i]);
}

static void callers_of_setjmp_dlsym_vfork_are_told(void **state)
{
	(void)state;
	assert_true(special_of_name("_setjmp") & SPECIAL_SAVES_PC);
	assert_true(special_of_name("__sigsetjmp") & SPECIAL_SAVES_PC);
	assert_true(special_of_name("swapcontext") & SPECIAL_SAVES_PC);
	assert_true(special_of_name("dlsym") & SPECIAL_ASKS_CALLER);
	assert_true(special_of_name("dlopen") & SPECIAL_ASKS_CALLER);
	assert_true(special_of_name("vfork") & SPECIAL_FORKS);
	assert_int_equal(special_of_name("malloc"), 0);
	assert_int_equal(special_of_name(NULL), 0);
}

static void only_the_lookups_of_the_unwinder_may_move(void **state)
{
	(void)state;
	assert_true(special_of_name("_Unwind_RaiseException") & SPECIAL_ITSELF);
	assert_true(special_of_name("_Unwind_Backtrace") & SPECIAL_ITSELF);
	assert_int_equal(special_of_name("_Unwind_Find_FDE"), 0);
	assert_true(special_of_name("_dl_find_dso_for_object") & SPECIAL_ITSELF);
	assert_int_equal(special_of_name("_dl_find_object"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_region_of_the_table_is_found),
	    cmocka_unit_test(callers_of_setjmp_dlsym_vfork_are_told),
	    cmocka_unit_test(only_the_lookups_of_the_unwinder_may_move),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
