#include "analyze/code/flags.h"

#include "analyze/code/insn.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t *block_bytes(const struct flags_module *m, uint32_t block)
{
	const struct map *map = m->index->map;
	return image_bytes(m->image, map_vaddr(map, map->blocks[block].start), map->blocks[block].size);
}

/* Are flags read before they are overwritten, from `offset` in the block on? Decides within the block; what follows is not looked at. */
static bool reads_first(const struct flags_module *m, uint32_t block, uint32_t offset)
{
	const struct map_block *b = &m->index->map->blocks[block];
	const uint8_t *bytes = block_bytes(m, block);
	uint8_t open = INSN_FLAGS;
	while (bytes && offset < b->size && open) {
		struct insn i;
		uint8_t read, written;
		if (insn_decode(bytes + offset, b->size - offset, (vaddr){0}, &i) || insn_flags(bytes + offset, i.length, &read, &written))
			return true;
		if (read & open)
			return true;
		if (i.kind == INSN_CALL || i.kind == INSN_CALL_INDIRECT || i.kind == INSN_RETURN)
			return false;
		open &= (uint8_t)~written;
		offset += i.length;
	}
	return false;
}

static void mark_odd(struct flags_module *m, uint32_t function)
{
	uint32_t group = m->index->group_of_function[function];
	m->odds += !m->odd[group];
	m->odd[group] = 1;
}

static void look_at_entries(struct flags_module *m)
{
	const struct map *map = m->index->map;
	for (uint32_t f = 0; f < map->function_count; f++) {
		const struct map_function *function = &map->functions[f];
		if (function->block_count && map->blocks[function->first_block].start == function->start &&
		    !(function->flags & MAP_FUNCTION_PART) && reads_first(m, function->first_block, 0))
			mark_odd(m, f);
	}
}

/* Whoever calls or jumps to code that reads flags at its start passes them; whoever reads them after a call was given them. */
static void look_at_calls(struct flags_module *m)
{
	const struct map *map = m->index->map;
	for (uint32_t i = 0; i < map->call_count; i++) {
		const struct map_call *call = &map->calls[i];
		const struct map_block *b = &map->blocks[call->block];
		uint32_t caller = m->index->function_of_block[call->block];
		uint32_t callee = call->kind == MAP_CALL_DIRECT && call->target != MAP_NONE ? map_function_at(map, call->target) : MAP_NONE;
		uint32_t after = call->site + call->size - b->start;
		bool reads = after < b->size ? reads_first(m, call->block, after) : b->next != MAP_NONE && reads_first(m, b->next, 0);
		if (reads) {
			mark_odd(m, caller);
			if (callee != MAP_NONE)
				mark_odd(m, callee);
			else if (call->kind == MAP_CALL_INDIRECT)
				m->all_odd = true;
		}
		if (callee != MAP_NONE && m->odd[m->index->group_of_function[callee]])
			mark_odd(m, caller);
	}
	for (uint32_t b = 0; b < map->block_count; b++) {
		uint32_t to = map->blocks[b].taken;
		if (to != MAP_NONE && m->odd[cfg_group_of_block(m->index, to)])
			mark_odd(m, m->index->function_of_block[b]);
	}
}

int flags_module_init(struct flags_module *m, const struct image *image, const struct cfg_index *index, struct err *e)
{
	*m = (struct flags_module){.image = image, .index = index};
	m->odd = calloc((size_t)index->map->function_count + 1, 1);
	if (!m->odd)
		return err_set(e, ERR_MEMORY, "no memory for the flags of %u functions", index->map->function_count);
	look_at_entries(m);
	look_at_calls(m);
	return 0;
}

void flags_module_free(struct flags_module *m)
{
	free(m->odd);
	*m = (struct flags_module){0};
}

struct step {
	uint8_t read, written;
	bool call;
};

#define STEPS 1024

/* Decodes a block; how many instructions, or -1 when it is too long or does not decode. */
static int decode_steps(const struct flags_module *m, uint32_t block, struct step *steps, uint16_t *offsets)
{
	const struct map_block *b = &m->index->map->blocks[block];
	const uint8_t *bytes = block_bytes(m, block);
	int n = 0;
	for (uint32_t at = 0; bytes && at < b->size; n++) {
		struct insn i;
		if (n == STEPS || at > UINT16_MAX || insn_decode(bytes + at, b->size - at, (vaddr){0}, &i) ||
		    insn_flags(bytes + at, i.length, &steps[n].read, &steps[n].written))
			return -1;
		steps[n].call = i.kind == INSN_CALL || i.kind == INSN_CALL_INDIRECT || i.kind == INSN_RETURN;
		offsets[n] = (uint16_t)(i.is_endbr ? UINT16_MAX : at);
		at += i.length;
	}
	return bytes ? n : -1;
}

static uint8_t before(const struct step *s, uint8_t live)
{
	return s->call ? 0 : (uint8_t)((live & ~s->written) | s->read);
}

/* Does the block end with a jump that calls: to the start of a function, or to a stub of the PLT? */
static bool ends_with_call(const struct flags_module *m, uint32_t block)
{
	const struct cfg_index *x = m->index;
	uint32_t to = x->map->blocks[block].taken, last = x->call_first[block + 1];
	if (to != MAP_NONE)
		return x->map->blocks[to].flags & MAP_BLOCK_ENTRY;
	return last > x->call_first[block] && x->map->calls[x->call_order[last - 1]].kind == MAP_TAIL_IMPORT;
}

static uint8_t live_out(const struct flags *f, const struct flags_module *m, const struct cfg *cfg, uint32_t i)
{
	const struct map_block *b = &m->index->map->blocks[cfg->block[i]];
	uint8_t live = 0;
	if (b->terminator == MAP_JUMP_INDIRECT)
		return INSN_FLAGS;
	for (uint32_t k = cfg->first_out[i]; k < cfg->first_out[i + 1]; k++) {
		const struct cfg_edge *edge = &cfg->edges[k];
		if (edge->to != CFG_EXIT)
			live |= f->live_in[edge->to];
		else if (edge->kind != CFG_LEAVE && !(edge->kind == CFG_TAKEN && ends_with_call(m, cfg->block[i])))
			live |= INSN_FLAGS; /* goes on in the middle of something else */
	}
	return live;
}

int flags_solve(struct flags *f, const struct flags_module *m, const struct cfg *cfg, struct err *e)
{
	struct step steps[STEPS];
	uint16_t offsets[STEPS];
	if (cfg->count > f->capacity) {
		uint8_t *grown = realloc(f->live_in, (size_t)cfg->count * 2);
		if (!grown)
			return err_set(e, ERR_MEMORY, "no memory for the flags of %u blocks", cfg->count);
		f->live_in = grown;
		f->capacity = (size_t)cfg->count * 2;
	}
	bool odd = m->all_odd || m->odd[cfg->group];
	memset(f->live_in, odd ? INSN_FLAGS : 0, cfg->count);
	for (bool again = !odd; again;) { /* it only grows, at most five times per block; mostly two rounds */
		again = false;
		for (uint32_t i = cfg->count; i-- > 0;) {
			int n = decode_steps(m, cfg->block[i], steps, offsets);
			uint8_t live = n < 0 ? INSN_FLAGS : live_out(f, m, cfg, i);
			while (n > 0)
				live = before(&steps[--n], live);
			again |= live != f->live_in[i];
			f->live_in[i] |= live;
		}
	}
	return 0;
}

void flags_free(struct flags *f)
{
	free(f->live_in);
	*f = (struct flags){0};
}

uint32_t flags_dead_point(const struct flags *f, const struct flags_module *m, const struct cfg *cfg, uint32_t block)
{
	struct step steps[STEPS];
	uint16_t offsets[STEPS];
	uint32_t found = FLAGS_NOWHERE;
	if (m->all_odd || m->odd[cfg->group])
		return FLAGS_NOWHERE;
	int n = decode_steps(m, cfg->block[block], steps, offsets);
	uint8_t live = live_out(f, m, cfg, block);
	while (n > 0) {
		live = before(&steps[--n], live);
		if (!live && offsets[n] != UINT16_MAX)
			found = offsets[n];
	}
	return found;
}
