#include "tests/unit/apply/tiny_elf.h"

#include "apply/stage.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#define BELOW (-(uint64_t)(64 << 20))
#define EXEC_BASE 0x400000u

static int lay(const struct tiny *t, struct elf_sink_result *r, struct err *e)
{
	struct elf_file in;
	int status = elf_file_open(t->file, t->size, "tiny", &in, e);
	if (status)
		return status;
	status = elf_sink_build(&in, &t->plan, r, e);
	elf_file_close(&in);
	return status;
}

/* Lays the plan and reads the new file; the caller frees both. */
static void lay_and_read(const struct tiny *t, struct elf_sink_result *r, struct elf_file *out)
{
	struct err e = {0};
	assert_int_equal(plan_validate(&t->plan, "plan", &e), 0);
	if (lay(t, r, &e) || elf_file_open(r->data, r->size, "new", out, &e))
		fail_msg("%s", e.text);
}

static void release(struct elf_sink_result *r, struct elf_file *out)
{
	elf_file_close(out);
	elf_sink_result_free(r);
}

static void expect_refusal(const struct tiny *t, int code, const char *text)
{
	struct elf_sink_result r = {0};
	struct err e = {0};
	int status = lay(t, &r, &e);
	assert_int_equal(status, -code);
	if (!strstr(e.text, text))
		fail_msg("'%s' is not in '%s'", text, e.text);
	assert_null(r.data);
}

static void image_stands_above_all_that_is_loaded(void **state)
{
	(void)state;
	static const uint64_t regions[] = {BELOW, 64 << 20};
	struct tiny t;
	for (unsigned i = 0; i < 2; i++) {
		struct elf_sink_result r;
		struct elf_file out;
		uint64_t offset;
		tiny_init(&t, 0, regions[i]);
		lay_and_read(&t, &r, &out);
		assert_int_equal(r.code.v, 0x6000); /* .bss ends at 0x5000; a page free */
		assert_true(elf_file_offset(&out, r.code, TINY_CODE, PF_R | PF_X, &offset));
		assert_false(elf_file_offset(&out, r.code, TINY_CODE, PF_W, &offset));
		assert_true(elf_file_offset(&out, (vaddr){r.code.v + t.module.data_offset}, TINY_DATA, PF_R, &offset));
		assert_false(elf_file_offset(&out, (vaddr){r.code.v + t.module.data_offset}, 1, PF_X, &offset));
		release(&r, &out);
	}
}

static void linked_place_is_taken_when_near(void **state)
{
	(void)state;
	struct tiny t;
	struct elf_sink_result r;
	struct elf_file out;
	tiny_init(&t, EXEC_BASE, EXEC_BASE + PLAN_REGION_ALIGN);
	lay_and_read(&t, &r, &out);
	assert_int_equal(r.code.v, t.module.region_vaddr);
	assert_int_equal(memcmp(r.data + PLAN_REGION_ALIGN, t.code, TINY_CODE), 0);
	release(&r, &out);
}

static void image_is_what_a_live_process_gets(void **state)
{
	(void)state;
	struct tiny t;
	struct elf_sink_result r;
	struct elf_file out;
	bool left_out[2] = {false, false};
	tiny_init(&t, 0, BELOW);
	lay_and_read(&t, &r, &out);
	struct region live = {.plan = &t.module, .code = {r.code.v}, .data = {r.code.v + t.module.data_offset}, .left_out = left_out};
	struct stage s = {.regions = &live, .region_count = 1};
	live.code_bytes = malloc(TINY_CODE);
	live.data_bytes = malloc(TINY_DATA);
	assert_true(live.code_bytes && live.data_bytes);
	memcpy(live.code_bytes, t.code, TINY_CODE);
	memcpy(live.data_bytes, t.data, TINY_DATA);
	assert_int_equal(stage_relocate(&s, NULL), 0);
	assert_int_equal(memcmp(r.data + r.code.v, live.code_bytes, TINY_CODE), 0);
	assert_int_equal(memcmp(r.data + live.data.v, live.data_bytes, TINY_DATA), 0);
	assert_int_not_equal(memcmp(r.data + r.code.v, t.code, TINY_CODE), 0);
	/* The field at 10 leads to 0x3010 of the module from here too. */
	assert_int_equal((uint32_t)(r.code.v + 14 + load_u32(r.data + r.code.v + 10)), 0x3010);
	free(live.code_bytes);
	free(live.data_bytes);
	release(&r, &out);
}

static void only_header_and_patches_change_in_the_old_part(void **state)
{
	(void)state;
	struct tiny t;
	struct elf_sink_result r;
	struct elf_file out;
	tiny_init(&t, 0, BELOW);
	lay_and_read(&t, &r, &out);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *at = r.data + TINY_TEXT + t.patches[i].at;
		assert_int_equal(at[0], 0xe9);
		assert_int_equal((uint32_t)(TINY_TEXT + t.patches[i].at + 5 + load_u32(at + 1)), r.code.v + t.patches[i].target);
		memcpy(at, t.patches[i].original, PLAN_PATCH_SIZE);
	}
	assert_int_equal(memcmp(r.data + sizeof(Elf64_Ehdr), t.file + sizeof(Elf64_Ehdr), TINY_SIZE - sizeof(Elf64_Ehdr)), 0);
	assert_int_equal(r.entries, 1);
	assert_int_equal(r.reentries, 1);
	release(&r, &out);
}

static void program_headers_are_where_every_loader_looks(void **state)
{
	(void)state;
	struct tiny t;
	for (unsigned i = 0; i < 2; i++) {
		struct elf_sink_result r;
		struct elf_file out;
		uint64_t offset;
		tiny_init(&t, i * EXEC_BASE, i ? EXEC_BASE + PLAN_REGION_ALIGN : BELOW);
		lay_and_read(&t, &r, &out);
		const Elf64_Phdr *p = elf_file_segment(&out, PT_PHDR);
		assert_int_equal(out.head.segment_count, TINY_SEGMENTS + 3);
		assert_int_equal(p->p_offset, out.header.e_phoff);
		assert_int_equal(p->p_filesz, out.head.segment_count * sizeof *p);
		/* Where the segments put it, and where base + e_phoff puts it, are the same. */
		assert_true(elf_file_offset(&out, (vaddr){p->p_vaddr}, p->p_filesz, PF_R, &offset));
		assert_int_equal(offset, p->p_offset);
		assert_int_equal(p->p_vaddr, t.base + out.header.e_phoff);
		assert_int_equal(out.identity.build_id_size, 8);
		assert_int_equal(out.identity.build_id[7], 8);
		release(&r, &out);
	}
}

static void unwind_table_finds_old_and_new_code(void **state)
{
	(void)state;
	struct tiny t;
	struct elf_sink_result r;
	struct elf_file out;
	tiny_init(&t, 0, BELOW);
	lay_and_read(&t, &r, &out);
	const Elf64_Phdr *p = elf_file_segment(&out, PT_GNU_EH_FRAME);
	const uint8_t *b = r.data + p->p_offset;
	const uint64_t fde = r.code.v + t.module.data_offset + 28;
	const uint64_t expected[3][2] = {{0x1010, 0x350}, {0x1080, 0x360}, {r.code.v, fde}};
	assert_int_equal(load_u32(b), 0x3b031b01);
	assert_int_equal((uint32_t)(p->p_vaddr + 4 + load_u32(b + 4)), 0x340);
	assert_int_equal(load_u32(b + 8), 3);
	assert_int_equal(p->p_filesz, 12 + 3 * 8);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal((uint32_t)(p->p_vaddr + load_u32(b + 12 + 4 * i)), expected[i / 2][i % 2]);
	const Elf64_Shdr *s = &out.sections[elf_file_section(&out, ".eh_frame_hdr")];
	assert_int_equal(s->sh_offset, p->p_offset);
	assert_int_equal(s->sh_size, p->p_filesz);
	release(&r, &out);
}

static void debuggers_get_the_frames_with_absolute_addresses(void **state)
{
	(void)state;
	static const uint8_t cie[16] = {12, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 1, 0x78, 16, 0x0c, 7, 8};
	struct tiny t;
	struct elf_sink_result r;
	struct elf_file out;
	tiny_init(&t, 0, BELOW);
	lay_and_read(&t, &r, &out);
	const Elf64_Shdr *s = &out.sections[elf_file_section(&out, ".debug_frame")];
	const uint8_t *b = r.data + s->sh_offset;
	assert_int_equal(s->sh_addr, 0);
	assert_int_equal(s->sh_size, 16 + 32);
	assert_int_equal(memcmp(b, cie, sizeof cie), 0);
	assert_int_equal(load_u32(b + 16), 28);
	assert_int_equal(load_u32(b + 20), 0); /* its CIE is at 0 */
	assert_int_equal(load_u64(b + 24), r.code.v);
	assert_int_equal(load_u64(b + 32), TINY_CODE);
	assert_int_equal(b[40], 0x41);
	release(&r, &out);
}

static void sections_name_the_new_code(void **state)
{
	(void)state;
	struct tiny t;
	struct elf_sink_result r;
	struct elf_file out;
	tiny_init(&t, 0, BELOW);
	lay_and_read(&t, &r, &out);
	const Elf64_Shdr *s = &out.sections[elf_file_section(&out, ".repave.text")];
	assert_true(r.has_sections);
	assert_int_equal(s->sh_addr, r.code.v);
	assert_int_equal(s->sh_size, TINY_CODE);
	assert_int_equal(s->sh_flags, SHF_ALLOC | SHF_EXECINSTR);
	assert_int_equal(out.sections[elf_file_section(&out, ".text")].sh_addr, 0x1000);
	assert_int_not_equal(elf_file_section(&out, ".note.repave"), 0);
	release(&r, &out);
}

static void file_without_sections_gets_none(void **state)
{
	(void)state;
	struct tiny t;
	struct elf_sink_result r;
	struct elf_file out;
	tiny_init(&t, 0, BELOW);
	memset(t.file + offsetof(Elf64_Ehdr, e_shoff), 0, 8);
	memset(t.file + offsetof(Elf64_Ehdr, e_shnum), 0, 4);
	lay_and_read(&t, &r, &out);
	assert_false(r.has_sections);
	assert_int_equal(out.header.e_shoff, 0);
	release(&r, &out);
}

static void file_without_unwind_table_gets_one_for_the_image(void **state)
{
	(void)state;
	struct tiny t;
	struct elf_sink_result r;
	struct elf_file out;
	tiny_init(&t, 0, BELOW);
	store_u32(t.file + 0x40 + 6 * sizeof(Elf64_Phdr), PT_NULL);
	lay_and_read(&t, &r, &out);
	const Elf64_Phdr *p = elf_file_segment(&out, PT_GNU_EH_FRAME);
	assert_int_equal(load_u32(r.data + p->p_offset + 8), 1);
	assert_int_equal((uint32_t)(p->p_vaddr + load_u32(r.data + p->p_offset + 12)), r.code.v);
	release(&r, &out);
}

static void overlay_is_kept_and_repeated(void **state)
{
	(void)state;
	struct tiny t;
	struct elf_sink_result r;
	struct elf_file out;
	tiny_init(&t, 0, BELOW);
	size_t end = TINY_HEADERS + TINY_SECTIONS * sizeof(Elf64_Shdr), length = TINY_SIZE + 9 - end;
	memset(t.file + end, 'o', length);
	t.size += 9;
	lay_and_read(&t, &r, &out);
	assert_int_equal(r.overlay, length);
	assert_int_equal(memcmp(r.data + end, t.file + end, length), 0);
	assert_int_equal(memcmp(r.data + r.size - length, t.file + end, length), 0);
	/* Behind the section headers, as in the old file. */
	assert_int_equal(out.header.e_shoff + out.section_count * sizeof(Elf64_Shdr), r.size - length);
	release(&r, &out);
}

static void second_time_is_refused(void **state)
{
	(void)state;
	struct tiny t;
	struct elf_sink_result r, again;
	struct elf_file out;
	struct err e = {0};
	size_t size;
	tiny_init(&t, 0, BELOW);
	lay_and_read(&t, &r, &out);
	const uint8_t *note = elf_file_note(&out, ELF_SINK_NOTE_OWNER, ELF_SINK_NOTE_TYPE, &size);
	assert_non_null(note);
	assert_int_equal(load_u64(note + 8), t.plan.inputs_hash);
	assert_int_equal(elf_sink_build(&out, &t.plan, &again, &e), -ERR_REFUSED);
	assert_non_null(strstr(e.text, "already"));
	release(&r, &out);
}

static void what_differs_is_refused(void **state)
{
	(void)state;
	struct tiny t;
	tiny_init(&t, 0, BELOW);
	t.file[TINY_TEXT + 0x9f] ^= 1; /* in the second function, not in its patch */
	expect_refusal(&t, ERR_REFUSED, "the function at 0x1080");
	tiny_init(&t, 0, BELOW);
	t.patches[1].original[2] ^= 1;
	expect_refusal(&t, ERR_REFUSED, "bytes at 0x1084");
	tiny_init(&t, 0, BELOW);
	t.module.module.build_id[0] ^= 1;
	expect_refusal(&t, ERR_REFUSED, "none of the 1 modules");
	tiny_init(&t, 0, BELOW);
	t.module.module.text_hash = 1;
	expect_refusal(&t, ERR_REFUSED, "not its code");
	tiny_init(&t, 0, BELOW);
	t.functions[1].start = 0x1f8; /* ends outside of the segment */
	expect_refusal(&t, ERR_REFUSED, "not code of this file");
}

static void what_cannot_be_laid_is_refused(void **state)
{
	(void)state;
	struct tiny t;
	tiny_init(&t, 0, BELOW);
	store_u32(t.file + 0x2008, DF_TEXTREL);
	expect_refusal(&t, ERR_REFUSED, "text relocations");
	tiny_init(&t, 0, BELOW);
	store_u32(t.file + 0x40 + 3 * sizeof(Elf64_Phdr) + 40, 0x7ffff000); /* .bss of 2 GiB */
	expect_refusal(&t, ERR_REFUSED, "more than 2 GiB");
	tiny_init(&t, 0, BELOW);
	t.runs[1].kind = PLAN_RUN_STUB + 1;
	expect_refusal(&t, ERR_REFUSED, "the plan counts");
	tiny_init(&t, 0, BELOW);
	store_u32(t.code + 10, 0x80000000);
	expect_refusal(&t, ERR_REFUSED, "does not reach");
	tiny_init(&t, 0, BELOW);
	t.file[0x303] = 0xff;
	expect_refusal(&t, ERR_UNSUPPORTED, "no search table");
	tiny_init(&t, 0, BELOW);
	t.file[0x308] = 3;
	expect_refusal(&t, ERR_FORMAT, "there is room for 2");
	tiny_init(&t, 0, BELOW);
	t.file[0x30d] = 0x7f;
	expect_refusal(&t, ERR_FORMAT, "not sorted");
	tiny_init(&t, 0, BELOW);
	t.data[8 + 9] = 'y';
	expect_refusal(&t, ERR_FORMAT, "unwind entry");
	tiny_init(&t, 0, BELOW);
	t.size = TINY_HEADERS + 10;
	expect_refusal(&t, ERR_FORMAT, "section headers");
	tiny_init(&t, 0, BELOW);
	t.size = 0x1100;
	expect_refusal(&t, ERR_FORMAT, "passes the end");
}

/* Whatever a file says, the answer is an error with a text, or a file that can be read. */
static void damaged_files_are_refused_or_copied(void **state)
{
	(void)state;
	struct tiny t;
	unsigned laid = 0, refused = 0;
	for (uint32_t n = 0; n < 6000; n++) {
		struct elf_sink_result r;
		struct elf_file in, out;
		struct err e = {0};
		tiny_init(&t, 0, BELOW);
		uint32_t random = n * 2654435761u, room = 0x600;
		uint32_t at = random % (room + 0x400);
		t.file[at < room ? at : at - room + 0x2000] ^= (uint8_t)(1u << (random >> 29));
		int status = elf_file_open(t.file, t.size, "tiny", &in, &e);
		if (!status) {
			t.module.module = in.identity;
			status = elf_sink_build(&in, &t.plan, &r, &e);
			elf_file_close(&in);
		}
		refused += status != 0;
		assert_true(!status || (e.text[0] && e.code == -status && e.code != ERR_INTERNAL));
		if (status)
			continue;
		laid++;
		if (elf_file_open(r.data, r.size, "new", &out, &e))
			fail_msg("bit flip at 0x%x: %s", at, e.text);
		release(&r, &out);
	}
	assert_true(laid > 1000 && refused > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(image_stands_above_all_that_is_loaded),
	    cmocka_unit_test(linked_place_is_taken_when_near),
	    cmocka_unit_test(image_is_what_a_live_process_gets),
	    cmocka_unit_test(only_header_and_patches_change_in_the_old_part),
	    cmocka_unit_test(program_headers_are_where_every_loader_looks),
	    cmocka_unit_test(unwind_table_finds_old_and_new_code),
	    cmocka_unit_test(debuggers_get_the_frames_with_absolute_addresses),
	    cmocka_unit_test(sections_name_the_new_code),
	    cmocka_unit_test(file_without_sections_gets_none),
	    cmocka_unit_test(file_without_unwind_table_gets_one_for_the_image),
	    cmocka_unit_test(overlay_is_kept_and_repeated),
	    cmocka_unit_test(second_time_is_refused),
	    cmocka_unit_test(what_differs_is_refused),
	    cmocka_unit_test(what_cannot_be_laid_is_refused),
	    cmocka_unit_test(damaged_files_are_refused_or_copied),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
