/* Words that follow a call, by the bytes before them. */
#include "apply/judge.h"
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

/* Each is one instruction; what stands before it is 90 90 ... */
static bool follows(const char *hex)
{
	uint8_t before[JUDGE_CALL_SIZE];
	size_t size = strlen(hex) / 2;
	memset(before, 0x90, sizeof before);
	assert_in_range(size, 1, sizeof before);
	for (size_t i = 0; i < size; i++) {
		unsigned byte;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		before[sizeof before - size + i] = (uint8_t)byte;
	}
	return judge_follows_call(before);
}

static void calls_are_known(void **state)
{
	static const char *const calls[] = {
	    "e811223344",	/* call rel32 */
	    "67e811223344",	/* one that was a call through a slot */
	    "ffd0",		/* *%rax */
	    "41ffd3",		/* *%r11 */
	    "ff10",		/* *(%rax) */
	    "ff1500112233",	/* *slot(%rip) */
	    "ff5008",		/* *8(%rax) */
	    "41ff5424f8",	/* *-8(%r12) */
	    "ff9011223300",	/* *disp32(%rax) */
	    "ff1424",		/* *(%rsp) */
	    "ff14c5001122ff",	/* *table(,%rax,8) */
	    "42ff14c5001122ff", /* *table(,%r8,8) */
	    "ff94c700112233",	/* *disp32(%rdi,%rax,8) */
	};
	(void)state;
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (!follows(calls[i]))
			fail_msg("%s is a call", calls[i]);
}

static void other_instructions_are_no_calls(void **state)
{
	static const char *const others[] = {
	    "c3",	      /* ret */
	    "e911223344",     /* jmp */
	    "ffe0",	      /* jmp *%rax */
	    "ff2500112233",   /* jmp *slot(%rip) */
	    "4889c7",	      /* mov */
	    "ff30",	      /* push (%rax) */
	    "ffc0",	      /* inc */
	    "488d0500112233", /* lea */
	    "0f1f440000",     /* nop */
	    "ff14",	      /* cut */
	};
	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (follows(others[i]))
			fail_msg("%s is no call", others[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(calls_are_known),
	    cmocka_unit_test(other_instructions_are_no_calls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
