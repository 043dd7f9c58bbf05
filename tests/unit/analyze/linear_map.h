/*
 * linear_map: a map by linear sweep over the FDE ranges of an image, for tests of the emitter and the validator that must not depend on the
 * mapper. Knows nothing of jump tables and data in code: a function with an indirect jump keeps it as an exit, and everything whose start is
 * not proven to be reached only by falling in is marked POINTED there, so that no patch covers it.
 */
#ifndef TESTS_LINEAR_MAP_H
#define TESTS_LINEAR_MAP_H

#include "analyze/code/insn.h"
#include "analyze/elf/image.h"
#include "formats/base/vec.h"
#include "formats/map.h"

#include <stdlib.h>
#include <string.h>

struct linear_map {
	struct map map;
	uint8_t *marks; /* [text_size] */
	VEC(struct map_function) functions;
	VEC(struct map_block) blocks;
	VEC(struct map_call) calls;
	VEC(struct map_import) imports;
	VEC(uint32_t) syscalls;
};

enum { LINEAR_START = 1, LINEAR_LEADER = 2, LINEAR_TARGET = 4 };

static bool linear_direct(const struct insn *i)
{
	return i->kind == INSN_JUMP || i->kind == INSN_BRANCH || i->kind == INSN_BRANCH_SHORT;
}

static bool linear_ends(const struct insn *i)
{
	return linear_direct(i) || i->kind == INSN_JUMP_INDIRECT || i->kind == INSN_RETURN || i->kind == INSN_STOP;
}

/* Import whose slot the code at text offset `at` jumps through ([endbr64] jmp *slot), or MAP_NONE. */
static uint32_t linear_import(struct linear_map *l, const struct image *image, uint64_t at)
{
	for (int step = 0; step < 2; step++) {
		struct insn i;
		size_t left;
		const uint8_t *bytes = image_bytes_left(image, (vaddr){at}, &left);
		if (!bytes || !image_executable(image, (vaddr){at}) || insn_decode(bytes, left, (vaddr){at}, &i))
			return MAP_NONE;
		if (i.kind == INSN_JUMP_INDIRECT && i.rip_field) {
			for (size_t k = 0; k < l->imports.count; k++)
				if (l->imports.data[k].slot == i.target)
					return (uint32_t)k;
			struct map_import import = {.slot = i.target, .stub = (uint32_t)(at - l->map.text_base)};
			return vec_push(&l->imports, import) ? MAP_NONE : (uint32_t)l->imports.count - 1;
		}
		if (!i.is_endbr)
			return MAP_NONE;
		at += i.length;
	}
	return MAP_NONE;
}

static void linear_mark(struct linear_map *l, uint64_t address, uint8_t mark)
{
	if (address - l->map.text_base < l->map.text_size)
		l->marks[address - l->map.text_base] |= mark;
}

/* Marks instruction starts and leaders of one range; false when it cannot be moved. */
static bool linear_sweep(struct linear_map *l, const struct image *image, const struct image_fde *f)
{
	const uint8_t *bytes = image_bytes(image, (vaddr){f->start}, f->size);
	bool fine = bytes != NULL, leader = true, ends = false;
	for (uint64_t at = 0; fine && at < f->size;) {
		struct insn i;
		if (insn_decode(bytes + at, f->size - at, (vaddr){f->start + at}, &i) || i.kind == INSN_UNSUPPORTED)
			return false;
		linear_mark(l, f->start + at, LINEAR_START | (leader ? LINEAR_LEADER : 0));
		if (linear_direct(&i) || i.kind == INSN_CALL)
			linear_mark(l, i.target, LINEAR_LEADER | LINEAR_TARGET);
		ends = linear_ends(&i) && i.kind != INSN_BRANCH && i.kind != INSN_BRANCH_SHORT;
		leader = linear_ends(&i);
		/* After an unconditional end only an unseen way (a table, a landing pad) leads on. */
		if (ends)
			linear_mark(l, f->start + at + i.length, LINEAR_TARGET);
		at += i.length;
	}
	return fine && ends;
}

static void linear_block_end(struct linear_map *l, struct map_block *b, const struct insn *last, uint64_t end)
{
	static const uint8_t terminators[] = {[INSN_JUMP] = MAP_JUMP,
					      [INSN_BRANCH] = MAP_BRANCH,
					      [INSN_BRANCH_SHORT] = MAP_BRANCH,
					      [INSN_JUMP_INDIRECT] = MAP_JUMP_INDIRECT,
					      [INSN_RETURN] = MAP_RETURN,
					      [INSN_STOP] = MAP_STOP,
					      [INSN_UNSUPPORTED] = 0};
	b->terminator = linear_ends(last) ? terminators[last->kind] : MAP_FALLS;
	b->size = (uint32_t)(end - l->map.text_base - b->start);
	b->taken = linear_direct(last) ? (uint32_t)(last->target - l->map.text_base) : MAP_NONE; /* resolved later */
	b->next = b->terminator == MAP_FALLS || b->terminator == MAP_BRANCH ? (uint32_t)l->blocks.count + 1 : MAP_NONE;
}

static void linear_instruction(struct linear_map *l, const struct image *image, uint64_t at, const struct insn *i)
{
	uint32_t site = (uint32_t)(at - l->map.text_base);
	struct map_call call = {
	    .site = site, .block = (uint32_t)l->blocks.count, .target = MAP_NONE, .size = i->length, .kind = MAP_CALL_INDIRECT};
	bool failed = false;
	if (i->kind == INSN_CALL || i->kind == INSN_JUMP) {
		uint32_t import = linear_import(l, image, i->target);
		call.kind = import == MAP_NONE ? MAP_CALL_DIRECT : i->kind == INSN_CALL ? MAP_CALL_IMPORT : MAP_TAIL_IMPORT;
		call.target = import == MAP_NONE ? (uint32_t)(i->target - l->map.text_base) : import;
	}
	if (i->kind == INSN_CALL || i->kind == INSN_CALL_INDIRECT || (i->kind == INSN_JUMP && call.kind == MAP_TAIL_IMPORT))
		failed |= vec_push(&l->calls, call) != 0;
	if (i->kind == INSN_SYSCALL)
		failed |= vec_push(&l->syscalls, site) != 0;
	if (failed)
		abort();
}

static void linear_blocks(struct linear_map *l, const struct image *image, const struct image_fde *f)
{
	const uint8_t *bytes = image_bytes(image, (vaddr){f->start}, f->size);
	struct map_block b = {0};
	for (uint64_t at = 0; at < f->size;) {
		struct insn i;
		uint64_t v = f->start + at;
		uint8_t mark = l->marks[v - l->map.text_base];
		if (insn_decode(bytes + at, f->size - at, (vaddr){v}, &i))
			abort();
		if (!b.insns) {
			b.start = (uint32_t)(v - l->map.text_base);
			b.flags = (mark & LINEAR_TARGET ? MAP_BLOCK_TARGET : 0) | (at ? 0 : MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET);
		}
		linear_instruction(l, image, v, &i);
		b.insns++;
		at += i.length;
		if (at == f->size || linear_ends(&i) || (l->marks[v + i.length - l->map.text_base] & LINEAR_LEADER)) {
			linear_block_end(l, &b, &i, v + i.length);
			if (vec_push(&l->blocks, b))
				abort();
			b = (struct map_block){0};
		}
	}
}

static void linear_resolve(struct linear_map *l)
{
	for (uint32_t i = 0; i < l->map.block_count; i++) {
		struct map_block *b = &l->map.blocks[i];
		uint32_t target = b->taken == MAP_NONE ? MAP_NONE : map_block_at(&l->map, b->taken);
		b->taken = target != MAP_NONE && l->map.blocks[target].start == b->taken ? target : MAP_NONE;
	}
}

/* No call may lead into the middle of an instruction that this sweep saw. */
static bool linear_consistent(const struct linear_map *l, const struct image_fde *f)
{
	for (uint64_t at = f->start - l->map.text_base; at < f->start + f->size - l->map.text_base; at++)
		if ((l->marks[at] & LINEAR_LEADER) && !(l->marks[at] & LINEAR_START))
			return false;
	return true;
}

static void linear_function(struct linear_map *l, const struct image *image, const struct image_fde *f, bool fine)
{
	struct map_function function = {.start = (uint32_t)(f->start - l->map.text_base), .size = (uint32_t)f->size};
	function.first_block = (uint32_t)l->blocks.count;
	function.parent = (uint32_t)l->functions.count;
	function.grade = MAP_UNTOUCHABLE;
	if (fine && linear_consistent(l, f)) {
		linear_blocks(l, image, f);
		function.grade = MAP_MOVABLE;
		function.flags = MAP_FUNCTION_BEHIND;
		function.block_count = (uint32_t)l->blocks.count - function.first_block;
	}
	if (vec_push(&l->functions, function))
		abort();
}

static void linear_map_free(struct linear_map *l)
{
	free(l->marks);
	vec_free(&l->functions);
	vec_free(&l->blocks);
	vec_free(&l->calls);
	vec_free(&l->imports);
	vec_free(&l->syscalls);
}

static void linear_map_make(struct linear_map *l, const struct image *image)
{
	*l = (struct linear_map){.map = {.module = image->identity, .text_base = image->text_base, .text_size = image->text_size}};
	bool *fine = calloc(image->fde_count + 1, sizeof *fine);
	l->marks = calloc(image->text_size + 16, 1);
	if (!l->marks || !fine)
		abort();
	uint64_t end = 0;
	for (size_t i = 0; i < image->fde_count; i++) {
		const struct image_fde *f = &image->fdes[i];
		if (f->start >= end && f->size && f->start - image->text_base < image->text_size)
			fine[i] = linear_sweep(l, image, f);
		end = f->start + f->size > end ? f->start + f->size : end;
	}
	for (size_t i = 0; i < image->code_pointer_count; i++)
		linear_mark(l, image->code_pointers[i], LINEAR_LEADER | LINEAR_TARGET);
	end = 0;
	for (size_t i = 0; i < image->fde_count; i++) {
		const struct image_fde *f = &image->fdes[i];
		if (f->start >= end && f->size && f->start - image->text_base < image->text_size)
			linear_function(l, image, f, fine[i] && !f->signal_frame);
		end = f->start + f->size > end ? f->start + f->size : end;
	}
	free(fine);
	l->map.functions = l->functions.data;
	l->map.blocks = l->blocks.data;
	l->map.calls = l->calls.data;
	l->map.imports = l->imports.data;
	l->map.syscalls = l->syscalls.data;
	l->map.function_count = (uint32_t)l->functions.count;
	l->map.block_count = (uint32_t)l->blocks.count;
	l->map.call_count = (uint32_t)l->calls.count;
	l->map.import_count = (uint32_t)l->imports.count;
	l->map.syscall_count = (uint32_t)l->syscalls.count;
	l->map.strings = (char *)"";
	l->map.string_size = 1;
	linear_resolve(l);
}

#endif
