/*
 * ELF files that are cut at every byte, and with each bit of their headers changed: read, or refused as damaged or not supported; never as anything else.
 * One such file is taken from the fuzz corpus: it has sections, a build-id, exception tables.
 */
#include "analyze/elf/image.h"
#include "formats/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define WHOLE "tests/fuzz/corpus/elf/stripped.so"

static struct file_data whole;

static int setup(void **state)
{
	(void)state;
	return file_read(WHOLE, &whole, NULL);
}

static int teardown(void **state)
{
	(void)state;
	file_data_free(&whole);
	return 0;
}

/* 0 when it was read. */
static int open_bytes(const uint8_t *bytes, size_t size)
{
	char path[64];
	struct image image;
	struct err e = {0};
	int fd = memfd_create("elf", MFD_CLOEXEC);
	assert_true(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int status = image_open(path, &image, &e);
	if (!status)
		image_close(&image);
	else if (status != -ERR_FORMAT && status != -ERR_UNSUPPORTED)
		fail_msg("%s", e.text);
	close(fd);
	return status;
}

static void every_prefix_is_read_or_refused(void **state)
{
	(void)state;
	size_t refused = 0;
	for (size_t size = 0; size < whole.size; size++)
		refused += open_bytes(whole.data, size) != 0;
	/* All that is behind the last segment may be missing: section headers are hints. */
	assert_true(refused > whole.size / 2);
	assert_int_equal(open_bytes(whole.data, whole.size), 0);
}

static void every_bit_of_the_headers_may_be_another(void **state)
{
	(void)state;
	uint8_t *copy = malloc(whole.size);
	assert_non_null(copy);
	memcpy(copy, whole.data, whole.size);
	size_t headers = 64 + 12 * 56, sections = whole.size - 16 * 64, refused = 0;
	for (size_t bit = 0; bit < 8 * whole.size; bit++) {
		if (bit / 8 >= headers && bit / 8 < sections)
			continue;
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		refused += open_bytes(copy, whole.size) != 0;
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(refused > 100);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_prefix_is_read_or_refused),
	    cmocka_unit_test(every_bit_of_the_headers_may_be_another),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
