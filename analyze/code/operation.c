#include "analyze/code/operation.h"

#include <Zydis/Zydis.h>
#include <pthread.h>

static ZydisDecoder decoder;
static ZydisFormatter formatter;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init(void)
{
	/* Both fail only for arguments that are impossible here. */
	(void)ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	(void)ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
}

static uint8_t number_of(ZydisRegister r)
{
	if (r == ZYDIS_REGISTER_NONE || r == ZYDIS_REGISTER_RIP)
		return OPERATION_NO_REGISTER;
	ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
	if (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15)
		return OPERATION_NO_REGISTER;
	return (uint8_t)(whole - ZYDIS_REGISTER_RAX);
}

static bool is_high_byte(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->reg.value >= ZYDIS_REGISTER_AH && o->reg.value <= ZYDIS_REGISTER_BH;
}

static void fill_writes(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, struct operation *op)
{
	for (unsigned i = 0; i < z->operand_count; i++) {
		if (!(o[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		if (o[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			op->writes_memory = 1;
		if (o[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		uint8_t n = number_of(o[i].reg.value);
		if (n != OPERATION_NO_REGISTER)
			op->writes |= (uint16_t)(1u << n);
	}
	op->writes_flags = z->cpu_flags && (z->cpu_flags->modified | z->cpu_flags->set_0 | z->cpu_flags->set_1 | z->cpu_flags->undefined);
}

/* A segment base or a 32-bit address is not followed: false. */
static bool fill_memory(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, vaddr at, struct operation *op)
{
	if (z->address_width != 64 || o->mem.segment == ZYDIS_REGISTER_FS || o->mem.segment == ZYDIS_REGISTER_GS)
		return false;
	op->has_memory = 1;
	op->base = number_of(o->mem.base);
	op->index = number_of(o->mem.index);
	op->scale = o->mem.scale;
	op->displacement = o->mem.disp.value;
	if (o->mem.base == ZYDIS_REGISTER_RIP)
		op->displacement += (int64_t)(at.v + z->length);
	return true;
}

static void fill_load(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, vaddr at, struct operation *op, bool sign)
{
	op->destination = number_of(o[0].reg.value);
	op->width = (uint8_t)o[0].size;
	op->source_width = (uint8_t)o[1].size;
	op->sign_extends = sign;
	if (op->destination == OPERATION_NO_REGISTER || op->width < 32 || is_high_byte(&o[1]))
		return;
	if (o[1].type == ZYDIS_OPERAND_TYPE_MEMORY && fill_memory(z, &o[1], at, op)) {
		op->kind = OPERATION_LOAD;
	} else if (o[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		op->source = number_of(o[1].reg.value);
		if (op->source != OPERATION_NO_REGISTER)
			op->kind = OPERATION_MOVE;
	} else if (o[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		op->kind = OPERATION_ADDRESS;
		op->value = op->width == 32 ? (uint32_t)o[1].imm.value.u : o[1].imm.value.u;
	}
}

static void fill_lea(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, vaddr at, struct operation *op)
{
	op->destination = number_of(o[0].reg.value);
	op->width = (uint8_t)o[0].size;
	if (op->width == 64 && o[1].mem.base == ZYDIS_REGISTER_RIP && fill_memory(z, &o[1], at, op)) {
		op->kind = OPERATION_ADDRESS;
		op->value = (uint64_t)op->displacement;
	}
	op->has_memory = 0;
}

static void fill_arithmetic(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, vaddr at, struct operation *op)
{
	bool immediate = o[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE, registers = o[0].type == ZYDIS_OPERAND_TYPE_REGISTER;
	op->width = (uint8_t)o[0].size;
	op->source_width = op->width;
	if (immediate)
		op->value = o[1].imm.value.u;
	if (is_high_byte(&o[0]) || is_high_byte(&o[1]))
		return;
	if (z->mnemonic == ZYDIS_MNEMONIC_CMP && immediate) {
		if (registers)
			op->source = number_of(o[0].reg.value);
		else if (!fill_memory(z, &o[0], at, op))
			return;
		op->kind = OPERATION_COMPARE;
		return;
	}
	if (!registers)
		return;
	op->destination = number_of(o[0].reg.value);
	if (z->mnemonic == ZYDIS_MNEMONIC_AND && immediate)
		op->kind = OPERATION_AND;
	if (z->mnemonic == ZYDIS_MNEMONIC_SHR && immediate)
		op->kind = OPERATION_SHIFT_RIGHT;
	if (z->mnemonic == ZYDIS_MNEMONIC_ADD && o[1].type == ZYDIS_OPERAND_TYPE_REGISTER && op->width == 64) {
		op->source = number_of(o[1].reg.value);
		op->kind = OPERATION_ADD;
	}
}

static void fill_jump(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, vaddr at, struct operation *op)
{
	if (o[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		op->source = number_of(o[0].reg.value);
		op->kind = OPERATION_JUMP;
	} else if (o[0].type == ZYDIS_OPERAND_TYPE_MEMORY && fill_memory(z, &o[0], at, op)) {
		op->kind = OPERATION_JUMP_MEMORY;
	}
}

int operation_decode(const uint8_t *bytes, size_t left, vaddr at, struct operation *ret_operation)
{
	ZydisDecodedInstruction z;
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	struct operation op = {.destination = OPERATION_NO_REGISTER,
			       .source = OPERATION_NO_REGISTER,
			       .base = OPERATION_NO_REGISTER,
			       .index = OPERATION_NO_REGISTER};
	pthread_once(&once, init);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, left, &z, o)))
		return -1;
	fill_writes(&z, o, &op);
	switch (z.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVZX:
		if (o[0].type == ZYDIS_OPERAND_TYPE_REGISTER)
			fill_load(&z, o, at, &op, false);
		break;
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
		fill_load(&z, o, at, &op, true);
		break;
	case ZYDIS_MNEMONIC_CDQE: /* rax = sign-extended eax */
		op.kind = OPERATION_MOVE;
		op.destination = op.source = 0;
		op.width = 64;
		op.source_width = 32;
		op.sign_extends = 1;
		break;
	case ZYDIS_MNEMONIC_LEA:
		fill_lea(&z, o, at, &op);
		break;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_SHR:
		fill_arithmetic(&z, o, at, &op);
		break;
	case ZYDIS_MNEMONIC_JMP:
		fill_jump(&z, o, at, &op);
		break;
	case ZYDIS_MNEMONIC_POP:
		if (o[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
			op.kind = OPERATION_POP;
			op.destination = number_of(o[0].reg.value);
		}
		break;
	default:
		break;
	}
	*ret_operation = op;
	return 0;
}

int operation_format(const uint8_t *bytes, size_t left, vaddr at, char *text, size_t size)
{
	ZydisDecodedInstruction z;
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	pthread_once(&once, init);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, left, &z, o)))
		return -1;
	return ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &z, o, z.operand_count_visible, text, size, at.v, NULL)) ? 0 : -1;
}
