/*
 * Predicted statistics: the flow replayed over the original addresses and over the image.
 *
 * A taken branch is any transfer that does not go to the next instruction: jump, taken jcc, call, return, the jump in a PLT stub. "After"
 * counts what the image executes where blocks were copied, plus one jump per way in through a patch.
 */
#include "analyze/emit/emit_work.h"

#define LINE 64
#define PAGE 4096

struct sums {
	uint64_t before, after, executed, exits;
};

static uint64_t flow_at(const uint64_t *counts, uint32_t index)
{
	return counts ? counts[index] : 0;
}

static void add_calls(const struct emitter *m, struct sums *s)
{
	for (uint32_t i = 0; m->flow && m->flow->call && i < m->map->call_count; i++) {
		const struct map_call *c = &m->map->calls[i];
		uint64_t count = m->flow->call[i];
		bool stub = (c->kind == MAP_CALL_IMPORT || c->kind == MAP_TAIL_IMPORT) && c->target < m->map->import_count &&
			    m->map->imports[c->target].stub != MAP_NONE;
		bool call = c->kind != MAP_TAIL_IMPORT;
		s->before += count * ((call ? 1 : 0) + (stub ? 1 : 0));
		s->after += count * ((call ? 1 : 0) + (stub && m->chunk_of[c->block] == EMIT_NONE ? 1 : 0));
		s->executed += count * ((call ? 1 : 0) + (stub ? 1 : 0));
	}
}

static void add_original_block(const struct emitter *m, uint32_t block, struct sums *s)
{
	const struct map_block *b = &m->map->blocks[block];
	uint64_t count = m->flow->block[block];
	if (b->terminator == MAP_BRANCH) {
		s->before += m->flow->taken[block];
		s->executed += count;
	} else if (b->terminator == MAP_JUMP || b->terminator == MAP_JUMP_INDIRECT || b->terminator == MAP_RETURN) {
		s->before += count;
		s->executed += count;
	}
}

/* Executions of the last chunk transfer that lead along `to`. */
static uint64_t edge_count(const struct emitter *m, const struct emit_chunk *c, struct emit_edge to)
{
	const struct map_block *b = &m->map->blocks[c->block];
	if (b->terminator == MAP_BRANCH)
		return to.original == b->start + b->size ? m->flow->next[c->block] : m->flow->taken[c->block];
	return m->flow->block[c->block];
}

static void add_chunk(const struct emitter *m, const struct emit_chunk *c, struct sums *s)
{
	const struct map_block *b = &m->map->blocks[c->block];
	uint64_t count = m->flow->block[c->block];
	if (b->terminator == MAP_RETURN || b->terminator == MAP_JUMP_INDIRECT)
		s->after += count;
	if (b->terminator == MAP_CALL_NORETURN || b->terminator == MAP_STOP)
		return;
	for (unsigned i = 0; i < c->tail_count; i++) {
		const struct emit_tail *t = &c->tails[i];
		uint64_t taken = edge_count(m, c, t->to);
		if (t->kind == EMIT_TAIL_DELETED || t->kind == EMIT_TAIL_PROBE)
			continue;
		s->after += taken;
		if (t->to.chunk == EMIT_NONE && t->kind != EMIT_TAIL_SLOT && t->kind != EMIT_TAIL_LOOP)
			s->exits += taken;
	}
}

static int compare_u32(const void *va, const void *vb)
{
	uint32_t a = *(const uint32_t *)va, b = *(const uint32_t *)vb;
	return a < b ? -1 : a > b;
}

/* Distinct units of `unit` bytes that [start, start + size) of all chunks touch. 0 when memory is out: it is only a statistic. */
static uint64_t count_units(const struct emitter *m, uint32_t unit, uint64_t base, bool image)
{
	VEC(uint32_t) units = {0};
	uint64_t distinct = 0;
	bool failed = false;
	for (size_t i = 0; i < m->chunks.count; i++) {
		const struct emit_chunk *c = &m->chunks.data[i];
		const struct map_block *b = &m->map->blocks[c->block];
		uint64_t start = base + (image ? c->image : b->start), size = image ? c->body_image : b->size;
		for (unsigned k = 0; image && k < c->tail_count; k++)
			size += c->tails[k].size;
		for (uint64_t u = start / unit; size && u <= (start + size - 1) / unit; u++)
			failed |= vec_push(&units, (uint32_t)u) != 0;
	}
	if (units.count && !failed)
		qsort(units.data, units.count, sizeof *units.data, compare_u32);
	for (size_t i = 0; i < units.count && !failed; i++)
		distinct += !i || units.data[i] != units.data[i - 1];
	vec_free(&units);
	return distinct;
}

static void add_flow(const struct emitter *m, struct plan_stats *stats)
{
	struct sums s = {0};
	for (uint32_t b = 0; b < m->map->block_count; b++) {
		uint64_t before = s.before;
		add_original_block(m, b, &s);
		if (m->chunk_of[b] == EMIT_NONE)
			s.after += s.before - before;
		else
			add_chunk(m, &m->chunks.data[m->chunk_of[b]], &s);
	}
	add_calls(m, &s);
	for (size_t i = 0; i < m->chunks.count; i++)
		stats->weight_covered += flow_at(m->flow->sampled, m->chunks.data[i].block);
	stats->weight_total = m->flow->sampled_total;
	stats->taken_before = s.before;
	stats->taken_after = s.after;
	stats->executed_branches = s.executed;
	stats->exits = s.exits;
}

void emit_statistics(const struct emitter *m, struct plan_stats *ret_stats)
{
	struct plan_stats stats = {.blocks = m->chunks.count, .code_bytes = m->code_size};
	for (size_t i = 0; i < m->chunks.count; i++)
		stats.hot_bytes += m->map->blocks[m->chunks.data[i].block].size;
	if (m->flow)
		add_flow(m, &stats);
	stats.pages_before = count_units(m, PAGE, m->map->text_base, false);
	stats.lines_before = count_units(m, LINE, m->map->text_base, false);
	stats.pages_after = count_units(m, PAGE, m->region, true);
	stats.lines_after = count_units(m, LINE, m->region, true);
	*ret_stats = stats;
}
