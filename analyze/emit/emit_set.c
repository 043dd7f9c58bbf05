/* Which blocks are copied, and the proof that each of their instructions can be. */
#include "analyze/emit/emit_work.h"
#include "analyze/emit/stub.h"

#include <string.h>

const uint8_t *emit_block_bytes(const struct emitter *m, uint32_t block)
{
	const struct map_block *b = &m->map->blocks[block];
	return image_bytes(m->image, map_vaddr(m->map, b->start), b->size);
}

bool emit_is_entry(const struct map *map, uint32_t block)
{
	uint32_t function = map_function_of_block(map, block);
	return function != MAP_NONE && map->functions[function].start == map->blocks[block].start;
}

const struct map_call *emit_call_at(const struct map *map, uint32_t site)
{
	uint32_t i = map_call_from(map, site);
	return i < map->call_count && map->calls[i].site == site ? &map->calls[i] : NULL;
}

uint32_t emit_import_at(const struct map *map, uint32_t site)
{
	const struct map_call *call = emit_call_at(map, site);
	if (!call || (call->kind != MAP_CALL_IMPORT && call->kind != MAP_TAIL_IMPORT) || call->target >= map->import_count)
		return EMIT_NONE;
	return call->target;
}

static int add_block(struct emitter *m, uint32_t block, struct err *e)
{
	if (block >= m->map->block_count || m->chunk_of[block] != EMIT_NONE)
		return err_set(e, ERR_INTERNAL, "layout: block %u is out of range or there twice", block);
	m->chunk_of[block] = 0;
	return vec_push(&m->order, block) ? err_set(e, ERR_MEMORY, "emit: no memory") : 0;
}

static void drop(struct emitter *m, uint32_t function, uint32_t at, enum emit_drop reason, bool *ret_failed)
{
	if (m->dropped[function])
		return;
	m->dropped[function] = (uint8_t)(1 + reason);
	struct emit_dropped d = {.function = function, .at = at, .reason = (uint8_t)reason};
	*ret_failed |= vec_push(&m->drops, d) != 0;
}

/* The function that gets the stub: an exported one by which unwinders look up code. */
static uint32_t find_hook(const struct emitter *m, const struct stub **ret_stub)
{
	for (size_t i = 0; i < m->image->symbol_count; i++) {
		const struct image_symbol *s = &m->image->symbols[i];
		const struct stub *stub = s->is_global ? stub_of(s->name) : NULL;
		uint32_t offset = stub ? map_offset(m->map, (vaddr){s->vaddr}) : MAP_NONE;
		uint32_t f = offset == MAP_NONE ? MAP_NONE : map_function_at(m->map, offset);
		if (f == MAP_NONE || m->map->functions[f].start != offset || m->map->functions[f].grade != MAP_MOVABLE ||
		    !m->map->functions[f].block_count)
			continue;
		*ret_stub = stub;
		return f;
	}
	return EMIT_NONE;
}

int emit_set_order(struct emitter *m, struct err *e)
{
	bool failed = false;
	memset(m->chunk_of, 0xff, m->map->block_count * sizeof *m->chunk_of);
	for (size_t i = 0; i < m->layout->count; i++) {
		int status = add_block(m, m->layout->blocks[i], e);
		if (status)
			return status;
		uint32_t f = map_function_of_block(m->map, m->layout->blocks[i]);
		if (f == MAP_NONE)
			return err_set(e, ERR_INTERNAL, "layout: block %u belongs to no function", m->layout->blocks[i]);
		if (m->map->functions[f].grade == MAP_UNTOUCHABLE)
			drop(m, f, m->map->functions[f].start, EMIT_DROP_GRADE, &failed);
	}
	m->hook = find_hook(m, &m->stub);
	if (m->hook != EMIT_NONE && m->chunk_of[m->map->functions[m->hook].first_block] == EMIT_NONE) {
		int status = add_block(m, m->map->functions[m->hook].first_block, e);
		if (status)
			return status;
	}
	return failed ? err_set(e, ERR_MEMORY, "emit: no memory") : 0;
}

static bool is_direct(const struct insn *i)
{
	return i->kind == INSN_JUMP || i->kind == INSN_BRANCH || i->kind == INSN_BRANCH_SHORT || i->kind == INSN_CALL;
}

/* Everything about an instruction that moving it depends on. */
static bool agree(const struct insn *a, const struct insn *b)
{
	if (a->length != b->length || a->kind != b->kind || a->rip_field != b->rip_field)
		return false;
	if (a->kind == INSN_BRANCH && a->condition != b->condition)
		return false;
	if (is_direct(a) && a->relative_size != b->relative_size)
		return false;
	return !(is_direct(a) || a->rip_field) || a->target == b->target;
}

static bool ends_block_as(const struct insn *i, uint8_t terminator)
{
	switch (terminator) {
	case MAP_FALLS:
		return i->kind == INSN_PLAIN || i->kind == INSN_CALL || i->kind == INSN_CALL_INDIRECT || i->kind == INSN_SYSCALL;
	case MAP_JUMP:
		return i->kind == INSN_JUMP;
	case MAP_BRANCH:
		return i->kind == INSN_BRANCH || i->kind == INSN_BRANCH_SHORT;
	case MAP_JUMP_INDIRECT:
		return i->kind == INSN_JUMP_INDIRECT;
	case MAP_RETURN:
		return i->kind == INSN_RETURN;
	case MAP_CALL_NORETURN:
		return i->kind == INSN_CALL || i->kind == INSN_CALL_INDIRECT;
	case MAP_STOP:
		return i->kind == INSN_STOP || i->kind == INSN_SYSCALL;
	}
	return false;
}

/* Are the successors that the map names those of the last instruction? */
static bool successors_match(const struct map *map, const struct map_block *b, const struct insn *last)
{
	uint32_t end = b->start + b->size;
	if (end >= map->text_size && b->terminator != MAP_JUMP && b->terminator != MAP_JUMP_INDIRECT && b->terminator != MAP_RETURN)
		return false;
	if (b->terminator == MAP_FALLS || b->terminator == MAP_BRANCH)
		if (b->next == MAP_NONE || map->blocks[b->next].start != end)
			return false;
	if (b->terminator != MAP_JUMP && b->terminator != MAP_BRANCH)
		return true;
	uint32_t target = map_offset(map, (vaddr){last->target});
	return target != MAP_NONE && (b->taken == MAP_NONE || map->blocks[b->taken].start == target);
}

static bool encodable(const struct emitter *m, uint32_t site, const struct insn *i)
{
	if (i->kind == INSN_JUMP)
		return i->length == 1 + i->relative_size;
	if (i->kind == INSN_BRANCH)
		return i->length == (i->relative_size == 1 ? 2 : 6);
	if (i->kind == INSN_CALL)
		return i->relative_size == 4 && !(i->has_bnd_or_notrack && emit_import_at(m->map, site) != EMIT_NONE);
	return true;
}

static enum emit_drop check_instruction(const struct emitter *m, const struct map_block *b, uint32_t at, bool last, const struct insn *i)
{
	if (i->kind == INSN_UNSUPPORTED)
		return EMIT_DROP_UNSUPPORTED;
	if (!encodable(m, b->start + at, i))
		return EMIT_DROP_PREFIXED;
	if (is_direct(i) && map_offset(m->map, (vaddr){i->target}) == MAP_NONE)
		return EMIT_DROP_INCONSISTENT;
	if (last ? !ends_block_as(i, b->terminator) || !successors_match(m->map, b, i) : !ends_block_as(i, MAP_FALLS))
		return EMIT_DROP_INCONSISTENT;
	return EMIT_DROP_COUNT;
}

/* Fills the sizes of the chunk. EMIT_DROP_COUNT when all is well, else the reason, and where. */
static enum emit_drop check_block(const struct emitter *m, struct insn_second *second, struct emit_chunk *chunk, uint32_t *ret_at)
{
	const struct map_block *b = &m->map->blocks[chunk->block];
	const uint8_t *bytes = emit_block_bytes(m, chunk->block);
	uint32_t at = 0, grown = 0;
	*ret_at = b->start;
	if (!bytes || !b->size)
		return EMIT_DROP_INCONSISTENT;
	while (at < b->size) {
		struct insn i, other;
		vaddr v = map_vaddr(m->map, b->start + at);
		*ret_at = b->start + at;
		if (insn_decode(bytes + at, b->size - at, v, &i))
			return EMIT_DROP_UNDECODABLE;
		if (insn_second_decode(second, bytes + at, b->size - at, v, &other) || !agree(&i, &other))
			return EMIT_DROP_DISAGREE;
		bool last = at + i.length == b->size;
		enum emit_drop reason = check_instruction(m, b, at, last, &i);
		if (reason != EMIT_DROP_COUNT)
			return reason;
		if (i.kind == INSN_CALL && emit_import_at(m->map, b->start + at) != EMIT_NONE)
			grown += 6u - i.length;
		if (last && (b->terminator == MAP_JUMP || b->terminator == MAP_BRANCH))
			chunk->terminator = i.length;
		at += i.length;
	}
	chunk->body = b->size - chunk->terminator;
	chunk->body_image = chunk->body + grown;
	return EMIT_DROP_COUNT;
}

static int check_all(struct emitter *m, struct insn_second *second, struct err *e)
{
	bool failed = false;
	for (size_t i = 0; i < m->order.count; i++) {
		struct emit_chunk chunk = {.block = m->order.data[i],
					   .function = map_function_of_block(m->map, m->order.data[i]),
					   .probe_taken = EMIT_NONE,
					   .probe_next = EMIT_NONE};
		uint32_t at = 0;
		if (m->dropped[chunk.function])
			continue;
		enum emit_drop reason = check_block(m, second, &chunk, &at);
		if (reason != EMIT_DROP_COUNT)
			drop(m, chunk.function, at, reason, &failed);
		failed |= vec_push(&m->chunks, chunk) != 0;
	}
	return failed ? err_set(e, ERR_MEMORY, "emit: no memory for %zu chunks", m->order.count) : 0;
}

/* Takes out what belongs to dropped functions, now that all of them are known. */
static void remove_dropped(struct emitter *m)
{
	size_t kept = 0;
	for (size_t i = 0; i < m->chunks.count; i++)
		if (!m->dropped[m->chunks.data[i].function])
			m->chunks.data[kept++] = m->chunks.data[i];
	m->chunks.count = kept;
	kept = 0;
	for (size_t i = 0; i < m->patches.count; i++)
		if (!m->dropped[m->patches.data[i].function])
			m->patches.data[kept++] = m->patches.data[i];
	m->patches.count = kept;
	if (m->hook != EMIT_NONE && m->dropped[m->hook])
		m->hook = EMIT_NONE;
	memset(m->chunk_of, 0xff, m->map->block_count * sizeof *m->chunk_of);
	for (size_t i = 0; i < m->chunks.count; i++)
		m->chunk_of[m->chunks.data[i].block] = (uint32_t)i;
}

int emit_set_chunks(struct emitter *m, struct err *e)
{
	struct insn_second *second = insn_second_new();
	if (!second)
		return err_set(e, ERR_MEMORY, "emit: no memory for the second decoder");
	int status = check_all(m, second, e);
	insn_second_free(second);
	if (status)
		return status;
	remove_dropped(m);
	return 0;
}
