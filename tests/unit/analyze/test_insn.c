#include "analyze/code/insn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sample {
	const char *hex;
	uint8_t kind, length, condition, rip_field, relative_size;
	uint64_t target; /* at 0x1000 */
};

static const struct sample samples[] = {
    {"90", INSN_PLAIN, 1, 0, 0, 0, 0},
    {"eb02", INSN_JUMP, 2, 0, 0, 1, 0x1004},
    {"e9fbffffff", INSN_JUMP, 5, 0, 0, 4, 0x1000},
    {"7410", INSN_BRANCH, 2, 4, 0, 1, 0x1012},
    {"0f8f00010000", INSN_BRANCH, 6, 15, 0, 4, 0x1106},
    {"e2fe", INSN_BRANCH_SHORT, 2, 0, 0, 1, 0x1000},
    {"e3fe", INSN_BRANCH_SHORT, 2, 0, 0, 1, 0x1000},
    {"67e3fd", INSN_BRANCH_SHORT, 3, 0, 0, 1, 0x1000},
    {"e800000000", INSN_CALL, 5, 0, 0, 4, 0x1005},
    {"666648e800000000", INSN_CALL, 8, 0, 0, 4, 0x1008}, /* __tls_get_addr */
    {"ffe0", INSN_JUMP_INDIRECT, 2, 0, 0, 0, 0},
    {"ff2510000000", INSN_JUMP_INDIRECT, 6, 0, 2, 0, 0x1016},
    {"ff1510000000", INSN_CALL_INDIRECT, 6, 0, 2, 0, 0x1016},
    {"488d0d10000000", INSN_PLAIN, 7, 0, 3, 0, 0x1017},
    {"c7051000000001000000", INSN_PLAIN, 10, 0, 2, 0, 0x101a},
    {"4a8b0425f8ffff7f", INSN_PLAIN, 8, 0, 0, 0, 0}, /* absolute, no rip */
    {"c3", INSN_RETURN, 1, 0, 0, 0, 0},
    {"c20800", INSN_RETURN, 3, 0, 0, 0, 0},
    {"0f0b", INSN_STOP, 2, 0, 0, 0, 0},
    {"f4", INSN_STOP, 1, 0, 0, 0, 0},
    {"cc", INSN_STOP, 1, 0, 0, 0, 0},
    {"0f05", INSN_SYSCALL, 2, 0, 0, 0, 0},
    {"cd80", INSN_UNSUPPORTED, 2, 0, 0, 0, 0},
    {"c7f800000000", INSN_UNSUPPORTED, 6, 0, 0, 4, 0x1006}, /* xbegin */
    {"0f01d5", INSN_PLAIN, 3, 0, 0, 0, 0},		    /* xend */
    {"48cf", INSN_UNSUPPORTED, 2, 0, 0, 0, 0},
    {"48cb", INSN_UNSUPPORTED, 2, 0, 0, 0, 0},
};

static size_t bytes_of(const char *hex, uint8_t *bytes)
{
	size_t count = strlen(hex) / 2;
	for (size_t i = 0; i < count; i++) {
		char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
		bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return count;
}

static void expect(const struct sample *s, const struct insn *i)
{
	if (i->kind != s->kind || i->length != s->length || i->condition != s->condition || i->rip_field != s->rip_field ||
	    i->relative_size != s->relative_size || i->target != s->target)
		fail_msg("%s: kind %u length %u condition %u rip %u relative %u target 0x%lx", s->hex, i->kind, i->length, i->condition,
			 i->rip_field, i->relative_size, (unsigned long)i->target);
}

static void each_form_decodes_as_listed(void **state)
{
	uint8_t bytes[16];
	struct insn i;
	(void)state;
	for (size_t n = 0; n < sizeof samples / sizeof *samples; n++) {
		size_t size = bytes_of(samples[n].hex, bytes);
		assert_int_equal(insn_decode(bytes, size, (vaddr){0x1000}, &i), 0);
		expect(&samples[n], &i);
	}
}

static void both_decoders_agree(void **state)
{
	uint8_t bytes[16];
	struct insn i;
	struct insn_second *second = insn_second_new();
	(void)state;
	assert_non_null(second);
	for (size_t n = 0; n < sizeof samples / sizeof *samples; n++) {
		size_t size = bytes_of(samples[n].hex, bytes);
		assert_int_equal(insn_second_decode(second, bytes, size, (vaddr){0x1000}, &i), 0);
		expect(&samples[n], &i);
	}
	insn_second_free(second);
}

static void rel16_branches_are_unsupported(void **state)
{
	static const char *const hex[] = {"66e900000000", "66e9000000000000", "660f8400000000", "66e800000000"};
	uint8_t bytes[16] = {0};
	struct insn i;
	(void)state;
	for (size_t n = 0; n < sizeof hex / sizeof *hex; n++) {
		size_t size = bytes_of(hex[n], bytes);
		assert_int_equal(insn_decode(bytes, size, (vaddr){0x1000}, &i), 0);
		assert_int_equal(i.kind, INSN_UNSUPPORTED);
	}
}

static void cut_instruction_does_not_decode(void **state)
{
	uint8_t bytes[16];
	struct insn i, untouched;
	(void)state;
	for (size_t n = 0; n < sizeof samples / sizeof *samples; n++) {
		size_t size = bytes_of(samples[n].hex, bytes);
		memset(&i, 0x5a, sizeof i);
		untouched = i;
		assert_int_equal(insn_decode(bytes, size - 1, (vaddr){0x1000}, &i), -1);
		assert_memory_equal(&i, &untouched, sizeof i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_form_decodes_as_listed),
	    cmocka_unit_test(both_decoders_agree),
	    cmocka_unit_test(rel16_branches_are_unsupported),
	    cmocka_unit_test(cut_instruction_does_not_decode),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
