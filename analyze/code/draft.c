#include "analyze/code/build.h"
#include "analyze/code/special.h"

#include <stdlib.h>
#include <string.h>

struct filler {
	struct builder *b;
	struct draft *d;
	const struct walk *w;
	uint64_t base; /* vaddr of text offset 0 */
	VEC(struct map_block) blocks;
	VEC(struct map_call) calls;
	VEC(struct map_table) tables;
	VEC(uint32_t) targets;
	VEC(uint32_t) syscalls;
	VEC(struct walk_reference) references;
	bool no_memory;
};

#define PUSH(f, v, ...) ((f)->no_memory |= vec_push(v, __VA_ARGS__) != 0)

uint32_t builder_stub(const struct image *image, uint64_t address)
{
	size_t left;
	const uint8_t *p = image_bytes_left(image, (vaddr){address}, &left), *start = p;
	static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};
	if (!p || left < 11)
		return MAP_NONE;
	if (!memcmp(p, endbr64, 4))
		p += 4;
	if (*p == 0xf2)
		p++;
	if (p[0] != 0xff || p[1] != 0x25)
		return MAP_NONE;
	uint64_t slot = address + (uint64_t)(p + 6 - start) + (uint64_t)(int64_t)(int32_t)load_u32(p + 2);
	const struct image_import *import = image_import_at(image, slot);
	return import ? (uint32_t)(import - image->imports) : MAP_NONE;
}

static uint32_t text_offset(const struct filler *f, uint64_t address)
{
	uint64_t offset = address - f->base;
	return offset < f->b->image->text_size ? (uint32_t)offset : MAP_NONE;
}

static void add_call(struct filler *f, const struct walk_insn *i, uint32_t block)
{
	const struct insn *x = &i->insn;
	struct map_call call = {.site = f->d->start + i->at, .block = block, .target = MAP_NONE, .size = x->length};
	bool tail = x->kind == INSN_JUMP || x->kind == INSN_JUMP_INDIRECT;
	if (x->kind == INSN_CALL || x->kind == INSN_JUMP) {
		call.target = x->target - f->w->start < f->w->size ? MAP_NONE : builder_stub(f->b->image, x->target);
		call.kind = tail ? MAP_TAIL_IMPORT : MAP_CALL_IMPORT;
	} else {
		const struct image_import *import = x->rip_field ? image_import_at(f->b->image, x->target) : NULL;
		if (import)
			call.target = (uint32_t)(import - f->b->image->imports);
		call.kind = tail ? MAP_TAIL_IMPORT : MAP_CALL_IMPORT;
	}
	if (call.target == MAP_NONE) {
		if (tail)
			return;
		call.kind = x->kind == INSN_CALL ? MAP_CALL_DIRECT : MAP_CALL_INDIRECT;
		if (x->kind == INSN_CALL)
			call.target = text_offset(f, x->target);
	}
	PUSH(f, &f->calls, call);
}

static uint8_t block_flags(uint32_t at, uint16_t marks)
{
	uint8_t flags = at == 0 ? MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET : 0;
	if (marks & (WALK_TARGET | WALK_PAD | WALK_TABLE | WALK_POINTED | WALK_EXTERNAL))
		flags |= MAP_BLOCK_TARGET;
	if (marks & WALK_PAD)
		flags |= MAP_BLOCK_LANDING_PAD;
	if (marks & WALK_TABLE)
		flags |= MAP_BLOCK_TABLE_TARGET;
	if (marks & WALK_POINTED)
		flags |= MAP_BLOCK_POINTED;
	return flags;
}

static uint8_t terminator_of(const struct filler *f, const struct walk_insn *i)
{
	switch (i->insn.kind) {
	case INSN_JUMP:
		return MAP_JUMP;
	case INSN_BRANCH:
	case INSN_BRANCH_SHORT:
		return MAP_BRANCH;
	case INSN_JUMP_INDIRECT:
		return MAP_JUMP_INDIRECT;
	case INSN_RETURN:
		return MAP_RETURN;
	case INSN_STOP:
		return MAP_STOP;
	case INSN_CALL:
	case INSN_CALL_INDIRECT:
		return f->w->marks[i->at] & WALK_NORETURN ? MAP_CALL_NORETURN : MAP_FALLS;
	default:
		return MAP_FALLS;
	}
}

static void note_insn(struct filler *f, const struct walk_insn *i, uint32_t block)
{
	uint8_t kind = i->insn.kind;
	if (kind == INSN_CALL || kind == INSN_CALL_INDIRECT || kind == INSN_JUMP || kind == INSN_JUMP_INDIRECT)
		add_call(f, i, block);
	if (kind == INSN_SYSCALL)
		PUSH(f, &f->syscalls, f->d->start + i->at);
}

/* The block at `at`; returns the offset after it. */
static uint32_t add_block(struct filler *f, uint32_t at)
{
	const struct walk *w = f->w;
	struct map_block b = {.start = f->d->start + at, .taken = MAP_NONE, .next = MAP_NONE, .flags = block_flags(at, w->marks[at])};
	uint32_t count = 0, end = at;
	const struct walk_insn *i;
	do {
		i = walk_insn_at(w, end);
		note_insn(f, i, (uint32_t)f->blocks.count);
		end += i->insn.length;
		count++;
		b.terminator = terminator_of(f, i);
	} while (b.terminator == MAP_FALLS && end < w->size && w->marks[end] & WALK_START && !(w->marks[end] & WALK_LEADER));
	b.size = end - at;
	b.insns = count < UINT16_MAX ? (uint16_t)count : UINT16_MAX;
	if (b.terminator == MAP_JUMP || b.terminator == MAP_BRANCH)
		b.taken = text_offset(f, i->insn.target);
	if ((b.terminator == MAP_FALLS || b.terminator == MAP_BRANCH) && end < w->size && w->marks[end] & WALK_START)
		b.next = 1;
	PUSH(f, &f->blocks, b);
	return end;
}

static uint32_t block_that_ends_with(const struct filler *f, uint32_t offset)
{
	size_t low = 0, high = f->blocks.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (f->blocks.data[middle].start <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || f->blocks.data[low - 1].terminator != MAP_JUMP_INDIRECT ||
	    f->blocks.data[low - 1].start + f->blocks.data[low - 1].size <= offset)
		return MAP_NONE;
	return (uint32_t)low - 1;
}

static void add_tables(struct filler *f)
{
	for (size_t i = 0; i < f->w->tables.count; i++) {
		const struct walk_table *t = &f->w->tables.data[i];
		struct map_table table = {.address = t->address, .kind = t->kind, .proven = t->proven, .first = (uint32_t)f->targets.count};
		table.block = block_that_ends_with(f, f->d->start + t->jump);
		if (table.block == MAP_NONE)
			continue;
		for (uint32_t n = 0; n < t->count; n++)
			PUSH(f, &f->targets, text_offset(f, f->w->targets.data[t->first + n]));
		table.count = (uint32_t)f->targets.count - table.first;
		PUSH(f, &f->tables, table);
	}
}

/* References to the start of another function are noted there and then forgotten, except branches: they tell split parts. */
static void add_reference(struct filler *f, uint32_t index, const struct walk_reference *r)
{
	uint32_t target = builder_draft_of(f->b, r->target);
	if (target == MAP_NONE)
		return;
	struct draft *t = &f->b->drafts[target];
	bool start = f->base + t->start == r->target;
	if (start && r->kind == WALK_CALL)
		__atomic_store_n(&t->called, 1, __ATOMIC_RELAXED);
	else if (start && (r->kind == WALK_POINTER || r->kind == WALK_POINTER_GUESS))
		__atomic_store_n(&t->pointed, 1, __ATOMIC_RELAXED);
	else if (target != index)
		PUSH(f, &f->references, (struct walk_reference){r->target, index, r->kind});
}

void draft_free(struct draft *d)
{
	free(d->blocks);
	free(d->calls);
	free(d->tables);
	free(d->targets);
	free(d->syscalls);
	free(d->references);
	d->blocks = NULL;
	d->calls = NULL;
	d->tables = NULL;
	d->targets = d->syscalls = NULL;
	d->references = NULL;
}

/* Gives back what the growth of an array has left over. */
static void *fit(void *data, size_t count, size_t element)
{
	if (!count) {
		free(data);
		return NULL;
	}
	void *fitted = realloc(data, count * element);
	return fitted ? fitted : data;
}

#define TAKE(d, f, name, counter)                                                                                                          \
	((d)->name = fit((f)->name.data, (f)->name.count, sizeof *(f)->name.data), (d)->counter = (uint32_t)(f)->name.count)

int draft_fill(struct builder *b, uint32_t index, const struct walk *w)
{
	struct draft *d = &b->drafts[index];
	struct filler f = {.b = b, .d = d, .w = w, .base = b->image->text_base};
	draft_free(d);
	for (uint32_t at = 0; at < w->size && !f.no_memory;)
		at = w->marks[at] & WALK_START ? add_block(&f, at) : at + 1;
	add_tables(&f);
	for (size_t i = 0; i < w->references.count; i++)
		add_reference(&f, index, &w->references.data[i]);
	TAKE(d, &f, blocks, block_count);
	TAKE(d, &f, calls, call_count);
	TAKE(d, &f, tables, table_count);
	TAKE(d, &f, targets, target_count);
	TAKE(d, &f, syscalls, syscall_count);
	TAKE(d, &f, references, reference_count);
	d->reasons |= w->reasons;
	d->unknown_jump = w->unknown_jump;
	return f.no_memory ? -1 : 0;
}
