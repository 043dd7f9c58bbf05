#include "apply/hidden.h"

#include "apply/pagemap.h"
#include "formats/base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20, PAGE = 4096 };
#define ENDED_STACK_MAX (1ull << 30) /* how far above a word on an ended thread's stack its control block is looked for */

struct search {
	const struct target *target;
	const struct hidden_search *wanted;
	struct covered_range *skipped; /* owned; sorted, none touching another */
	uint32_t skipped_count;
	uint64_t *kilobytes; /* owned; per mapping: how much there is to read, as far as that is known */
	raddr low, high;     /* span of the images: most words are outside */
	uint8_t *piece, *other_piece;
	int pagemap; /* -1: not readable, then every page is read */
	raddr ended; /* end of the latest stack of an ended thread */
	raddr found;
};

static bool leads_into_image(const struct search *s, uint64_t word)
{
	if (word < s->low.v || word > s->high.v)
		return false;
	for (uint32_t i = 0; i < s->wanted->image_count; i++) {
		if (word >= s->wanted->images[i].start.v && word <= s->wanted->images[i].end.v)
			return true;
	}
	return false;
}

/* What is done with memory that exists; true ends it. */
struct page_visitor {
	void *context;
	bool (*bytes)(void *context, uint64_t at, const uint8_t *bytes, size_t size);
	uint8_t *piece;
};

static bool read_range(const struct search *s, const struct page_visitor *visitor, uint64_t at, uint64_t end)
{
	while (at < end) {
		size_t room = PIECE - at % PAGE, size = end - at < room ? (size_t)(end - at) : room;
		size_t got = target_read_some(s->target, (raddr){at}, visitor->piece, size);
		if (got && visitor->bytes(visitor->context, at, visitor->piece, got))
			return true;
		/* A page that cannot be read (gone, or guarded) holds nothing that the target could use either. */
		at = got == size ? at + size : (at + got + PAGE) & ~(uint64_t)(PAGE - 1);
	}
	return false;
}

/* Page by page, as every kernel can tell. */
static bool read_listed(const struct search *s, const struct page_visitor *visitor, const struct covered_range *range,
			enum pagemap_kind kind)
{
	uint64_t run = 0, end = range->end.v, page = range->start.v & ~(uint64_t)(PAGE - 1);
	while (page < end) {
		bool exists[PAGEMAP_BATCH];
		uint32_t count = pagemap_list(s->pagemap, page, end, kind, exists);
		if (!count)
			return read_range(s, visitor, run ? run : page < range->start.v ? range->start.v : page, end);
		for (uint32_t i = 0; i < count; i++, page += PAGE) {
			if (exists[i] && !run)
				run = page < range->start.v ? range->start.v : page;
			if (exists[i] || !run)
				continue;
			if (read_range(s, visitor, run, page))
				return true;
			run = 0;
		}
	}
	return run && read_range(s, visitor, run, end);
}

/*
 * Only pages that exist: a server reserves terabytes and reading them would create page tables, or fault them in. To list each page takes minutes,
 * where the kernel cannot skip what is empty by itself (a program with the address sanitizer has 14 TiB of shadow).
 */
static bool read_present(const struct search *s, const struct page_visitor *visitor, const struct covered_range *range,
			 enum pagemap_kind kind)
{
	struct pagemap_range ranges[PAGEMAP_BATCH];
	struct covered_range left = *range;
	while (left.start.v < left.end.v) {
		uint64_t first = left.start.v & ~(uint64_t)(PAGE - 1), last = (left.end.v + PAGE - 1) & ~(uint64_t)(PAGE - 1), scanned;
		int count = pagemap_scan(s->pagemap, first, last, kind, ranges, &scanned);
		if (count < 0)
			return read_listed(s, visitor, &left, kind);
		for (int i = 0; i < count; i++) {
			uint64_t start = ranges[i].start > left.start.v ? ranges[i].start : left.start.v;
			uint64_t end = ranges[i].end < left.end.v ? ranges[i].end : left.end.v;
			if (read_range(s, visitor, start, end))
				return true;
		}
		left.start.v = scanned;
	}
	return false;
}

static bool read_memory(const struct search *s, const struct page_visitor *visitor, const struct procmap *m,
			const struct covered_range *range)
{
	if (s->pagemap >= 0)
		return read_present(s, visitor, range, m->shared ? PAGEMAP_THERE : PAGEMAP_WRITTEN);
	return m->read && m->write && read_range(s, visitor, range->start.v, range->end.v);
}

/* A word that leads into an image, on the stack of a thread that has ended? */
struct ended {
	const struct search *search;
	uint64_t where;
	raddr end;
};

/* The control block at the top of a thread's stack points to itself twice: fields tcb and self (x86-64 TLS ABI: %fs:0 holds its own address). */
static bool find_control_block(void *context, uint64_t at, const uint8_t *bytes, size_t size)
{
	struct ended *e = context;
	for (size_t i = 0; i + 24 <= size; i += 8) {
		const raddr tcb = {at + i};
		struct covered_range stack;
		if (load_u64(bytes + i) != tcb.v || load_u64(bytes + i + 16) != tcb.v || !covered_block(e->search->target, tcb, &stack) ||
		    stack.start.v > e->where)
			continue;
		if (!covered_has_thread(e->search->wanted->covered, tcb))
			e->end = stack.end;
		return true;
	}
	return false;
}

/* The C library keeps the stacks of threads that have ended for the next ones. */
static bool on_ended_stack(struct search *s, const struct procmap *m, uint64_t where)
{
	struct ended e = {s, where, {0}};
	const struct page_visitor visitor = {&e, find_control_block, s->other_piece};
	const struct covered_range above = {{where}, {m->end.v - where > ENDED_STACK_MAX ? where + ENDED_STACK_MAX : m->end.v}};
	if (where < s->ended.v)
		return true;
	if (m->shared || m->inode)
		return false;
	read_memory(s, &visitor, m, &above);
	s->ended = e.end;
	return e.end.v;
}

struct scan {
	struct search *search;
	const struct procmap *map;
};

static bool scan_words(void *context, uint64_t at, const uint8_t *bytes, size_t size)
{
	const struct scan *scan = context;
	struct search *s = scan->search;
	const struct hidden_judge *judge = &s->wanted->judge;
	for (size_t i = (size_t)(-at & 7); i + 8 <= size; i += 8) {
		uint64_t word = load_u64(bytes + i);
		if (!leads_into_image(s, word) || at + i < s->ended.v || !judge->may_live(judge->context, (raddr){at + i}, (raddr){word}) ||
		    on_ended_stack(s, scan->map, at + i))
			continue;
		s->found.v = at + i;
		return true;
	}
	return false;
}

/* Reading the registers of a device could do something. Rings of the kernel's and the like hold no stacks. */
static bool is_device(const struct procmap *m)
{
	if (!strncmp(m->path, "/dev/", 5))
		return strncmp(m->path, "/dev/shm/", 9) && strcmp(m->path, "/dev/zero");
	return !strncmp(m->path, "anon_inode:", 11) || !strncmp(m->path, "[v", 2);
}

/* What a line of smaps says of memory that is to be searched: in a private mapping, only what the process has written. */
static uint64_t kilobytes_of(const char *line, bool shared)
{
	uint64_t value;
	char name[32];
	if (sscanf(line, "%31[A-Za-z_]: %" SCNu64 " kB", name, &value) != 2)
		return 0;
	bool counts = !strcmp(name, "Swap") || !strcmp(name, "Private_Hugetlb") || !strcmp(name, "Shared_Hugetlb");
	return counts || !strcmp(name, shared ? "Rss" : "Anonymous") ? value : 0;
}

/* Does the kernel skip by itself what is empty? */
static bool can_scan(const struct search *s)
{
	struct pagemap_range ranges[PAGEMAP_BATCH];
	uint64_t end;
	return s->pagemap >= 0 && pagemap_scan(s->pagemap, PAGE, 2 * PAGE, PAGEMAP_THERE, ranges, &end) >= 0;
}

/* A reservation of terabytes would take long to look through, page by page: then smaps, with its price (pagemap.h), knows that it is empty. */
static void read_kilobytes(struct search *s)
{
	const struct procmaps *maps = &s->target->maps;
	char path[64], *line = NULL;
	size_t next = 0, room = 0;
	uint64_t start, *current = NULL;
	for (size_t i = 0; i < maps->count; i++)
		s->kilobytes[i] = UINT64_MAX; /* not known */
	if (can_scan(s))
		return;
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)s->target->task);
	FILE *file = fopen(path, "re");
	while (file && getline(&line, &room, file) > 0) {
		bool is_field = line[0] >= 'A' && line[0] <= 'Z';
		if (!is_field && sscanf(line, "%" SCNx64 "-", &start) == 1) {
			while (next < maps->count && maps->maps[next].start.v < start)
				next++;
			current = next < maps->count && maps->maps[next].start.v == start ? &s->kilobytes[next] : NULL;
			if (current)
				*current = 0;
		} else if (current) {
			*current += kilobytes_of(line, maps->maps[next].shared);
		}
	}
	if (file)
		fclose(file);
	free(line);
}

static bool search_map(struct search *s, const struct procmap *m)
{
	struct scan scan = {s, m};
	const struct page_visitor visitor = {&scan, scan_words, s->piece};
	uint64_t at = m->start.v;
	s->ended.v = 0;
	for (uint32_t i = 0; i <= s->skipped_count && at < m->end.v; i++) {
		bool last = i == s->skipped_count || s->skipped[i].start.v >= m->end.v;
		const struct covered_range range = {{at}, {last ? m->end.v : s->skipped[i].start.v}};
		if (!last && s->skipped[i].end.v <= at)
			continue;
		if (range.start.v < range.end.v && read_memory(s, &visitor, m, &range))
			return true;
		at = last ? m->end.v : s->skipped[i].end.v;
	}
	return false;
}

static int by_start(const void *a, const void *b)
{
	const struct covered_range *x = a, *y = b;
	return x->start.v < y->start.v ? -1 : x->start.v > y->start.v;
}

/* One list of what need not be read. */
static int list_skipped(struct search *s, struct err *e)
{
	const struct hidden_search *w = s->wanted;
	uint32_t count = 0, merged = 0;
	struct covered_range *list = malloc((w->covered->count + w->ours_count + 1) * sizeof *list);
	if (!list)
		return err_set(e, ERR_MEMORY, "no memory to search for saved PCs");
	for (uint32_t i = 0; i < w->covered->count; i++)
		list[count++] = w->covered->list[i];
	for (uint32_t i = 0; i < w->ours_count; i++)
		list[count++] = w->ours[i];
	qsort(list, count, sizeof *list, by_start);
	for (uint32_t i = 0; i < count; i++) {
		if (merged && list[i].start.v <= list[merged - 1].end.v) {
			if (list[i].end.v > list[merged - 1].end.v)
				list[merged - 1].end = list[i].end;
		} else {
			list[merged++] = list[i];
		}
	}
	s->skipped = list;
	s->skipped_count = merged;
	return 0;
}

static void find(struct search *s)
{
	for (uint32_t i = 0; i < s->wanted->image_count; i++) {
		const struct covered_range *image = &s->wanted->images[i];
		s->low.v = image->start.v < s->low.v ? image->start.v : s->low.v;
		s->high.v = image->end.v > s->high.v ? image->end.v : s->high.v;
	}
	for (size_t i = 0; i < s->target->maps.count; i++) {
		const struct procmap *m = &s->target->maps.maps[i];
		if (is_device(m) || (m->shared && !m->write) || !s->kilobytes[i])
			continue;
		if (search_map(s, m))
			return;
	}
}

int hidden_find(const struct target *t, const struct hidden_search *search, raddr *ret_found, struct err *e)
{
	struct search s = {
	    .target = t, .wanted = search, .low = {UINT64_MAX}, .piece = malloc(PIECE), .other_piece = malloc(PIECE), .pagemap = -1};
	s.kilobytes = malloc((t->maps.count + 1) * sizeof *s.kilobytes);
	int status =
	    s.piece && s.other_piece && s.kilobytes ? list_skipped(&s, e) : err_set(e, ERR_MEMORY, "no memory to search for saved PCs");
	if (!status) {
		s.pagemap = pagemap_open(t->task);
		read_kilobytes(&s);
		find(&s);
		*ret_found = s.found;
	}
	if (s.pagemap >= 0)
		close(s.pagemap);
	free(s.skipped);
	free(s.kilobytes);
	free(s.piece);
	free(s.other_piece);
	return status;
}
