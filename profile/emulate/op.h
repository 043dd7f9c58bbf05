/*
 * op: one instruction, decoded for emulation.
 *
 * Control flow, the stack and repeated string instructions are emulated by cpu.c. Everything else that reads and writes only registers and at most one place in
 * memory, named by its operands, is executed by the CPU itself on emulated registers and a copy of that place (thunk.h). What is neither is
 * OP_UNKNOWN: an emulated course ends there.
 */
#ifndef PROFILE_EMULATE_OP_H
#define PROFILE_EMULATE_OP_H

#include "formats/base/addr.h"

#include <stdbool.h>
#include <stdint.h>

#define OP_NONE UINT32_MAX

enum { OP_RSP = 4, OP_NO_REGISTER = 16 };

enum op_kind {
	OP_UNKNOWN,
	OP_NATIVE,  /* by thunk */
	OP_DIVIDE,  /* by thunk, unless the quotient does not fit */
	OP_NOP,	    /* also endbr64, prefetches */
	OP_LEA,	    /* reg = place, cut to `size` bytes */
	OP_JUMP,    /* to `target` */
	OP_BRANCH,  /* by `condition` */
	OP_LOOP,    /* loop, loope, loopne, jrcxz: by `condition`, enum op_loop */
	OP_CALL,    /* to `target` */
	OP_JUMP_TO, /* what `reg` or the place holds */
	OP_CALL_TO,
	OP_RETURN, /* and drops `immediate` bytes */
	OP_PUSH,   /* reg, place or immediate */
	OP_POP,	   /* to reg */
	OP_PUSH_FLAGS,
	OP_POP_FLAGS,
	OP_LEAVE,
	OP_STRING,    /* `condition`: enum op_string */
	OP_CLOCK,     /* rdtsc; rdtscp when `condition` is 1 */
	OP_DIRECTION, /* cld; std when `condition` is 1 */
	OP_SYSCALL,
};

enum op_loop { OP_LOOP_RCX, OP_LOOP_EQUAL, OP_LOOP_NOT_EQUAL, OP_RCX_ZERO };
enum op_string { OP_MOVS, OP_STOS, OP_LODS, OP_SCAS, OP_CMPS };
enum op_repeat { OP_ONCE, OP_REP, OP_REPNE };

/* base + index * scale + displacement + segment; a place relative to rip has its address in the displacement. */
struct op_place {
	uint64_t displacement;
	uint8_t base, index, scale; /* registers 0..15 as encoded in instructions, or OP_NO_REGISTER */
	uint8_t segment;	    /* 0, or 1 = fs, 2 = gs */
};

struct op {
	uint64_t address;
	uint64_t target; /* JUMP, BRANCH, LOOP, CALL */
	int64_t immediate;
	struct op_place place;
	uint32_t thunk;	      /* NATIVE, DIVIDE: thunk.h */
	uint32_t next, taken; /* index of the op that follows, or is branched to; OP_NONE: not known yet */
	uint8_t kind, length;
	uint8_t condition; /* low nibble of the opcode; or see above */
	uint8_t repeat;	   /* STRING: enum op_repeat */
	uint8_t reg;	   /* OP_NO_REGISTER: the place or the immediate */
	uint8_t size;	   /* bytes of the operand */
	bool has_place, writes_place;
};

struct thunks;

/* Decodes the instruction in `bytes` (`size` of them can be read); always gives an op, of kind OP_UNKNOWN when it will not be emulated. */
void op_decode(struct thunks *thunks, raddr address, const uint8_t *bytes, uint32_t size, struct op *ret_op);

#endif
