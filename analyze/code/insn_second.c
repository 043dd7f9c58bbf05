/*
 * The second opinion. Capstone shares no code with Zydis (its tables come from LLVM), so a mistake in one is unlikely to be in the other.
 */
#include "analyze/code/insn.h"

#include <capstone/capstone.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct insn_second {
	csh handle;
	cs_insn *insn;
};

/*
 * Capstone uses what it allocates without asking whether it got it. So when memory runs out it gets some of this instead, and what was begun is given up.
 */
#define RESERVE_SIZE (256u << 10)
static _Alignas(16) uint8_t reserve[RESERVE_SIZE];
static size_t reserve_used;

static void *reserve_take(size_t size)
{
	size_t need = (size + 15) & ~(size_t)15, at = __atomic_fetch_add(&reserve_used, need, __ATOMIC_RELAXED);
	return need <= RESERVE_SIZE && at <= RESERVE_SIZE - need ? reserve + at : NULL; /* zeroes, and used once */
}

static void *capstone_malloc(size_t size)
{
	void *memory = malloc(size);
	return memory ? memory : reserve_take(size);
}

static void *capstone_calloc(size_t count, size_t size)
{
	void *memory = calloc(count, size);
	return memory ? memory : reserve_take(count * size);
}

static void capstone_free(void *memory)
{
	if ((uintptr_t)memory - (uintptr_t)reserve >= RESERVE_SIZE)
		free(memory);
}

static void *capstone_realloc(void *memory, size_t size)
{
	return (uintptr_t)memory - (uintptr_t)reserve < RESERVE_SIZE ? NULL : realloc(memory, size);
}

static void set_memory(void)
{
	cs_opt_mem functions = {capstone_malloc, capstone_calloc, capstone_realloc, capstone_free, vsnprintf};
	(void)cs_option(0, CS_OPT_MEM, (size_t)&functions); /* fails only for functions that are NULL */
}

struct insn_second *insn_second_new(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static const uint8_t nop = 0x90;
	struct insn_second *context = calloc(1, sizeof *context);
	struct insn insn;
	pthread_once(&once, set_memory);
	if (!context)
		return NULL;
	if (cs_open(CS_ARCH_X86, CS_MODE_64, &context->handle) != CS_ERR_OK) {
		free(context);
		return NULL;
	}
	/* The first instruction makes its tables allocate; later ones need nothing. */
	if (cs_option(context->handle, CS_OPT_DETAIL, CS_OPT_ON) != CS_ERR_OK || !(context->insn = cs_malloc(context->handle)) ||
	    insn_second_decode(context, &nop, 1, (vaddr){0}, &insn) || __atomic_load_n(&reserve_used, __ATOMIC_RELAXED)) {
		insn_second_free(context);
		return NULL;
	}
	return context;
}

void insn_second_free(struct insn_second *context)
{
	if (!context)
		return;
	if (context->insn)
		cs_free(context->insn, 1);
	cs_close(&context->handle);
	free(context);
}

static bool is_memory_jump(const cs_x86 *x)
{
	return x->op_count == 1 && x->operands[0].type != X86_OP_IMM;
}

static uint8_t kind_of(const cs_insn *c)
{
	const cs_x86 *x = &c->detail->x86;
	switch (c->id) {
	case X86_INS_JMP:
		return is_memory_jump(x) ? INSN_JUMP_INDIRECT : INSN_JUMP;
	case X86_INS_CALL:
		return is_memory_jump(x) ? INSN_CALL_INDIRECT : INSN_CALL;
	case X86_INS_LOOP:
	case X86_INS_LOOPE:
	case X86_INS_LOOPNE:
	case X86_INS_JECXZ:
	case X86_INS_JRCXZ:
		return INSN_BRANCH_SHORT;
	case X86_INS_RET:
		return INSN_RETURN;
	case X86_INS_UD0:
	case X86_INS_UD2:
	case X86_INS_UD2B:
	case X86_INS_HLT:
	case X86_INS_INT3:
		return INSN_STOP;
	case X86_INS_SYSCALL:
		return INSN_SYSCALL;
	case X86_INS_LJMP:
	case X86_INS_LCALL:
	case X86_INS_RETF:
	case X86_INS_RETFQ:
	case X86_INS_SYSENTER:
	case X86_INS_SYSEXIT:
	case X86_INS_SYSRET:
	case X86_INS_INT:
	case X86_INS_INT1:
	case X86_INS_INTO:
	case X86_INS_IRET:
	case X86_INS_IRETD:
	case X86_INS_IRETQ:
	case X86_INS_XABORT:
	case X86_INS_XBEGIN:
	case X86_INS_RSM:
		return INSN_UNSUPPORTED;
	}
	for (unsigned i = 0; i < c->detail->groups_count; i++)
		if (c->detail->groups[i] == X86_GRP_JUMP)
			return INSN_BRANCH;
	return INSN_PLAIN;
}

static void fill_branch(const cs_insn *c, struct insn *insn)
{
	const cs_x86 *x = &c->detail->x86;
	if (x->op_count != 1 || x->operands[0].type != X86_OP_IMM) {
		insn->kind = INSN_UNSUPPORTED;
		return;
	}
	insn->target = (uint64_t)x->operands[0].imm;
	/* encoding.imm_size is not set for branches in every version; the displacement is what ends the instruction. */
	bool two_byte = x->opcode[0] == 0x0f || c->id == X86_INS_XBEGIN;
	insn->relative_size = two_byte || x->opcode[0] == 0xe8 || x->opcode[0] == 0xe9 ? 4 : 1;
	if (insn->kind == INSN_BRANCH)
		insn->condition = (two_byte ? x->opcode[1] : x->opcode[0]) & 15;
	if (x->prefix[2] == 0x66 && !(x->rex & 8)) /* see insn.c */
		insn->kind = INSN_UNSUPPORTED;
}

static void fill_operand(const cs_insn *c, vaddr at, struct insn *insn)
{
	const cs_x86 *x = &c->detail->x86;
	/* ModRM mod 0, rm 5 is the rip-relative form; disp_offset of Capstone says where its field stands. */
	if (!x->encoding.modrm_offset || (x->modrm & 0xc7) != 5 || !x->encoding.disp_offset)
		return;
	insn->rip_field = x->encoding.disp_offset;
	insn->target = at.v + c->size + (uint64_t)x->disp;
	if (x->prefix[3] == 0x67)
		insn->kind = INSN_UNSUPPORTED;
}

static bool bytes_are_endbr(const cs_insn *c)
{
	static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};
	return c->size == 4 && !memcmp(c->bytes, endbr64, 4);
}

/* See insn.c. */
static int decode_maybe_locked(struct insn_second *context, const uint8_t *bytes, size_t left, vaddr at, struct insn *ret_insn)
{
	struct insn insn;
	if (insn_second_decode(context, bytes + 2, left - 2, (vaddr){at.v + 2}, &insn) || insn.kind != INSN_PLAIN)
		return -1;
	insn.length += 2;
	insn.rip_field += insn.rip_field ? 2 : 0;
	*ret_insn = insn;
	return 0;
}

int insn_second_decode(struct insn_second *context, const uint8_t *bytes, size_t left, vaddr at, struct insn *ret_insn)
{
	if (insn_is_maybe_locked(bytes, left) && !decode_maybe_locked(context, bytes, left, at, ret_insn))
		return 0;
	const uint8_t *code = bytes;
	uint64_t address = at.v;
	struct insn insn = {0};
	if (!cs_disasm_iter(context->handle, &code, &left, &address, context->insn))
		return -1;
	const cs_insn *c = context->insn;
	insn.length = (uint8_t)c->size;
	insn.kind = kind_of(c);
	if (c->id == X86_INS_XBEGIN || insn.kind == INSN_JUMP || insn.kind == INSN_CALL || insn.kind == INSN_BRANCH ||
	    insn.kind == INSN_BRANCH_SHORT)
		fill_branch(c, &insn);
	else
		fill_operand(c, at, &insn);
	insn.is_endbr = bytes_are_endbr(c);
	insn.is_nop = c->id == X86_INS_NOP && !insn.is_endbr;
	insn.has_bnd_or_notrack = (insn.kind != INSN_PLAIN && c->detail->x86.prefix[0] == 0xf2) ||
				  ((insn.kind == INSN_JUMP_INDIRECT || insn.kind == INSN_CALL_INDIRECT) && bytes[0] == 0x3e);
	*ret_insn = insn;
	return 0;
}

/* Capstone gives x87 instructions their own meaning of the same field, and takes cmpss and cmpsd for the string instruction. */
static bool flags_known(const cs_insn *c)
{
	if (c->detail->x86.opcode[0] == 0x0f && c->detail->x86.opcode[1] == 0xc2)
		return false;
	for (unsigned i = 0; i < c->detail->groups_count; i++)
		if (c->detail->groups[i] == X86_GRP_FPU)
			return false;
	return true;
}

static bool writes_sometimes(const cs_insn *c)
{
	const cs_x86 *x = &c->detail->x86;
	switch (c->id) {
	case X86_INS_SHL:
	case X86_INS_SAL:
	case X86_INS_SHR:
	case X86_INS_SAR:
	case X86_INS_ROL:
	case X86_INS_ROR:
	case X86_INS_RCL:
	case X86_INS_RCR:
	case X86_INS_SHLD:
	case X86_INS_SHRD:
		for (unsigned i = 0; i < x->op_count; i++)
			if (x->operands[i].type == X86_OP_REG && x->operands[i].reg == X86_REG_CL)
				return true;
		return x->op_count && x->operands[x->op_count - 1].type == X86_OP_IMM && !(x->operands[x->op_count - 1].imm & 31);
	default:
		return x->prefix[0] == 0xf2 || x->prefix[0] == 0xf3;
	}
}

/* Capstone does not count these as tests of flags. */
static bool saves_flags(const cs_insn *c)
{
	switch (c->id) {
	case X86_INS_PUSHF:
	case X86_INS_PUSHFD:
	case X86_INS_PUSHFQ:
	case X86_INS_LAHF:
		return true;
	default:
		return false;
	}
}

int insn_second_flags(struct insn_second *context, const uint8_t *bytes, size_t left, uint8_t *ret_read, uint8_t *ret_written)
{
	static const struct {
		uint64_t read, written;
	} flags[5] = {
	    {X86_EFLAGS_TEST_PF, X86_EFLAGS_MODIFY_PF | X86_EFLAGS_RESET_PF | X86_EFLAGS_UNDEFINED_PF | X86_EFLAGS_SET_PF},
	    {X86_EFLAGS_TEST_AF, X86_EFLAGS_MODIFY_AF | X86_EFLAGS_RESET_AF | X86_EFLAGS_UNDEFINED_AF | X86_EFLAGS_SET_AF},
	    {X86_EFLAGS_TEST_ZF, X86_EFLAGS_MODIFY_ZF | X86_EFLAGS_RESET_ZF | X86_EFLAGS_UNDEFINED_ZF | X86_EFLAGS_SET_ZF},
	    {X86_EFLAGS_TEST_SF, X86_EFLAGS_MODIFY_SF | X86_EFLAGS_RESET_SF | X86_EFLAGS_UNDEFINED_SF | X86_EFLAGS_SET_SF},
	    {X86_EFLAGS_TEST_OF, X86_EFLAGS_MODIFY_OF | X86_EFLAGS_RESET_OF | X86_EFLAGS_UNDEFINED_OF | X86_EFLAGS_SET_OF},
	};
	uint64_t address = 0;
	const uint8_t *code = bytes;
	if (insn_is_maybe_locked(bytes, left)) {
		*ret_read = INSN_FLAGS;
		*ret_written = 0;
		return 0;
	}
	if (!cs_disasm_iter(context->handle, &code, &left, &address, context->insn))
		return -1;
	const cs_insn *c = context->insn;
	*ret_read = *ret_written = 0;
	if (!flags_known(c))
		return 0;
	bool sometimes = writes_sometimes(c);
	if (saves_flags(c))
		*ret_read = INSN_FLAGS;
	for (unsigned i = 0; i < 5; i++) {
		if (c->detail->x86.eflags & flags[i].read)
			*ret_read |= (uint8_t)(1u << i);
		if (!sometimes && (c->detail->x86.eflags & flags[i].written))
			*ret_written |= (uint8_t)(1u << i);
	}
	return 0;
}

/* 0 rax .. 15 r15 by hardware number; -1 for other registers. *ret_whole: all 64 bits are written when it is (32-bit writes clear the rest). */
static int number_of(uint16_t reg, bool *ret_whole)
{
	static const uint16_t names[16][5] = {
	    {X86_REG_RAX, X86_REG_EAX, X86_REG_AX, X86_REG_AL, X86_REG_AH}, {X86_REG_RCX, X86_REG_ECX, X86_REG_CX, X86_REG_CL, X86_REG_CH},
	    {X86_REG_RDX, X86_REG_EDX, X86_REG_DX, X86_REG_DL, X86_REG_DH}, {X86_REG_RBX, X86_REG_EBX, X86_REG_BX, X86_REG_BL, X86_REG_BH},
	    {X86_REG_RSP, X86_REG_ESP, X86_REG_SP, X86_REG_SPL, 0},	    {X86_REG_RBP, X86_REG_EBP, X86_REG_BP, X86_REG_BPL, 0},
	    {X86_REG_RSI, X86_REG_ESI, X86_REG_SI, X86_REG_SIL, 0},	    {X86_REG_RDI, X86_REG_EDI, X86_REG_DI, X86_REG_DIL, 0},
	    {X86_REG_R8, X86_REG_R8D, X86_REG_R8W, X86_REG_R8B, 0},	    {X86_REG_R9, X86_REG_R9D, X86_REG_R9W, X86_REG_R9B, 0},
	    {X86_REG_R10, X86_REG_R10D, X86_REG_R10W, X86_REG_R10B, 0},	    {X86_REG_R11, X86_REG_R11D, X86_REG_R11W, X86_REG_R11B, 0},
	    {X86_REG_R12, X86_REG_R12D, X86_REG_R12W, X86_REG_R12B, 0},	    {X86_REG_R13, X86_REG_R13D, X86_REG_R13W, X86_REG_R13B, 0},
	    {X86_REG_R14, X86_REG_R14D, X86_REG_R14W, X86_REG_R14B, 0},	    {X86_REG_R15, X86_REG_R15D, X86_REG_R15W, X86_REG_R15B, 0},
	};
	for (int i = 0; reg && i < 16; i++)
		for (int k = 0; k < 5; k++)
			if (names[i][k] == reg) {
				*ret_whole = k < 2;
				return i;
			}
	return -1;
}

bool insn_second_overwrites(struct insn_second *context, const uint8_t *bytes, size_t left, unsigned reg)
{
	uint64_t address = 0;
	const uint8_t *code = bytes;
	cs_regs read, written;
	uint8_t read_count, written_count;
	bool overwritten = false, whole = false;
	if (insn_is_maybe_locked(bytes, left) || !cs_disasm_iter(context->handle, &code, &left, &address, context->insn))
		return false;
	switch (context->insn->id) {
	case X86_INS_MOV:
	case X86_INS_MOVABS:
	case X86_INS_LEA:
	case X86_INS_MOVZX:
	case X86_INS_MOVSX:
	case X86_INS_MOVSXD:
		break;
	default:
		return false;
	}
	if (cs_regs_access(context->handle, context->insn, read, &read_count, written, &written_count) != CS_ERR_OK)
		return false;
	for (unsigned i = 0; i < read_count; i++)
		if (number_of(read[i], &whole) == (int)reg)
			return false;
	for (unsigned i = 0; i < written_count; i++)
		overwritten |= number_of(written[i], &whole) == (int)reg && whole;
	return overwritten;
}
