#include "apply/hidden.h"

#include "formats/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { PIECE = 1 << 20, PAGE = 4096, PAGEMAP_BATCH = 512, TOP = 1 << 14 };

/* Documentation/admin-guide/mm/pagemap.rst, since Linux 6.7; the headers may be older. */
struct scan_range {
	uint64_t start, end, categories;
};
struct scan {
	uint64_t size, flags, start, end, walk_end, ranges, range_count, max_pages, inverted, mask, anyof, returned;
};
#define SCAN _IOWR('f', 16, struct scan)
#define SCAN_PRESENT_OR_SWAPPED ((uint64_t)3 << 3)
#define PAGEMAP_PRESENT ((uint64_t)3 << 62) /* in memory or swapped out (Documentation/admin-guide/mm/pagemap.rst) */

struct search {
	const struct target *target;
	const struct hidden_range *images;
	const struct hidden_thread *threads;
	const struct hidden_judge *judge;
	uint32_t image_count, thread_count;
	raddr low, high; /* span of the images: most words are outside */
	uint8_t *piece;
	int pagemap; /* -1: not readable, then every page is read */
	raddr found;
};

static bool leads_into_image(const struct search *s, uint64_t word)
{
	if (word < s->low.v || word >= s->high.v)
		return false;
	for (uint32_t i = 0; i < s->image_count; i++) {
		if (word >= s->images[i].start.v && word < s->images[i].end.v)
			return true;
	}
	return false;
}

static bool search_range(struct search *s, uint64_t at, uint64_t end)
{
	while (at < end) {
		size_t size = end - at < PIECE ? (size_t)(end - at) : PIECE;
		size_t got = target_read_some(s->target, (raddr){at}, s->piece, size);
		for (size_t i = 0; i + 8 <= got; i += 8) {
			uint64_t word = load_u64(s->piece + i);
			if (leads_into_image(s, word) && s->judge->may_live(s->judge->context, (raddr){at + i}, (raddr){word})) {
				s->found.v = at + i;
				return true;
			}
		}
		/* A page that cannot be read (gone, or guarded) holds nothing that the target could use either. */
		at += got ? (got + PAGE - 1) & ~(uint64_t)(PAGE - 1) : PAGE;
	}
	return false;
}

/* Page by page, as every kernel can tell. */
static bool search_listed(struct search *s, uint64_t start, uint64_t end)
{
	uint64_t entries[PAGEMAP_BATCH], run = 0;
	for (uint64_t at = start; at < end;) {
		uint64_t wanted = (end - at) / PAGE < PAGEMAP_BATCH ? (end - at) / PAGE : PAGEMAP_BATCH;
		ssize_t got = pread(s->pagemap, entries, wanted * 8, (off_t)(at / PAGE * 8));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 8)
			return search_range(s, run ? run : at, end);
		for (ssize_t i = 0; i < got / 8; i++, at += PAGE) {
			bool present = entries[i] & PAGEMAP_PRESENT;
			if (present && !run)
				run = at;
			if (!present && run) {
				if (search_range(s, run, at))
					return true;
				run = 0;
			}
		}
	}
	return run && search_range(s, run, end);
}

/*
 * Only pages that exist: a server reserves terabytes and reading them would create page tables, or fault them in. To list each page of them takes
 * minutes, where the kernel cannot skip what is empty by itself (a program with the address sanitizer has 14 TiB of shadow).
 */
static bool search_present(struct search *s, uint64_t start, uint64_t end)
{
	struct scan_range ranges[PAGEMAP_BATCH];
	while (start < end) {
		struct scan scan = {.size = sizeof scan,
				    .start = start,
				    .end = end,
				    .ranges = (uintptr_t)ranges,
				    .range_count = PAGEMAP_BATCH,
				    .anyof = SCAN_PRESENT_OR_SWAPPED,
				    .returned = SCAN_PRESENT_OR_SWAPPED};
		int count = ioctl(s->pagemap, SCAN, &scan);
		if (count < 0 || scan.walk_end <= start)
			return search_listed(s, start, end);
		for (int i = 0; i < count; i++)
			if (search_range(s, ranges[i].start, ranges[i].end))
				return true;
		start = scan.walk_end;
	}
	return false;
}

static bool holds_stack(const struct search *s, const struct procmap *m)
{
	for (uint32_t i = 0; i < s->thread_count; i++) {
		if (s->threads[i].stack.v >= m->start.v && s->threads[i].stack.v < m->end.v)
			return true;
	}
	return false;
}

static bool is_tcb_of_thread(const struct search *s, uint64_t address)
{
	for (uint32_t i = 0; i < s->thread_count; i++) {
		if (s->threads[i].tcb.v == address)
			return true;
	}
	return false;
}

/* The control block at the top of a thread's stack points to itself twice: fields tcb and self (x86-64 TLS ABI: %fs:0 holds its own address). */
static bool is_stack_of_ended_thread(const struct search *s, const struct procmap *m)
{
	uint64_t size = m->end.v - m->start.v < TOP ? m->end.v - m->start.v : TOP, at = m->end.v - size;
	if (m->inode || target_read_some(s->target, (raddr){at}, s->piece, size) != size)
		return false;
	for (uint64_t i = 0; i + 24 <= size; i += 8) {
		if (load_u64(s->piece + i) == at + i && load_u64(s->piece + i + 16) == at + i)
			return !is_tcb_of_thread(s, at + i);
	}
	return false;
}

static void find(struct search *s)
{
	for (size_t i = 0; i < s->target->maps.count; i++) {
		const struct procmap *m = &s->target->maps.maps[i];
		if (!m->read || !m->write || m->shared || holds_stack(s, m) || is_stack_of_ended_thread(s, m))
			continue;
		if (s->pagemap >= 0 ? search_present(s, m->start.v, m->end.v) : search_range(s, m->start.v, m->end.v))
			return;
	}
}

int hidden_find(const struct target *t, const struct hidden_range *images, uint32_t image_count, const struct hidden_thread *threads,
		uint32_t thread_count, const struct hidden_judge *judge, raddr *ret_found, struct err *e)
{
	struct search s = {.target = t,
			   .images = images,
			   .image_count = image_count,
			   .threads = threads,
			   .thread_count = thread_count,
			   .judge = judge,
			   .low = {UINT64_MAX},
			   .piece = malloc(PIECE)};
	char path[64];
	if (!s.piece)
		return err_set(e, ERR_MEMORY, "no memory to search for saved PCs");
	for (uint32_t i = 0; i < image_count; i++) {
		s.low.v = images[i].start.v < s.low.v ? images[i].start.v : s.low.v;
		s.high.v = images[i].end.v > s.high.v ? images[i].end.v : s.high.v;
	}
	snprintf(path, sizeof path, "/proc/%d/pagemap", (int)t->task);
	s.pagemap = open(path, O_RDONLY | O_CLOEXEC);
	find(&s);
	if (s.pagemap >= 0)
		close(s.pagemap);
	free(s.piece);
	*ret_found = s.found;
	return 0;
}
