/* Symbols of a journal whose image stands in a core file made here: code at CODE, unwind data (those of tiny_elf) behind it. */
#include "apply/core.h"
#include "apply/symbols.h"
#include "tests/unit/apply/tiny_elf.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CODE 0x40000000u
#define BIAS 0x10000u
#define NOTES 48u

struct sample {
	struct tiny tiny;
	struct journal journal;
	struct journal_region region;
	struct journal_function functions[2];
	char strings[64];
	char path[32];
	struct target target; /* the core file */
};

static void put_segment(struct writer *w, uint32_t type, uint32_t flags, uint64_t offset, uint64_t address, uint64_t size)
{
	const Elf64_Phdr p = {type, flags, offset, address, address, size, size, 1};
	write_bytes(w, &p, sizeof p);
}

/* ELF header, three segments, a note with process 77, code, data. */
static void write_core(const struct sample *s, const char *path)
{
	const Elf64_Ehdr h = {
	    .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	    .e_type = ET_CORE,
	    .e_machine = EM_X86_64,
	    .e_phoff = sizeof h,
	    .e_phentsize = sizeof(Elf64_Phdr),
	    .e_phnum = 3,
	};
	const uint32_t note[NOTES / 4] = {5, 28, NT_PRPSINFO, 0x45524f43, 0, 0, 0, 0, 0, 0, 0, 77};
	uint64_t first = sizeof h + 3 * sizeof(Elf64_Phdr), code = first + NOTES, data = code + TINY_CODE;
	struct writer w = {0};
	write_bytes(&w, &h, sizeof h);
	put_segment(&w, PT_NOTE, 0, first, 0, NOTES);
	put_segment(&w, PT_LOAD, PF_R | PF_X, code, CODE, TINY_CODE);
	put_segment(&w, PT_LOAD, PF_R, data, CODE + s->tiny.module.data_offset, TINY_DATA);
	write_bytes(&w, note, sizeof note);
	write_bytes(&w, s->tiny.code, TINY_CODE);
	write_bytes(&w, s->tiny.data, TINY_DATA);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(w.data, 1, w.size, file), w.size);
	fclose(file);
	writer_free(&w);
}

static void sample_init(struct sample *s)
{
	struct err e;
	memset(s, 0, sizeof *s);
	tiny_init(&s->tiny, 0, -(uint64_t)(64 << 20));
	const struct plan_module *m = &s->tiny.module;
	s->region = (struct journal_region){
	    .module = m->module,
	    .bias = BIAS,
	    .text_base = m->text_base,
	    .text_size = m->text_size,
	    .code = {CODE},
	    .data = {CODE + m->data_offset},
	    .code_mapped = m->data_offset,
	    .code_size = TINY_CODE,
	    .data_mapped = 0x1000,
	    .data_size = TINY_DATA,
	    .data_hash = hash_bytes(s->tiny.data, TINY_DATA),
	    .run_count = 2,
	    .fde_table = m->fde_table,
	    .fde_count = m->fde_count,
	    .eh_frame = m->eh_frame,
	    .eh_frame_size = m->eh_frame_size,
	    .function_count = 2,
	};
	s->functions[0] = (struct journal_function){0x10, 0x30, 1};
	s->functions[1] = (struct journal_function){0x80, 0x40, 0};
	memcpy(s->strings, "\0first\n\x1b", 9);
	s->journal = (struct journal){.state = JOURNAL_APPLIED,
				      .regions = &s->region,
				      .runs = s->tiny.runs,
				      .functions = s->functions,
				      .strings = s->strings,
				      .region_count = 1,
				      .run_count = 2,
				      .function_count = 2,
				      .string_size = 9};
	snprintf(s->path, sizeof s->path, "/tmp/test_symbols.XXXXXX");
	close(mkstemp(s->path));
	write_core(s, s->path);
	if (core_open(s->path, &s->target, &e))
		fail_msg("%s", e.text);
}

static void sample_fini(struct sample *s)
{
	target_close(&s->target);
	unlink(s->path);
}

static void expect_perf(const struct sample *s, const char *expected)
{
	struct symbols symbols;
	struct writer w = {0};
	assert_int_equal(symbols_init(&s->target, &s->journal, 1, &symbols, NULL), 0);
	assert_int_equal(symbols_write_perf(&symbols, &w, NULL), 0);
	write_u8(&w, 0);
	assert_string_equal((char *)w.data, expected);
	writer_free(&w);
	symbols_free(&symbols);
}

static void functions_are_named_and_names_are_escaped(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s);
	expect_perf(&s, "40000000 20 first\\x0a\\x1b.repaved\n40000020 20 tiny+0x1080.repaved\n");
	sample_fini(&s);
}

static void added_code_belongs_to_what_it_follows(void **state)
{
	(void)state;
	struct sample s;
	struct plan_run runs[] = {
	    {.image = 0, .original = 0x10, .image_size = 8, .original_size = 8, .kind = PLAN_RUN_COPY},
	    {.image = 8, .original = 0x90, .image_size = 5, .kind = PLAN_RUN_INSERTED}, /* leads into the other function */
	    {.image = 13, .original = 0x88, .image_size = 7, .kind = PLAN_RUN_COUNTER}, /* counts what is next */
	    {.image = 20, .original = 0x88, .image_size = 4, .original_size = 4, .kind = PLAN_RUN_COPY},
	    {.image = 24, .original = 0x18, .original_size = 2, .kind = PLAN_RUN_DELETED}, /* of another, but it has no bytes */
	    {.image = 24, .original = 0x150, .image_size = 7, .kind = PLAN_RUN_COUNTER},   /* in front of a jump to no function */
	    {.image = 31, .original = 0x150, .image_size = 5, .kind = PLAN_RUN_INSERTED},
	    {.image = 40, .original = 0x20, .image_size = 4, .original_size = 4, .kind = PLAN_RUN_COPY},
	};
	sample_init(&s);
	s.functions[0].name = 0;
	s.journal.runs = runs;
	s.journal.run_count = s.region.run_count = sizeof runs / sizeof *runs;
	expect_perf(&s, "40000000 d tiny+0x1010.repaved\n4000000d 17 tiny+0x1080.repaved\n40000028 4 tiny+0x1010.repaved\n");
	sample_fini(&s);
}

static void without_functions_code_is_named_by_where_it_comes_from(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s);
	s.region.function_count = 0;
	expect_perf(&s, "40000000 40 tiny+0x1010.repaved\n");
	sample_fini(&s);
}

static void runs_outside_of_the_code_are_passed_over(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s);
	s.tiny.runs[1].image_size = 33;
	s.functions[0].name = 0;
	expect_perf(&s, "40000000 20 tiny+0x1010.repaved\n");
	sample_fini(&s);
}

static void half_made_and_unmapped_images_are_left_out(void **state)
{
	(void)state;
	struct sample s;
	sample_init(&s);
	s.journal.state = JOURNAL_STAGING;
	expect_perf(&s, "");
	s.journal.state = JOURNAL_REVERTED;
	s.region.code.v += 0x100000;
	expect_perf(&s, "");
	sample_fini(&s);
}

static const Elf64_Shdr *section(const struct writer *w, unsigned index)
{
	const Elf64_Ehdr *h = (const void *)w->data;
	assert_true(index < h->e_shnum);
	return (const Elf64_Shdr *)(const void *)(w->data + h->e_shoff) + index;
}

static void elf_file_has_code_frames_and_symbols(void **state)
{
	(void)state;
	struct sample s;
	struct symbols symbols;
	struct writer w = {0}, frames = {0};
	sample_init(&s);
	assert_int_equal(s.target.pid, 77);
	assert_int_equal(symbols_init(&s.target, &s.journal, 1, &symbols, NULL), 0);
	assert_int_equal(symbols_write_elf(&s.target, &symbols, &w, NULL), 0);
	const Elf64_Shdr *text = section(&w, 1), *frame = section(&w, 2), *table = section(&w, 3), *names = section(&w, 4);
	assert_int_equal(text->sh_addr, CODE);
	assert_int_equal(text->sh_size, TINY_CODE);
	assert_memory_equal(w.data + text->sh_offset, s.tiny.code, TINY_CODE);
	/* The frames are those that the file sink writes. */
	const struct frame_image image = frame_image_of_plan(&s.tiny.module, CODE);
	assert_int_equal(frame_table_write_debug(&image, &frames, NULL), 0);
	assert_int_equal(frame->sh_size, frames.size);
	assert_memory_equal(w.data + frame->sh_offset, frames.data, frames.size);
	const Elf64_Sym *second = (const Elf64_Sym *)(const void *)(w.data + table->sh_offset) + 2;
	assert_int_equal(table->sh_size, 3 * sizeof *second);
	assert_int_equal(table->sh_link, 4);
	assert_int_equal(second->st_value, CODE + 32);
	assert_int_equal(second->st_size, 32);
	assert_int_equal(second->st_shndx, 1);
	assert_string_equal((char *)w.data + names->sh_offset + second->st_name, "tiny+0x1080.repaved");
	writer_free(&frames);
	writer_free(&w);
	symbols_free(&symbols);
	sample_fini(&s);
}

static void changed_frames_are_refused(void **state)
{
	(void)state;
	struct sample s;
	struct symbols symbols;
	struct writer w = {0};
	sample_init(&s);
	s.region.data_hash++;
	assert_int_equal(symbols_init(&s.target, &s.journal, 1, &symbols, NULL), 0);
	assert_int_equal(symbols_write_elf(&s.target, &symbols, &w, NULL), -ERR_REFUSED);
	writer_free(&w);
	symbols_free(&symbols);
	sample_fini(&s);
}

static void core_has_what_it_has(void **state)
{
	(void)state;
	struct sample s;
	struct target t;
	struct err e;
	uint8_t byte[2];
	sample_init(&s);
	assert_int_equal(target_read_some(&s.target, (raddr){CODE + TINY_CODE - 1}, byte, 2), 1);
	assert_int_equal(target_read(&s.target, (raddr){CODE - 1}, byte, 1, NULL), -ERR_IO);
	assert_int_equal(truncate(s.path, 100), 0);
	assert_int_equal(core_open(s.path, &t, &e), -ERR_FORMAT);
	assert_int_equal(core_open("/nonexistent", &t, &e), -ERR_MISSING);
	assert_int_equal(core_open("/proc/self/exe", &t, &e), -ERR_FORMAT);
	sample_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(functions_are_named_and_names_are_escaped),
	    cmocka_unit_test(added_code_belongs_to_what_it_follows),
	    cmocka_unit_test(without_functions_code_is_named_by_where_it_comes_from),
	    cmocka_unit_test(runs_outside_of_the_code_are_passed_over),
	    cmocka_unit_test(half_made_and_unmapped_images_are_left_out),
	    cmocka_unit_test(elf_file_has_code_frames_and_symbols),
	    cmocka_unit_test(changed_frames_are_refused),
	    cmocka_unit_test(core_has_what_it_has),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
