/*
 * insn: one decoded instruction, as far as moving code needs it. The only use of Zydis (insn.c) and Capstone (insn_second.c).
 */
#ifndef ANALYZE_CODE_INSN_H
#define ANALYZE_CODE_INSN_H

#include "formats/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum insn_kind {
	INSN_PLAIN,
	INSN_JUMP,	    /* jmp rel8/rel32 */
	INSN_BRANCH,	    /* jcc rel8/rel32 */
	INSN_BRANCH_SHORT,  /* loop, loope, loopne, jecxz, jrcxz: only a rel8 form exists */
	INSN_CALL,	    /* call rel32 */
	INSN_JUMP_INDIRECT, /* jmp r/m64 */
	INSN_CALL_INDIRECT, /* call r/m64 */
	INSN_RETURN,	    /* ret, ret imm16 */
	INSN_STOP,	    /* ud2, ud1, ud0, hlt, int3 */
	INSN_SYSCALL,	    /* syscall: continues */
	INSN_UNSUPPORTED,   /* xbegin, far transfers, sysenter, iret, int n: cannot be copied */
};

struct insn {
	uint64_t target; /* vaddr: of a direct branch, or of a rip-relative operand when rip_field != 0 */
	uint8_t length;
	uint8_t kind;	       /* enum insn_kind */
	uint8_t condition;     /* BRANCH: low nibble of the opcode (0 = o, 1 = no, ...) */
	uint8_t rip_field;     /* offset inside the instruction of a rip-relative disp32, 0 if there is none */
	uint8_t relative_size; /* direct branches: bytes of the displacement (1 or 4; 2 is INSN_UNSUPPORTED) */
	uint8_t is_endbr, is_nop, has_bnd_or_notrack;
};

/* jcc over the lock prefix of the instruction behind it: decoded as one, see insn.c. */
static inline bool insn_is_maybe_locked(const uint8_t *bytes, size_t left)
{
	return left > 3 && (bytes[0] & 0xf0) == 0x70 && bytes[1] == 1 && bytes[2] == 0xf0;
}

/* Decodes the instruction of at most `left` bytes that stands at `at`. 0, or -1 if it does not decode. Zydis. */
int insn_decode(const uint8_t *bytes, size_t left, vaddr at, struct insn *ret_insn);

/* The five status flags that an increment changes: PF AF ZF SF OF. */
#define INSN_FLAGS 31u
/*
 * Which of these an instruction reads, and which it surely overwrites whatever they were. Where nothing is known: all read, none overwritten.
 * 0, or -1 if it does not decode.
 */
int insn_flags(const uint8_t *bytes, size_t left, uint8_t *ret_read, uint8_t *ret_written);

/* The same by Capstone: the second opinion. Fields that Capstone cannot tell are filled the same way. 0 or -1. `context` per thread. */
struct insn_second;
struct insn_second *insn_second_new(void); /* NULL: no memory */
void insn_second_free(struct insn_second *context);
int insn_second_decode(struct insn_second *context, const uint8_t *bytes, size_t left, vaddr at, struct insn *ret_insn);
/*
 * The general register (0 rax .. 15 r15) that the instruction overwrites whole without reading it, when it is a plain move: its old value is
 * dead just before. -1: none, or not known. Never rsp, nor r12, whose encoding in addresses differs.
 */
int insn_overwrites(const uint8_t *bytes, size_t length);
/* Does the instruction overwrite all of that register and read no part of it? */
bool insn_second_overwrites(struct insn_second *context, const uint8_t *bytes, size_t left, unsigned reg);
int insn_second_flags(struct insn_second *context, const uint8_t *bytes, size_t left, uint8_t *ret_read, uint8_t *ret_written);

#endif
