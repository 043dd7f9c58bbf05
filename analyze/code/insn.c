#include "analyze/code/insn.h"

#include <Zydis/Zydis.h>
#include <pthread.h>
#include <string.h>

static ZydisDecoder decoder;
static pthread_once_t decoder_once = PTHREAD_ONCE_INIT;

static void decoder_init(void)
{
	(void)ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64); /* fails only for impossible mode pairs */
}

static uint8_t branch_kind(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
		return z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? INSN_UNSUPPORTED : INSN_JUMP_INDIRECT;
	case ZYDIS_MNEMONIC_CALL:
		return z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? INSN_UNSUPPORTED : INSN_CALL_INDIRECT;
	case ZYDIS_MNEMONIC_RET:
		return z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? INSN_UNSUPPORTED : INSN_RETURN;
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_HLT:
	case ZYDIS_MNEMONIC_INT3:
		return INSN_STOP;
	case ZYDIS_MNEMONIC_SYSCALL:
		return INSN_SYSCALL;
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_SYSEXIT:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_INT:
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_INTO:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_XABORT:
	case ZYDIS_MNEMONIC_RSM:
	case ZYDIS_MNEMONIC_UIRET:
		return INSN_UNSUPPORTED;
	case ZYDIS_MNEMONIC_XEND: /* Zydis calls it a conditional branch, but only XBEGIN names an address */
		return INSN_PLAIN;
	default:
		return z->meta.category == ZYDIS_CATEGORY_UNCOND_BR || z->meta.category == ZYDIS_CATEGORY_COND_BR ? INSN_UNSUPPORTED
														  : INSN_PLAIN;
	}
}

static void relative_branch(const ZydisDecodedInstruction *z, vaddr at, struct insn *insn)
{
	insn->target = at.v + z->length + (uint64_t)z->raw.imm[0].value.s;
	insn->relative_size = z->raw.imm[0].size / 8;
	if (z->mnemonic == ZYDIS_MNEMONIC_JMP)
		insn->kind = INSN_JUMP;
	else if (z->mnemonic == ZYDIS_MNEMONIC_CALL)
		insn->kind = INSN_CALL;
	else if (z->opcode >= 0xe0 && z->opcode <= 0xe3 && z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
		insn->kind = INSN_BRANCH_SHORT;
	else if (z->mnemonic != ZYDIS_MNEMONIC_XBEGIN)
		insn->kind = INSN_BRANCH;
	else
		insn->kind = INSN_UNSUPPORTED;
	if (insn->kind == INSN_BRANCH)
		insn->condition = z->opcode & 15;
	/* A 66 prefix makes it rel16 with IP cut to 16 bits on AMD and is ignored on Intel: nobody means it. With REX.W it only pads: that is
	   how the call of __tls_get_addr is made 8 bytes long. */
	bool rel16 = (z->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) && !z->raw.rex.W;
	if (rel16 || (insn->relative_size != 1 && insn->relative_size != 4))
		insn->kind = INSN_UNSUPPORTED;
}

/*
 * A jump of one byte over a lock prefix: the C library locks only when there are threads to lock against. Both ways do the same to the same
 * place, so it is one instruction that may be copied as it is; nothing but its own jump leads into it.
 */
static int decode_maybe_locked(const uint8_t *bytes, size_t left, vaddr at, struct insn *ret_insn)
{
	struct insn insn;
	if (insn_decode(bytes + 2, left - 2, (vaddr){at.v + 2}, &insn) || insn.kind != INSN_PLAIN)
		return -1;
	insn.length += 2;
	insn.rip_field += insn.rip_field ? 2 : 0;
	*ret_insn = insn;
	return 0;
}

int insn_decode(const uint8_t *bytes, size_t left, vaddr at, struct insn *ret_insn)
{
	ZydisDecodedInstruction z;
	struct insn insn = {0};
	pthread_once(&decoder_once, decoder_init);
	if (insn_is_maybe_locked(bytes, left) && !decode_maybe_locked(bytes, left, at, ret_insn))
		return 0;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes, left, &z)))
		return -1;
	insn.length = z.length;
	if (z.raw.imm[0].is_relative) {
		relative_branch(&z, at, &insn);
	} else {
		insn.kind = branch_kind(&z);
		if ((z.attributes & ZYDIS_ATTRIB_HAS_MODRM) && z.raw.modrm.mod == 0 && z.raw.modrm.rm == 5 && z.raw.disp.size == 32) {
			insn.rip_field = z.raw.disp.offset;
			insn.target = at.v + z.length + (uint64_t)z.raw.disp.value;
			/* With a 67 prefix the sum is cut to 32 bits. */
			if (z.attributes & ZYDIS_ATTRIB_HAS_ADDRESSSIZE)
				insn.kind = INSN_UNSUPPORTED;
		}
	}
	insn.is_endbr = z.mnemonic == ZYDIS_MNEMONIC_ENDBR64;
	insn.is_nop = z.mnemonic == ZYDIS_MNEMONIC_NOP;
	insn.has_bnd_or_notrack = (z.attributes & (ZYDIS_ATTRIB_HAS_BND | ZYDIS_ATTRIB_HAS_NOTRACK)) != 0;
	*ret_insn = insn;
	return 0;
}

static uint8_t flag_set(ZyanU32 flags)
{
	return (uint8_t)((flags & ZYDIS_CPUFLAG_PF ? 1 : 0) | (flags & ZYDIS_CPUFLAG_AF ? 2 : 0) | (flags & ZYDIS_CPUFLAG_ZF ? 4 : 0) |
			 (flags & ZYDIS_CPUFLAG_SF ? 8 : 0) | (flags & ZYDIS_CPUFLAG_OF ? 16 : 0));
}

/* Shifts by zero and string instructions repeated zero times leave the flags as they were. */
static bool writes_sometimes(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		if (z->opcode == 0xd0 || z->opcode == 0xd1)
			return false; /* by one */
		return z->raw.imm[0].size == 0 || (z->raw.imm[0].value.u & 31) == 0;
	default:
		return (z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
	}
}

int insn_flags(const uint8_t *bytes, size_t left, uint8_t *ret_read, uint8_t *ret_written)
{
	ZydisDecodedInstruction z;
	pthread_once(&decoder_once, decoder_init);
	if (insn_is_maybe_locked(bytes, left)) {
		*ret_read = INSN_FLAGS;
		*ret_written = 0;
		return 0;
	}
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes, left, &z)))
		return -1;
	const ZydisAccessedFlags *f = z.cpu_flags;
	*ret_read = *ret_written = 0;
	if (!f)
		return 0;
	*ret_read = flag_set(f->tested);
	if (!writes_sometimes(&z))
		*ret_written = flag_set(f->modified | f->set_0 | f->set_1 | f->undefined);
	return 0;
}

/* Does the memory operand of this ModRM byte (mod below 3), or the register operand, use `reg`? */
static bool operand_uses(const uint8_t *modrm, uint8_t rex, int reg)
{
	int rm = *modrm & 7, b = (rex & 1) << 3, x = (rex & 2) << 2;
	if (*modrm >> 6 == 3)
		return (rm | b) == reg;
	if (rm == 4)
		return ((modrm[1] & 7) | b) == reg || ((modrm[1] >> 3 & 7) | x) == reg;
	return (*modrm & 0xc7) != 5 && (rm | b) == reg;
}

int insn_overwrites(const uint8_t *bytes, size_t length)
{
	uint8_t rex = length > 2 && (*bytes & 0xf0) == 0x40 ? *bytes : 0;
	const uint8_t *op = bytes + (rex ? 1 : 0), *modrm = op + (*op == 0x0f ? 2 : 1);
	int reg = -1;
	if ((*op & 0xf8) == 0xb8)
		reg = (*op & 7) | (rex & 1) << 3;
	else if (length < (size_t)(modrm - bytes) + 1)
		return -1;
	else if (*op == 0xc7 && (*modrm & 0xf8) == 0xc0)
		reg = (*modrm & 7) | (rex & 1) << 3;
	else if (*op == 0x8b || *op == 0x8d || (*op == 0x63 && (rex & 8)) ||
		 (*op == 0x0f && (op[1] == 0xb6 || op[1] == 0xb7 || op[1] == 0xbe || op[1] == 0xbf)))
		reg = (*modrm >> 3 & 7) | (rex & 4) << 1;
	bool has_source = (*op & 0xf8) != 0xb8 && *op != 0xc7;
	if (reg < 0 || (reg & 7) == 4 || (has_source && operand_uses(modrm, rex, reg)))
		return -1;
	/* A byte register without REX may be the second byte of one of the first four. */
	bool high_byte = *op == 0x0f && (op[1] == 0xb6 || op[1] == 0xbe) && !rex && *modrm >> 6 == 3 && (*modrm & 7) >= 4;
	return high_byte && (*modrm & 3) == reg ? -1 : reg;
}
