/* What pagemap says of memory of the test itself, by the kernel's scan and page by page, which must agree. */
#include "apply/pagemap.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define HUGE (2ull << 20)
#define PAGES 1500u /* more than are listed at once */

static bool pattern(uint32_t i)
{
	return i % 7 == 3 || (i > 600 && i < 900) || i + 1 == PAGES;
}

static uint8_t *map(uint64_t size)
{
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(at != MAP_FAILED);
	return at;
}

/* Marks what each kind of look says; false: this kernel cannot scan. */
static bool scanned(int pagemap, uint64_t start, enum pagemap_kind kind, bool exists[PAGES])
{
	struct pagemap_range ranges[PAGEMAP_BATCH];
	uint64_t end = start + PAGES * PAGE;
	memset(exists, 0, PAGES);
	for (uint64_t at = start; at < end;) {
		uint64_t from = at;
		int count = pagemap_scan(pagemap, at, end, kind, ranges, &at);
		if (count < 0)
			return false;
		assert_true(at > from && at <= end);
		for (int i = 0; i < count; i++)
			for (uint64_t page = ranges[i].start; page < ranges[i].end; page += PAGE)
				exists[(page - start) / PAGE] = true;
	}
	return true;
}

static void listed(int pagemap, uint64_t start, enum pagemap_kind kind, bool exists[PAGES])
{
	bool batch[PAGEMAP_BATCH];
	for (uint32_t i = 0, count; i < PAGES; i += count) {
		count = pagemap_list(pagemap, start + i * PAGE, start + PAGES * PAGE, kind, batch);
		assert_in_range(count, 1, PAGES - i);
		memcpy(exists + i, batch, count);
	}
}

static void written_pages_are_told(void **state)
{
	uint8_t *memory = map(PAGES * PAGE);
	bool exists[PAGES];
	int pagemap = pagemap_open(getpid());
	(void)state;
	assert_true(pagemap >= 0);
	assert_int_equal(madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE), 0);
	for (uint32_t i = 0; i < PAGES; i++)
		if (pattern(i))
			memory[i * PAGE] = 1;
	listed(pagemap, (uintptr_t)memory, PAGEMAP_WRITTEN, exists);
	for (uint32_t i = 0; i < PAGES; i++)
		assert_int_equal(exists[i], pattern(i));
	if (scanned(pagemap, (uintptr_t)memory, PAGEMAP_WRITTEN, exists))
		for (uint32_t i = 0; i < PAGES; i++)
			assert_int_equal(exists[i], pattern(i));
	else
		print_message("this kernel cannot scan\n");
	close(pagemap);
	munmap(memory, PAGES * PAGE);
}

/* In a private mapping of a file a page that is only read is there, and not written. */
static void pages_of_files_are_not_written(void **state)
{
	FILE *file = tmpfile();
	bool exists[PAGES];
	int pagemap = pagemap_open(getpid());
	(void)state;
	assert_true(file && pagemap >= 0);
	assert_int_equal(ftruncate(fileno(file), PAGES * PAGE), 0);
	volatile uint8_t *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(file), 0);
	assert_true(memory != MAP_FAILED);
	for (uint32_t i = 0; i < PAGES; i++)
		if (pattern(i))
			memory[i * PAGE] = 1;
		else
			(void)memory[i * PAGE];
	for (int way = 0; way < 2; way++) {
		for (enum pagemap_kind kind = PAGEMAP_WRITTEN; kind <= PAGEMAP_THERE; kind++) {
			if (!way)
				listed(pagemap, (uintptr_t)memory, kind, exists);
			else if (!scanned(pagemap, (uintptr_t)memory, kind, exists))
				continue;
			for (uint32_t i = 0; i < PAGES; i++)
				assert_int_equal(exists[i], kind == PAGEMAP_THERE || pattern(i));
		}
	}
	close(pagemap);
	munmap((void *)(uintptr_t)memory, PAGES * PAGE);
	fclose(file);
}

/* A reservation is looked through in pieces. */
static void no_look_is_long(void **state)
{
	const uint64_t size = 3 * PAGEMAP_SPAN;
	struct pagemap_range ranges[PAGEMAP_BATCH];
	uint64_t start, end;
	void *memory = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int pagemap = pagemap_open(getpid());
	(void)state;
	assert_true(memory != MAP_FAILED && pagemap >= 0);
	start = (uintptr_t)memory;
	int count = pagemap_scan(pagemap, start, start + size, PAGEMAP_WRITTEN, ranges, &end);
	if (count >= 0) {
		assert_int_equal(count, 0);
		assert_int_equal(end, start + PAGEMAP_SPAN);
	}
	close(pagemap);
	munmap(memory, size);
}

/* Kernels before 6.7 answer so. */
static void forbid_scans(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof code / sizeof *code, code};
	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* The last test: no scan works after it. */
static void huge_pages_are_told(void **state)
{
	uint8_t *memory = map(4 * HUGE);
	uint64_t start = ((uintptr_t)memory + HUGE - 1) & ~(HUGE - 1), scan, list;
	(void)state;
	/* One asked for, one forbidden. */
	(void)!madvise((void *)(uintptr_t)start, HUGE, MADV_HUGEPAGE);
	assert_int_equal(madvise((void *)(uintptr_t)(start + HUGE), HUGE, MADV_NOHUGEPAGE), 0);
	*(uint8_t *)(uintptr_t)start = *(uint8_t *)(uintptr_t)(start + HUGE) = 1;
	bool told = pagemap_huge_bytes(getpid(), (raddr){start}, 2 * HUGE, &scan);
	forbid_scans();
	bool told_too = pagemap_huge_bytes(getpid(), (raddr){start}, 2 * HUGE, &list);
	if (told)
		assert_true(scan == 0 || scan == HUGE);
	if (told && told_too)
		assert_int_equal(scan, list);
	print_message("scan: %s %llu, list: %s %llu\n", told ? "told" : "not told", told ? (unsigned long long)scan : 0,
		      told_too ? "told" : "not told", told_too ? (unsigned long long)list : 0);
	munmap(memory, 4 * HUGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(written_pages_are_told),
	    cmocka_unit_test(pages_of_files_are_not_written),
	    cmocka_unit_test(no_look_is_long),
	    cmocka_unit_test(huge_pages_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
