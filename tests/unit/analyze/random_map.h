/* Random maps for the tests of flow and layout: functions with loops, branches, jump tables, calls, parts; always a way from each block on. */
#ifndef TESTS_UNIT_ANALYZE_RANDOM_MAP_H
#define TESTS_UNIT_ANALYZE_RANDOM_MAP_H

#include "analyze/layout/random.h"
#include "formats/map.h"

#include <stdlib.h>
#include <string.h>

struct random_map {
	struct map map;
	uint64_t seed;
};

static inline void random_map_block(struct random_map *r, uint32_t function, uint32_t i, uint32_t n)
{
	struct map *m = &r->map;
	uint32_t first = m->functions[function].first_block, b = first + i, last = first + n - 1;
	struct map_block *block = &m->blocks[b];
	*block = (struct map_block){.taken = MAP_NONE, .next = MAP_NONE};
	block->insns = (uint16_t)(1 + random_below(&r->seed, 12));
	block->size = block->insns * 4u;
	block->flags = i ? 0 : MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET;
	uint64_t pick = random_below(&r->seed, 10);
	uint32_t target = first + (uint32_t)random_below(&r->seed, n);
	if (b == last || pick == 0) {
		block->terminator = MAP_RETURN;
	} else if (pick < 3) {
		block->terminator = MAP_FALLS;
		block->next = b + 1;
	} else if (pick == 3) {
		block->terminator = MAP_JUMP;
		block->taken = target > b ? target : b + 1;
	} else if (pick == 4) {
		block->terminator = MAP_JUMP_INDIRECT;
		struct map_table *t = &m->tables[m->table_count++];
		*t = (struct map_table){.block = b, .first = m->table_target_count, .count = 3, .proven = 1};
		for (int k = 0; k < 3; k++)
			m->table_targets[m->table_target_count++] = k ? first + (uint32_t)random_below(&r->seed, n) : b + 1;
	} else {
		block->terminator = MAP_BRANCH;
		block->next = b + 1;
		block->taken = target;
	}
}

/* Two direct calls for each function, from random blocks of it to random functions. */
static inline void random_map_calls(struct random_map *r)
{
	struct map *m = &r->map;
	for (uint32_t f = 0; f < m->function_count; f++) {
		uint32_t at = 0;
		for (int k = 0; k < 2; k++) {
			at += (uint32_t)random_below(&r->seed, m->functions[f].block_count / 2 + 1);
			if (at >= m->functions[f].block_count)
				break;
			uint32_t callee = (uint32_t)random_below(&r->seed, m->function_count), b = m->functions[f].first_block + at++;
			m->calls[m->call_count++] =
			    (struct map_call){m->blocks[b].start, b, m->functions[callee].start, 4, MAP_CALL_DIRECT};
		}
	}
}

static inline void random_map_make(struct random_map *r, uint64_t seed, uint32_t functions, uint32_t blocks_max)
{
	*r = (struct random_map){.seed = seed};
	struct map *m = &r->map;
	size_t bound = (size_t)functions * blocks_max;
	m->functions = calloc(functions, sizeof *m->functions);
	m->blocks = calloc(bound, sizeof *m->blocks);
	m->tables = calloc(bound, sizeof *m->tables);
	m->table_targets = calloc(bound * 3, sizeof *m->table_targets);
	m->calls = calloc(functions * 2, sizeof *m->calls);
	m->strings = calloc(1, 1);
	m->string_size = 1;
	m->module.file_size = 4096;
	m->module.text_hash = 42;
	m->module.path = strdup("random");
	m->text_base = 0x1000;
	uint32_t at = 0;
	for (uint32_t f = 0; f < functions; f++) {
		uint32_t n = 1 + (uint32_t)random_below(&r->seed, blocks_max);
		m->functions[f] = (struct map_function){.start = at, .parent = f, .first_block = m->block_count, .block_count = n};
		for (uint32_t i = 0; i < n; i++) {
			random_map_block(r, f, i, n);
			m->blocks[m->block_count].start = at;
			at += m->blocks[m->block_count++].size;
		}
		m->functions[f].size = at - m->functions[f].start;
		m->functions[f].grade = random_below(&r->seed, 8)   ? MAP_MOVABLE
					: random_below(&r->seed, 2) ? MAP_UNTOUCHABLE
								    : MAP_ENTRY_FIXED;
	}
	m->function_count = functions;
	for (uint32_t b = 0; b < m->block_count; b++)
		if (m->blocks[b].taken != MAP_NONE)
			m->blocks[m->blocks[b].taken].flags |= MAP_BLOCK_TARGET;
	for (uint32_t i = 0; i < m->table_target_count; i++)
		m->blocks[m->table_targets[i]].flags |= MAP_BLOCK_TARGET | MAP_BLOCK_TABLE_TARGET;
	m->text_size = at;
	random_map_calls(r);
}

#endif
