/* Evaluation of call frame instructions: small programs by hand, and every FDE of system libraries against libdwarf. */
#include "analyze/elf/cfi.h"

#include "analyze/elf/cfi_machine.h"
#include "formats/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <libdwarf/dwarf.h>
#include <libdwarf/libdwarf.h>

enum { FRAMES = 0x10000, TEXT = 0x1000, TEXT_SIZE = 0x1000 };

/* An image whose .eh_frame is one CIE (rsp+8, return address at -8) at FRAMES and one FDE right after it. */
struct sample {
	struct image image;
	struct image_segment segment;
	struct image_fde fde;
	struct writer w;
};

static void make_sample(struct sample *s, const uint8_t *program, size_t size)
{
	static const uint8_t cie[] = {1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0};
	*s = (struct sample){0};
	write_u32(&s->w, 4 + sizeof cie);
	write_u32(&s->w, 0);
	write_bytes(&s->w, cie, sizeof cie);
	uint32_t at = (uint32_t)s->w.size;
	write_u32(&s->w, (uint32_t)(13 + size));
	write_u32(&s->w, at + 4);
	write_u32(&s->w, (uint32_t)TEXT - (FRAMES + at + 8));
	write_u32(&s->w, TEXT_SIZE);
	write_u8(&s->w, 0);
	write_bytes(&s->w, program, size);
	s->segment = (struct image_segment){.vaddr = FRAMES, .memory_size = s->w.size, .file_size = s->w.size};
	s->image = (struct image){.file = {.data = s->w.data, .size = s->w.size}, .segments = &s->segment, .segment_count = 1};
	s->fde = (struct image_fde){.start = TEXT, .size = TEXT_SIZE, .fde = FRAMES + at, .cie = FRAMES};
}

static int evaluate(struct sample *s, struct cfi_rows *ret_rows)
{
	struct err e = {0};
	int status = cfi_evaluate(&s->image, &s->fde, ret_rows, &e);
	struct err again = {0};
	assert_int_equal(cfi_evaluate(&s->image, &s->fde, NULL, &again), status);
	assert_int_equal(e.code, -status);
	assert_string_equal(e.text, again.text);
	return status;
}

#define PROGRAM(...)                                                                                                                       \
	static const uint8_t program[] = {__VA_ARGS__};                                                                                    \
	struct sample s;                                                                                                                   \
	struct cfi_rows rows;                                                                                                              \
	make_sample(&s, program, sizeof program)

#define END()                                                                                                                              \
	cfi_rows_free(&rows);                                                                                                              \
	writer_free(&s.w)

static void push_and_pop_gives_three_rows(void **state)
{
	(void)state;
	PROGRAM(0x41, 0x0e, 16, 0x83, 2, 0x42, 0x0e, 8, 0xc3, 0, 0);
	assert_int_equal(evaluate(&s, &rows), 0);
	assert_int_equal(rows.count, 3);
	assert_int_equal(rows.rows[0].cfa.offset, 8);
	assert_int_equal(rows.rows[0].registers[16].offset, -8);
	assert_int_equal(rows.rows[1].start, TEXT + 1);
	assert_int_equal(rows.rows[1].cfa.offset, 16);
	assert_int_equal(rows.rows[1].registers[3].kind, CFI_OFFSET);
	assert_int_equal(rows.rows[1].registers[3].offset, -16);
	assert_int_equal(rows.rows[2].start, TEXT + 3);
	assert_true(cfi_row_equal(&rows.rows[0], &rows.rows[2]));
	assert_ptr_equal(cfi_row_at(&rows, TEXT), &rows.rows[0]);
	assert_ptr_equal(cfi_row_at(&rows, TEXT + 2), &rows.rows[1]);
	assert_ptr_equal(cfi_row_at(&rows, TEXT + 0xfff), &rows.rows[2]);
	END();
}

static void remember_restores_all_but_args_size(void **state)
{
	(void)state;
	/* args 32; remember; advance; cfa rbp+16, rbx saved, args 64; advance; restore */
	PROGRAM(0x2e, 32, 0x0a, 0x44, 0x0c, 6, 16, 0x83, 3, 0x2e, 64, 0x44, 0x0b);
	assert_int_equal(evaluate(&s, &rows), 0);
	assert_int_equal(rows.count, 3);
	assert_int_equal(rows.rows[0].args_size, 32);
	assert_int_equal(rows.rows[1].cfa_register, 6);
	assert_int_equal(rows.rows[2].cfa_register, 7);
	assert_int_equal(rows.rows[2].cfa.offset, 8);
	assert_int_equal(rows.rows[2].registers[3].kind, CFI_UNSPECIFIED);
	assert_int_equal(rows.rows[2].args_size, 64);
	assert_int_equal(rows.rows[2].start, TEXT + 8);
	END();
}

static void every_rule_is_read(void **state)
{
	(void)state;
	PROGRAM(0x05, 3, 2, 0x11, 4, 0x7e, 0x14, 5, 3, 0x15, 6, 0x7f, 0x09, 7, 8, 0x07, 9, 0x08, 10, 0x10, 11, 2, 0x77, 0, 0x16, 12, 2,
		0x77, 8, 0x2f, 13, 2, 0x12, 6, 0x7e, 0x02, 200, 0x13, 0x7d, 0x0d, 7, 0x03, 0, 1, 0x0f, 2, 0x77, 8, 0x04, 0, 2, 0, 0, 0x0c,
		7, 8);
	assert_int_equal(evaluate(&s, &rows), 0);
	assert_int_equal(rows.count, 4);
	const struct cfi_row *r = &rows.rows[0];
	assert_true(r->registers[3].kind == CFI_OFFSET && r->registers[3].offset == -16);
	assert_true(r->registers[4].kind == CFI_OFFSET && r->registers[4].offset == 16);
	assert_true(r->registers[5].kind == CFI_VALUE_OFFSET && r->registers[5].offset == -24);
	assert_true(r->registers[6].kind == CFI_VALUE_OFFSET && r->registers[6].offset == 8);
	assert_true(r->registers[7].kind == CFI_REGISTER && r->registers[7].offset == 8);
	assert_true(r->registers[9].kind == CFI_UNDEFINED && r->registers[10].kind == CFI_SAME_VALUE);
	assert_true(r->registers[11].kind == CFI_EXPRESSION && r->registers[11].size == 2 && r->registers[11].expression[0] == 0x77);
	assert_true(r->registers[12].kind == CFI_VALUE_EXPRESSION && r->registers[12].expression[1] == 8);
	assert_true(r->registers[13].kind == CFI_OFFSET && r->registers[13].offset == 16);
	assert_true(r->cfa_register == 6 && r->cfa.offset == 16);
	assert_true(rows.rows[1].start == TEXT + 200 && rows.rows[1].cfa_register == 7 && rows.rows[1].cfa.offset == 24);
	assert_true(rows.rows[2].start == TEXT + 456 && rows.rows[2].cfa.kind == CFI_VALUE_EXPRESSION);
	assert_true(rows.rows[3].start == TEXT + 456 + 512 && rows.rows[3].cfa.kind == CFI_VALUE_OFFSET);
	END();
}

static void rows_past_the_range_are_dropped(void **state)
{
	(void)state;
	PROGRAM(0x41, 0x0e, 16, 0x03, 0xff, 0x0f, 0x0e, 24, 0x41, 0x0e, 32);
	assert_int_equal(evaluate(&s, &rows), 0);
	assert_int_equal(rows.count, 2);
	END();
}

static void refuse(const uint8_t *program, size_t size, enum err_code code)
{
	struct sample s;
	struct cfi_rows rows = {(void *)1, 77};
	make_sample(&s, program, size);
	assert_int_equal(evaluate(&s, &rows), -(int)code);
	assert_true(rows.rows == (void *)1 && rows.count == 77);
	writer_free(&s.w);
}
#define REFUSE(code, ...) refuse((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), code)

static void bad_programs_are_refused(void **state)
{
	(void)state;
	REFUSE(ERR_UNSUPPORTED, 0x3f);					/* unknown operation */
	REFUSE(ERR_UNSUPPORTED, 0x2d);					/* window save */
	REFUSE(ERR_FORMAT, 0x0e);					/* operand missing */
	REFUSE(ERR_FORMAT, 0x0b);					/* restore without remember */
	REFUSE(ERR_FORMAT, 0x0f, 200, 0x77);				/* expression leaves the entry */
	REFUSE(ERR_UNSUPPORTED, 0x0f, 2, 0x80, 0);			/* breg16: uses the pc, as PLTs do */
	REFUSE(ERR_UNSUPPORTED, 0x10, 3, 9, 3, 0, 0, 0, 0, 0, 0, 0, 0); /* DW_OP_addr */
	REFUSE(ERR_UNSUPPORTED, 0x83 + 0x3c, 1);			/* restore of register 63 */
	REFUSE(ERR_UNSUPPORTED, 0x80 | 33, 1);				/* register 33 */
	REFUSE(ERR_UNSUPPORTED, 0x0d, 16);				/* CFA relative to the pc */
	REFUSE(ERR_UNSUPPORTED, 0x09, 3, 16);				/* register saved in the pc */
	REFUSE(ERR_UNSUPPORTED, 0x0f, 1, 0x30, 0x0e, 8);		/* offset of an expression */
	REFUSE(ERR_UNSUPPORTED, 0x41, 0x01, 0xf0, 0xff, 0xfe, 0xff);	/* set_loc backwards */
	REFUSE(ERR_UNSUPPORTED, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10);
	REFUSE(ERR_FORMAT, 0x05, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f); /* factor overflows */
}

/* Every truncation and every byte set to a few values: no crash (the sanitizers watch), same answer with and without rows. */
static void damage_never_crashes(void **state)
{
	(void)state;
	static const uint8_t program[] = {0x05, 3, 2,	 0x11, 4,    0x7e, 0x0a, 0x41, 0x10, 11, 2,
					  0x77, 0, 0x0b, 0x42, 0x0f, 2,	   0x77, 8,    0,    0,	 0};
	static const uint8_t values[] = {0, 1, 0x0a, 0x0b, 0x40, 0x7f, 0x80, 0xc0, 0xff};
	struct sample s;
	make_sample(&s, program, sizeof program);
	unsigned refused = 0;
	for (size_t i = 0; i < s.w.size; i++) {
		uint8_t old = s.w.data[i];
		for (size_t j = 0; j < sizeof values; j++) {
			struct cfi_rows rows = {0};
			s.w.data[i] = values[j];
			refused += evaluate(&s, &rows) != 0;
			cfi_rows_free(&rows);
		}
		s.w.data[i] = old;
	}
	assert_in_range(refused, 50, s.w.size * sizeof values);
	for (size_t size = 0; size < s.w.size; size++) {
		uint8_t *copy = malloc(size + 1);
		memcpy(copy, s.w.data, size);
		s.segment.file_size = size;
		s.image.file.data = copy;
		struct cfi_rows rows = {0};
		assert_int_not_equal(evaluate(&s, &rows), 0);
		free(copy);
	}
	writer_free(&s.w);
}

/* ---- against libdwarf ---- */

static void compare_rule(const Dwarf_Regtable_Entry3 *theirs, const struct cfi_rule *ours, uint64_t pc, unsigned reg)
{
	int kind = theirs->dw_value_type;
	if (kind == DW_EXPR_EXPRESSION || kind == DW_EXPR_VAL_EXPRESSION) {
		assert_int_equal(ours->kind, kind == DW_EXPR_EXPRESSION ? CFI_EXPRESSION : CFI_VALUE_EXPRESSION);
		assert_int_equal(ours->size, theirs->dw_offset_or_block_len);
		assert_memory_equal(ours->expression, theirs->dw_block_ptr, ours->size);
	} else if (theirs->dw_regnum == DW_FRAME_UNDEFINED_VAL) {
		assert_true(ours->kind == CFI_UNDEFINED);
	} else if (theirs->dw_regnum == DW_FRAME_SAME_VAL) {
		assert_true(ours->kind == CFI_UNSPECIFIED || ours->kind == CFI_SAME_VALUE);
	} else if (!theirs->dw_offset_relevant) {
		assert_true(ours->kind == CFI_REGISTER && ours->offset == theirs->dw_regnum);
	} else {
		if (ours->kind != (kind == DW_EXPR_OFFSET ? CFI_OFFSET : CFI_VALUE_OFFSET))
			fail_msg("pc 0x%lx register %u: kind %u, libdwarf %d", (unsigned long)pc, reg, ours->kind, kind);
		assert_int_equal(ours->offset, (int64_t)theirs->dw_offset_or_block_len);
	}
}

static void compare_row(Dwarf_Fde fde, uint64_t pc, const struct cfi_row *row)
{
	Dwarf_Regtable_Entry3 rules[CFI_REGISTERS];
	Dwarf_Regtable3 table = {.rt3_reg_table_size = CFI_REGISTERS, .rt3_rules = rules};
	Dwarf_Addr row_pc;
	Dwarf_Error error;
	memset(rules, 0, sizeof rules);
	assert_int_equal(dwarf_get_fde_info_for_all_regs3(fde, pc, &table, &row_pc, &error), DW_DLV_OK);
	const Dwarf_Regtable_Entry3 *cfa = &table.rt3_cfa_rule;
	if (cfa->dw_value_type == DW_EXPR_VAL_EXPRESSION || cfa->dw_value_type == DW_EXPR_EXPRESSION) {
		assert_int_equal(row->cfa.kind, CFI_VALUE_EXPRESSION);
		assert_int_equal(row->cfa.size, cfa->dw_offset_or_block_len);
	} else {
		if (row->cfa_register != cfa->dw_regnum || row->cfa.offset != (int64_t)cfa->dw_offset_or_block_len)
			fail_msg("pc 0x%lx: CFA r%u%+ld, libdwarf r%u%+ld", (unsigned long)pc, row->cfa_register, (long)row->cfa.offset,
				 (unsigned)cfa->dw_regnum, (long)cfa->dw_offset_or_block_len);
	}
	for (unsigned i = 0; i < CFI_REGISTERS; i++)
		compare_rule(&rules[i], &row->registers[i], pc, i);
}

static unsigned compare_fde(const struct image *image, const struct image_fde *ours, Dwarf_Fde theirs)
{
	struct cfi_rows rows;
	struct err e;
	if (cfi_evaluate(image, ours, &rows, &e)) {
		assert_int_equal(e.code, ERR_UNSUPPORTED);
		return 0;
	}
	assert_int_equal(rows.rows[0].start, ours->start);
	unsigned step = rows.count / 4 + 1;
	for (unsigned i = 0; i < rows.count; i += step) {
		uint64_t end = i + 1 < rows.count ? rows.rows[i + 1].start : ours->start + ours->size;
		compare_row(theirs, rows.rows[i].start, &rows.rows[i]);
		compare_row(theirs, end - 1, &rows.rows[i]);
	}
	cfi_rows_free(&rows);
	return 1;
}

static void compare_file(const char *path, unsigned step)
{
	struct image image;
	Dwarf_Debug dwarf;
	Dwarf_Error error;
	Dwarf_Cie *cies;
	Dwarf_Fde *fdes;
	Dwarf_Signed cie_count, fde_count;
	if (access(path, R_OK)) {
		print_message("%s: not here\n", path);
		return;
	}
	assert_int_equal(image_open(path, &image, NULL), 0);
	assert_int_equal(dwarf_init_path(path, NULL, 0, DW_DLC_READ, DW_GROUPNUMBER_ANY, NULL, NULL, &dwarf, NULL, 0, NULL, &error),
			 DW_DLV_OK);
	dwarf_set_frame_rule_initial_value(dwarf, DW_FRAME_SAME_VAL);
	dwarf_set_frame_cfa_value(dwarf, DW_FRAME_CFA_COL3);
	dwarf_set_frame_rule_table_size(dwarf, CFI_REGISTERS);
	assert_int_equal(dwarf_get_fde_list_eh(dwarf, &cies, &cie_count, &fdes, &fde_count, &error), DW_DLV_OK);
	unsigned compared = 0, refused = 0;
	for (size_t i = 0; i < image.fde_count; i += step) {
		Dwarf_Fde theirs;
		Dwarf_Addr low, high;
		if (dwarf_get_fde_at_pc(fdes, image.fdes[i].start, &theirs, &low, &high, &error) != DW_DLV_OK || low != image.fdes[i].start)
			continue;
		unsigned fine = compare_fde(&image, &image.fdes[i], theirs);
		compared += fine;
		refused += !fine;
	}
	print_message("%s: %u FDEs equal, %u refused\n", path, compared, refused);
	assert_true(compared > 20 && refused * 10 <= compared);
	dwarf_fde_cie_list_dealloc(dwarf, cies, cie_count, fdes, fde_count);
	dwarf_finish(dwarf, &error);
	image_close(&image);
}

static void rows_equal_libdwarfs(void **state)
{
	(void)state;
	compare_file("/lib/x86_64-linux-gnu/libc.so.6", 7);
	compare_file("/lib/x86_64-linux-gnu/libgcc_s.so.1", 1);
	compare_file("/lib/x86_64-linux-gnu/libstdc++.so.6", 11);
	compare_file("/usr/sbin/mariadbd", 41);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(push_and_pop_gives_three_rows),
	    cmocka_unit_test(remember_restores_all_but_args_size),
	    cmocka_unit_test(every_rule_is_read),
	    cmocka_unit_test(rows_past_the_range_are_dropped),
	    cmocka_unit_test(bad_programs_are_refused),
	    cmocka_unit_test(damage_never_crashes),
	    cmocka_unit_test(rows_equal_libdwarfs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
