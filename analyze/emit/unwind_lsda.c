/*
 * Exception tables of fragments. Layout (see analyze/elf/lsda.h for sources):
 *   1b  base of landing pads, pcrel|sdata4 into the original code     (ff when there is no landing pad)
 *   9b  or 1b  encoding of the type table, uleb distance to its end   (ff when there is none)
 *   01  uleb size of the call site table {uleb start, length, landing pad, action}
 *   action records, types (last first), exception specifications
 */
#include "analyze/emit/unwind_parts.h"

#include "analyze/elf/cfi_pointer.h"
#include "analyze/elf/lsda.h"

enum { RELATIVE = CFI_POINTER_PCREL | CFI_POINTER_SDATA4 };

struct sites {
	const struct lsda *lsda;
	uint32_t base;	   /* region offset of the fragment */
	uint64_t pad_base; /* vaddr; 0 = no landing pads */
	struct writer table;
	const struct lsda_call_site *current; /* not yet written; NULL = none */
	uint32_t start, end;		      /* its range, region offsets */
};

/* Index of the first call site that ends after `address`; site_count if none. */
static size_t site_from(const struct lsda *lsda, uint64_t address)
{
	size_t low = 0, high = lsda->site_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (lsda->sites[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void flush(struct sites *s)
{
	if (!s->current)
		return;
	write_uleb(&s->table, s->start - s->base);
	write_uleb(&s->table, s->end - s->start);
	write_uleb(&s->table, s->current->pad ? s->current->pad - s->pad_base : 0);
	write_uleb(&s->table, s->current->action);
	s->current = NULL;
}

/* [start, end) of the image belongs to `site`. Jumps of ours and padding between two ranges of one site are swallowed. */
static void add(struct sites *s, const struct lsda_call_site *site, uint32_t start, uint32_t end)
{
	if (s->current && s->current->pad == site->pad && s->current->action == site->action) {
		s->end = end;
		return;
	}
	flush(s);
	s->current = site;
	s->start = start;
	s->end = end;
}

static void add_copy(struct sites *s, const struct plan_run *run, uint64_t original)
{
	uint64_t at = original, end = original + run->image_size;
	for (size_t i = site_from(s->lsda, at); at < end; i++) {
		if (i == s->lsda->site_count || s->lsda->sites[i].start >= end) {
			flush(s); /* a hole: terminate() */
			return;
		}
		const struct lsda_call_site *site = &s->lsda->sites[i];
		uint64_t from = site->start > at ? site->start : at, to = site->end < end ? site->end : end;
		if (from > at)
			flush(s);
		add(s, site, run->image + (uint32_t)(from - original), run->image + (uint32_t)(to - original));
		at = to;
	}
}

/* One instruction: what covers its last byte, as a call's return address minus one does. */
static void add_rewritten(struct sites *s, const struct plan_run *run, uint64_t original)
{
	uint64_t byte = original + run->original_size - 1;
	size_t i = site_from(s->lsda, byte);
	if (i == s->lsda->site_count || s->lsda->sites[i].start > byte)
		flush(s);
	else
		add(s, &s->lsda->sites[i], run->image, run->image + run->image_size);
}

static void add_runs(struct unwind *u, const struct unwind_fragment *fragment, struct sites *s)
{
	for (uint32_t i = fragment->first_run; i < fragment->end_run; i++) {
		const struct plan_run *run = &u->module->runs[i];
		if (run->kind == PLAN_RUN_COPY)
			add_copy(s, run, unwind_original(u, run));
		else if (run->kind == PLAN_RUN_REWRITTEN)
			add_rewritten(s, run, unwind_original(u, run));
	}
	flush(s);
}

/* One less than the lowest landing pad, so that no distance is 0, which means none. */
static uint64_t choose_pad_base(const struct lsda *lsda)
{
	uint64_t lowest = 0;
	for (uint32_t i = 0; i < lsda->site_count; i++)
		if (lsda->sites[i].pad && (!lowest || lsda->sites[i].pad < lowest))
			lowest = lsda->sites[i].pad;
	return lowest ? lowest - 1 : 0;
}

static unsigned uleb_size(uint64_t value)
{
	unsigned size = 1;
	while (value >>= 7)
		size++;
	return size;
}

static int write_table(struct unwind *u, const struct lsda *lsda, const struct sites *s)
{
	struct writer *w = &u->data;
	int status = 0;
	write_u8(w, s->pad_base ? RELATIVE : CFI_POINTER_OMIT);
	if (s->pad_base)
		status = unwind_write_module_pointer(u, s->pad_base);
	write_u8(w, lsda->has_types ? (uint8_t)(RELATIVE | (lsda->type_indirect ? CFI_POINTER_INDIRECT : 0)) : CFI_POINTER_OMIT);
	if (lsda->has_types)
		write_uleb(w, 1 + uleb_size(s->table.size) + s->table.size + lsda->actions_size + 4 * (uint64_t)lsda->type_count);
	write_u8(w, CFI_POINTER_ULEB);
	write_uleb(w, s->table.size);
	write_bytes(w, s->table.data, s->table.size);
	write_bytes(w, lsda->actions, lsda->actions_size);
	for (uint32_t i = lsda->type_count; i-- > 0 && !status;)
		status = unwind_write_module_pointer(u, lsda->types[i]);
	write_bytes(w, lsda->specifications, lsda->specifications_size);
	return status;
}

int unwind_write_lsda(struct unwind *u, struct unwind_fragment *fragment)
{
	struct lsda lsda;
	int status = lsda_read(u->image, fragment->fde, &lsda, u->e);
	if (status)
		return status;
	struct sites s = {.lsda = &lsda, .base = fragment->start, .pad_base = choose_pad_base(&lsda)};
	add_runs(u, fragment, &s);
	write_pad(&u->data, 4, 0);
	fragment->lsda = unwind_position(u);
	if (s.table.failed)
		status = err_set(u->e, ERR_MEMORY, "unwind: no memory");
	else
		status = write_table(u, &lsda, &s);
	writer_free(&s.table);
	lsda_free(&lsda);
	return status;
}
