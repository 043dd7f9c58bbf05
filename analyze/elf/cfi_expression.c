#include "analyze/elf/cfi.h"

#include "formats/base/bytes.h"

enum {
	OP_DEREF = 0x06,
	OP_CONST1U = 0x08,
	OP_CONST8S = 0x0f,
	OP_CONSTU = 0x10,
	OP_CONSTS = 0x11,
	OP_DUP = 0x12,
	OP_PICK = 0x15,
	OP_PLUS = 0x22,
	OP_PLUS_UCONST = 0x23,
	OP_SHL = 0x24,
	OP_XOR = 0x27,
	OP_BRA = 0x28,
	OP_EQ = 0x29,
	OP_NE = 0x2e,
	OP_SKIP = 0x2f,
	OP_LIT0 = 0x30,
	OP_LIT31 = 0x4f,
	OP_BREG0 = 0x70,
	OP_BREG31 = 0x8f,
	OP_BREGX = 0x92,
	OP_DEREF_SIZE = 0x94,
	OP_NOP = 0x96,
};

/* Reads the operands of `op`; the reader fails for an operation that may not move. */
static void read_operands(struct reader *r, uint8_t op)
{
	if (op >= OP_CONST1U && op <= OP_CONST8S) { /* 1u 1s 2u 2s 4u 4s 8u 8s */
		read_bytes(r, (size_t)1 << (op - OP_CONST1U) / 2);
	} else if (op == OP_CONSTU || op == OP_PLUS_UCONST) {
		(void)read_uleb(r);
	} else if (op == OP_CONSTS) {
		(void)read_sleb(r);
	} else if (op == OP_PICK || op == OP_DEREF_SIZE) {
		(void)read_u8(r);
	} else if (op == OP_BRA || op == OP_SKIP) {
		(void)read_u16(r);
	} else if (op >= OP_BREG0 && op <= OP_BREG31) {
		if (op - OP_BREG0 == CFI_RETURN_ADDRESS)
			r->failed = true;
		(void)read_sleb(r);
	} else if (op == OP_BREGX) {
		if (read_uleb(r) == CFI_RETURN_ADDRESS)
			r->failed = true;
		(void)read_sleb(r);
	} else {
		bool plain = op == OP_DEREF || (op >= OP_DUP && op <= OP_PLUS) || (op >= OP_SHL && op <= OP_XOR) ||
			     (op >= OP_EQ && op <= OP_NE) || (op >= OP_LIT0 && op <= OP_LIT31) || op == OP_NOP;
		if (!plain)
			r->failed = true;
	}
}

bool cfi_expression_movable(const uint8_t *expression, size_t size)
{
	struct reader r = reader_of(expression, size);
	while (reader_left(&r) && !r.failed)
		read_operands(&r, read_u8(&r));
	return !r.failed;
}
