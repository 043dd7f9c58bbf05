/*
 * operation: what an instruction does to the general registers, as far as following a jump table's index and base backwards needs it. Zydis.
 */
#ifndef ANALYZE_CODE_OPERATION_H
#define ANALYZE_CODE_OPERATION_H

#include "formats/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OPERATION_NO_REGISTER = 0xff };

enum operation_kind {
	OPERATION_OTHER,       /* see `writes` */
	OPERATION_ADDRESS,     /* destination = `value`: lea of a rip-relative operand, or mov of an immediate */
	OPERATION_MOVE,	       /* destination = source, `source_width` bits of it zero- or sign-extended */
	OPERATION_LOAD,	       /* destination = memory[source_width], zero- or sign-extended */
	OPERATION_ADD,	       /* destination += source */
	OPERATION_AND,	       /* destination &= value */
	OPERATION_COMPARE,     /* flags of source - value; or of memory - value when base or index or absolute */
	OPERATION_JUMP,	       /* jmp source */
	OPERATION_JUMP_MEMORY, /* jmp memory */
	OPERATION_POP,	       /* destination from the stack */
	OPERATION_SHIFT_RIGHT, /* destination >>= value, logical */
};

struct operation {
	uint64_t value;	      /* immediate (sign-extended), or the address of ADDRESS */
	int64_t displacement; /* of the memory operand */
	uint16_t writes;      /* bit set of the registers it changes (rax = bit 0 ... r15), wholly or partly */
	uint8_t kind;
	uint8_t destination, source, base, index, scale; /* register numbers 0..15 or OPERATION_NO_REGISTER */
	uint8_t width, source_width;			 /* bits of the destination (or of the compare), and of what is moved or loaded */
	uint8_t sign_extends, writes_memory, writes_flags, has_memory;
};

/* Decodes again what insn_decode has decoded. 0 or -1. */
int operation_decode(const uint8_t *bytes, size_t left, vaddr at, struct operation *ret_operation);

/* "mov rax, rbx" into `text`. 0 or -1. */
int operation_format(const uint8_t *bytes, size_t left, vaddr at, char *text, size_t size);

#endif
