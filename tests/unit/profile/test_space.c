#include "profile/space.h"

#include "formats/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <gnu/libc-version.h>

static struct space *own_space(void)
{
	struct space *space;
	assert_int_equal(space_new(getpid(), &space, NULL), 0);
	assert_int_equal(space_read(space, NULL), 0);
	return space;
}

static int marker(void)
{
	return 42;
}

static void own_code_is_found_in_its_module(void **state)
{
	(void)state;
	extern const uint8_t __ehdr_start[], etext[];
	struct space *space = own_space();
	uint32_t module, other;
	uint64_t address;
	space_find(space, (raddr){(uint64_t)(uintptr_t)marker}, &module, &address);
	assert_int_not_equal(module, PROFILE_NO_MODULE);
	assert_true(address == (uint64_t)(uintptr_t)marker - (uint64_t)(uintptr_t)__ehdr_start); /* linked at 0 */
	assert_true(address < (uint64_t)(etext - __ehdr_start));
	char exe[4096] = "";
	assert_true(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
	assert_string_equal(space_module(space, module)->path, exe);
	assert_true(space_module(space, module)->text_hash != 0);
	space_find(space, (raddr){(uint64_t)(uintptr_t)gnu_get_libc_version}, &other, &address);
	assert_int_not_equal(other, module);
	assert_non_null(strstr(space_module(space, other)->path, "libc"));
	space_free(space);
}

static void addresses_in_no_file_have_no_module(void **state)
{
	(void)state;
	struct space *space = own_space();
	uint32_t module = 1;
	uint64_t address = 0;
	space_find(space, (raddr){(uint64_t)(uintptr_t)&module}, &module, &address);
	assert_int_equal(module, PROFILE_NO_MODULE);
	assert_true(address == (uint64_t)(uintptr_t)&module);
	space_find(space, (raddr){0}, &module, &address);
	assert_int_equal(module, PROFILE_NO_MODULE);
	space_find(space, (raddr){UINT64_MAX}, &module, &address);
	assert_int_equal(module, PROFILE_NO_MODULE);
	space_free(space);
}

static void new_mapping_replaces_what_it_covers(void **state)
{
	(void)state;
	struct space *space = own_space();
	uint64_t at = (uint64_t)(uintptr_t)marker & ~(uint64_t)4095;
	struct procmap anonymous = {.start.v = at, .end.v = at + 16, .execute = true, .path = ""};
	uint32_t module;
	uint64_t address;
	assert_int_equal(space_add(space, &anonymous, NULL), 0);
	space_find(space, (raddr){at + 15}, &module, &address);
	assert_int_equal(module, PROFILE_NO_MODULE);
	space_find(space, (raddr){at + 16}, &module, &address);
	assert_int_not_equal(module, PROFILE_NO_MODULE);
	/* exec: everything anew */
	assert_int_equal(space_read(space, NULL), 0);
	space_find(space, (raddr){at + 15}, &module, &address);
	assert_int_not_equal(module, PROFILE_NO_MODULE);
	space_free(space);
}

static bool move_back(void *context, raddr address, raddr *ret_original)
{
	const uint64_t *image = context;
	if (address.v < *image || address.v >= *image + 4096)
		return false;
	ret_original->v = (uint64_t)(uintptr_t)marker + (address.v - *image);
	return true;
}

static void relaid_code_is_translated_before_it_is_looked_up(void **state)
{
	(void)state;
	struct space *space = own_space();
	uint64_t image = 0x10000, expected, address;
	uint32_t expected_module, module;
	space_set_translator(space, &(struct space_translator){move_back, &image});
	space_find(space, (raddr){(uint64_t)(uintptr_t)marker + 3}, &expected_module, &expected);
	space_find(space, (raddr){image + 3}, &module, &address);
	assert_int_equal(module, expected_module);
	assert_true(address == expected);
	space_find(space, (raddr){image + 4096}, &module, &address);
	assert_int_equal(module, PROFILE_NO_MODULE);
	space_free(space);
}

static void file_that_was_deleted_keeps_its_identity(void **state)
{
	(void)state;
	char path[] = "/tmp/space-test-XXXXXX", line[512];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	FILE *self = fopen("/proc/self/exe", "re");
	assert_non_null(self);
	for (size_t n; (n = fread(line, 1, sizeof line, self));)
		assert_int_equal(write(fd, line, n), n);
	fclose(self);
	/* The text segment starts at a page: the second page of the file is text in any program of some size. */
	uint8_t *text = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0x2000);
	uint8_t *header = mmap(text - 0x2000, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(text, MAP_FAILED);
	assert_ptr_not_equal(header, MAP_FAILED);
	unlink(path);
	close(fd);
	struct space *space = own_space();
	uint32_t module, own;
	uint64_t address;
	space_find(space, (raddr){(uint64_t)(uintptr_t)text}, &module, &address);
	space_find(space, (raddr){(uint64_t)(uintptr_t)marker}, &own, &address);
	assert_int_not_equal(module, PROFILE_NO_MODULE);
	assert_int_equal(space_module(space, module)->build_id_size, space_module(space, own)->build_id_size);
	assert_memory_equal(space_module(space, module)->build_id, space_module(space, own)->build_id,
			    space_module(space, own)->build_id_size);
	munmap(text, 4096);
	munmap(header, 4096);
	space_free(space);
}

static void process_that_is_gone_is_an_error(void **state)
{
	(void)state;
	struct space *space;
	struct err e;
	assert_int_equal(space_new(0x3ffffff, &space, NULL), 0);
	assert_int_equal(space_read(space, &e), -ERR_GONE);
	space_free(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(own_code_is_found_in_its_module),		cmocka_unit_test(addresses_in_no_file_have_no_module),
	    cmocka_unit_test(new_mapping_replaces_what_it_covers),	cmocka_unit_test(relaid_code_is_translated_before_it_is_looked_up),
	    cmocka_unit_test(file_that_was_deleted_keeps_its_identity), cmocka_unit_test(process_that_is_gone_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
