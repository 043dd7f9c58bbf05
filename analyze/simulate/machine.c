#include "analyze/simulate/machine.h"

#include <stdlib.h>
#include <string.h>

#define SMALL_PAGE 12
#define HUGE_PAGE 21

enum mark {
	MARK_BEFORE = 1u << 0,	     /* executed, in the original layout */
	MARK_TAKEN_BEFORE = 1u << 1, /* left by a taken branch */
	MARK_ORIGINAL = 1u << 2,     /* in the new layout: executed in the original place */
	MARK_IMAGE = 1u << 3,	     /* executed in the image */
	MARK_PATCH = 1u << 4,	     /* its patch was executed */
	MARK_INSERTED = 1u << 5,     /* the added jump */
	MARK_TAKEN_ORIGINAL = 1u << 6,
	MARK_TAKEN_IMAGE = 1u << 7,
};

struct machine_options machine_options_default(void)
{
	return (struct machine_options){.cache_size = 32768, .cache_ways = 8, .cache_line = 64, .tlb = 256, .tlb_huge = 8, .btb = 4096};
}

static int side_init(struct machine_side *s, const struct machine_options *o, struct err *e)
{
	int status = lru_cache_init(&s->cache, o->cache_size, o->cache_ways, o->cache_line, e);
	s->cache.prefetch = o->prefetch;
	s->last_page = LRU_NO_KEY;
	if (!status)
		status = lru_table_init(&s->tlb, o->tlb, e);
	if (!status)
		status = lru_table_init(&s->tlb_huge, o->tlb_huge, e);
	return status ? status : lru_table_init(&s->btb, o->btb, e);
}

static void side_free(struct machine_side *s)
{
	lru_cache_free(&s->cache);
	lru_table_free(&s->tlb);
	lru_table_free(&s->tlb_huge);
	lru_table_free(&s->btb);
}

int machine_init(struct machine *m, const struct program *program, const struct place *place, const struct machine_options *options,
		 struct err *e)
{
	*m = (struct machine){.program = program, .place = place, .at = MACHINE_NOWHERE};
	int status = side_init(&m->before, options, e);
	if (!status)
		status = side_init(&m->after, options, e);
	m->marks = calloc(program->node_count + (size_t)1, 1);
	if (!status && !m->marks)
		status = err_set(e, ERR_MEMORY, "simulate: no memory for %u nodes", program->node_count);
	if (status)
		machine_free(m);
	return status;
}

void machine_free(struct machine *m)
{
	side_free(&m->before);
	side_free(&m->after);
	free(m->marks);
	*m = (struct machine){0};
}

static void fetch(struct machine_side *s, uint64_t address, uint32_t size, bool huge)
{
	if (!size)
		return;
	lru_cache_fetch(&s->cache, address, size);
	unsigned shift = huge ? HUGE_PAGE : SMALL_PAGE;
	uint64_t page = address >> shift, last = (address + size - 1) >> shift;
	if (page == s->last_page && page == last)
		return;
	for (; page <= last; page++)
		lru_table_touch(huge ? &s->tlb_huge : &s->tlb, page);
	s->last_page = last;
}

/* The branch that ends at `end` is taken. */
static void take(struct machine_side *s, uint64_t end)
{
	s->counts.taken++;
	lru_table_touch(&s->btb, end);
}

static void step_before(struct machine *m, uint32_t node)
{
	const struct place_node *n = &m->place->nodes[node];
	if (m->at.last != PROGRAM_NONE) {
		const struct place_node *from = &m->place->nodes[m->at.last];
		if (from->original + from->size != n->original) {
			take(&m->before, from->original + from->size);
			m->marks[m->at.last] |= MARK_TAKEN_BEFORE;
		}
	}
	fetch(&m->before, n->original, n->size, false);
	m->marks[node] |= MARK_BEFORE;
}

/* Does control arrive in the copy of `node`, and not in the original? */
static bool arrives_in_image(const struct machine *m, uint32_t node, enum machine_way way)
{
	const struct place_node *n = &m->place->nodes[node];
	if (!n->image || way == MACHINE_START || way == MACHINE_RETURN)
		return false;
	if (way == MACHINE_RETURN_IMAGE)
		return true;
	if (!m->at.in_image || m->at.through_slot || (m->program->nodes[m->at.last_after].flags & PROGRAM_INDIRECT))
		return false;
	return n->entry || n->home == m->place->nodes[m->at.last_after].home;
}

/* How control left the node before, now that it is known where it goes. */
static void leave(struct machine *m, uint32_t node, uint64_t to)
{
	const struct place_node *from = &m->place->nodes[m->at.last_after];
	uint64_t end = from->original + from->size;
	uint8_t mark = MARK_TAKEN_ORIGINAL;
	if (m->at.in_image) {
		end = from->image + from->image_size;
		mark = MARK_TAKEN_IMAGE;
		if (from->inserted && from->inserted_to == node && m->program->nodes[m->at.last_after].kind == PROGRAM_FLOW && end != to) {
			fetch(&m->after, from->inserted, from->inserted_size,
			      m->place->images[m->program->nodes[m->at.last_after].module].huge);
			end = from->inserted + from->inserted_size;
			mark = MARK_INSERTED;
		}
	}
	if (end == to)
		return;
	take(&m->after, end);
	m->marks[m->at.last_after] |= mark;
}

static void step_after(struct machine *m, uint32_t node, enum machine_way way)
{
	const struct program_node *what = &m->program->nodes[node];
	const struct place_node *n = &m->place->nodes[node];
	if (m->at.through_slot && (what->flags & PROGRAM_STUB))
		return;
	bool huge = m->place->images[what->module].huge, image = arrives_in_image(m, node, way);
	if (m->at.last_after != PROGRAM_NONE && way != MACHINE_START)
		leave(m, node, image ? n->image : n->original);
	bool was_in_image = m->at.in_image && way != MACHINE_START;
	if (!image) {
		m->after.counts.exits += was_in_image;
		fetch(&m->after, n->original, n->patch_image ? n->patch_end : n->size, false);
		m->marks[node] |= n->patch_image ? MARK_PATCH : MARK_ORIGINAL;
		if (n->patch_image) {
			take(&m->after, n->original + n->patch_end);
			fetch(&m->after, n->patch_image, n->patch_rest, huge);
			image = true;
		}
	} else {
		fetch(&m->after, n->image, n->image_size, huge);
	}
	if (image) {
		m->after.counts.image_insns += what->insns;
		m->marks[node] |= MARK_IMAGE;
	}
	m->at.in_image = image;
	m->at.last_after = node;
	m->at.through_slot = image && n->through_slot;
}

void machine_step(struct machine *m, uint32_t node, enum machine_way way)
{
	m->insns += m->program->nodes[node].insns;
	if (way == MACHINE_START)
		m->at.last = m->at.last_after = PROGRAM_NONE;
	step_after(m, node, way);
	step_before(m, node);
	m->at.last = node;
}

/* --- counting and not counting --- */

static struct machine_counts counts_now(const struct machine_side *s)
{
	struct machine_counts c = s->counts;
	c.cache_misses = s->cache.misses;
	c.tlb_misses = s->tlb.misses;
	c.tlb_huge_misses = s->tlb_huge.misses;
	c.btb_misses = s->btb.misses;
	return c;
}

static void add_since(struct machine_counts *sum, const struct machine_counts *then, const struct machine_counts *now)
{
	sum->cache_misses += now->cache_misses - then->cache_misses;
	sum->tlb_misses += now->tlb_misses - then->tlb_misses;
	sum->tlb_huge_misses += now->tlb_huge_misses - then->tlb_huge_misses;
	sum->btb_misses += now->btb_misses - then->btb_misses;
	sum->taken += now->taken - then->taken;
	sum->exits += now->exits - then->exits;
	sum->image_insns += now->image_insns - then->image_insns;
}

void machine_pause(struct machine *m)
{
	m->paused = (struct machine_sums){counts_now(&m->before), counts_now(&m->after), m->insns};
}

void machine_resume(struct machine *m)
{
	struct machine_counts before = counts_now(&m->before), after = counts_now(&m->after);
	add_since(&m->skipped.before, &m->paused.before, &before);
	add_since(&m->skipped.after, &m->paused.after, &after);
	m->skipped.insns += m->insns - m->paused.insns;
}

double machine_instructions(const struct machine *m)
{
	return (double)(m->insns - m->skipped.insns) / PROGRAM_INSN_UNIT;
}

/* --- what was touched --- */

struct span {
	uint64_t start, end;
};

static int compare_spans(const void *va, const void *vb)
{
	const struct span *a = va, *b = vb;
	return a->start < b->start ? -1 : a->start > b->start;
}

/* Different units of 1 << shift bytes that the sorted spans touch. */
static uint64_t count_units(const struct span *spans, size_t count, unsigned shift)
{
	uint64_t units = 0, next = 0; /* first unit not counted yet */
	for (size_t i = 0; i < count; i++) {
		uint64_t first = spans[i].start >> shift, last = (spans[i].end - 1) >> shift;
		if (first < next)
			first = next;
		if (last >= first) {
			units += last - first + 1;
			next = last + 1;
		}
	}
	return units;
}

static void count_touched(struct machine_counts *c, struct span *spans, size_t count, unsigned line_shift, bool huge)
{
	if (count)
		qsort(spans, count, sizeof *spans, compare_spans);
	c->bytes += count_units(spans, count, 0);
	c->lines += count_units(spans, count, line_shift);
	c->pages += count_units(spans, count, huge ? HUGE_PAGE : SMALL_PAGE);
}

static size_t add_span(struct span *spans, size_t count, uint64_t start, uint64_t size)
{
	if (size)
		spans[count++] = (struct span){start, start + size};
	return count;
}

static size_t collect_before(const struct machine *m, struct span *spans)
{
	size_t count = 0;
	for (uint32_t i = 0; i < m->program->node_count; i++)
		if (m->marks[i] & MARK_BEFORE)
			count = add_span(spans, count, m->place->nodes[i].original, m->place->nodes[i].size);
	return count;
}

static size_t collect_original(const struct machine *m, struct span *spans)
{
	size_t count = 0;
	for (uint32_t i = 0; i < m->program->node_count; i++) {
		const struct place_node *n = &m->place->nodes[i];
		if (m->marks[i] & (MARK_ORIGINAL | MARK_PATCH))
			count = add_span(spans, count, n->original, m->marks[i] & MARK_PATCH ? n->patch_end : n->size);
	}
	return count;
}

static size_t collect_image(const struct machine *m, struct span *spans, bool huge)
{
	size_t count = 0;
	for (uint32_t i = 0; i < m->program->node_count; i++) {
		const struct place_node *n = &m->place->nodes[i];
		if (m->place->images[m->program->nodes[i].module].huge != huge)
			continue;
		if (m->marks[i] & MARK_IMAGE)
			count = add_span(spans, count, n->image, n->image_size);
		if (m->marks[i] & MARK_INSERTED)
			count = add_span(spans, count, n->inserted, n->inserted_size);
	}
	return count;
}

static void count_sites(struct machine *m)
{
	for (uint32_t i = 0; i < m->program->node_count; i++) {
		uint8_t marks = m->marks[i];
		m->before.counts.taken_sites += (marks & MARK_TAKEN_BEFORE) != 0;
		m->after.counts.taken_sites +=
		    (unsigned)__builtin_popcount(marks & (MARK_TAKEN_ORIGINAL | MARK_TAKEN_IMAGE | MARK_INSERTED | MARK_PATCH));
	}
}

static void leave_out_paused(struct machine_side *s, const struct machine_counts *skipped)
{
	struct machine_counts now = counts_now(s), counted = {.taken_sites = now.taken_sites};
	add_since(&counted, skipped, &now);
	s->counts = counted;
}

int machine_finish(struct machine *m, struct err *e)
{
	struct span *spans = malloc((2 * (size_t)m->program->node_count + 1) * sizeof *spans);
	unsigned shift = m->before.cache.line_shift;
	if (!spans)
		return err_set(e, ERR_MEMORY, "simulate: no memory for %u nodes", m->program->node_count);
	leave_out_paused(&m->before, &m->skipped.before);
	leave_out_paused(&m->after, &m->skipped.after);
	count_sites(m);
	count_touched(&m->before.counts, spans, collect_before(m, spans), shift, false);
	count_touched(&m->after.counts, spans, collect_original(m, spans), shift, false);
	count_touched(&m->after.counts, spans, collect_image(m, spans, false), shift, false);
	count_touched(&m->after.counts, spans, collect_image(m, spans, true), shift, true);
	free(spans);
	return 0;
}
