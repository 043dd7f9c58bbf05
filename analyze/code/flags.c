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

static void look_at_entries(struct flags_module *m)
{
	const struct map *map = m->index->map;
	for (uint32_t f = 0; f < map->function_count; f++) {
		const struct map_function *function = &map->functions[f];
		m->takes[f] = function->block_count && map->blocks[function->first_block].start == function->start &&
			      !(function->flags & MAP_FUNCTION_PART) && reads_first(m, function->first_block, 0);
	}
}

/* Whoever reads flags after a call was given them. A call that does not come back may seem to: that only costs a place to count. */
static void look_at_calls(struct flags_module *m)
{
	const struct map *map = m->index->map;
	for (uint32_t i = 0; i < map->call_count; i++) {
		const struct map_call *call = &map->calls[i];
		const struct map_block *b = &map->blocks[call->block];
		uint32_t after = call->site + call->size - b->start;
		bool reads = after < b->size ? reads_first(m, call->block, after) : b->next != MAP_NONE && reads_first(m, b->next, 0);
		if (!reads)
			continue;
		uint32_t callee = call->kind == MAP_CALL_DIRECT && call->target != MAP_NONE ? map_function_at(map, call->target) : MAP_NONE;
		if (callee != MAP_NONE)
			m->gives[m->index->group_of_function[callee]] = 1;
		else if (call->kind == MAP_CALL_INDIRECT)
			m->all_give = true;
	}
}

#define PASS_BLOCKS 8 /* looked through for a return behind a call */

/* Do flags get from `offset` of the block to a return without being overwritten? Only ways without branches are followed: a branch reads them. */
static bool passes_on(const struct flags_module *m, uint32_t block, uint32_t offset)
{
	const struct map *map = m->index->map;
	uint8_t open = INSN_FLAGS;
	for (int k = 0; k < PASS_BLOCKS && block != MAP_NONE && open; k++, offset = 0) {
		const struct map_block *b = &map->blocks[block];
		const uint8_t *bytes = block_bytes(m, block);
		while (bytes && offset < b->size && open) {
			struct insn i;
			uint8_t read, written;
			if (insn_decode(bytes + offset, b->size - offset, (vaddr){0}, &i) ||
			    insn_flags(bytes + offset, i.length, &read, &written))
				return true;
			if (i.kind == INSN_RETURN)
				return true;
			if (i.kind == INSN_CALL || i.kind == INSN_CALL_INDIRECT)
				return false;
			open &= (uint8_t)~written;
			offset += i.length;
		}
		if (b->terminator == MAP_JUMP_INDIRECT)
			return open;
		block = b->terminator == MAP_JUMP ? b->taken : b->next;
	}
	return false;
}

static bool mark_giving(struct flags_module *m, uint32_t group)
{
	bool is_new = !m->gives[group];
	m->gives[group] = 1;
	return is_new;
}

/* A call behind which a function that gives flags only returns: they are those of what it called. */
static bool follow_call(struct flags_module *m, const struct map_call *call)
{
	const struct cfg_index *x = m->index;
	const struct map_block *b = &x->map->blocks[call->block];
	uint32_t after = call->site + call->size - b->start;
	uint32_t callee = call->kind == MAP_CALL_DIRECT && call->target != MAP_NONE ? map_function_at(x->map, call->target) : MAP_NONE;
	if (!m->gives[cfg_group_of_block(x, call->block)] || (callee != MAP_NONE && m->gives[x->group_of_function[callee]]))
		return false;
	if (!(after < b->size ? passes_on(m, call->block, after) : b->next != MAP_NONE && passes_on(m, b->next, 0)))
		return false;
	if (call->kind == MAP_CALL_INDIRECT)
		m->all_give = true;
	return callee != MAP_NONE && mark_giving(m, x->group_of_function[callee]);
}

/* What a function jumps to at its end gives its flags for it, and so does what it calls just before it returns. */
static void follow_tail_calls(struct flags_module *m)
{
	const struct cfg_index *x = m->index;
	for (bool again = true; again;) { /* as often as the longest chain of calls that give flags: hardly ever */
		again = false;
		for (uint32_t b = 0; b < x->map->block_count; b++) {
			uint32_t to = x->map->blocks[b].taken;
			if (to != MAP_NONE && m->gives[cfg_group_of_block(x, b)])
				again |= mark_giving(m, cfg_group_of_block(x, to));
		}
		for (uint32_t i = 0; i < x->map->call_count; i++)
			again |= follow_call(m, &x->map->calls[i]);
	}
}

int flags_module_init(struct flags_module *m, const struct image *image, const struct cfg_index *index, struct err *e)
{
	*m = (struct flags_module){.image = image, .index = index};
	m->takes = calloc((size_t)index->map->function_count + 1, 2);
	if (!m->takes)
		return err_set(e, ERR_MEMORY, "no memory for the flags of %u functions", index->map->function_count);
	m->gives = m->takes + index->map->function_count + 1;
	look_at_entries(m);
	look_at_calls(m);
	follow_tail_calls(m);
	return 0;
}

void flags_module_free(struct flags_module *m)
{
	free(m->takes);
	*m = (struct flags_module){0};
}

/* Flags live where a function of this group returns, and where a call of `function` (MAP_NONE: of another module) begins. */
static uint8_t live_at_return(const struct flags_module *m, uint32_t group)
{
	return m->all_give || m->gives[group] ? INSN_FLAGS : 0;
}

static uint8_t live_at_call(const struct flags_module *m, uint32_t function)
{
	return function != MAP_NONE && m->takes[function] ? INSN_FLAGS : 0;
}

struct step {
	uint8_t read, written;
	bool ends; /* a call or return: what is live before it is in `read` and does not depend on what follows */
};

#define STEPS 1024

static uint32_t function_starting_at(const struct map *map, uint64_t address)
{
	uint32_t offset = map_offset(map, (vaddr){address}), f = offset == MAP_NONE ? MAP_NONE : map_function_at(map, offset);
	return f != MAP_NONE && map->functions[f].start == offset ? f : MAP_NONE;
}

/* Decodes a block; how many instructions, or -1 when it is too long or does not decode. */
static int decode_steps(const struct flags_module *m, uint32_t block, struct step *steps, uint16_t *offsets)
{
	const struct map_block *b = &m->index->map->blocks[block];
	const uint8_t *bytes = block_bytes(m, block);
	int n = 0;
	for (uint32_t at = 0; bytes && at < b->size; n++) {
		struct insn i;
		if (n == STEPS || at > UINT16_MAX || insn_decode(bytes + at, b->size - at, map_vaddr(m->index->map, b->start + at), &i) ||
		    insn_flags(bytes + at, i.length, &steps[n].read, &steps[n].written))
			return -1;
		steps[n].ends = i.kind == INSN_CALL || i.kind == INSN_CALL_INDIRECT || i.kind == INSN_RETURN;
		if (i.kind == INSN_CALL)
			steps[n].read = live_at_call(m, function_starting_at(m->index->map, i.target));
		else if (i.kind == INSN_RETURN)
			steps[n].read = live_at_return(m, cfg_group_of_block(m->index, block));
		offsets[n] = (uint16_t)at;
		at += i.length;
	}
	return bytes ? n : -1;
}

static uint8_t before(const struct step *s, uint8_t live)
{
	return s->ends ? s->read : (uint8_t)((live & ~s->written) | s->read);
}

/* Flags live where an edge leaves the group: by a jump to the start of a function or to a stub of the PLT, which is a call that returns for us. */
static uint8_t live_at_exit(const struct flags_module *m, uint32_t block, uint32_t group)
{
	const struct cfg_index *x = m->index;
	uint32_t to = x->map->blocks[block].taken, last = x->call_first[block + 1];
	if (last > x->call_first[block] && x->map->calls[x->call_order[last - 1]].kind == MAP_TAIL_IMPORT)
		return live_at_return(m, group);
	if (to == MAP_NONE || !(x->map->blocks[to].flags & MAP_BLOCK_ENTRY))
		return INSN_FLAGS;
	return live_at_return(m, group) | live_at_call(m, x->function_of_block[to]);
}

uint8_t flags_live_along(const struct flags *f, const struct flags_module *m, const struct cfg *cfg, const struct cfg_edge *edge)
{
	if (edge->to != CFG_EXIT)
		return f->live_in[edge->to];
	if (edge->kind == CFG_TAKEN)
		return live_at_exit(m, cfg->block[edge->from], cfg->group);
	return edge->kind == CFG_LEAVE ? 0 : INSN_FLAGS; /* a fall-through: goes on in the middle of something else */
}

static uint8_t live_out(const struct flags *f, const struct flags_module *m, const struct cfg *cfg, uint32_t i)
{
	uint8_t live = 0;
	if (m->index->map->blocks[cfg->block[i]].terminator == MAP_JUMP_INDIRECT)
		return INSN_FLAGS;
	for (uint32_t k = cfg->first_out[i]; k < cfg->first_out[i + 1]; k++)
		live |= flags_live_along(f, m, cfg, &cfg->edges[k]);
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
	memset(f->live_in, 0, cfg->count);
	for (bool again = true; again;) { /* it only grows, at most five times per block; mostly two rounds */
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

uint32_t flags_dead_point(const struct flags *f, const struct flags_module *m, const struct cfg *cfg, uint32_t block, uint32_t from)
{
	struct step steps[STEPS];
	uint16_t offsets[STEPS];
	uint32_t found = FLAGS_NOWHERE;
	int n = decode_steps(m, cfg->block[block], steps, offsets);
	uint8_t live = live_out(f, m, cfg, block);
	while (n > 0 && offsets[n - 1] >= from) {
		live = before(&steps[--n], live);
		if (!live)
			found = offsets[n];
	}
	return found;
}
