/* What /proc/PID/status says of a process: recorded texts, cut to the lines that matter. */
#include "apply/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define BEFORE "Name:\tserver\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t1\nPid:\t1\nPPid:\t0\n"
#define NOBODY "TracerPid:\t0\n"
#define AFTER "NoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n"

static int check(const char *text, struct target *t, struct err *e)
{
	*t = (struct target){.pid = 1};
	*e = (struct err){0};
	return target_check_status(t, text, e);
}

static void refused(const char *text, const char *because)
{
	struct target t;
	struct err e;
	assert_int_equal(check(text, &t, &e), -ERR_REFUSED);
	assert_non_null(strstr(e.text, because));
}

static void accepted(const char *text)
{
	struct target t;
	struct err e;
	assert_int_equal(check(text, &t, &e), 0);
	assert_false(t.seccomp_filter);
}

static void ordinary_process_accepted(void **state)
{
	(void)state;
	accepted(BEFORE NOBODY AFTER);
	accepted(BEFORE NOBODY AFTER "x86_Thread_features:\t\nx86_Thread_features_locked:\t\n");
}

static void shadow_stack_refused(void **state)
{
	(void)state;
	refused(BEFORE NOBODY AFTER "x86_Thread_features:\tshstk \nx86_Thread_features_locked:\tshstk wrss \n", "shadow stack");
	refused(BEFORE NOBODY AFTER "x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\t\n", "shadow stack");
	refused("x86_Thread_features:\tshstk", "shadow stack");
}

/* glibc locks the feature for programs that it leaves without: what is locked is not on. */
static void locked_without_shadow_stack_accepted(void **state)
{
	(void)state;
	accepted(BEFORE NOBODY AFTER "x86_Thread_features:\t\nx86_Thread_features_locked:\tshstk wrss \n");
	accepted(BEFORE NOBODY AFTER "x86_Thread_features_locked:\tshstk wrss \nx86_Thread_features:\t\n");
}

static void name_is_no_feature(void **state)
{
	(void)state;
	/* The kernel escapes line feeds in names. */
	accepted("Name:\tx\\nx86_Thread_features:\tshstk\n" NOBODY AFTER);
}

static void traced_process_refused(void **state)
{
	(void)state;
	refused(BEFORE "TracerPid:\t4194303\n" AFTER, "by process 4194303");
}

static void strict_seccomp_refused_and_filter_noted(void **state)
{
	struct target t;
	struct err e;
	(void)state;
	refused(BEFORE NOBODY "Seccomp:\t1\nSeccomp_filters:\t0\n", "strict seccomp");
	assert_int_equal(check(BEFORE NOBODY "Seccomp:\t2\nSeccomp_filters:\t1\n", &t, &e), 0);
	assert_true(t.seccomp_filter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ordinary_process_accepted),
	    cmocka_unit_test(shadow_stack_refused),
	    cmocka_unit_test(locked_without_shadow_stack_accepted),
	    cmocka_unit_test(name_is_no_feature),
	    cmocka_unit_test(traced_process_refused),
	    cmocka_unit_test(strict_seccomp_refused_and_filter_noted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
