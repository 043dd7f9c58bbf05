/* Patches that the code of a kept image leads into. The image is a buffer of this process, the text that it leads back to another. */
#include "apply/kept.h"
#include "formats/base/bytes.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

static uint8_t image[64], text[64];

/* 0f 84 rel32 at image + 20 leads to text + at. The patch is at text + 8. Is it dropped? */
static bool drops(uint32_t at, enum journal_state state)
{
	struct target target;
	struct journal_region region = {.code = {(uintptr_t)image}, .code_mapped = sizeof image, .code_size = sizeof image};
	struct journal journal = {.state = state, .regions = &region, .region_count = 1};
	struct patch patch = {.at = {(uintptr_t)text + 8}};
	struct patch_set set = {.list = &patch, .count = 1};
	const struct kept kept = {.journals = &journal, .count = 1};
	memset(image, 0x90, sizeof image);
	image[20] = 0x0f;
	image[21] = 0x84;
	store_u32(image + 22, (uint32_t)((uintptr_t)text + at - ((uintptr_t)image + 26)));
	assert_int_equal(target_open(getpid(), &target, NULL), 0);
	assert_int_equal(kept_drop_patches(&kept, &target, &set, NULL), 0);
	target_close(&target);
	assert_int_equal(patch.for_good, patch.state == PATCH_PC_INSIDE);
	return patch.for_good;
}

static void a_branch_between_the_bytes_of_a_patch_drops_it(void **state)
{
	(void)state;
	for (uint32_t at = 0; at < 24; at++)
		assert_int_equal(drops(at, JOURNAL_UNDOING), at > 8 && at < 8 + PLAN_PATCH_SIZE);
	assert_true(drops(12, JOURNAL_REVERTED));
}

/* What a killed tool had begun to map, or to unmap, nobody is in. */
static void code_that_nobody_is_in_does_not(void **state)
{
	(void)state;
	assert_false(drops(12, JOURNAL_STAGING));
	assert_false(drops(12, JOURNAL_UNMAPPING));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_branch_between_the_bytes_of_a_patch_drops_it),
	    cmocka_unit_test(code_that_nobody_is_in_does_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
