/*
 * coded_map: random functions as map and as machine code that agree, for tests of counting: branches, jumps, tables, split parts, tail calls.
 * Bodies keep, overwrite or read the flags and registers at random. Never executed: walks are simulated.
 */
#ifndef TESTS_CODED_MAP_H
#define TESTS_CODED_MAP_H

#include "analyze/elf/image.h"
#include "analyze/layout/random.h"
#include "formats/base/bytes.h"
#include "formats/map.h"

#include <stdlib.h>
#include <string.h>

#define CODED_VADDR 0x40000000ull
#define CODED_FUNCTIONS 12u
#define CODED_BLOCKS 20u /* per function */
#define CODED_BODY 4u	 /* instructions per block, and a test in front */
#define CODED_SIZE (1u << 16)

enum coded_flags {
	CODED_COUNTABLE /* each block overwrites the flags first, and then again: a patch may stand behind its first instruction */,
	CODED_MIXED
};

struct coded_map {
	struct map map;
	struct image image;
	struct image_segment segment;
	struct image_fde fdes[CODED_FUNCTIONS];
	struct map_function functions[CODED_FUNCTIONS];
	struct map_block blocks[CODED_FUNCTIONS * CODED_BLOCKS];
	uint32_t root_first[CODED_FUNCTIONS], root_last[CODED_FUNCTIONS]; /* blocks of the function's group */
	struct map_table tables[CODED_FUNCTIONS * CODED_BLOCKS];
	uint32_t targets[CODED_FUNCTIONS * CODED_BLOCKS * 3];
	uint8_t code[CODED_SIZE];
	uint64_t seed;
	bool tables_wanted;
};

static inline uint32_t coded_pick(struct coded_map *c, uint32_t below)
{
	return (uint32_t)random_below(&c->seed, below);
}

static inline uint32_t coded_body(struct coded_map *c, uint32_t at, enum coded_flags flags)
{
	static const struct {
		uint8_t size, bytes[5];
	} pool[] = {
	    {2, {0x85, 0xc0}},		   /* test eax, eax */
	    {4, {0x48, 0x8d, 0x40, 0x01}}, /* lea rax, [rax + 1] */
	    {3, {0x0f, 0x94, 0xc0}},	   /* setz al */
	    {3, {0x48, 0x11, 0xc8}},	   /* adc rax, rcx: reads only the carry, overwrites the rest */
	    {1, {0x90}},		   /* nop */
	    {5, {0xb9, 1, 0, 0, 0}},	   /* mov ecx, 1 */
	    {2, {0xd3, 0xe0}},		   /* shl eax, cl: overwrites or not */
	};
	uint32_t begin = at, n = 1 + coded_pick(c, CODED_BODY);
	for (unsigned times = flags == CODED_COUNTABLE ? 2 : coded_pick(c, 4) != 0; times; times--) {
		memcpy(c->code + at, pool[0].bytes, 2);
		at += 2;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = coded_pick(c, sizeof pool / sizeof *pool);
		memcpy(c->code + at, pool[k].bytes, pool[k].size);
		at += pool[k].size;
	}
	return at - begin;
}

/* Forward always gets to the end; the last block returns. */
static inline void coded_end(struct coded_map *c, uint32_t function, uint32_t b)
{
	struct map *m = &c->map;
	struct map_block *block = &c->blocks[b];
	uint32_t last = c->functions[function].first_block + c->functions[function].block_count - 1;
	uint32_t low = c->root_first[function], high = c->root_last[function], pick = coded_pick(c, 12);
	if (b == last || pick == 0) {
		block->terminator = MAP_RETURN;
	} else if (pick < 3) {
		block->terminator = MAP_FALLS;
		block->next = b + 1;
	} else if (pick == 3) {
		block->terminator = MAP_JUMP;
		block->taken = b + 1 + coded_pick(c, high - b);
	} else if (pick == 4 && c->tables_wanted) {
		block->terminator = MAP_JUMP_INDIRECT;
		m->tables[m->table_count++] = (struct map_table){.block = b, .first = m->table_target_count, .count = 3, .proven = 1};
		for (int k = 0; k < 3; k++) {
			uint32_t to = k ? low + coded_pick(c, high - low + 1) : b + 1;
			c->targets[m->table_target_count++] = to;
			c->blocks[to].flags |= MAP_BLOCK_TARGET | MAP_BLOCK_TABLE_TARGET;
		}
	} else {
		block->terminator = MAP_BRANCH;
		block->next = b + 1;
		/* A tail call leads to a whole function. */
		uint32_t callee = c->functions[coded_pick(c, m->function_count)].parent;
		block->taken = pick == 5 ? c->functions[callee].first_block : low + coded_pick(c, high - low + 1);
	}
}

static const uint8_t coded_terminator_size[] = {
    [MAP_FALLS] = 0, [MAP_JUMP] = 5, [MAP_BRANCH] = 6, [MAP_JUMP_INDIRECT] = 2, [MAP_RETURN] = 1};

static inline void coded_write_end(struct coded_map *c, const struct map_block *b)
{
	uint32_t end = b->start + b->size;
	uint8_t *p = c->code + end - coded_terminator_size[b->terminator];
	switch (b->terminator) {
	case MAP_JUMP:
		p[0] = 0xe9;
		store_u32(p + 1, c->blocks[b->taken].start - end);
		break;
	case MAP_BRANCH:
		p[0] = 0x0f;
		p[1] = (uint8_t)(0x80 | coded_pick(c, 16));
		store_u32(p + 2, c->blocks[b->taken].start - end);
		break;
	case MAP_JUMP_INDIRECT:
		p[0] = 0xff;
		p[1] = 0xe0;
		break;
	case MAP_RETURN:
		p[0] = 0xc3;
		break;
	}
}

/* Every third function is a split part of the one before it. */
static inline void coded_functions(struct coded_map *c, uint32_t functions, bool parts)
{
	struct map *m = &c->map;
	for (uint32_t f = 0; f < functions; f++) {
		bool part = parts && f && !(c->functions[f - 1].flags & MAP_FUNCTION_PART) && coded_pick(c, 3) == 0;
		uint32_t n = 1 + coded_pick(c, CODED_BLOCKS);
		c->functions[f] = (struct map_function){.parent = part ? f - 1 : f,
							.first_block = m->block_count,
							.block_count = n,
							.flags = part ? MAP_FUNCTION_PART : MAP_FUNCTION_BEHIND};
		m->block_count += n;
		c->root_first[f] = c->functions[part ? f - 1 : f].first_block;
		c->root_last[f] = m->block_count - 1;
		if (part)
			c->root_last[f - 1] = m->block_count - 1;
	}
	m->function_count = functions;
}

/* `functions` at most CODED_FUNCTIONS. */
static inline void coded_map_make(struct coded_map *c, uint64_t seed, uint32_t functions, enum coded_flags flags, bool parts)
{
	memset(c, 0, sizeof *c);
	c->seed = seed;
	c->tables_wanted = seed % 3 == 0;
	struct map *m = &c->map;
	m->functions = c->functions;
	m->blocks = c->blocks;
	m->tables = c->tables;
	m->table_targets = c->targets;
	m->strings = (char *)"";
	m->string_size = 1;
	m->text_base = CODED_VADDR;
	m->text_size = CODED_SIZE;
	m->module = (struct module_identity){
	    .build_id = {4, 5}, .build_id_size = 20, .text_hash = 7, .file_size = CODED_SIZE, .path = (char *)"coded"};
	memset(c->code, 0xcc, sizeof c->code);
	coded_functions(c, functions, parts);
	for (uint32_t b = 0; b < m->block_count; b++)
		c->blocks[b] = (struct map_block){.taken = MAP_NONE, .next = MAP_NONE};
	uint32_t at = 0;
	for (uint32_t f = 0; f < functions; f++) {
		struct map_function *function = &c->functions[f];
		function->start = at = (at + 15) & ~15u;
		function->grade = MAP_MOVABLE;
		c->blocks[function->first_block].flags |= MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET;
		for (uint32_t b = function->first_block; b < function->first_block + function->block_count; b++) {
			coded_end(c, f, b);
			c->blocks[b].start = at;
			c->blocks[b].size = coded_body(c, at, flags) + coded_terminator_size[c->blocks[b].terminator];
			at += c->blocks[b].size;
		}
		function->size = at - function->start;
		c->fdes[f] = (struct image_fde){.start = CODED_VADDR + function->start, .size = function->size};
	}
	for (uint32_t b = 0; b < m->block_count; b++) {
		coded_write_end(c, &c->blocks[b]);
		if (c->blocks[b].taken != MAP_NONE)
			c->blocks[c->blocks[b].taken].flags |= MAP_BLOCK_TARGET;
		if (c->blocks[b].flags & MAP_BLOCK_TABLE_TARGET)
			c->image.pie = true;
	}
	c->segment = (struct image_segment){CODED_VADDR, CODED_SIZE, 0, CODED_SIZE, true, false, true};
	c->image = (struct image){.file = {.data = c->code, .size = CODED_SIZE},
				  .identity = m->module,
				  .segments = &c->segment,
				  .segment_count = 1,
				  .fdes = c->fdes,
				  .fde_count = functions,
				  .text_base = CODED_VADDR,
				  .text_size = CODED_SIZE,
				  .load_low = CODED_VADDR,
				  .load_high = CODED_VADDR + CODED_SIZE,
				  .pie = true};
}

#endif
