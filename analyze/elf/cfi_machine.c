#include "analyze/elf/cfi_machine.h"

#include "analyze/elf/cfi_pointer.h"

enum {
	CFA_ADVANCE_LOC = 0x40, /* the three with an operand in the low six bits */
	CFA_OFFSET = 0x80,
	CFA_RESTORE = 0xc0,

	CFA_NOP = 0x00,
	CFA_SET_LOC = 0x01,
	CFA_ADVANCE_LOC1 = 0x02,
	CFA_ADVANCE_LOC2 = 0x03,
	CFA_ADVANCE_LOC4 = 0x04,
	CFA_OFFSET_EXTENDED = 0x05,
	CFA_RESTORE_EXTENDED = 0x06,
	CFA_UNDEFINED = 0x07,
	CFA_SAME_VALUE = 0x08,
	CFA_REGISTER = 0x09,
	CFA_REMEMBER_STATE = 0x0a,
	CFA_RESTORE_STATE = 0x0b,
	CFA_DEF_CFA = 0x0c,
	CFA_DEF_CFA_REGISTER = 0x0d,
	CFA_DEF_CFA_OFFSET = 0x0e,
	CFA_DEF_CFA_EXPRESSION = 0x0f,
	CFA_EXPRESSION = 0x10,
	CFA_OFFSET_EXTENDED_SF = 0x11,
	CFA_DEF_CFA_SF = 0x12,
	CFA_DEF_CFA_OFFSET_SF = 0x13,
	CFA_VAL_OFFSET = 0x14,
	CFA_VAL_OFFSET_SF = 0x15,
	CFA_VAL_EXPRESSION = 0x16,
	CFA_GNU_ARGS_SIZE = 0x2e,
	CFA_GNU_NEGATIVE_OFFSET_EXTENDED = 0x2f,
};

static int bad(const struct cfi_machine *m, enum err_code code, const char *what, struct err *e)
{
	return err_set(e, code, ".eh_frame: entry at 0x%lx: %s", (unsigned long)m->entry, what);
}

/* `factor` times the data alignment; the reader fails when that overflows, so that re-emission can always divide again. */
static int64_t scaled(struct cfi_machine *m, int64_t factor)
{
	int64_t offset;
	if (__builtin_mul_overflow(factor, m->cie->data_align, &offset) || offset == INT64_MIN) {
		m->r.failed = true;
		return 0;
	}
	return offset;
}

static int64_t read_factor(struct cfi_machine *m)
{
	uint64_t factor = read_uleb(&m->r);
	if (factor > INT64_MAX)
		m->r.failed = true;
	return scaled(m, (int64_t)(factor & INT64_MAX));
}

static int64_t read_signed_factor(struct cfi_machine *m)
{
	return scaled(m, read_sleb(&m->r));
}

static int set_location(struct cfi_machine *m, uint64_t location, struct cfi_row_list *rows, struct err *e)
{
	if (location < m->row.start)
		return bad(m, ERR_UNSUPPORTED, "the location goes backwards", e);
	if (location == m->row.start)
		return 0;
	m->advanced = true;
	if (rows && m->row.start < m->end) {
		if (rows->rows.count >= CFI_ROWS_MAX)
			return bad(m, ERR_UNSUPPORTED, "too many rows", e);
		if (vec_push(&rows->rows, m->row))
			return bad(m, ERR_MEMORY, "no memory", e);
	}
	m->row.start = location;
	return 0;
}

static int advance(struct cfi_machine *m, uint64_t delta, struct cfi_row_list *rows, struct err *e)
{
	uint64_t location = m->row.start + delta * m->cie->code_align; /* delta < 2^32, code_align <= 16 */
	if (location < m->row.start)
		return bad(m, ERR_FORMAT, "the location wraps around", e);
	return set_location(m, location, rows, e);
}

static int set_rule(struct cfi_machine *m, uint64_t reg, struct cfi_rule rule, struct err *e)
{
	if (reg >= CFI_REGISTERS)
		return bad(m, ERR_UNSUPPORTED, "a rule for an unknown register", e);
	if (rule.kind == CFI_REGISTER && (rule.offset < 0 || rule.offset >= CFI_RETURN_ADDRESS))
		return bad(m, ERR_UNSUPPORTED, "a register saved in an unknown register", e);
	m->row.registers[reg] = rule;
	return 0;
}

static int set_offset(struct cfi_machine *m, uint64_t reg, enum cfi_rule_kind kind, int64_t offset, struct err *e)
{
	return set_rule(m, reg, (struct cfi_rule){.kind = kind, .offset = offset}, e);
}

static int set_cfa(struct cfi_machine *m, uint64_t reg, int64_t offset, struct err *e)
{
	if (reg >= CFI_RETURN_ADDRESS)
		return bad(m, ERR_UNSUPPORTED, "the CFA is relative to an unknown register", e);
	m->row.cfa_register = (uint8_t)reg;
	m->row.cfa = (struct cfi_rule){.kind = CFI_VALUE_OFFSET, .offset = offset};
	return 0;
}

/* def_cfa_offset and def_cfa_register change one half of a register and offset rule; after an expression there is no such rule. */
static int change_cfa(struct cfi_machine *m, uint64_t reg, int64_t offset, struct err *e)
{
	if (m->row.cfa.kind != CFI_VALUE_OFFSET)
		return bad(m, ERR_UNSUPPORTED, "half a CFA rule", e);
	return set_cfa(m, reg, offset, e);
}

static int read_expression(struct cfi_machine *m, enum cfi_rule_kind kind, struct cfi_rule *ret_rule, struct err *e)
{
	uint64_t size = read_uleb(&m->r);
	if (m->r.failed || size > reader_left(&m->r))
		return bad(m, ERR_FORMAT, "an expression leaves the entry", e);
	const uint8_t *bytes = read_bytes(&m->r, size);
	if (!cfi_expression_movable(bytes, size))
		return bad(m, ERR_UNSUPPORTED, "an expression uses the pc or an unknown operation", e);
	*ret_rule = (struct cfi_rule){.kind = (uint8_t)kind, .size = (uint32_t)size, .expression = bytes};
	return 0;
}

static int set_expression(struct cfi_machine *m, enum cfi_rule_kind kind, struct err *e)
{
	uint64_t reg = read_uleb(&m->r);
	struct cfi_rule rule;
	int status = read_expression(m, kind, &rule, e);
	return status ? status : set_rule(m, reg, rule, e);
}

static int set_cfa_expression(struct cfi_machine *m, struct err *e)
{
	m->row.cfa_register = 0;
	return read_expression(m, CFI_VALUE_EXPRESSION, &m->row.cfa, e);
}

static int restore(struct cfi_machine *m, uint64_t reg, struct err *e)
{
	if (!m->initial)
		return bad(m, ERR_UNSUPPORTED, "restore in initial instructions", e);
	if (reg >= CFI_REGISTERS)
		return bad(m, ERR_UNSUPPORTED, "a rule for an unknown register", e);
	m->row.registers[reg] = m->initial->registers[reg];
	return 0;
}

static int remember_state(struct cfi_machine *m, struct err *e)
{
	if (m->depth >= CFI_REMEMBER_DEPTH)
		return bad(m, ERR_UNSUPPORTED, "states remembered too deeply", e);
	m->remembered[m->depth++] = m->row;
	return 0;
}

/* Everything but location and args_size, as libgcc does. */
static int restore_state(struct cfi_machine *m, struct err *e)
{
	if (!m->depth)
		return bad(m, ERR_FORMAT, "no remembered state", e);
	uint64_t start = m->row.start, args_size = m->row.args_size;
	m->row = m->remembered[--m->depth];
	m->row.start = start;
	m->row.args_size = args_size;
	return 0;
}

static int run_location(struct cfi_machine *m, uint8_t op, struct cfi_row_list *rows, struct err *e)
{
	switch (op) {
	case CFA_ADVANCE_LOC1:
		return advance(m, read_u8(&m->r), rows, e);
	case CFA_ADVANCE_LOC2:
		return advance(m, read_u16(&m->r), rows, e);
	case CFA_ADVANCE_LOC4:
		return advance(m, read_u32(&m->r), rows, e);
	default: {
		uint64_t location = cfi_pointer_read(&m->r, m->base, m->cie->fde_encoding);
		return m->r.failed ? bad(m, ERR_FORMAT, "bad location", e) : set_location(m, location, rows, e);
	}
	}
}

static int run_cfa(struct cfi_machine *m, uint8_t op, struct err *e)
{
	uint64_t reg;
	switch (op) {
	case CFA_DEF_CFA:
		reg = read_uleb(&m->r);
		return set_cfa(m, reg, (int64_t)read_uleb(&m->r), e);
	case CFA_DEF_CFA_SF:
		reg = read_uleb(&m->r);
		return set_cfa(m, reg, read_signed_factor(m), e);
	case CFA_DEF_CFA_REGISTER:
		return change_cfa(m, read_uleb(&m->r), m->row.cfa.offset, e);
	case CFA_DEF_CFA_OFFSET:
		return change_cfa(m, m->row.cfa_register, (int64_t)read_uleb(&m->r), e);
	case CFA_DEF_CFA_OFFSET_SF:
		return change_cfa(m, m->row.cfa_register, read_signed_factor(m), e);
	default:
		return set_cfa_expression(m, e);
	}
}

static int run_rule(struct cfi_machine *m, uint8_t op, struct err *e)
{
	uint64_t reg;
	if (op == CFA_EXPRESSION || op == CFA_VAL_EXPRESSION)
		return set_expression(m, op == CFA_EXPRESSION ? CFI_EXPRESSION : CFI_VALUE_EXPRESSION, e);
	reg = read_uleb(&m->r);
	switch (op) {
	case CFA_OFFSET_EXTENDED:
		return set_offset(m, reg, CFI_OFFSET, read_factor(m), e);
	case CFA_OFFSET_EXTENDED_SF:
		return set_offset(m, reg, CFI_OFFSET, read_signed_factor(m), e);
	case CFA_GNU_NEGATIVE_OFFSET_EXTENDED:
		return set_offset(m, reg, CFI_OFFSET, -read_factor(m), e);
	case CFA_VAL_OFFSET:
		return set_offset(m, reg, CFI_VALUE_OFFSET, read_factor(m), e);
	case CFA_VAL_OFFSET_SF:
		return set_offset(m, reg, CFI_VALUE_OFFSET, read_signed_factor(m), e);
	case CFA_REGISTER:
		return set_offset(m, reg, CFI_REGISTER, (int64_t)read_uleb(&m->r), e);
	case CFA_UNDEFINED:
		return set_offset(m, reg, CFI_UNDEFINED, 0, e);
	case CFA_SAME_VALUE:
		return set_offset(m, reg, CFI_SAME_VALUE, 0, e);
	default:
		return restore(m, reg, e);
	}
}

static int run_extended(struct cfi_machine *m, uint8_t op, struct cfi_row_list *rows, struct err *e)
{
	switch (op) {
	case CFA_NOP:
		return 0;
	case CFA_SET_LOC:
	case CFA_ADVANCE_LOC1:
	case CFA_ADVANCE_LOC2:
	case CFA_ADVANCE_LOC4:
		return run_location(m, op, rows, e);
	case CFA_DEF_CFA:
	case CFA_DEF_CFA_SF:
	case CFA_DEF_CFA_REGISTER:
	case CFA_DEF_CFA_OFFSET:
	case CFA_DEF_CFA_OFFSET_SF:
	case CFA_DEF_CFA_EXPRESSION:
		return run_cfa(m, op, e);
	case CFA_OFFSET_EXTENDED:
	case CFA_OFFSET_EXTENDED_SF:
	case CFA_GNU_NEGATIVE_OFFSET_EXTENDED:
	case CFA_VAL_OFFSET:
	case CFA_VAL_OFFSET_SF:
	case CFA_REGISTER:
	case CFA_UNDEFINED:
	case CFA_SAME_VALUE:
	case CFA_RESTORE_EXTENDED:
	case CFA_EXPRESSION:
	case CFA_VAL_EXPRESSION:
		return run_rule(m, op, e);
	case CFA_REMEMBER_STATE:
		return remember_state(m, e);
	case CFA_RESTORE_STATE:
		return restore_state(m, e);
	case CFA_GNU_ARGS_SIZE:
		m->row.args_size = read_uleb(&m->r);
		return 0;
	default:
		return bad(m, ERR_UNSUPPORTED, "unknown call frame instruction", e);
	}
}

static int run_one(struct cfi_machine *m, struct cfi_row_list *rows, struct err *e)
{
	uint8_t op = read_u8(&m->r);
	switch (op & 0xc0) {
	case CFA_ADVANCE_LOC:
		return advance(m, op & 0x3f, rows, e);
	case CFA_OFFSET:
		return set_offset(m, op & 0x3f, CFI_OFFSET, read_factor(m), e);
	case CFA_RESTORE:
		return restore(m, op & 0x3f, e);
	default:
		return run_extended(m, op, rows, e);
	}
}

int cfi_machine_run(struct cfi_machine *m, struct cfi_row_list *rows, struct err *e)
{
	while (reader_left(&m->r)) {
		int status = run_one(m, rows, e);
		if (status)
			return status;
		if (m->r.failed)
			return bad(m, ERR_FORMAT, "an instruction is cut off", e);
	}
	return m->r.failed ? bad(m, ERR_FORMAT, "an instruction is cut off", e) : 0;
}
