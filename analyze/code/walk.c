#include "analyze/code/walk.h"
#include "analyze/code/jumptable.h"
#include "analyze/elf/lsda.h"

#include <stdlib.h>
#include <string.h>

enum { RECHECKS_MAX = 4 };

static void reason(struct walk *w, enum map_reason r)
{
	w->reasons |= 1u << r;
}

void walk_refer(struct walk *w, uint64_t target, enum walk_reference_kind kind)
{
	w->no_memory |= vec_push(&w->references, (struct walk_reference){target, MAP_NONE, kind}) != 0;
}

bool walk_reach(struct walk *w, uint64_t target, uint16_t marks)
{
	uint64_t offset = target - w->start;
	if (offset >= w->size)
		return true;
	if (w->marks[offset] & WALK_BODY && !(w->marks[offset] & WALK_START))
		return false;
	w->marks[offset] |= marks | WALK_LEADER;
	if (!(w->marks[offset] & WALK_START))
		w->no_memory |= vec_push(&w->work, (uint32_t)offset) != 0;
	return true;
}

static void branch_to(struct walk *w, const struct insn *insn)
{
	if (insn->target - w->start >= w->size)
		walk_refer(w, insn->target, insn->kind == INSN_JUMP ? WALK_BRANCH : WALK_BRANCH_CONDITIONAL);
	else if (!walk_reach(w, insn->target, WALK_TARGET))
		reason(w, MAP_REASON_OVERLAPPING_CODE);
}

static bool never_returns(const struct walk *w, uint64_t callee)
{
	size_t low = 0, high = w->noreturn_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (w->noreturn[middle] < callee)
			low = middle + 1;
		else
			high = middle;
	}
	return low < w->noreturn_count && w->noreturn[low] == callee;
}

static void call_to(struct walk *w, const struct insn *insn, uint32_t at)
{
	uint64_t next = w->start + at + insn->length;
	if (insn->target == next)
		reason(w, MAP_REASON_CALLS_NEXT);
	if (insn->target == w->start)
		return;
	if (insn->target - w->start >= w->size)
		walk_refer(w, insn->target, WALK_CALL);
	else if (!walk_reach(w, insn->target, WALK_TARGET))
		reason(w, MAP_REASON_OVERLAPPING_CODE);
}

/* lea (opcode 8d before the ModRM byte) takes an address; everything else with a rip-relative operand reads or writes it. */
static void refer_operand(struct walk *w, const struct insn *insn, uint32_t at)
{
	bool takes_address = insn->rip_field >= 2 && w->bytes[at + insn->rip_field - 2] == 0x8d;
	if (insn->target - w->image->text_base >= w->image->text_size || !image_executable(w->image, (vaddr){insn->target})) {
		if (takes_address)
			w->no_memory |= vec_push(&w->data, insn->target) != 0;
		return;
	}
	if (takes_address)
		walk_refer(w, insn->target, WALK_POINTER);
	else if (insn->target - w->start < w->size)
		reason(w, MAP_REASON_READS_CODE);
	if (!takes_address || insn->target - w->start >= w->size)
		return;
	if (!walk_reach(w, insn->target, WALK_TARGET | WALK_POINTED))
		reason(w, MAP_REASON_READS_CODE);
}

/* In a program linked to a fixed address a 32-bit immediate may be a code address (mov $f,%edi). */
static void refer_immediate(struct walk *w, const struct insn *insn, uint32_t at)
{
	uint64_t value = load_u32(w->bytes + at + insn->length - 4);
	if (value - w->image->text_base < w->image->text_size)
		walk_refer(w, value, WALK_POINTER_GUESS);
}

static bool record(struct walk *w, uint32_t at, const struct insn *insn)
{
	bool clean = true;
	w->marks[at] |= WALK_START;
	w->index_of[at] = (uint32_t)w->insns.count;
	for (uint32_t i = 1; i < insn->length; i++) {
		clean &= !(w->marks[at + i] & (WALK_START | WALK_TARGET));
		w->marks[at + i] |= WALK_BODY;
	}
	w->no_memory |= vec_push(&w->insns, (struct walk_insn){*insn, at}) != 0;
	return clean && !w->no_memory;
}

/* After an instruction; false when control does not go on to the next one. */
static bool continues(struct walk *w, const struct insn *insn, uint32_t at)
{
	switch (insn->kind) {
	case INSN_JUMP:
		branch_to(w, insn);
		return false;
	case INSN_BRANCH:
	case INSN_BRANCH_SHORT:
		branch_to(w, insn);
		if (at + insn->length < w->size)
			w->marks[at + insn->length] |= WALK_LEADER;
		return true;
	case INSN_JUMP_INDIRECT:
		w->no_memory |= vec_push(&w->jumps, at) != 0;
		return false;
	case INSN_RETURN:
	case INSN_STOP:
		return false;
	case INSN_CALL:
		call_to(w, insn, at);
		if (!never_returns(w, insn->target))
			return true;
		w->marks[at] |= WALK_NORETURN;
		return false;
	case INSN_UNSUPPORTED:
		reason(w, MAP_REASON_UNSUPPORTED_INSN);
		if (insn->relative_size)
			branch_to(w, insn);
		return true;
	default:
		return true;
	}
}

/* Control that runs off the end, or into bytes that are no code, directly after a call: the call does not come back. */
static void run_off(struct walk *w, uint32_t previous, enum map_reason otherwise)
{
	const struct walk_insn *p = previous == MAP_NONE ? NULL : walk_insn_at(w, previous);
	if (p && (p->insn.kind == INSN_CALL || p->insn.kind == INSN_CALL_INDIRECT))
		w->marks[previous] |= WALK_NORETURN;
	else
		reason(w, otherwise);
}

static void follow(struct walk *w, uint32_t at)
{
	uint32_t previous = MAP_NONE;
	struct insn insn;
	for (;;) {
		if (at >= w->size) {
			run_off(w, previous, MAP_REASON_LEAVES_RANGE);
			return;
		}
		if (w->marks[at] & WALK_START)
			return;
		if (w->marks[at] & WALK_BODY) {
			reason(w, MAP_REASON_OVERLAPPING_CODE);
			return;
		}
		if (insn_decode(w->bytes + at, w->size - at, (vaddr){w->start + at}, &insn)) {
			run_off(w, previous, MAP_REASON_UNDECODABLE);
			return;
		}
		if (!record(w, at, &insn))
			reason(w, MAP_REASON_OVERLAPPING_CODE);
		if (insn.rip_field)
			refer_operand(w, &insn, at);
		else if (!w->image->pie && insn.kind == INSN_PLAIN && insn.length >= 5)
			refer_immediate(w, &insn, at);
		if (w->no_memory || !continues(w, &insn, at))
			return;
		previous = at;
		at += insn.length;
	}
}

bool walk_plausible(const struct walk *w, uint32_t offset)
{
	struct insn insn;
	while (offset < w->size) {
		if (w->marks[offset] & WALK_START)
			return true;
		if (w->marks[offset] & WALK_BODY || insn_decode(w->bytes + offset, w->size - offset, (vaddr){w->start + offset}, &insn))
			return false;
		if (insn.kind == INSN_UNSUPPORTED)
			return false;
		if (insn.kind == INSN_JUMP || insn.kind == INSN_JUMP_INDIRECT || insn.kind == INSN_RETURN || insn.kind == INSN_STOP)
			return true;
		for (uint32_t i = 1; i < insn.length; i++)
			if (w->marks[offset + i] & WALK_START)
				return false;
		offset += insn.length;
	}
	return false;
}

void walk_drain(struct walk *w)
{
	while (w->work.count && !w->no_memory)
		follow(w, w->work.data[--w->work.count]);
}

static void reach_pads(struct walk *w, const struct image_fde *fde)
{
	struct lsda lsda;
	if (!fde->lsda)
		return;
	if (lsda_read(w->image, fde, &lsda, NULL)) {
		reason(w, MAP_REASON_LSDA_UNREADABLE);
		return;
	}
	for (uint32_t i = 0; i < lsda.site_count; i++) {
		uint64_t pad = lsda.sites[i].pad;
		if (!pad)
			continue;
		if (pad - w->start >= w->size)
			walk_refer(w, pad, WALK_PAD_REFERENCE);
		else if (!walk_reach(w, pad, WALK_TARGET | WALK_PAD))
			reason(w, MAP_REASON_OVERLAPPING_CODE);
	}
	lsda_free(&lsda);
}

static void reach_seeds(struct walk *w, const struct walk_seed *seeds, size_t count, bool guesses)
{
	for (size_t i = 0; i < count; i++) {
		const struct walk_seed *s = &seeds[i];
		uint64_t offset = s->address - w->start;
		if (offset >= w->size || !s->guess != !guesses)
			continue;
		if (s->guess && !walk_plausible(w, (uint32_t)offset))
			continue;
		if (!walk_reach(w, s->address, s->marks) && !s->guess)
			reason(w, MAP_REASON_OVERLAPPING_CODE);
		walk_drain(w);
	}
}

static int prepare(struct walk *w, uint64_t start, uint32_t size)
{
	w->start = start;
	w->size = size;
	w->reasons = 0;
	w->unknown_jump = w->no_memory = false;
	w->edges_for = SIZE_MAX;
	w->insns.count = w->work.count = w->jumps.count = w->deferred.count = w->tables.count = w->targets.count = w->references.count =
	    w->data.count = 0;
	w->bytes = image_bytes(w->image, (vaddr){start}, size);
	if (size > w->capacity) {
		size_t capacity = size + size / 2 + 4096;
		free(w->marks);
		free(w->index_of);
		free(w->stamp);
		w->marks = malloc(capacity * sizeof *w->marks);
		w->index_of = malloc(capacity * sizeof *w->index_of);
		w->stamp = calloc(capacity, sizeof *w->stamp);
		w->generation = 0;
		w->capacity = w->marks && w->index_of && w->stamp ? capacity : 0;
		if (!w->capacity)
			return -1;
	}
	memset(w->marks, 0, size * sizeof *w->marks);
	return w->bytes ? 0 : -1;
}

static void resolve_jumps(struct walk *w)
{
	bool changed = true;
	for (unsigned round = 0; changed && !w->no_memory; round++) {
		while ((w->jumps.count || w->deferred.count) && !w->no_memory) {
			if (w->jumps.count)
				jumptable_resolve(w, w->jumps.data[--w->jumps.count], false);
			else
				jumptable_resolve(w, w->deferred.data[--w->deferred.count], true);
			walk_drain(w);
		}
		changed = jumptable_recheck(w, round < RECHECKS_MAX) || w->jumps.count;
	}
}

int walk_run(struct walk *w, const struct image_fde *fde, uint32_t size, const struct walk_seed *seeds, size_t seed_count)
{
	if (prepare(w, fde->start, size))
		return -1;
	(void)walk_reach(w, w->start, WALK_TARGET);
	walk_drain(w);
	reach_pads(w, fde);
	walk_drain(w);
	reach_seeds(w, seeds, seed_count, false);
	resolve_jumps(w);
	/* Guesses come last, so that they cannot stand in the way of what is known. */
	reach_seeds(w, seeds, seed_count, true);
	resolve_jumps(w);
	return w->no_memory ? -1 : 0;
}

void walk_free(struct walk *w)
{
	free(w->marks);
	free(w->index_of);
	free(w->stamp);
	vec_free(&w->edges);
	vec_free(&w->insns);
	vec_free(&w->work);
	vec_free(&w->jumps);
	vec_free(&w->deferred);
	vec_free(&w->tables);
	vec_free(&w->targets);
	vec_free(&w->references);
	vec_free(&w->data);
}
