#include "analyze/code/map_build.h"
#include "analyze/code/build.h"
#include "analyze/code/special.h"
#include "analyze/emit/unwind.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE_SHIFT = 12, ROUNDS_MAX = 64, CHUNK = 32 };

uint32_t builder_draft_at(const struct builder *b, uint32_t offset)
{
	uint32_t page = offset >> PAGE_SHIFT;
	if (page >= b->page_count)
		return MAP_NONE;
	uint32_t low = b->page_first[page], high = page + 1 < b->page_count ? b->page_first[page + 1] + 1 : b->draft_count;
	if (high > b->draft_count)
		high = b->draft_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (b->drafts[middle].start + b->drafts[middle].size <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < b->draft_count && b->drafts[low].start <= offset && offset - b->drafts[low].start < b->drafts[low].size ? low
															     : MAP_NONE;
}

uint32_t builder_draft_of(const struct builder *b, uint64_t address)
{
	uint64_t offset = address - b->image->text_base;
	return offset < b->image->text_size ? builder_draft_at(b, (uint32_t)offset) : MAP_NONE;
}

struct crew {
	builder_work *work;
	void *context;
	uint32_t count, next;
};

struct worker {
	struct crew *crew;
	unsigned slot;
	pthread_t thread;
};

static void *worker_run(void *argument)
{
	struct worker *me = argument;
	struct crew *crew = me->crew;
	for (;;) {
		uint32_t from = __atomic_fetch_add(&crew->next, CHUNK, __ATOMIC_RELAXED);
		if (from >= crew->count)
			return NULL;
		for (uint32_t i = from; i < from + CHUNK && i < crew->count; i++)
			crew->work(crew->context, i, me->slot);
	}
}

int builder_parallel(const struct builder *b, uint32_t count, builder_work *work, void *context)
{
	struct crew crew = {.work = work, .context = context, .count = count};
	struct worker *workers = calloc(b->threads, sizeof *workers);
	unsigned started = 1;
	if (!workers)
		return -1;
	for (unsigned i = 0; i < b->threads; i++)
		workers[i] = (struct worker){.crew = &crew, .slot = i};
	/* This thread is a worker too, so fewer threads than wished for only cost time. */
	while (started < b->threads && !pthread_create(&workers[started].thread, NULL, worker_run, &workers[started]))
		started++;
	worker_run(&workers[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	free(workers);
	return 0;
}

/* FDE ranges become drafts: doubles are dropped, overlapping ones marked and cut. */
static int make_drafts(struct builder *b)
{
	const struct image *image = b->image;
	b->drafts = calloc(image->fde_count + 1, sizeof *b->drafts);
	if (!b->drafts)
		return -1;
	for (size_t i = 0; i < image->fde_count; i++) {
		const struct image_fde *f = &image->fdes[i];
		struct draft d = {.fde = (uint32_t)i, .start = (uint32_t)(f->start - image->text_base), .size = (uint32_t)f->size};
		struct draft *last = b->draft_count ? &b->drafts[b->draft_count - 1] : NULL;
		if (last && last->start + last->size > d.start) {
			last->reasons |= 1u << MAP_REASON_OVERLAPPING_FDE;
			d.reasons |= 1u << MAP_REASON_OVERLAPPING_FDE;
			if (last->start == d.start) { /* sorted by size, so the larger comes second */
				d.fde = last->fde;
				*last = d;
				continue;
			}
			last->size = d.start - last->start;
		}
		b->drafts[b->draft_count++] = d;
	}
	return 0;
}

static int index_pages(struct builder *b)
{
	b->page_count = (uint32_t)(((b->image->text_size - 1) >> PAGE_SHIFT) + 1);
	b->page_first = malloc(b->page_count * sizeof *b->page_first);
	if (!b->page_first)
		return -1;
	uint32_t draft = 0;
	for (uint32_t page = 0; page < b->page_count; page++) {
		uint32_t start = page << PAGE_SHIFT;
		while (draft < b->draft_count && b->drafts[draft].start + b->drafts[draft].size <= start)
			draft++;
		b->page_first[page] = draft;
	}
	return 0;
}

/* A place that something leads to: the start of a draft is noted there, the middle of one becomes a seed. */
static void add_seed(struct builder *b, uint64_t address, uint16_t marks, bool guess)
{
	uint32_t i = builder_draft_of(b, address);
	if (i == MAP_NONE)
		return;
	if (b->image->text_base + b->drafts[i].start != address)
		b->no_memory |= vec_push(&b->seeds, (struct walk_seed){address, marks, guess}) != 0;
	else if (marks & WALK_POINTED)
		b->drafts[i].pointed = 1;
}

static int compare_seeds(const void *a, const void *b)
{
	const struct walk_seed *x = a, *y = b;
	return (x->address > y->address) - (x->address < y->address);
}

/* Sorts the seeds and joins equal ones: marks add up, one that is no guess wins. Functions with something new (from seed `old` on) are marked. */
static void settle_seeds(struct builder *b, size_t old)
{
	size_t count = b->seeds.count, kept = 0;
	struct walk_seed *s = b->seeds.data;
	for (size_t i = old; i < count; i++) {
		const struct walk_seed *known = old ? bsearch(&s[i], s, old, sizeof *s, compare_seeds) : NULL;
		if (!known || s[i].marks & ~known->marks || (known->guess && !s[i].guess))
			b->drafts[builder_draft_of(b, s[i].address)].again = 1;
	}
	if (count)
		qsort(s, count, sizeof *s, compare_seeds);
	for (size_t i = 0; i < count; i++) {
		if (kept && s[kept - 1].address == s[i].address) {
			s[kept - 1].marks |= s[i].marks;
			s[kept - 1].guess &= s[i].guess;
		} else {
			s[kept++] = s[i];
		}
	}
	b->seeds.count = kept;
}

static void first_seeds(struct builder *b)
{
	const struct image *image = b->image;
	for (size_t i = 0; i < image->code_pointer_count; i++)
		add_seed(b, image->code_pointers[i], WALK_TARGET | WALK_POINTED, !image->pie);
	for (size_t i = 0; i < image->symbol_count; i++)
		add_seed(b, image->symbols[i].vaddr, WALK_TARGET | WALK_POINTED, false);
}

static void add_references(struct builder *b, const struct walk_reference *r, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint16_t marks = WALK_TARGET | WALK_EXTERNAL;
		if (r[i].kind == WALK_PAD_REFERENCE)
			marks |= WALK_PAD;
		if (r[i].kind == WALK_TABLE_REFERENCE || r[i].kind == WALK_TABLE_GUESS)
			marks |= WALK_TABLE;
		if (r[i].kind == WALK_POINTER || r[i].kind == WALK_POINTER_GUESS)
			marks |= WALK_POINTED;
		bool guess = r[i].function == MAP_NONE || r[i].kind == WALK_TABLE_GUESS || r[i].kind == WALK_POINTER_GUESS;
		add_seed(b, r[i].target, marks, guess);
	}
}

static int note_specials(struct builder *b)
{
	const struct image *image = b->image;
	b->import_special = calloc(image->import_count + 1, 1);
	if (!b->import_special)
		return -1;
	for (size_t i = 0; i < image->import_count; i++)
		b->import_special[i] = (uint8_t)special_of_name(image->imports[i].name);
	for (size_t i = 0; i < image->symbol_count; i++) {
		unsigned bits = special_of_name(image->symbols[i].name);
		uint32_t draft = bits ? builder_draft_of(b, image->symbols[i].vaddr) : MAP_NONE;
		if (draft == MAP_NONE)
			continue;
		b->drafts[draft].special |= (uint8_t)bits;
		if (bits & SPECIAL_NO_RETURN)
			b->no_memory |= vec_push(&b->noreturn, image->symbols[i].vaddr) != 0;
	}
	return 0;
}

/* Stubs of functions that do not return stand outside of all FDEs, or inside one for the whole PLT: every 16 or 8 bytes of a section. */
static void note_noreturn_stubs(struct builder *b)
{
	for (size_t i = 0; i < b->image->code_range_count; i++) {
		const struct image_range *r = &b->image->code_ranges[i];
		if (r->size > (uint64_t)1 << 20)
			continue; /* .text: a linkage section is smaller */
		for (uint64_t at = r->start; at < r->start + r->size; at += 8) {
			uint32_t import = builder_stub(b->image, at);
			if (import != MAP_NONE && b->import_special[import] & SPECIAL_NO_RETURN)
				b->no_memory |= vec_push(&b->noreturn, at) != 0;
		}
	}
	b->noreturn.count = image_sort_unique(b->noreturn.data, b->noreturn.count);
}

struct drafting {
	struct builder *b;
	struct walk *walks; /* one per thread */
	bool first;
	bool failed;
};

/* Range of seeds that lie in the draft. */
static const struct walk_seed *seeds_of(const struct builder *b, const struct draft *d, size_t *ret_count)
{
	uint64_t start = b->image->text_base + d->start;
	size_t low = 0, high = b->seeds.count, end;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (b->seeds.data[middle].address < start)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < b->seeds.count && b->seeds.data[end].address - start < d->size; end++)
		;
	*ret_count = end - low;
	return *ret_count ? b->seeds.data + low : NULL;
}

static void draft_one(void *context, uint32_t index, unsigned slot)
{
	struct drafting *g = context;
	struct builder *b = g->b;
	struct draft *d = &b->drafts[index];
	struct walk *w = &g->walks[slot];
	size_t seed_count;
	if (!g->first && !d->again)
		return;
	d->again = 0;
	const struct walk_seed *seeds = seeds_of(b, d, &seed_count);
	const struct image_fde *fde = &b->image->fdes[d->fde];
	if (walk_run(w, fde, d->size, seeds, seed_count) || draft_fill(b, index, w))
		__atomic_store_n(&g->failed, true, __ATOMIC_RELAXED);
	if (g->first && !unwind_supported(b->image, fde))
		d->reasons |= 1u << MAP_REASON_CFI_UNREADABLE;
}

/* Walks again what new references lead into, until nothing new turns up. What does not come to rest is left alone. */
static bool draft_rounds(struct builder *b, struct drafting *g)
{
	uint32_t open = 1;
	for (unsigned round = 0; open && round < ROUNDS_MAX; round++) {
		bool *walked = calloc(b->draft_count, sizeof *walked);
		if (!walked)
			return false;
		for (uint32_t i = 0; i < b->draft_count; i++)
			walked[i] = g->first || b->drafts[i].again;
		bool failed = builder_parallel(b, b->draft_count, draft_one, g) || g->failed;
		g->first = false;
		size_t old = b->seeds.count;
		for (uint32_t i = 0; i < b->draft_count && !failed; i++)
			if (walked[i])
				add_references(b, b->drafts[i].references, b->drafts[i].reference_count);
		free(walked);
		if (failed || b->no_memory)
			return false;
		settle_seeds(b, old);
		open = 0;
		for (uint32_t i = 0; i < b->draft_count; i++)
			open += b->drafts[i].again;
	}
	for (uint32_t i = 0; i < b->draft_count; i++)
		if (b->drafts[i].again)
			b->drafts[i].reasons |= 1u << MAP_REASON_OVERLAPPING_CODE;
	return true;
}

static bool make_seeds(struct builder *b)
{
	walk_references gaps = {0};
	first_seeds(b);
	bool failed = gap_sweep(b, &gaps) != 0;
	add_references(b, gaps.data, (uint32_t)gaps.count);
	for (size_t i = 0; i < gaps.count; i++) {
		uint32_t draft = builder_draft_of(b, gaps.data[i].target);
		if (draft != MAP_NONE && gaps.data[i].target == b->image->text_base + b->drafts[draft].start)
			b->drafts[draft].called = 1;
	}
	vec_free(&gaps);
	settle_seeds(b, 0);
	return !failed && !b->no_memory;
}

static int draft_all(struct builder *b)
{
	struct drafting g = {.b = b, .first = true, .walks = calloc(b->threads, sizeof *g.walks)};
	if (!g.walks)
		return -1;
	for (unsigned i = 0; i < b->threads; i++)
		g.walks[i] = (struct walk){.image = b->image, .noreturn = b->noreturn.data, .noreturn_count = b->noreturn.count};
	bool done = make_seeds(b) && draft_rounds(b, &g);
	for (unsigned i = 0; i < b->threads; i++)
		walk_free(&g.walks[i]);
	free(g.walks);
	return done ? 0 : -1;
}

static unsigned processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

int map_build(const struct image *image, unsigned threads, struct map *ret_map, struct err *e)
{
	struct builder b = {.image = image, .threads = threads ? threads : processors()};
	if (image->text_size >= UINT32_MAX)
		return err_set(e, ERR_UNSUPPORTED, "%s: text of 4 GiB or more", image->identity.path);
	if (!image->fde_count)
		return err_set(e, ERR_UNSUPPORTED, "%s: no unwind information (.eh_frame) that tells where functions are%s",
			       image->identity.path, image->is_go ? " (a Go program)" : "");
	int status = 0;
	if (make_drafts(&b) || index_pages(&b) || note_specials(&b))
		status = -1;
	if (!status) {
		note_noreturn_stubs(&b);
		status = b.no_memory ? -1 : draft_all(&b);
	}
	status = status ? err_set(e, ERR_MEMORY, "%s: no memory for the map", image->identity.path) : builder_finish(&b, ret_map, e);
	for (uint32_t i = 0; b.drafts && i < b.draft_count; i++)
		draft_free(&b.drafts[i]);
	free(b.drafts);
	free(b.page_first);
	free(b.import_special);
	vec_free(&b.seeds);
	vec_free(&b.noreturn);
	return status;
}
