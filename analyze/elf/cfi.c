#include "analyze/elf/cfi.h"

#include "analyze/elf/cfi_machine.h"
#include "analyze/elf/cfi_pointer.h"

#include <string.h>

/* Past pc range and augmentation, to the first instruction. */
static int open_program(const struct image *image, const struct image_fde *fde, struct cfi_machine *m, struct err *e)
{
	int status = cfi_open_entry(image, fde->fde, &m->r, &m->base, e);
	if (status)
		return status;
	(void)cfi_pointer_read(&m->r, m->base, m->cie->fde_encoding);
	(void)cfi_pointer_read(&m->r, 0, m->cie->fde_encoding & CFI_POINTER_FORM);
	if (m->cie->augmented) {
		uint64_t length = read_uleb(&m->r);
		if (length > reader_left(&m->r))
			m->r.failed = true;
		else
			m->r.position += length;
	}
	if (m->r.failed)
		return err_set(e, ERR_FORMAT, ".eh_frame: FDE at 0x%lx is cut off", (unsigned long)fde->fde);
	return 0;
}

int cfi_evaluate(const struct image *image, const struct image_fde *fde, struct cfi_rows *ret_rows, struct err *e)
{
	struct cfi_cie cie;
	struct cfi_row_list list = {0};
	int status = cfi_read_cie(image, fde->cie, &cie, e);
	if (status)
		return status;
	struct cfi_row remembered[CFI_REMEMBER_DEPTH];
	struct cfi_machine m = {
	    .cie = &cie,
	    .entry = fde->fde,
	    .end = fde->start + fde->size,
	    .row = cie.initial,
	    .initial = &cie.initial,
	    .remembered = remembered,
	};
	m.row.start = fde->start;
	status = open_program(image, fde, &m, e);
	if (!status)
		status = cfi_machine_run(&m, ret_rows ? &list : NULL, e);
	if (!status && ret_rows && m.row.start < m.end && vec_push(&list.rows, m.row))
		status = err_set(e, ERR_MEMORY, ".eh_frame: no memory");
	if (status || !ret_rows) {
		vec_free(&list.rows);
		return status;
	}
	*ret_rows = (struct cfi_rows){list.rows.data, (uint32_t)list.rows.count};
	return 0;
}

void cfi_rows_free(struct cfi_rows *rows)
{
	free(rows->rows);
	*rows = (struct cfi_rows){0};
}

const struct cfi_row *cfi_row_at(const struct cfi_rows *rows, uint64_t address)
{
	size_t low = 0, high = rows->count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (rows->rows[middle].start <= address)
			low = middle;
		else
			high = middle;
	}
	return &rows->rows[low];
}

bool cfi_rule_equal(const struct cfi_rule *a, const struct cfi_rule *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case CFI_OFFSET:
	case CFI_VALUE_OFFSET:
	case CFI_REGISTER:
		return a->offset == b->offset;
	case CFI_EXPRESSION:
	case CFI_VALUE_EXPRESSION:
		return a->size == b->size && (!a->size || !memcmp(a->expression, b->expression, a->size));
	default:
		return true;
	}
}

bool cfi_row_equal(const struct cfi_row *a, const struct cfi_row *b)
{
	if (!cfi_rule_equal(&a->cfa, &b->cfa) || a->args_size != b->args_size)
		return false;
	if (a->cfa.kind == CFI_VALUE_OFFSET && a->cfa_register != b->cfa_register)
		return false;
	for (unsigned i = 0; i < CFI_REGISTERS; i++)
		if (!cfi_rule_equal(&a->registers[i], &b->registers[i]))
			return false;
	return true;
}
