#include "analyze/emit/unwind_parts.h"

#include "analyze/elf/cfi_pointer.h"

#include <string.h>

enum {
	CFA_ADVANCE_LOC = 0x40,
	CFA_OFFSET = 0x80,
	CFA_RESTORE = 0xc0,
	CFA_ADVANCE_LOC1 = 0x02,
	CFA_ADVANCE_LOC2 = 0x03,
	CFA_ADVANCE_LOC4 = 0x04,
	CFA_UNDEFINED = 0x07,
	CFA_SAME_VALUE = 0x08,
	CFA_REGISTER = 0x09,
	CFA_DEF_CFA = 0x0c,
	CFA_DEF_CFA_REGISTER = 0x0d,
	CFA_DEF_CFA_OFFSET = 0x0e,
	CFA_DEF_CFA_EXPRESSION = 0x0f,
	CFA_EXPRESSION = 0x10,
	CFA_OFFSET_EXTENDED_SF = 0x11,
	CFA_VAL_OFFSET_SF = 0x15,
	CFA_VAL_EXPRESSION = 0x16,
	CFA_GNU_ARGS_SIZE = 0x2e,

	RELATIVE = CFI_POINTER_PCREL | CFI_POINTER_SDATA4,
};

static void write_expression(struct writer *w, const struct cfi_rule *rule)
{
	write_uleb(w, rule->size);
	write_bytes(w, rule->expression, rule->size);
}

static void write_cfa(struct writer *w, const struct cfi_row *from, const struct cfi_row *to)
{
	bool same_register = from->cfa.kind == CFI_VALUE_OFFSET && from->cfa_register == to->cfa_register;
	bool same_offset = from->cfa.kind == CFI_VALUE_OFFSET && from->cfa.offset == to->cfa.offset;
	if (to->cfa.kind == CFI_VALUE_EXPRESSION) {
		if (cfi_rule_equal(&from->cfa, &to->cfa))
			return;
		write_u8(w, CFA_DEF_CFA_EXPRESSION);
		write_expression(w, &to->cfa);
	} else if (same_register && same_offset) {
		return;
	} else if (same_register) {
		write_u8(w, CFA_DEF_CFA_OFFSET);
		write_uleb(w, (uint64_t)to->cfa.offset);
	} else if (same_offset) {
		write_u8(w, CFA_DEF_CFA_REGISTER);
		write_uleb(w, to->cfa_register);
	} else {
		write_u8(w, CFA_DEF_CFA);
		write_uleb(w, to->cfa_register);
		write_uleb(w, (uint64_t)to->cfa.offset);
	}
}

static void write_offset(struct writer *w, uint8_t reg, int64_t factor)
{
	if (factor >= 0) {
		write_u8(w, CFA_OFFSET | reg); /* CFI_REGISTERS < 64 */
		write_uleb(w, (uint64_t)factor);
	} else {
		write_u8(w, CFA_OFFSET_EXTENDED_SF);
		write_uleb(w, reg);
		write_sleb(w, factor);
	}
}

static void write_rule(struct writer *w, uint8_t reg, const struct cfi_rule *rule, int64_t data_align)
{
	static const uint8_t operations[] = {
	    [CFI_UNDEFINED] = CFA_UNDEFINED, [CFI_SAME_VALUE] = CFA_SAME_VALUE, [CFI_VALUE_OFFSET] = CFA_VAL_OFFSET_SF,
	    [CFI_REGISTER] = CFA_REGISTER,   [CFI_EXPRESSION] = CFA_EXPRESSION, [CFI_VALUE_EXPRESSION] = CFA_VAL_EXPRESSION,
	};
	if (rule->kind == CFI_OFFSET) {
		write_offset(w, reg, rule->offset / data_align);
		return;
	}
	/* No rule again: then the CIE had none either, since only DW_CFA_restore and restore_state take a rule back. */
	if (rule->kind == CFI_UNSPECIFIED) {
		write_u8(w, CFA_RESTORE | reg);
		return;
	}
	write_u8(w, operations[rule->kind]);
	write_uleb(w, reg);
	if (rule->kind == CFI_VALUE_OFFSET)
		write_sleb(w, rule->offset / data_align);
	else if (rule->kind == CFI_REGISTER)
		write_uleb(w, (uint64_t)rule->offset);
	else if (rule->kind == CFI_EXPRESSION || rule->kind == CFI_VALUE_EXPRESSION)
		write_expression(w, rule);
}

void unwind_write_difference(struct writer *w, const struct cfi_row *from, const struct cfi_row *to, int64_t data_align)
{
	write_cfa(w, from, to);
	for (uint8_t reg = 0; reg < CFI_REGISTERS; reg++)
		if (!cfi_rule_equal(&from->registers[reg], &to->registers[reg]))
			write_rule(w, reg, &to->registers[reg], data_align);
	if (from->args_size != to->args_size) {
		write_u8(w, CFA_GNU_ARGS_SIZE);
		write_uleb(w, to->args_size);
	}
}

static void write_advance(struct writer *w, uint32_t delta)
{
	if (delta < 0x40) {
		write_u8(w, (uint8_t)(CFA_ADVANCE_LOC | delta));
	} else if (delta < 0x100) {
		write_u8(w, CFA_ADVANCE_LOC1);
		write_u8(w, (uint8_t)delta);
	} else if (delta < 0x10000) {
		write_u8(w, CFA_ADVANCE_LOC2);
		write_u16(w, (uint16_t)delta);
	} else {
		write_u8(w, CFA_ADVANCE_LOC4);
		write_u32(w, delta);
	}
}

static bool cie_equal(const struct cfi_cie *a, const struct cfi_cie *b)
{
	return a->personality == b->personality && a->signal_frame == b->signal_frame && a->data_align == b->data_align &&
	       (a->personality_encoding & CFI_POINTER_INDIRECT) == (b->personality_encoding & CFI_POINTER_INDIRECT) &&
	       cfi_row_equal(&a->initial, &b->initial);
}

/* Ends the entry that began at data offset `start`: pads it with DW_CFA_nop and fills in its length. */
static void end_entry(struct unwind *u, size_t start)
{
	write_pad(&u->data, 4, 0);
	if (!u->data.failed)
		store_u32(u->data.data + start, (uint32_t)(u->data.size - start - 4));
}

static int write_new_cie(struct unwind *u, const struct cfi_cie *cie)
{
	static const struct cfi_row nothing;
	struct writer *w = &u->data;
	size_t start = w->size;
	int status = 0;
	write_u32(w, 0);
	write_u32(w, 0);
	write_u8(w, 1);
	write_u8(w, 'z');
	write_bytes(w, "PL", cie->personality ? 2 : 0);
	write_u8(w, 'R');
	write_bytes(w, "S", cie->signal_frame ? 1 : 0);
	write_u8(w, 0);
	write_uleb(w, 1);
	write_sleb(w, cie->data_align);
	write_u8(w, CFI_RETURN_ADDRESS);
	write_uleb(w, cie->personality ? 7 : 1);
	if (cie->personality) {
		write_u8(w, RELATIVE | (cie->personality_encoding & CFI_POINTER_INDIRECT));
		status = unwind_write_module_pointer(u, cie->personality);
		write_u8(w, RELATIVE);
	}
	write_u8(w, RELATIVE);
	unwind_write_difference(w, &nothing, &cie->initial, cie->data_align);
	end_entry(u, start);
	return status;
}

int unwind_write_cie(struct unwind *u, const struct image_fde *fde, const struct unwind_cie **ret_cie)
{
	struct unwind_cie new = {.original = fde->cie};
	for (size_t i = u->cies.count; i-- > 0;) {
		if (u->cies.data[i].original == fde->cie) {
			*ret_cie = &u->cies.data[i];
			return 0;
		}
	}
	int status = cfi_read_cie(u->image, fde->cie, &new.cie, u->e);
	if (status)
		return status;
	for (size_t i = 0; i < u->cies.count && !new.at; i++)
		if (cie_equal(&u->cies.data[i].cie, &new.cie))
			new.at = u->cies.data[i].at;
	if (!new.at) {
		new.at = unwind_position(u);
		status = write_new_cie(u, &new.cie);
	}
	if (!status && vec_push(&u->cies, new))
		status = err_set(u->e, ERR_MEMORY, "unwind: no memory");
	if (!status)
		*ret_cie = &u->cies.data[u->cies.count - 1];
	return status;
}

struct program {
	struct writer *w;
	const struct cfi_row *row; /* in force */
	uint32_t position;	   /* region offset where it took effect */
	int64_t data_align;
};

static void set_row(struct program *p, uint32_t at, const struct cfi_row *row)
{
	if (cfi_row_equal(p->row, row))
		return;
	if (at != p->position)
		write_advance(p->w, at - p->position);
	unwind_write_difference(p->w, p->row, row, p->data_align);
	p->position = at;
	p->row = row;
}

static void write_run(struct program *p, const struct cfi_rows *rows, const struct plan_run *run, uint64_t original)
{
	const struct cfi_row *row = cfi_row_at(rows, original), *end = rows->rows + rows->count;
	set_row(p, run->image, row);
	if (run->kind != PLAN_RUN_COPY)
		return;
	for (row++; row < end && row->start < original + run->image_size; row++)
		set_row(p, run->image + (uint32_t)(row->start - original), row);
}

static int write_program(struct unwind *u, const struct unwind_fragment *fragment, const struct cfi_cie *cie)
{
	struct cfi_rows rows;
	int status = cfi_evaluate(u->image, fragment->fde, &rows, u->e);
	if (status)
		return status;
	struct program p = {&u->data, &cie->initial, fragment->start, cie->data_align};
	for (uint32_t i = fragment->first_run; i < fragment->end_run; i++) {
		const struct plan_run *run = &u->module->runs[i];
		if (run->image_size)
			write_run(&p, &rows, run, unwind_original(u, run));
	}
	cfi_rows_free(&rows);
	return 0;
}

int unwind_write_fde(struct unwind *u, const struct unwind_fragment *fragment, uint32_t *ret_at)
{
	const struct unwind_cie *cie;
	struct writer *w = &u->data;
	int status = unwind_write_cie(u, fragment->fde, &cie);
	if (status)
		return status;
	size_t start = w->size;
	*ret_at = unwind_position(u);
	write_u32(w, 0);
	write_u32(w, unwind_position(u) - cie->at);
	write_u32(w, fragment->start - unwind_position(u));
	write_u32(w, fragment->end - fragment->start);
	write_uleb(w, cie->cie.personality ? 4 : 0);
	if (cie->cie.personality)
		write_u32(w, fragment->lsda ? fragment->lsda - unwind_position(u) : 0);
	status = write_program(u, fragment, &cie->cie);
	end_entry(u, start);
	return status;
}
