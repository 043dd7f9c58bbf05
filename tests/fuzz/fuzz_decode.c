/*
 * Any bytes as instructions, by both decoders. An instruction that may be moved is one where they agree; then what they say must hold by
 * what can be seen without a decoder: it is as long as they say and no prefix of it is an instruction; a branch ends with its displacement, behind one
 * of the few opcodes of branches, and leads to the sum; a field relative to rip holds what leads to the operand; both move along with the
 * address. And what a counter is put in front of (flags, registers) is believed only where both say so.
 */
#include "analyze/code/insn.h"
#include "analyze/code/operation.h"
#include "formats/base/bytes.h"
#include "tests/fuzz/must.h"

#include <string.h>

#define AT 0x7f0012345678u
#define AWAY 0x123456789u
#define LENGTH_MAX 15u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_branch(const struct insn *i)
{
	return i->kind == INSN_JUMP || i->kind == INSN_BRANCH || i->kind == INSN_BRANCH_SHORT || i->kind == INSN_CALL;
}

/* As analyze/emit does before anything is moved. */
static bool agree(const struct insn *a, const struct insn *b)
{
	if (a->length != b->length || a->kind != b->kind || a->rip_field != b->rip_field)
		return false;
	if (a->kind == INSN_BRANCH && a->condition != b->condition)
		return false;
	if (is_branch(a) && a->relative_size != b->relative_size)
		return false;
	return !(is_branch(a) || a->rip_field) || a->target == b->target;
}

static void check_branch(const uint8_t *p, const struct insn *i)
{
	const uint8_t *field = p + i->length - i->relative_size, opcode = field[-1];
	int64_t distance = i->relative_size == 1 ? (int8_t)field[0] : (int32_t)load_u32(field);
	MUST(i->relative_size == 1 || i->relative_size == 4);
	MUST(i->target == AT + i->length + (uint64_t)distance);
	bool near = i->relative_size == 4;
	switch (i->kind) {
	case INSN_CALL:
		MUST(near && opcode == 0xe8);
		break;
	case INSN_JUMP:
		MUST(opcode == (near ? 0xe9 : 0xeb));
		break;
	case INSN_BRANCH:
		MUST(opcode >> 4 == (near ? 8 : 7) && (opcode & 15) == i->condition && (!near || field[-2] == 0x0f));
		break;
	default:
		MUST(!near && opcode >= 0xe0 && opcode <= 0xe3);
	}
}

static void check_field(const uint8_t *p, const struct insn *i)
{
	MUST(i->rip_field >= 2 && i->rip_field + 4u <= i->length && (p[i->rip_field - 1] & 0xc7) == 5);
	MUST(i->target == AT + i->length + (uint64_t)(int64_t)(int32_t)load_u32(p + i->rip_field));
}

/* What comes behind an instruction is none of its business, and it is not complete without its last byte. */
static void check_length(struct insn_second *second, const uint8_t *p, const struct insn *i)
{
	uint8_t exact[LENGTH_MAX + 2];
	struct insn again;
	MUST(i->length && i->length <= sizeof exact);
	/* A jump over a lock prefix is two instructions that are taken for one. */
	if (insn_is_maybe_locked(p, i->length) && i->kind == INSN_PLAIN)
		return;
	MUST(i->length <= LENGTH_MAX);
	memcpy(exact, p, i->length);
	MUST(!insn_decode(exact, i->length, (vaddr){AT}, &again) && agree(i, &again));
	MUST(!insn_second_decode(second, exact, i->length, (vaddr){AT}, &again) && agree(i, &again));
	MUST(insn_decode(exact, i->length - 1u, (vaddr){AT}, &again) || again.length < i->length);
	for (unsigned n = 1; n < i->length; n++)
		MUST(insn_decode(exact, n, (vaddr){AT}, &again) && insn_second_decode(second, exact, n, (vaddr){AT}, &again));
}

static void check_moved(struct insn_second *second, const uint8_t *p, size_t left, const struct insn *i)
{
	struct insn one, two, want = *i;
	if (is_branch(i) || i->rip_field)
		want.target += AWAY;
	MUST(!insn_decode(p, left, (vaddr){AT + AWAY}, &one) && agree(&want, &one));
	MUST(!insn_second_decode(second, p, left, (vaddr){AT + AWAY}, &two) && agree(&want, &two));
}

/* A status flag that surely is overwritten is not one that a repeated string instruction or a jump leaves alone. */
static void check_effects(struct insn_second *second, const uint8_t *p, size_t left, const struct insn *i)
{
	uint8_t read, written, read_second, written_second;
	MUST(!insn_flags(p, left, &read, &written) && !insn_second_flags(second, p, left, &read_second, &written_second));
	MUST(!((read | written | read_second | written_second) & ~INSN_FLAGS));
	bool repeats = p[0] == 0xf3 || p[0] == 0xf2;
	if (is_branch(i) || i->is_nop || (repeats && (p[1] & 0xfe) == 0xa6))
		MUST(!(written & written_second));
	int reg = insn_overwrites(p, i->length);
	MUST(reg < 16 && reg != 4 && reg != 12);
	if (reg >= 0 && insn_second_overwrites(second, p, left, (unsigned)reg))
		MUST(i->kind == INSN_PLAIN && i->length >= 2);
	struct operation operation;
	char text[128];
	if (!operation_decode(p, left, (vaddr){AT}, &operation))
		MUST(operation.destination < 16 || operation.destination == OPERATION_NO_REGISTER);
	if (!operation_format(p, left, (vaddr){AT}, text, sizeof text))
		MUST(memchr(text, 0, sizeof text) && text[0]);
}

/* Bytes of the instruction at `p`, 1 where there is none. */
static size_t check_one(struct insn_second *second, const uint8_t *p, size_t left)
{
	struct insn one, two;
	int first = insn_decode(p, left, (vaddr){AT}, &one), other = insn_second_decode(second, p, left, (vaddr){AT}, &two);
	MUST(first || (one.length && one.length <= left));
	MUST(other || (two.length && two.length <= left));
	if (first || other || one.kind == INSN_UNSUPPORTED || two.kind == INSN_UNSUPPORTED || !agree(&one, &two))
		return first ? 1 : one.length;
	check_length(second, p, &one);
	if (is_branch(&one))
		check_branch(p, &one);
	else if (one.rip_field)
		check_field(p, &one);
	else
		MUST(!one.target);
	check_moved(second, p, left, &one);
	check_effects(second, p, left, &one);
	return one.length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct insn_second *second;
	if (!second)
		MUST(second = insn_second_new());
	for (size_t at = 0; at < size && at < 256;)
		at += check_one(second, data + at, size - at);
	return 0;
}
