/*
 * pagemap: which pages of a target exist, by /proc/PID/pagemap. /proc/PID/smaps tells that too, but it holds the lock of the target's address space
 * while it walks a whole mapping: 16 ms for each GiB of small pages were measured, for which the target can map nothing. Here no look is longer than
 * PAGEMAP_SPAN. Source: Documentation/admin-guide/mm/pagemap.rst.
 */
#ifndef APPLY_PAGEMAP_H
#define APPLY_PAGEMAP_H

#include "formats/base/addr.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGEMAP_SPAN (256ull << 20)
#define PAGEMAP_BATCH 512

enum pagemap_kind {
	PAGEMAP_WRITTEN, /* in memory or swapped out, and the process's own: in a private mapping, what it has written */
	PAGEMAP_THERE,	 /* in memory or swapped out */
	PAGEMAP_HUGE	 /* in memory, and part of a huge page */
};

struct pagemap_range {
	uint64_t start, end;
};

/* -1 with errno. close() it. */
int pagemap_open(pid_t task);

/*
 * Ranges of pages of a kind in [start, end), which are multiples of a page, from its beginning: at most PAGEMAP_BATCH of them, and no further than
 * *ret_end, which is more than start. Returns their number, or -1: the kernel (before 6.7) cannot say.
 */
int pagemap_scan(int pagemap, uint64_t start, uint64_t end, enum pagemap_kind kind, struct pagemap_range ranges[PAGEMAP_BATCH],
		 uint64_t *ret_end);

/*
 * The same, page by page, for every kernel; not for PAGEMAP_HUGE. Sets exists[i] for the pages from `start` on, at most PAGEMAP_BATCH; returns for how
 * many, 0 when it cannot be read.
 */
uint32_t pagemap_list(int pagemap, uint64_t start, uint64_t end, enum pagemap_kind kind, bool exists[PAGEMAP_BATCH]);

/* Bytes in huge pages in [start, start + size). False: that cannot be told, by this kernel or to this user. */
bool pagemap_huge_bytes(pid_t task, raddr start, uint64_t size, uint64_t *ret_bytes);

#endif
