#include "apply/stack_row.h"

#include "formats/base/bytes.h"

#include <string.h>

enum { PE_ABSOLUTE = 0x00, PE_UDATA4 = 0x03, PE_SDATA4 = 0x0b, PE_PCREL = 0x10, PE_OMIT = 0xff };
enum { REMEMBER_DEPTH = 8, OPERATIONS_MAX = 100000 };

enum {
	CFA_NOP,
	CFA_SET_LOC,
	CFA_ADVANCE_LOC1,
	CFA_ADVANCE_LOC2,
	CFA_ADVANCE_LOC4,
	CFA_OFFSET_EXTENDED,
	CFA_RESTORE_EXTENDED,
	CFA_UNDEFINED,
	CFA_SAME_VALUE,
	CFA_REGISTER,
	CFA_REMEMBER_STATE,
	CFA_RESTORE_STATE,
	CFA_DEF_CFA,
	CFA_DEF_CFA_REGISTER,
	CFA_DEF_CFA_OFFSET,
	CFA_DEF_CFA_EXPRESSION,
	CFA_EXPRESSION,
	CFA_OFFSET_EXTENDED_SF,
	CFA_DEF_CFA_SF,
	CFA_DEF_CFA_OFFSET_SF,
	CFA_VAL_OFFSET,
	CFA_VAL_OFFSET_SF,
	CFA_VAL_EXPRESSION,
	CFA_GNU_ARGS_SIZE = 0x2e,
};

struct cie {
	uint64_t code_align;
	int64_t data_align;
	uint8_t pointer_encoding;
	bool augmented, signal_frame;
	struct reader program;
};

struct evaluation {
	const struct cie *cie;
	uint64_t location, pc;
	struct stack_row row, initial, remembered[REMEMBER_DEPTH];
	unsigned depth;
	bool failed;
};

/* Reader over one CIE or FDE after its length and id fields; *ret_id gets the id, *ret_id_at its address. */
static bool open_entry(const struct stack_module *module, uint64_t at, struct reader *ret_reader, uint32_t *ret_id, uint64_t *ret_id_at)
{
	if (at - module->bytes_at >= module->size)
		return false;
	struct reader r = reader_of(module->bytes, module->size);
	r.position = (size_t)(at - module->bytes_at);
	uint32_t length = read_u32(&r);
	if (r.failed || length < 4 || length >= 0xfffffff0 || length > reader_left(&r))
		return false;
	r.size = r.position + length;
	*ret_id_at = module->bytes_at + r.position;
	*ret_id = read_u32(&r);
	*ret_reader = r;
	return true;
}

/* Only what occurs in x86-64 tables: absolute, udata4, sdata4, plain or pcrel. */
static uint64_t read_pointer(const struct stack_module *module, struct reader *r, uint8_t encoding)
{
	uint64_t base = encoding & 0x70 ? module->bytes_at + r->position : 0;
	if ((encoding & 0x70) && (encoding & 0x70) != PE_PCREL)
		r->failed = true;
	switch (encoding & 0x0f) {
	case PE_ABSOLUTE:
		return base + read_u64(r);
	case PE_UDATA4:
		return base + read_u32(r);
	case PE_SDATA4:
		return base + (uint64_t)(int64_t)(int32_t)read_u32(r);
	default:
		r->failed = true;
		return 0;
	}
}

static void read_augmentation(const struct stack_module *module, struct reader *r, const char *letters, struct cie *cie)
{
	uint64_t size = read_uleb(r);
	struct reader data = *r;
	if (size > reader_left(r)) {
		r->failed = true;
		return;
	}
	data.size = data.position + (size_t)size;
	for (const char *letter = letters + 1; *letter; letter++) {
		if (*letter == 'R') {
			cie->pointer_encoding = read_u8(&data);
		} else if (*letter == 'P') {
			uint8_t encoding = read_u8(&data);
			read_pointer(module, &data, encoding & 0x7f);
		} else if (*letter == 'L') {
			read_u8(&data);
		} else if (*letter == 'S') {
			cie->signal_frame = true;
		} else if (*letter != 'B') {
			r->failed = true;
		}
	}
	r->failed |= data.failed;
	r->position += (size_t)size;
}

static bool read_cie(const struct stack_module *module, uint64_t at, struct cie *cie)
{
	struct reader r;
	uint32_t id;
	uint64_t id_at;
	if (!open_entry(module, at, &r, &id, &id_at) || id)
		return false;
	uint8_t version = read_u8(&r);
	const char *letters = (const char *)r.data + r.position;
	while (!r.failed && read_u8(&r))
		;
	if (r.failed || (version != 1 && version != 3))
		return false;
	*cie = (struct cie){.code_align = read_uleb(&r), .data_align = read_sleb(&r)};
	uint64_t return_register = version == 1 ? read_u8(&r) : read_uleb(&r);
	if (letters[0] == 'z') {
		cie->augmented = true;
		read_augmentation(module, &r, letters, cie);
	} else if (letters[0]) {
		return false;
	}
	cie->program = r;
	return !r.failed && return_register == EXPRESSION_REGISTERS - 1;
}

static void set_rule(struct evaluation *ev, uint64_t number, uint8_t kind, int64_t offset)
{
	if (number < EXPRESSION_REGISTERS) /* others (xmm) are of no interest here */
		ev->row.registers[number] = (struct stack_rule){.kind = kind, .offset = offset};
}

static void restore_rule(struct evaluation *ev, uint64_t number)
{
	if (number < EXPRESSION_REGISTERS)
		ev->row.registers[number] = ev->initial.registers[number];
}

static struct stack_rule read_expression(struct reader *r, uint8_t kind)
{
	uint64_t size = read_uleb(r);
	const uint8_t *bytes = size <= reader_left(r) ? read_bytes(r, (size_t)size) : NULL;
	if (!bytes) {
		r->failed = true;
		return (struct stack_rule){0};
	}
	return (struct stack_rule){.kind = kind, .size = (uint32_t)size, .expression = bytes};
}

static void set_expression(struct evaluation *ev, struct reader *r, uint8_t kind)
{
	uint64_t number = read_uleb(r);
	struct stack_rule rule = read_expression(r, kind);
	if (number < EXPRESSION_REGISTERS)
		ev->row.registers[number] = rule;
}

static void define_cfa(struct evaluation *ev, uint64_t number, int64_t offset)
{
	if (number >= EXPRESSION_REGISTERS)
		ev->failed = true;
	else
		ev->row.cfa = (struct stack_rule){.kind = STACK_RULE_VALUE, .cfa_register = (uint8_t)number, .offset = offset};
}

static void remember(struct evaluation *ev, bool restore)
{
	if (restore ? !ev->depth : ev->depth == REMEMBER_DEPTH)
		ev->failed = true;
	else if (restore)
		ev->row = ev->remembered[--ev->depth];
	else
		ev->remembered[ev->depth++] = ev->row;
}

/* False when the new location lies beyond the PC: the row is complete. */
static bool advance(struct evaluation *ev, uint64_t delta)
{
	uint64_t to = ev->location + delta * ev->cie->code_align;
	if (to > ev->pc)
		return false;
	ev->location = to;
	return true;
}

static void run_cfa_operation(struct evaluation *ev, struct reader *r, uint8_t op)
{
	int64_t align = ev->cie->data_align;
	uint64_t number;
	switch (op) {
	case CFA_DEF_CFA:
		number = read_uleb(r);
		define_cfa(ev, number, (int64_t)read_uleb(r));
		break;
	case CFA_DEF_CFA_SF:
		number = read_uleb(r);
		define_cfa(ev, number, read_sleb(r) * align);
		break;
	case CFA_DEF_CFA_REGISTER:
		define_cfa(ev, read_uleb(r), ev->row.cfa.offset);
		break;
	case CFA_DEF_CFA_OFFSET:
		define_cfa(ev, ev->row.cfa.cfa_register, (int64_t)read_uleb(r));
		break;
	case CFA_DEF_CFA_OFFSET_SF:
		define_cfa(ev, ev->row.cfa.cfa_register, read_sleb(r) * align);
		break;
	case CFA_DEF_CFA_EXPRESSION:
		ev->row.cfa = read_expression(r, STACK_RULE_VALUE_EXPRESSION);
		break;
	default:
		ev->failed = true;
		break;
	}
}

static void run_register_operation(struct evaluation *ev, struct reader *r, uint8_t op)
{
	int64_t align = ev->cie->data_align;
	uint64_t number;
	switch (op) {
	case CFA_OFFSET_EXTENDED:
		number = read_uleb(r);
		set_rule(ev, number, STACK_RULE_OFFSET, (int64_t)read_uleb(r) * align);
		break;
	case CFA_OFFSET_EXTENDED_SF:
		number = read_uleb(r);
		set_rule(ev, number, STACK_RULE_OFFSET, read_sleb(r) * align);
		break;
	case CFA_VAL_OFFSET:
		number = read_uleb(r);
		set_rule(ev, number, STACK_RULE_VALUE, (int64_t)read_uleb(r) * align);
		break;
	case CFA_VAL_OFFSET_SF:
		number = read_uleb(r);
		set_rule(ev, number, STACK_RULE_VALUE, read_sleb(r) * align);
		break;
	case CFA_RESTORE_EXTENDED:
		restore_rule(ev, read_uleb(r));
		break;
	case CFA_UNDEFINED:
		set_rule(ev, read_uleb(r), STACK_RULE_UNDEFINED, 0);
		break;
	case CFA_SAME_VALUE:
		set_rule(ev, read_uleb(r), STACK_RULE_SAME, 0);
		break;
	case CFA_REGISTER:
		number = read_uleb(r);
		set_rule(ev, number, STACK_RULE_REGISTER, (int64_t)read_uleb(r));
		break;
	case CFA_EXPRESSION:
		set_expression(ev, r, STACK_RULE_EXPRESSION);
		break;
	case CFA_VAL_EXPRESSION:
		set_expression(ev, r, STACK_RULE_VALUE_EXPRESSION);
		break;
	default:
		run_cfa_operation(ev, r, op);
		break;
	}
}

/* One instruction; false ends the program because the location passed the PC. */
static bool step(struct evaluation *ev, struct reader *r)
{
	uint8_t op = read_u8(r), low = op & 0x3f;
	switch (op >> 6) {
	case 1:
		return advance(ev, low);
	case 2:
		set_rule(ev, low, STACK_RULE_OFFSET, (int64_t)read_uleb(r) * ev->cie->data_align);
		return true;
	case 3:
		restore_rule(ev, low);
		return true;
	default:
		break;
	}
	switch (op) {
	case CFA_NOP:
		return true;
	case CFA_ADVANCE_LOC1:
		return advance(ev, read_u8(r));
	case CFA_ADVANCE_LOC2:
		return advance(ev, read_u16(r));
	case CFA_ADVANCE_LOC4:
		return advance(ev, read_u32(r));
	case CFA_GNU_ARGS_SIZE:
		read_uleb(r);
		return true;
	case CFA_REMEMBER_STATE:
		remember(ev, false);
		return true;
	case CFA_RESTORE_STATE:
		remember(ev, true);
		return true;
	default:
		run_register_operation(ev, r, op);
		return true;
	}
}

static bool run_program(struct evaluation *ev, struct reader program)
{
	for (unsigned count = 0; program.position < program.size; count++) {
		if (count == OPERATIONS_MAX)
			return false;
		bool more = step(ev, &program);
		if (ev->failed || program.failed)
			return false;
		if (!more)
			break;
	}
	return true;
}

bool stack_row_find(const struct stack_module *module, uint64_t fde, uint64_t pc, struct stack_row *ret_row)
{
	struct reader r;
	uint32_t id;
	uint64_t id_at;
	struct cie cie;
	if (!open_entry(module, fde, &r, &id, &id_at) || !id || !read_cie(module, id_at - id, &cie))
		return false;
	uint64_t start = read_pointer(module, &r, cie.pointer_encoding);
	uint64_t size = read_pointer(module, &r, cie.pointer_encoding & 0x0f);
	if (cie.augmented) {
		uint64_t skip = read_uleb(&r);
		if (skip > reader_left(&r))
			return false;
		r.position += (size_t)skip;
	}
	if (r.failed || pc - start >= size)
		return false;
	struct evaluation ev = {.cie = &cie, .location = start, .pc = pc};
	if (!run_program(&ev, cie.program))
		return false;
	ev.initial = ev.row;
	if (!run_program(&ev, r))
		return false;
	ev.row.signal_frame = cie.signal_frame;
	*ret_row = ev.row;
	return true;
}
