#include "profile/idmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void empty_table_has_nothing(void **state)
{
	(void)state;
	struct idmap map = {0};
	assert_int_equal(idmap_get(&map, 1), IDMAP_NONE);
	idmap_remove(&map, 1);
	idmap_free(&map);
}

static void values_are_set_replaced_and_removed(void **state)
{
	(void)state;
	struct idmap map = {0};
	assert_int_equal(idmap_set(&map, 7, 1), 0);
	assert_int_equal(idmap_set(&map, 7, 2), 0);
	assert_int_equal(map.count, 1);
	assert_int_equal(idmap_get(&map, 7), 2);
	idmap_remove(&map, 7);
	assert_int_equal(idmap_get(&map, 7), IDMAP_NONE);
	assert_int_equal(map.count, 0);
	idmap_free(&map);
}

/* Against a plain array, with enough keys for many collisions and removals inside runs. */
static void many_changes_agree_with_an_array(void **state)
{
	(void)state;
	enum { KEYS = 2000 };
	static uint32_t expected[KEYS];
	struct idmap map = {0};
	uint64_t random = 12345;
	for (int i = 0; i < KEYS; i++)
		expected[i] = IDMAP_NONE;
	for (int step = 0; step < 40000; step++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		uint32_t key = (uint32_t)(random >> 33) % (KEYS - 1) + 1;
		if (random >> 62) {
			assert_int_equal(idmap_set(&map, key, (uint32_t)step), 0);
			expected[key] = (uint32_t)step;
		} else {
			idmap_remove(&map, key);
			expected[key] = IDMAP_NONE;
		}
		if (step % 1000 == 0)
			for (uint32_t k = 1; k < KEYS; k++)
				assert_int_equal(idmap_get(&map, k), expected[k]);
	}
	idmap_free(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(empty_table_has_nothing),
	    cmocka_unit_test(values_are_set_replaced_and_removed),
	    cmocka_unit_test(many_changes_agree_with_an_array),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
