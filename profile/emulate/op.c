#include "profile/emulate/op.h"

#include "profile/emulate/thunk.h"

#include <Zydis/Zydis.h>
#include <string.h>

struct decoded {
	struct thunks *thunks;
	const uint8_t *bytes;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	struct op *op;
};

/* What works on registers and its named operand alone. */
static bool is_plain_category(ZydisInstructionCategory category)
{
	switch (category) {
	case ZYDIS_CATEGORY_ADOX_ADCX:
	case ZYDIS_CATEGORY_AES:
	case ZYDIS_CATEGORY_AVX:
	case ZYDIS_CATEGORY_AVX2:
	case ZYDIS_CATEGORY_AVX512:
	case ZYDIS_CATEGORY_AVX512_BITALG:
	case ZYDIS_CATEGORY_AVX512_VBMI:
	case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_BITBYTE:
	case ZYDIS_CATEGORY_BLEND:
	case ZYDIS_CATEGORY_BMI1:
	case ZYDIS_CATEGORY_BMI2:
	case ZYDIS_CATEGORY_BROADCAST:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_COMPRESS:
	case ZYDIS_CATEGORY_CONFLICT:
	case ZYDIS_CATEGORY_CONVERT:
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_EXPAND:
	case ZYDIS_CATEGORY_FCMOV:
	case ZYDIS_CATEGORY_GFNI:
	case ZYDIS_CATEGORY_IFMA:
	case ZYDIS_CATEGORY_KMASK:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_LOGICAL_FP:
	case ZYDIS_CATEGORY_LZCNT:
	case ZYDIS_CATEGORY_MMX:
	case ZYDIS_CATEGORY_PCLMULQDQ:
	case ZYDIS_CATEGORY_ROTATE:
	case ZYDIS_CATEGORY_SEMAPHORE:
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_SHA:
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_SSE:
	case ZYDIS_CATEGORY_STTNI:
	case ZYDIS_CATEGORY_VAES:
	case ZYDIS_CATEGORY_VBMI2:
	case ZYDIS_CATEGORY_VFMA:
	case ZYDIS_CATEGORY_VPCLMULQDQ:
	case ZYDIS_CATEGORY_X87_ALU:
		return true;
	default:
		return false;
	}
}

/* Those that need not name a vector register to change one: vzeroupper, emms. */
static bool is_vector_category(ZydisInstructionCategory category)
{
	switch (category) {
	case ZYDIS_CATEGORY_AVX:
	case ZYDIS_CATEGORY_AVX2:
	case ZYDIS_CATEGORY_AVX512:
	case ZYDIS_CATEGORY_MMX:
	case ZYDIS_CATEGORY_SSE:
	case ZYDIS_CATEGORY_X87_ALU:
		return true;
	default:
		return false;
	}
}

/* bt and its like with a register reach for the bit anywhere in memory, beyond the operand that they name. */
static bool reaches_beyond(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *operands)
{
	return insn->meta.category == ZYDIS_CATEGORY_BITBYTE && operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
	       operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

static bool is_plain_flag(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_CLC || m == ZYDIS_MNEMONIC_STC || m == ZYDIS_MNEMONIC_CMC || m == ZYDIS_MNEMONIC_LAHF ||
	       m == ZYDIS_MNEMONIC_SAHF;
}

static bool is_plain_misc(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_CPUID || m == ZYDIS_MNEMONIC_XGETBV || m == ZYDIS_MNEMONIC_BSWAP;
}

/* Number of the 64-bit register that holds it, or OP_NO_REGISTER. */
static uint8_t general(ZydisRegister reg)
{
	ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
	return ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64 ? (uint8_t)ZydisRegisterGetId(whole) : OP_NO_REGISTER;
}

static bool is_memory(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_MEMORY;
}

/* false: an address that is computed in another way (32-bit registers, a vector of indices). */
static bool take_place(struct decoded *d, const ZydisDecodedOperand *o)
{
	const ZydisDecodedOperandMem *m = &o->mem;
	struct op_place *p = &d->op->place;
	*p = (struct op_place){(uint64_t)(m->disp.has_displacement ? m->disp.value : 0), OP_NO_REGISTER, OP_NO_REGISTER, m->scale, 0};
	if ((m->type != ZYDIS_MEMOP_TYPE_MEM && m->type != ZYDIS_MEMOP_TYPE_AGEN) || d->insn.address_width != 64)
		return false;
	if (m->base == ZYDIS_REGISTER_RIP)
		p->displacement += d->op->address + d->insn.length;
	else if (m->base != ZYDIS_REGISTER_NONE && (p->base = general(m->base)) == OP_NO_REGISTER)
		return false;
	if (m->index != ZYDIS_REGISTER_NONE && (p->index = general(m->index)) == OP_NO_REGISTER)
		return false;
	p->segment = m->segment == ZYDIS_REGISTER_FS ? 1 : m->segment == ZYDIS_REGISTER_GS ? 2 : 0;
	d->op->has_place = true;
	d->op->writes_place = (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
	d->op->size = (uint8_t)(o->size / 8);
	return true;
}

/* --- what the CPU executes itself --- */

static bool is_vector_or_x87(ZydisRegisterClass class)
{
	switch (class) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
	case ZYDIS_REGCLASS_MMX:
	case ZYDIS_REGCLASS_X87:
	case ZYDIS_REGCLASS_MASK:
		return true;
	default:
		return false;
	}
}

static bool add_register(const ZydisDecodedOperand *o, struct thunk_needs *n, bool *ret_stack)
{
	ZydisRegister reg = o->reg.value;
	uint8_t number = general(reg);
	bool written = (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
	if (number == OP_RSP) {
		*ret_stack = true;
		return o->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT;
	}
	if (number != OP_NO_REGISTER) {
		n->read_or_written |= 1u << number;
		n->written |= written ? 1u << number : 0;
		return true;
	}
	switch (reg) {
	case ZYDIS_REGISTER_RFLAGS:
	case ZYDIS_REGISTER_EFLAGS:
	case ZYDIS_REGISTER_FLAGS:
		n->flags = true;
		return true;
	case ZYDIS_REGISTER_MXCSR:
	case ZYDIS_REGISTER_X87CONTROL:
	case ZYDIS_REGISTER_X87STATUS:
	case ZYDIS_REGISTER_X87TAG:
		n->vectors = true;
		return true;
	case ZYDIS_REGISTER_XCR0: /* xgetbv */
		return !written;
	default:
		n->vectors = true;
		return is_vector_or_x87(ZydisRegisterGetClass(reg));
	}
}

/* The needs of all operands; false when one is of a kind that is not emulated. */
static bool collect(struct decoded *d, struct thunk_needs *n, bool *ret_stack)
{
	for (unsigned i = 0; i < d->insn.operand_count; i++) {
		const ZydisDecodedOperand *o = &d->operands[i];
		if (o->type == ZYDIS_OPERAND_TYPE_POINTER)
			return false;
		if (is_memory(o) && (d->op->has_place || o->visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT || !take_place(d, o) ||
				     !d->op->size || o->size > THUNK_PLACE_MAX * 8))
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->reg.value != ZYDIS_REGISTER_NONE && !add_register(o, n, ret_stack))
			return false;
	}
	return true;
}

/* The low registers first: the others need a prefix that ah and its like cannot have. */
static uint8_t free_register(uint32_t *used)
{
	static const uint8_t order[] = {0, 1, 2, 3, 6, 7, 5, 8, 9, 10, 11};
	for (unsigned i = 0; i < sizeof order; i++)
		if (!(*used & 1u << order[i])) {
			*used |= 1u << order[i];
			return order[i];
		}
	return OP_NO_REGISTER;
}

/* rsp, esp, sp or spl as the same part of another register. */
static ZydisRegister instead_of_stack(ZydisRegister reg, uint8_t number)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(reg);
	if (class != ZYDIS_REGCLASS_GPR8)
		return ZydisRegisterEncode(class, number);
	if (number < 4)
		return (ZydisRegister)(ZYDIS_REGISTER_AL + number);
	return (ZydisRegister)(number < 8 ? ZYDIS_REGISTER_SPL + (number - 4) : ZYDIS_REGISTER_R8B + (number - 8));
}

/* The encoder is believed only as far as the decoder agrees. */
static bool says_the_same(const struct decoded *d, const uint8_t *bytes, ZyanUSize size)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, size, &insn, operands)) || insn.length != size ||
	    insn.mnemonic != d->insn.mnemonic || insn.operand_width != d->insn.operand_width || insn.operand_count != d->insn.operand_count)
		return false;
	const ZydisInstructionAttributes prefixes =
	    ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;
	if ((insn.attributes & prefixes) != (d->insn.attributes & prefixes))
		return false;
	for (unsigned i = 0; i < insn.operand_count; i++) {
		const ZydisDecodedOperand *a = &operands[i], *b = &d->operands[i];
		if (a->type != b->type || a->size != b->size || a->actions != b->actions || a->element_type != b->element_type)
			return false;
		if (a->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && a->imm.value.u != b->imm.value.u)
			return false;
		if (a->type == ZYDIS_OPERAND_TYPE_REGISTER && a->reg.value != b->reg.value && general(b->reg.value) != OP_RSP)
			return false;
		if (a->type == ZYDIS_OPERAND_TYPE_MEMORY && (a->mem.segment == ZYDIS_REGISTER_FS || a->mem.segment == ZYDIS_REGISTER_GS))
			return false;
	}
	return insn.avx.mask.mode == d->insn.avx.mask.mode && insn.avx.mask.reg == d->insn.avx.mask.reg &&
	       insn.avx.broadcast.mode == d->insn.avx.broadcast.mode && insn.avx.rounding.mode == d->insn.avx.rounding.mode;
}

static bool encode(const struct decoded *d, const struct thunk_needs *n, uint8_t *bytes, ZyanUSize *size)
{
	ZydisEncoderRequest request;
	if (!ZYAN_SUCCESS(ZydisEncoderDecodedInstructionToEncoderRequest(&d->insn, d->operands, d->insn.operand_count_visible, &request)))
		return false;
	request.prefixes &=
	    ~(ZydisInstructionAttributes)(ZYDIS_ATTRIB_HAS_SEGMENT | ZYDIS_ATTRIB_HAS_SEGMENT_CS | ZYDIS_ATTRIB_HAS_SEGMENT_SS |
					  ZYDIS_ATTRIB_HAS_SEGMENT_DS | ZYDIS_ATTRIB_HAS_SEGMENT_ES | ZYDIS_ATTRIB_HAS_SEGMENT_FS |
					  ZYDIS_ATTRIB_HAS_SEGMENT_GS);
	for (unsigned i = 0; i < request.operand_count; i++) {
		ZydisEncoderOperand *o = &request.operands[i];
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			o->mem.base = ZydisRegisterEncode(ZYDIS_REGCLASS_GPR64, n->operand);
			o->mem.index = ZYDIS_REGISTER_NONE;
			o->mem.scale = 0;
			o->mem.displacement = 0;
		} else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && general(o->reg.value) == OP_RSP) {
			o->reg.value = instead_of_stack(o->reg.value, n->stack);
		}
	}
	return ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&request, bytes, size)) && says_the_same(d, bytes, *size);
}

static void make_native(struct decoded *d, enum op_kind kind)
{
	struct thunk_needs needs = {
	    .operand = OP_NO_REGISTER, .stack = OP_NO_REGISTER, .vectors = is_vector_category(d->insn.meta.category)};
	uint8_t bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
	ZyanUSize size = d->insn.length;
	bool stack = false;
	if (reaches_beyond(&d->insn, d->operands) || !collect(d, &needs, &stack))
		return;
	uint32_t used = needs.read_or_written | 1u << OP_RSP;
	if (d->op->has_place)
		needs.operand = free_register(&used);
	if (stack)
		needs.stack = free_register(&used);
	memcpy(bytes, d->bytes, d->insn.length);
	if (d->op->has_place || stack) {
		size = sizeof bytes;
		if ((d->op->has_place && needs.operand == OP_NO_REGISTER) || (stack && needs.stack == OP_NO_REGISTER) ||
		    !encode(d, &needs, bytes, &size))
			return;
	}
	if (thunks_make(d->thunks, &needs, bytes, (uint32_t)size, &d->op->thunk))
		d->op->kind = (uint8_t)kind;
}

/* --- what is emulated by hand --- */

static bool take_reg_or_place(struct decoded *d)
{
	const ZydisDecodedOperand *o = &d->operands[0];
	d->op->size = (uint8_t)(o->size / 8);
	if (is_memory(o))
		return take_place(d, o);
	d->op->reg = o->type == ZYDIS_OPERAND_TYPE_REGISTER ? general(o->reg.value) : OP_NO_REGISTER;
	if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		d->op->immediate = o->imm.value.s;
	return o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE || d->op->reg != OP_NO_REGISTER;
}

static void make_transfer(struct decoded *d, enum op_kind direct, enum op_kind indirect)
{
	const ZydisDecodedOperand *o = &d->operands[0];
	if (d->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return;
	if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		d->op->target = d->op->address + d->insn.length + o->imm.value.u;
		d->op->kind = (uint8_t)direct;
	} else if (take_reg_or_place(d) && d->op->size == 8) {
		d->op->kind = (uint8_t)indirect;
	}
}

static void make_branch(struct decoded *d)
{
	static const ZydisMnemonic loops[] = {ZYDIS_MNEMONIC_LOOP, ZYDIS_MNEMONIC_LOOPE, ZYDIS_MNEMONIC_LOOPNE, ZYDIS_MNEMONIC_JRCXZ};
	d->op->target = d->op->address + d->insn.length + d->operands[0].imm.value.u;
	d->op->condition = d->insn.opcode & 15;
	d->op->kind = OP_BRANCH;
	for (unsigned i = 0; i < 4; i++)
		if (d->insn.mnemonic == loops[i]) {
			d->op->kind = d->insn.address_width == 64 ? OP_LOOP : OP_UNKNOWN;
			d->op->condition = (uint8_t)i;
			return;
		}
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_JECXZ || d->insn.mnemonic == ZYDIS_MNEMONIC_JCXZ)
		d->op->kind = OP_UNKNOWN;
}

static void make_string(struct decoded *d)
{
	static const struct {
		ZydisMnemonic mnemonic;
		uint8_t what, size;
	} known[] = {{ZYDIS_MNEMONIC_MOVSB, OP_MOVS, 1}, {ZYDIS_MNEMONIC_MOVSW, OP_MOVS, 2}, {ZYDIS_MNEMONIC_MOVSD, OP_MOVS, 4},
		     {ZYDIS_MNEMONIC_MOVSQ, OP_MOVS, 8}, {ZYDIS_MNEMONIC_STOSB, OP_STOS, 1}, {ZYDIS_MNEMONIC_STOSW, OP_STOS, 2},
		     {ZYDIS_MNEMONIC_STOSD, OP_STOS, 4}, {ZYDIS_MNEMONIC_STOSQ, OP_STOS, 8}, {ZYDIS_MNEMONIC_LODSB, OP_LODS, 1},
		     {ZYDIS_MNEMONIC_LODSW, OP_LODS, 2}, {ZYDIS_MNEMONIC_LODSD, OP_LODS, 4}, {ZYDIS_MNEMONIC_LODSQ, OP_LODS, 8},
		     {ZYDIS_MNEMONIC_SCASB, OP_SCAS, 1}, {ZYDIS_MNEMONIC_SCASW, OP_SCAS, 2}, {ZYDIS_MNEMONIC_SCASD, OP_SCAS, 4},
		     {ZYDIS_MNEMONIC_SCASQ, OP_SCAS, 8}, {ZYDIS_MNEMONIC_CMPSB, OP_CMPS, 1}, {ZYDIS_MNEMONIC_CMPSW, OP_CMPS, 2},
		     {ZYDIS_MNEMONIC_CMPSD, OP_CMPS, 4}, {ZYDIS_MNEMONIC_CMPSQ, OP_CMPS, 8}};
	if (d->insn.address_width != 64 || (d->insn.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)))
		return;
	for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
		if (d->insn.mnemonic == known[i].mnemonic) {
			d->op->kind = OP_STRING;
			d->op->condition = known[i].what;
			d->op->size = known[i].size;
		}
	if (d->insn.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		d->op->repeat = OP_REP;
	else if (d->insn.attributes & ZYDIS_ATTRIB_HAS_REPNE)
		d->op->repeat = OP_REPNE;
}

static void make_stack(struct decoded *d, bool push)
{
	if (d->insn.mnemonic == (push ? ZYDIS_MNEMONIC_PUSHFQ : ZYDIS_MNEMONIC_POPFQ))
		d->op->kind = push ? OP_PUSH_FLAGS : OP_POP_FLAGS;
	else if (d->insn.mnemonic == (push ? ZYDIS_MNEMONIC_PUSH : ZYDIS_MNEMONIC_POP) && d->insn.operand_width == 64 &&
		 take_reg_or_place(d) && (push || d->op->reg != OP_NO_REGISTER))
		d->op->kind = push ? OP_PUSH : OP_POP;
}

static void make_misc(struct decoded *d)
{
	if (d->insn.mnemonic == ZYDIS_MNEMONIC_LEA && take_place(d, &d->operands[1])) {
		d->op->reg = general(d->operands[0].reg.value);
		d->op->size = (uint8_t)(d->operands[0].size / 8);
		d->op->kind = OP_LEA;
	} else if (d->insn.mnemonic == ZYDIS_MNEMONIC_LEAVE && d->insn.operand_width == 64) {
		d->op->kind = OP_LEAVE;
	} else if (d->insn.mnemonic == ZYDIS_MNEMONIC_PAUSE || d->insn.mnemonic == ZYDIS_MNEMONIC_LFENCE ||
		   d->insn.mnemonic == ZYDIS_MNEMONIC_MFENCE || d->insn.mnemonic == ZYDIS_MNEMONIC_SFENCE) {
		d->op->kind = OP_NOP;
	} else if (d->insn.mnemonic == ZYDIS_MNEMONIC_RDTSC || d->insn.mnemonic == ZYDIS_MNEMONIC_RDTSCP) {
		d->op->kind = OP_CLOCK;
		d->op->condition = d->insn.mnemonic == ZYDIS_MNEMONIC_RDTSCP;
	} else if (is_plain_misc(d->insn.mnemonic)) {
		make_native(d, OP_NATIVE);
	}
}

static void make(struct decoded *d)
{
	ZydisMnemonic m = d->insn.mnemonic;
	switch (d->insn.meta.category) {
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
	case ZYDIS_CATEGORY_PREFETCH:
	case ZYDIS_CATEGORY_PREFETCHWT1:
		d->op->kind = OP_NOP;
		break;
	case ZYDIS_CATEGORY_CET: /* without a shadow stack rdssp does nothing */
		if (m == ZYDIS_MNEMONIC_ENDBR64 || m == ZYDIS_MNEMONIC_ENDBR32 || m == ZYDIS_MNEMONIC_RDSSPQ || m == ZYDIS_MNEMONIC_RDSSPD)
			d->op->kind = OP_NOP;
		break;
	case ZYDIS_CATEGORY_UNCOND_BR:
		make_transfer(d, OP_JUMP, OP_JUMP_TO);
		break;
	case ZYDIS_CATEGORY_CALL:
		make_transfer(d, OP_CALL, OP_CALL_TO);
		break;
	case ZYDIS_CATEGORY_COND_BR:
		make_branch(d);
		break;
	case ZYDIS_CATEGORY_RET:
		if (d->insn.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR && m == ZYDIS_MNEMONIC_RET) {
			d->op->kind = OP_RETURN;
			d->op->immediate = d->insn.operand_count_visible ? d->operands[0].imm.value.s & 0xffff : 0;
		}
		break;
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_POP:
		make_stack(d, d->insn.meta.category == ZYDIS_CATEGORY_PUSH);
		break;
	case ZYDIS_CATEGORY_STRINGOP:
		make_string(d);
		break;
	case ZYDIS_CATEGORY_SYSCALL:
		d->op->kind = m == ZYDIS_MNEMONIC_SYSCALL ? OP_SYSCALL : OP_UNKNOWN;
		break;
	case ZYDIS_CATEGORY_FLAGOP:
		if (is_plain_flag(m))
			make_native(d, OP_NATIVE);
		else if (m == ZYDIS_MNEMONIC_CLD || m == ZYDIS_MNEMONIC_STD)
			d->op->kind = OP_DIRECTION;
		d->op->condition = m == ZYDIS_MNEMONIC_STD;
		break;
	case ZYDIS_CATEGORY_MISC:
	case ZYDIS_CATEGORY_SYSTEM: /* rdtsc */
		make_misc(d);
		break;
	default:
		if (is_plain_category(d->insn.meta.category) && !(d->insn.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED))
			make_native(d, m == ZYDIS_MNEMONIC_DIV || m == ZYDIS_MNEMONIC_IDIV ? OP_DIVIDE : OP_NATIVE);
	}
}

void op_decode(struct thunks *thunks, raddr address, const uint8_t *bytes, uint32_t size, struct op *ret_op)
{
	struct decoded d = {.thunks = thunks, .bytes = bytes, .op = ret_op};
	ZydisDecoder decoder;
	*ret_op = (struct op){.address = address.v, .reg = OP_NO_REGISTER, .next = OP_NONE, .taken = OP_NONE};
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, size, &d.insn, d.operands)))
		return;
	ret_op->length = d.insn.length;
	make(&d);
}
