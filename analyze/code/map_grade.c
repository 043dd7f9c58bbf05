/*
 * Which functions may be moved, and if not, why.
 */
#include "analyze/code/build.h"
#include "analyze/code/special.h"

#include <stdlib.h>
#include <string.h>

enum { PATCH_SIZE = 5, TAIL_ROUNDS_MAX = 8 };

static void reason(struct map *m, uint32_t function, enum map_reason r)
{
	m->functions[function].reasons |= 1u << r;
}

static void reason_of_special(struct map *m, uint32_t function, unsigned special)
{
	if (special & SPECIAL_SAVES_PC)
		reason(m, function, MAP_REASON_CALLS_SETJMP);
	if (special & SPECIAL_ASKS_CALLER)
		reason(m, function, MAP_REASON_ASKS_CALLER);
	if (special & SPECIAL_FORKS)
		reason(m, function, MAP_REASON_CALLS_VFORK);
}

static unsigned special_at(const struct builder *b, uint32_t offset)
{
	uint32_t i = offset == MAP_NONE ? MAP_NONE : builder_draft_at(b, offset);
	return i == MAP_NONE ? 0 : b->drafts[i].special;
}

enum { SPREADS = SPECIAL_SAVES_PC | SPECIAL_ASKS_CALLER | SPECIAL_FORKS };

/* A function that tail calls dlsym is, to its own caller, dlsym. */
static bool spread(const struct builder *b, const struct map *m)
{
	bool changed = false;
	for (uint32_t i = 0; i < m->function_count; i++) {
		const struct map_function *f = &m->functions[i];
		unsigned special = 0;
		for (uint32_t n = f->first_block; n < f->first_block + f->block_count; n++) {
			const struct map_block *to = m->blocks[n].taken != MAP_NONE ? &m->blocks[m->blocks[n].taken] : NULL;
			if (to && to->flags & MAP_BLOCK_ENTRY && to->start != f->start)
				special |= special_at(b, to->start) & SPREADS;
		}
		changed |= (special & ~b->drafts[i].special) != 0;
		b->drafts[i].special |= (uint8_t)special;
	}
	return changed;
}

static void grade_calls(const struct builder *b, struct map *m)
{
	for (uint32_t i = 0; i < m->call_count; i++) {
		const struct map_call *call = &m->calls[i];
		uint32_t function;
		if (call->kind != MAP_TAIL_IMPORT || !(b->import_special[call->target] & SPREADS))
			continue;
		function = builder_draft_at(b, call->site);
		b->drafts[function].special |= b->import_special[call->target] & SPREADS;
	}
	for (unsigned round = 0; round < TAIL_ROUNDS_MAX && spread(b, m); round++)
		;
	for (uint32_t i = 0; i < m->call_count; i++) {
		const struct map_call *call = &m->calls[i];
		unsigned special = 0;
		if (call->kind == MAP_CALL_IMPORT || call->kind == MAP_TAIL_IMPORT)
			special = b->import_special[call->target];
		else if (call->kind == MAP_CALL_DIRECT)
			special = special_at(b, call->target);
		if (special & SPREADS)
			reason_of_special(m, builder_draft_at(b, call->site), special);
	}
	for (uint32_t i = 0; i < m->function_count; i++)
		reason_of_special(m, i, b->drafts[i].special & SPREADS);
}

static void grade_addresses(const struct builder *b, struct map *m, const uint64_t *addresses, size_t count, enum map_reason r)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t function = builder_draft_of(b, addresses[i]);
		if (function != MAP_NONE && map_vaddr(m, m->functions[function].start).v == addresses[i])
			reason(m, function, r);
	}
}

static void grade_rseq(const struct builder *b, struct map *m)
{
	const struct image *image = b->image;
	for (size_t i = image_pointer_from(image, image->rseq);
	     i < image->pointer_count && image->pointers[i].place - image->rseq < image->rseq_size; i++) {
		uint32_t function = builder_draft_of(b, image->pointers[i].value);
		if (function != MAP_NONE)
			reason(m, function, MAP_REASON_RSEQ);
	}
}

/* A range that begins with a stub, or with the first entry of a lazy PLT (push slot; jmp *slot), is linkage. */
static bool is_linkage(const struct builder *b, const struct map *m, const struct map_function *f)
{
	const uint8_t *p = f->size >= 12 ? image_bytes(b->image, map_vaddr(m, f->start), 12) : NULL;
	if (builder_stub(b->image, map_vaddr(m, f->start).v) != MAP_NONE)
		return true;
	return p && p[0] == 0xff && p[1] == 0x35 && ((p[6] == 0xff && p[7] == 0x25) || (p[6] == 0xf2 && p[7] == 0xff && p[8] == 0x25));
}

static void grade_kinds(const struct builder *b, struct map *m)
{
	for (uint32_t i = 0; i < m->function_count; i++) {
		const struct draft *d = &b->drafts[i];
		if (b->image->fdes[d->fde].signal_frame)
			reason(m, i, MAP_REASON_SIGNAL_FRAME);
		if (b->image->is_go)
			reason(m, i, MAP_REASON_GO_RUNTIME);
		if (d->special & SPECIAL_ITSELF)
			reason(m, i, MAP_REASON_READS_CODE);
		if (!m->functions[i].block_count || m->blocks[m->functions[i].first_block].start != m->functions[i].start)
			reason(m, i, MAP_REASON_NOT_REACHED);
		if (is_linkage(b, m, &m->functions[i]))
			reason(m, i, MAP_REASON_PLT);
	}
}

/* Does a call end inside (at, at + PATCH_SIZE)? Its return address would be in the middle of the patch. */
static bool returns_into(const struct map *m, uint32_t at)
{
	for (uint32_t i = map_call_from(m, at); i < m->call_count && m->calls[i].site < at + PATCH_SIZE; i++)
		if (m->calls[i].kind != MAP_TAIL_IMPORT && m->calls[i].site + m->calls[i].size < at + PATCH_SIZE)
			return true;
	return false;
}

/* The patch goes to the start, or after an endbr64 that stands there. */
static void grade_entry(const struct builder *b, struct map *m, uint32_t index)
{
	const struct map_function *f = &m->functions[index];
	uint32_t at = f->start + (f->flags & MAP_FUNCTION_ENDBR ? 4 : 0), end = at;
	struct insn first;
	for (uint32_t n = f->first_block; n < f->first_block + f->block_count && end < at + PATCH_SIZE; n++) {
		const struct map_block *block = &m->blocks[n];
		if (block->start > end)
			break;
		if (block->start > at && block->flags & MAP_BLOCK_TARGET)
			reason(m, index, MAP_REASON_ENTRY_TARGETED);
		if (block->start + block->size > end)
			end = block->start + block->size;
	}
	if (end < at + PATCH_SIZE)
		reason(m, index, MAP_REASON_ENTRY_SHORT);
	if (returns_into(m, at))
		reason(m, index, MAP_REASON_ENTRY_TARGETED);
	size_t left;
	const uint8_t *bytes = image_bytes_left(b->image, map_vaddr(m, at), &left);
	bool one = bytes && !insn_decode(bytes, left, map_vaddr(m, at), &first) && first.length >= PATCH_SIZE;
	if (f->flags & MAP_FUNCTION_UNKNOWN_JUMP && !one)
		reason(m, index, MAP_REASON_ENTRY_UNKNOWN_JUMPS);
}

/* Text offset behind the function's first instruction when control goes on there and nothing that is known leads into the 5 bytes; or MAP_NONE. */
static uint32_t behind_first(const struct builder *b, const struct map *m, const struct map_function *f)
{
	struct insn first;
	const uint8_t *bytes = image_bytes(b->image, map_vaddr(m, f->start), f->size);
	if (!bytes || f->flags & (MAP_FUNCTION_ENDBR | MAP_FUNCTION_UNKNOWN_JUMP) ||
	    insn_decode(bytes, f->size, map_vaddr(m, f->start), &first) || first.kind != INSN_PLAIN)
		return MAP_NONE;
	uint32_t at = f->start + first.length;
	return map_block_at(m, at) == f->first_block && map_patchable(m, at, NULL) ? at : MAP_NONE;
}

/* Guessed addresses that did not become blocks still keep the entry from being patched. */
static void grade_guesses(const struct builder *b, struct map *m)
{
	for (size_t i = 0; i < b->seeds.count; i++) {
		uint32_t function = builder_draft_of(b, b->seeds.data[i].address);
		const struct map_function *f = &m->functions[function];
		uint32_t at = f->start + (f->flags & MAP_FUNCTION_ENDBR ? 4 : 0);
		uint32_t offset = map_offset(m, (vaddr){b->seeds.data[i].address});
		if (offset > at && offset < at + PATCH_SIZE)
			reason(m, function, MAP_REASON_ENTRY_TARGETED);
		uint32_t behind = f->flags & MAP_FUNCTION_BEHIND ? behind_first(b, m, f) : offset;
		if (offset > behind && offset < behind + PATCH_SIZE)
			m->functions[function].flags &= (uint8_t)~MAP_FUNCTION_BEHIND;
	}
}

static uint8_t grade_of(uint32_t reasons)
{
	static const uint8_t grades[] = {
#define X(name, grade, text) grade,
	    MAP_REASONS(X)
#undef X
	};
	uint8_t worst = MAP_MOVABLE;
	for (unsigned i = 0; i < MAP_REASON_COUNT; i++)
		if (reasons & 1u << i && grades[i] > worst)
			worst = grades[i];
	return worst;
}

void builder_grade(const struct builder *b, struct map *m)
{
	grade_kinds(b, m);
	grade_addresses(b, m, b->image->resolvers, b->image->resolver_count, MAP_REASON_IFUNC_RESOLVER);
	grade_addresses(b, m, b->image->init_fini, b->image->init_fini_count, MAP_REASON_INIT_FINI);
	grade_rseq(b, m);
	grade_calls(b, m);
	builder_grade_unwinder(b, m);
	for (uint32_t i = 0; i < m->function_count; i++) {
		grade_entry(b, m, i);
		if (behind_first(b, m, &m->functions[i]) != MAP_NONE)
			m->functions[i].flags |= MAP_FUNCTION_BEHIND;
	}
	grade_guesses(b, m);
	for (uint32_t i = 0; i < m->function_count; i++)
		m->functions[i].grade = grade_of(m->functions[i].reasons);
}
