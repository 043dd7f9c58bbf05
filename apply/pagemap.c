#include "apply/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PAGE 4096ull

/* An entry of pagemap. */
#define EXISTS ((uint64_t)3 << 62) /* in memory or swapped out */
#define OF_FILE ((uint64_t)1 << 61)
#define IN_MEMORY ((uint64_t)1 << 63)
#define FRAME_MASK (((uint64_t)1 << 55) - 1) /* 0 for whoever may not know */

/* An entry of /proc/kpageflags. */
#define FLAG_HUGE ((uint64_t)1 << 22)

/* PAGEMAP_SCAN, since Linux 6.7; the headers may be older. */
struct scan_request {
	uint64_t size, flags, start, end, walk_end, ranges, range_count, max_pages, inverted, mask, anyof, returned;
};
struct scan_range {
	uint64_t start, end, categories;
};
#define SCAN _IOWR('f', 16, struct scan_request)
#define SCAN_FILE ((uint64_t)1 << 2)
#define SCAN_EXISTS ((uint64_t)3 << 3)
#define SCAN_HUGE ((uint64_t)1 << 6)

int pagemap_open(pid_t task)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/pagemap", (int)task);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int pagemap_scan(int pagemap, uint64_t start, uint64_t end, enum pagemap_kind kind, struct pagemap_range ranges[PAGEMAP_BATCH],
		 uint64_t *ret_end)
{
	struct scan_range found[PAGEMAP_BATCH];
	struct scan_request scan = {.size = sizeof scan,
				    .start = start,
				    .end = end - start > PAGEMAP_SPAN ? start + PAGEMAP_SPAN : end,
				    .ranges = (uintptr_t)found,
				    .range_count = PAGEMAP_BATCH,
				    .inverted = kind == PAGEMAP_WRITTEN ? SCAN_FILE : 0,
				    .mask = kind == PAGEMAP_WRITTEN ? SCAN_FILE : 0,
				    .anyof = kind == PAGEMAP_HUGE ? SCAN_HUGE : SCAN_EXISTS,
				    .returned = SCAN_EXISTS};
	int count = ioctl(pagemap, SCAN, &scan);
	if (count < 0 || scan.walk_end <= start)
		return -1;
	for (int i = 0; i < count; i++)
		ranges[i] = (struct pagemap_range){found[i].start, found[i].end};
	*ret_end = scan.walk_end;
	return count;
}

/* Entries of 8 bytes, the first of them number `first`. */
static uint32_t read_entries(int file, uint64_t first, uint32_t count, uint64_t *entries)
{
	ssize_t got;
	do
		got = pread(file, entries, count * sizeof *entries, (off_t)(first * sizeof *entries));
	while (got < 0 && errno == EINTR);
	return got < 0 ? 0 : (uint32_t)((size_t)got / sizeof *entries);
}

uint32_t pagemap_list(int pagemap, uint64_t start, uint64_t end, enum pagemap_kind kind, bool exists[PAGEMAP_BATCH])
{
	uint64_t entries[PAGEMAP_BATCH], wanted = (end - start + PAGE - 1) / PAGE;
	uint32_t count = read_entries(pagemap, start / PAGE, wanted < PAGEMAP_BATCH ? (uint32_t)wanted : PAGEMAP_BATCH, entries);
	for (uint32_t i = 0; i < count; i++)
		exists[i] = (entries[i] & EXISTS) && (kind == PAGEMAP_THERE || !(entries[i] & OF_FILE));
	return count;
}

static bool scan_huge(int pagemap, uint64_t start, uint64_t end, uint64_t *ret_bytes)
{
	struct pagemap_range ranges[PAGEMAP_BATCH];
	*ret_bytes = 0;
	while (start < end) {
		int count = pagemap_scan(pagemap, start, end, PAGEMAP_HUGE, ranges, &start);
		if (count < 0)
			return false;
		for (int i = 0; i < count; i++)
			*ret_bytes += ranges[i].end - ranges[i].start;
	}
	return true;
}

/* By the flags of each page's frame. */
static bool list_huge(int pagemap, int flags, uint64_t start, uint64_t end, uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	for (; start < end; start += PAGE) {
		uint64_t entry, flag, frame;
		if (!read_entries(pagemap, start / PAGE, 1, &entry))
			return false;
		if (!(entry & IN_MEMORY))
			continue;
		frame = entry & FRAME_MASK;
		if (!frame || !read_entries(flags, frame, 1, &flag))
			return false;
		*ret_bytes += flag & FLAG_HUGE ? PAGE : 0;
	}
	return true;
}

bool pagemap_huge_bytes(pid_t task, raddr start, uint64_t size, uint64_t *ret_bytes)
{
	uint64_t end = (start.v + size + PAGE - 1) & ~(PAGE - 1);
	int pagemap = pagemap_open(task), flags = -1;
	bool told = pagemap >= 0 && scan_huge(pagemap, start.v, end, ret_bytes);
	if (pagemap >= 0 && !told && (flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC)) >= 0) {
		told = list_huge(pagemap, flags, start.v, end, ret_bytes);
		close(flags);
	}
	if (pagemap >= 0)
		close(pagemap);
	return told;
}
