#include "analyze/code/map_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/test_image.XXXXXX", victim[64], altered[64];
static uint8_t *bytes;
static size_t size;

static int make_victim(void **state)
{
	static const char source[] =
	    "int puts(const char *); int table(int n) { switch (n) { case 0: return puts(\"a\"); case 1: return 7 * puts(\"b\");"
	    " case 2: return 5 + puts(\"c\"); case 3: return puts(\"d\") / 3; case 4: return 9; } return -n; }"
	    " int (*pointer)(int) = table; int main(void) { return pointer(2); }";
	char command[512], path[64];
	struct file_data file;
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(victim, sizeof victim, "%s/victim", directory);
	snprintf(altered, sizeof altered, "%s/altered", directory);
	snprintf(path, sizeof path, "%s/victim.c", directory);
	FILE *f = fopen(path, "w");
	if (!f || fputs(source, f) < 0 || fclose(f))
		return -1;
	snprintf(command, sizeof command, "cc -O2 -s -Wl,--build-id -Wl,-z,noseparate-code -o %s %s", victim, path);
	if (system(command) || file_read(victim, &file, NULL))
		return -1;
	unlink(path);
	size = file.size;
	bytes = malloc(size);
	if (bytes)
		memcpy(bytes, file.data, size);
	file_data_free(&file);
	return bytes ? 0 : -1;
}

static int remove_victim(void **state)
{
	(void)state;
	free(bytes);
	unlink(victim);
	unlink(altered);
	return rmdir(directory);
}

/* Opens and maps these bytes. Whatever comes out, it is an error with a text or a map that passes validation. */
static int try_bytes(const uint8_t *data, size_t count)
{
	struct image image;
	struct map m;
	struct err e = {0};
	FILE *f = fopen(altered, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, count, f), count);
	assert_int_equal(fclose(f), 0);
	int status = image_open(altered, &image, &e);
	if (!status) {
		status = map_build(&image, 1, &m, &e);
		if (!status) {
			assert_int_equal(map_validate(&m, "altered", &e), 0);
			map_free(&m);
		}
		image_close(&image);
	}
	if (status) {
		assert_int_equal(-status, e.code);
		assert_true(e.text[0]);
	}
	return status;
}

static void unaltered_file_is_read(void **state)
{
	struct image image;
	struct err e = {0};
	(void)state;
	assert_int_equal(image_open(victim, &image, &e), 0);
	assert_true(image.pie);
	assert_int_equal(image.identity.build_id_size, 20);
	assert_int_equal(image.identity.file_size, size);
	assert_int_equal(image.needed_count, 1);
	assert_string_equal(image.needed[0], "libc.so.6");
	assert_true(image.fde_count >= 3);
	for (size_t i = 1; i < image.fde_count; i++)
		assert_true(image.fdes[i - 1].start < image.fdes[i].start);
	bool found = false;
	for (size_t i = 0; i < image.import_count; i++)
		found |= image.imports[i].name && !strcmp(image.imports[i].name, "puts");
	assert_true(found);
	/* `pointer` holds the address of table, which is a function. */
	size_t pointed = 0;
	for (size_t i = 0; i < image.pointer_count; i++) {
		size_t fde = image_fde_at(&image, image.pointers[i].value);
		pointed += fde != SIZE_MAX && image.fdes[fde].start == image.pointers[i].value;
		assert_int_equal(image_pointer_at(&image, image.pointers[i].place), image.pointers[i].value);
	}
	assert_true(pointed >= 1);
	assert_null(image_bytes(&image, (vaddr){UINT64_MAX - 3}, 8));
	assert_null(image_bytes(&image, (vaddr){image.text_base}, SIZE_MAX));
	image_close(&image);
	assert_int_equal(try_bytes(bytes, size), 0);
}

static void truncation_is_an_error_or_harmless(void **state)
{
	size_t refused = 0, tried = 0;
	(void)state;
	for (size_t cut = 0; cut < size; cut += cut < 1024 ? 7 : 97, tried++)
		refused += try_bytes(bytes, cut) != 0;
	/* All that cuts into a loaded segment is refused; the section headers at the end are not needed. */
	assert_true(refused > tried / 2);
	assert_int_not_equal(try_bytes(bytes, 0), 0);
	assert_int_not_equal(try_bytes(bytes, sizeof(Elf64_Ehdr)), 0);
}

static void sweep(size_t from, size_t to, size_t step)
{
	static const uint8_t patterns[] = {0x00, 0xff, 0x80, 0x7f};
	uint8_t *copy = malloc(size);
	assert_non_null(copy);
	memcpy(copy, bytes, size);
	for (size_t at = from; at < to && at < size; at += step) {
		copy[at] = patterns[at % sizeof patterns];
		(void)try_bytes(copy, size);
		copy[at] = bytes[at] ^ (uint8_t)(1u << at % 8);
		(void)try_bytes(copy, size);
		copy[at] = bytes[at];
	}
	free(copy);
}

static void altered_headers_do_no_harm(void **state)
{
	(void)state;
	sweep(0, sizeof(Elf64_Ehdr) + 14 * sizeof(Elf64_Phdr), 1);
}

static void altered_contents_do_no_harm(void **state)
{
	(void)state;
	sweep(0, size, 13);
}

static void altered_section_headers_do_no_harm(void **state)
{
	(void)state;
	Elf64_Ehdr h;
	memcpy(&h, bytes, sizeof h);
	sweep(h.e_shoff, size, 3);
}

static void other_files_are_refused_by_name(void **state)
{
	struct image image;
	struct err e = {0};
	uint8_t *copy = malloc(size);
	(void)state;
	assert_non_null(copy);
	assert_int_equal(image_open("/nonexistent", &image, &e), -ERR_MISSING);
	assert_int_equal(image_open("/etc/passwd", &image, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "/etc/passwd"));
	memcpy(copy, bytes, size);
	copy[EI_CLASS] = ELFCLASS32;
	assert_int_equal(try_bytes(copy, size), -ERR_UNSUPPORTED);
	memcpy(copy, bytes, size);
	copy[18] = EM_AARCH64;
	assert_int_equal(try_bytes(copy, size), -ERR_UNSUPPORTED);
	memcpy(copy, bytes, size);
	copy[16] = ET_REL;
	assert_int_equal(try_bytes(copy, size), -ERR_UNSUPPORTED);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(unaltered_file_is_read),
	    cmocka_unit_test(truncation_is_an_error_or_harmless),
	    cmocka_unit_test(altered_headers_do_no_harm),
	    cmocka_unit_test(altered_contents_do_no_harm),
	    cmocka_unit_test(altered_section_headers_do_no_harm),
	    cmocka_unit_test(other_files_are_refused_by_name),
	};
	return cmocka_run_group_tests(tests, make_victim, remove_victim);
}
