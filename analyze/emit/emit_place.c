/*
 * The ends of the chunks and where everything stands: which jumps are needed in the new order, their sense and their size.
 *
 *	original				next in order is N	next is T		next is neither
 *	jcc T; N follows			jcc T			j!cc N			jcc T; jmp N (or j!cc N; jmp T, by flow)
 *	jmp T					jmp T			(deleted)		jmp T
 *	falls into N				-			jmp N			jmp N
 *	call, ud2, int3 that does not return	jmp to what follows it in the original, so that even a return would be right
 *	loop T; N follows			loop 1f; jmp N; 1: jmp T
 *
 * Sizes: all branches start short, those that do not reach are made long until nothing changes (it only grows, so it ends).
 */
#include "analyze/emit/emit_work.h"
#include "analyze/emit/stub.h"

#define SHORT_JUMP 2
#define LONG_JUMP 5
#define LONG_BRANCH 6

struct emit_edge emit_edge_to(const struct emitter *m, uint32_t function, uint32_t original)
{
	struct emit_edge exit = {.chunk = EMIT_NONE, .original = original};
	uint32_t block = map_block_at(m->map, original);
	if (block == MAP_NONE || m->map->blocks[block].start != original || m->chunk_of[block] == EMIT_NONE)
		return exit;
	uint32_t chunk = m->chunk_of[block];
	if (m->chunks.data[chunk].function != function && !emit_is_entry(m->map, block))
		return exit;
	return (struct emit_edge){.chunk = chunk, .original = original};
}

/* May control fall out of `chunk` into the one after it to follow this edge? Not into a stub, and not out of an entry without bytes. */
static bool follows(const struct emitter *m, uint32_t chunk, struct emit_edge to)
{
	if (to.chunk != chunk + 1 || to.chunk == EMIT_NONE)
		return false;
	const struct emit_chunk *a = &m->chunks.data[chunk], *b = &m->chunks.data[to.chunk];
	return !b->lead_stub && (a->function == b->function || a->body_image >= PLAN_PATCH_SIZE);
}

static void add_tail(struct emit_chunk *c, struct emit_tail tail)
{
	tail.size = tail.kind == EMIT_TAIL_DELETED ? 0
		    : tail.kind == EMIT_TAIL_SLOT  ? 6
		    : tail.kind == EMIT_TAIL_LOOP  ? tail.size
		    : tail.kind == EMIT_TAIL_PROBE ? tail.size
						   : SHORT_JUMP;
	c->tails[c->tail_count++] = tail;
}

static void add_jump(struct emit_chunk *c, struct emit_edge to, bool inserted)
{
	add_tail(c, (struct emit_tail){.kind = EMIT_TAIL_JUMP, .to = to, .inserted = inserted});
}

static void fall_to(const struct emitter *m, uint32_t chunk, uint32_t original)
{
	struct emit_chunk *c = &m->chunks.data[chunk];
	struct emit_edge to = emit_edge_to(m, c->function, original);
	if (!follows(m, chunk, to))
		add_jump(c, to, true);
}

static bool counts_way_out(const struct emitter *m, uint32_t probe)
{
	return probe != EMIT_NONE && m->probes.data[probe].way_out;
}

/*
 * Counted edges. One that stays in the image is counted where the branch falls through; for one that leaves it the branch leads to what counts
 * and jumps on, behind all chunks, so that the way that stays costs no more than without.
 */
static void end_counted_branch(const struct emitter *m, uint32_t chunk, const struct insn *i, struct emit_edge taken, struct emit_edge next)
{
	struct emit_chunk *c = &m->chunks.data[chunk];
	bool taken_out = counts_way_out(m, c->probe_taken), next_out = counts_way_out(m, c->probe_next);
	bool invert = next_out || (!taken_out && c->probe_taken != EMIT_NONE);
	struct emit_edge branch = invert ? next : taken, through = invert ? taken : next;
	uint32_t probe = invert ? c->probe_taken : c->probe_next;
	if (taken_out || next_out)
		branch.probe = 1 + (invert ? c->probe_next : c->probe_taken);
	add_tail(c, (struct emit_tail){
			.kind = EMIT_TAIL_BRANCH, .condition = i->condition ^ (invert ? 1 : 0), .inverted = invert, .to = branch});
	if (probe != EMIT_NONE)
		add_tail(c,
			 (struct emit_tail){.kind = EMIT_TAIL_PROBE, .size = m->probes.data[probe].size, .to = through, .import = probe});
	if (!follows(m, chunk, through))
		add_jump(c, through, true);
}

static void end_branch(const struct emitter *m, uint32_t chunk, const struct insn *i, uint32_t end)
{
	struct emit_chunk *c = &m->chunks.data[chunk];
	struct emit_edge taken = emit_edge_to(m, c->function, map_offset(m->map, (vaddr){i->target}));
	struct emit_edge next = emit_edge_to(m, c->function, end);
	if (i->kind == INSN_BRANCH_SHORT) {
		add_tail(c, (struct emit_tail){.kind = EMIT_TAIL_LOOP, .size = i->length, .to = taken});
		add_jump(c, next, true);
		add_jump(c, taken, true);
		return;
	}
	if (c->probe_taken != EMIT_NONE || c->probe_next != EMIT_NONE) {
		end_counted_branch(m, chunk, i, taken, next);
		return;
	}
	bool next_follows = follows(m, chunk, next), taken_follows = follows(m, chunk, taken);
	bool likely_next = m->flow && m->flow->next[c->block] > m->flow->taken[c->block];
	bool invert = !next_follows && (taken_follows || likely_next);
	add_tail(c, (struct emit_tail){.kind = EMIT_TAIL_BRANCH,
				       .condition = i->condition ^ (invert ? 1 : 0),
				       .inverted = invert,
				       .to = invert ? next : taken});
	if (!next_follows && !taken_follows)
		add_jump(c, invert ? taken : next, true);
}

static void end_jump(const struct emitter *m, uint32_t chunk, const struct insn *i, uint32_t site)
{
	struct emit_chunk *c = &m->chunks.data[chunk];
	struct emit_edge to = emit_edge_to(m, c->function, map_offset(m->map, (vaddr){i->target}));
	uint32_t import = emit_import_at(m->map, site);
	if (import != EMIT_NONE)
		add_tail(c, (struct emit_tail){.kind = EMIT_TAIL_SLOT, .import = import, .to = to});
	else if (follows(m, chunk, to) && (c->body_image || !emit_is_entry(m->map, c->block))) /* an entry stands for itself */
		add_tail(c, (struct emit_tail){.kind = EMIT_TAIL_DELETED, .to = to});
	else
		add_jump(c, to, false);
}

static int end_chunk(const struct emitter *m, uint32_t chunk, struct err *e)
{
	struct emit_chunk *c = &m->chunks.data[chunk];
	const struct map_block *b = &m->map->blocks[c->block];
	uint32_t site = b->start + c->body;
	struct insn i = {0};
	c->tail_count = 0;
	if (c->terminator && insn_decode(emit_block_bytes(m, c->block) + c->body, c->terminator, map_vaddr(m->map, site), &i))
		return err_set(e, ERR_INTERNAL, "emit: the branch at 0x%llx decodes no more",
			       (unsigned long long)map_vaddr(m->map, site).v);
	if (b->terminator == MAP_BRANCH)
		end_branch(m, chunk, &i, b->start + b->size);
	else if (b->terminator == MAP_JUMP)
		end_jump(m, chunk, &i, site);
	else if (b->terminator == MAP_FALLS || b->terminator == MAP_CALL_NORETURN || b->terminator == MAP_STOP)
		fall_to(m, chunk, b->start + b->size);
	return 0;
}

static uint32_t chunk_size(const struct emit_chunk *c)
{
	uint32_t size = c->body_image + c->pad;
	for (unsigned i = 0; i < c->tail_count; i++)
		size += c->tails[i].size;
	return size;
}

/* Can control run off the end of the chunk into what stands after it? */
static bool falls_out(const struct emitter *m, const struct emit_chunk *c)
{
	if (c->tail_count) {
		uint8_t last = c->tails[c->tail_count - 1].kind;
		return last == EMIT_TAIL_DELETED || last == EMIT_TAIL_BRANCH || last == EMIT_TAIL_PROBE;
	}
	uint8_t terminator = m->map->blocks[c->block].terminator;
	return terminator != MAP_RETURN && terminator != MAP_JUMP_INDIRECT;
}

/* A function that is left out when the plan is applied gets a 5-byte jump home at its entry: those bytes must be its own. */
static void pad_entry(struct emitter *m, size_t chunk)
{
	uint32_t span = 0;
	size_t i = chunk;
	for (; i < m->chunks.count && m->chunks.data[i].function == m->chunks.data[chunk].function; i++) {
		span += chunk_size(&m->chunks.data[i]);
		if (span >= PLAN_PATCH_SIZE)
			return;
	}
	m->chunks.data[i - 1].pad = (uint16_t)(m->chunks.data[i - 1].pad + PLAN_PATCH_SIZE - span);
}

static int32_t distance(const struct emitter *m, const struct emit_chunk *from, const struct emit_tail *tail, uint32_t end)
{
	const struct emit_chunk *to = &m->chunks.data[tail->to.chunk];
	return (int32_t)(to->image - (to->function == from->function ? 0 : to->lead_stub)) - (int32_t)end;
}

static bool grow_tails(const struct emitter *m, struct emit_chunk *c)
{
	bool grown = false;
	uint32_t at = c->image + c->body_image;
	for (unsigned i = 0; i < c->tail_count; i++) {
		struct emit_tail *t = &c->tails[i];
		at += t->size;
		if ((t->kind != EMIT_TAIL_BRANCH && t->kind != EMIT_TAIL_JUMP) || t->is_long)
			continue;
		if (t->to.chunk != EMIT_NONE) {
			int32_t far = distance(m, c, t, at);
			if (far >= INT8_MIN && far <= INT8_MAX)
				continue;
		}
		t->is_long = 1;
		t->size = t->kind == EMIT_TAIL_BRANCH ? LONG_BRANCH : LONG_JUMP;
		grown = true;
	}
	return grown;
}

static int too_long(struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "emit: more than 1 GiB of code");
}

static int assign_addresses(struct emitter *m, struct err *e)
{
	uint64_t at = 0, alignment = m->options.function_alignment;
	for (size_t i = 0; i < m->chunks.count; i++) {
		struct emit_chunk *c = &m->chunks.data[i];
		c->lead = 0;
		if (alignment > 1 && emit_is_entry(m->map, c->block) && (!i || !falls_out(m, c - 1)))
			c->lead = (uint16_t)(-at & (alignment - 1));
		c->image = (uint32_t)(at + c->lead + c->lead_stub);
		at = c->image + (uint64_t)chunk_size(c);
		if (at > INT32_MAX / 2)
			return too_long(e);
	}
	for (size_t i = 0; i < m->ways_out.count; i++) {
		struct emit_probe *p = &m->probes.data[m->ways_out.data[i].probe];
		p->image = (uint32_t)at;
		at += p->size + (uint64_t)LONG_JUMP;
	}
	if (at > INT32_MAX / 2)
		return too_long(e);
	m->code_size = (uint32_t)at;
	return 0;
}

int emit_place(struct emitter *m, struct err *e)
{
	int status = 0;
	bool grown = true;
	if (m->hook != EMIT_NONE) {
		uint32_t chunk = m->chunk_of[m->map->functions[m->hook].first_block];
		if (chunk != EMIT_NONE)
			m->chunks.data[chunk].lead_stub = (uint16_t)m->stub->size;
	}
	for (size_t i = 0; i < m->chunks.count && !status; i++)
		status = end_chunk(m, (uint32_t)i, e);
	for (size_t i = 0; i < m->chunks.count && !status; i++)
		if (emit_is_entry(m->map, m->chunks.data[i].block))
			pad_entry(m, i);
	while (grown && !status) {
		status = assign_addresses(m, e);
		grown = false;
		for (size_t i = 0; i < m->chunks.count && !status; i++)
			grown |= grow_tails(m, &m->chunks.data[i]);
	}
	return status;
}
