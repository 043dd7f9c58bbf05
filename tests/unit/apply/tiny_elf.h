/*
 * tiny_elf: an ELF file of 12 KiB with all that the file sink looks at, and a plan for it. Both are built anew by each call, at any base.
 *
 *	0x0000 r--  headers, 0x200 build-id note, 0x300 .eh_frame_hdr with two entries
 *	0x1000 r-x  text
 *	0x2000 rw-  (vaddr base + 0x3000, memory to base + 0x5000) dynamic section; then, not loaded, section names and headers
 */
#ifndef TESTS_UNIT_APPLY_TINY_ELF_H
#define TESTS_UNIT_APPLY_TINY_ELF_H

#include "apply/file/elf_sink.h"
#include "formats/base/hash.h"

#include <string.h>

#define TINY_SIZE 0x2400u
#define TINY_SEGMENTS 7u
#define TINY_SECTIONS 4u
#define TINY_TEXT 0x1000u
#define TINY_NAMES 0x2100u
#define TINY_HEADERS 0x2200u
#define TINY_CODE 64u
#define TINY_DATA 72u
#define TINY_EXTRA 64u /* room behind the file, for an overlay */

struct tiny {
	uint8_t file[TINY_SIZE + TINY_EXTRA];
	size_t size;
	uint64_t base;
	uint8_t code[TINY_CODE], data[TINY_DATA];
	uint32_t relocations[2];
	struct plan_function functions[2];
	struct plan_patch patches[2];
	struct plan_run runs[2];
	struct plan_module module;
	struct plan plan;
};

static inline void tiny_segments(struct tiny *t)
{
	const uint64_t b = t->base;
	const Elf64_Phdr table[TINY_SEGMENTS] = {
	    {PT_PHDR, PF_R, 0x40, b + 0x40, b + 0x40, sizeof table, sizeof table, 8},
	    {PT_LOAD, PF_R, 0, b, b, 0x600, 0x600, 0x1000},
	    {PT_LOAD, PF_R | PF_X, 0x1000, b + 0x1000, b + 0x1000, 0x200, 0x200, 0x1000},
	    {PT_LOAD, PF_R | PF_W, 0x2000, b + 0x3000, b + 0x3000, 0x100, 0x2000, 0x1000},
	    {PT_DYNAMIC, PF_R | PF_W, 0x2000, b + 0x3000, b + 0x3000, 0x20, 0x20, 8},
	    {PT_NOTE, PF_R, 0x200, b + 0x200, b + 0x200, 24, 24, 4},
	    {PT_GNU_EH_FRAME, PF_R, 0x300, b + 0x300, b + 0x300, 28, 28, 4},
	};
	memcpy(t->file + 0x40, table, sizeof table);
}

static inline void tiny_sections(struct tiny *t)
{
	static const char names[] = "\0.text\0.eh_frame_hdr\0.shstrtab";
	const Elf64_Shdr table[TINY_SECTIONS] = {
	    {0},
	    {1, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, t->base + 0x1000, 0x1000, 0x200, 0, 0, 16, 0},
	    {7, SHT_PROGBITS, SHF_ALLOC, t->base + 0x300, 0x300, 28, 0, 0, 4, 0},
	    {21, SHT_STRTAB, 0, 0, TINY_NAMES, sizeof names, 0, 0, 1, 0},
	};
	memcpy(t->file + TINY_NAMES, names, sizeof names);
	memcpy(t->file + TINY_HEADERS, table, sizeof table);
}

static inline void tiny_contents(struct tiny *t, bool pie)
{
	static const uint8_t note[24] = {4, 0, 0, 0, 8, 0, 0, 0, NT_GNU_BUILD_ID, 0, 0, 0, 'G', 'N', 'U', 0, 1, 2, 3, 4, 5, 6, 7, 8};
	/* .eh_frame_hdr: .eh_frame at 0x340; functions at 0x1010 and 0x1080 with FDEs at 0x350 and 0x360 */
	static const uint8_t frames[12] = {1, 0x1b, 3, 0x3b, 0x3c, 0, 0, 0, 2};
	const Elf64_Dyn dynamic[2] = {{.d_tag = DT_FLAGS}, {.d_tag = DT_NULL}};
	const Elf64_Ehdr h = {
	    .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	    .e_type = pie ? ET_DYN : ET_EXEC,
	    .e_machine = EM_X86_64,
	    .e_version = EV_CURRENT,
	    .e_entry = t->base + 0x1010,
	    .e_phoff = 0x40,
	    .e_shoff = TINY_HEADERS,
	    .e_ehsize = sizeof h,
	    .e_phentsize = sizeof(Elf64_Phdr),
	    .e_phnum = TINY_SEGMENTS,
	    .e_shentsize = sizeof(Elf64_Shdr),
	    .e_shnum = TINY_SECTIONS,
	    .e_shstrndx = 3,
	};
	memcpy(t->file, &h, sizeof h);
	memcpy(t->file + 0x200, note, sizeof note);
	memcpy(t->file + 0x300, frames, sizeof frames);
	store_u32(t->file + 0x30c, 0x1010 - 0x300);
	store_u32(t->file + 0x310, 0x350 - 0x300);
	store_u32(t->file + 0x314, 0x1080 - 0x300);
	store_u32(t->file + 0x318, 0x360 - 0x300);
	memcpy(t->file + 0x2000, dynamic, sizeof dynamic);
	for (unsigned i = 0; i < 0x200; i++)
		t->file[TINY_TEXT + i] = (uint8_t)(i * 7 + 1);
	tiny_segments(t);
	tiny_sections(t);
}

/* Unwind data of the image: a table of one entry, CIE, FDE over all of the code, terminator. */
static inline void tiny_data(struct tiny *t, uint32_t data_offset)
{
	static const uint8_t cie[20] = {16, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8};
	static const uint8_t fde[20] = {16, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, TINY_CODE, 0, 0, 0, 0, 0x41, 0x0e, 16};
	store_u32(t->data, 0);
	store_u32(t->data + 4, data_offset + 8 + sizeof cie);
	memcpy(t->data + 8, cie, sizeof cie);
	memcpy(t->data + 8 + sizeof cie, fde, sizeof fde);
	store_u32(t->data + 8 + sizeof cie + 8, -(data_offset + 8 + (uint32_t)sizeof cie + 8));
}

static inline void tiny_plan(struct tiny *t, uint64_t region)
{
	static char path[] = "/bin/tiny";
	const uint32_t data_offset = plan_code_span(TINY_CODE);
	tiny_data(t, data_offset);
	memset(t->code, 0x90, sizeof t->code);
	t->relocations[0] = 10;
	t->relocations[1] = data_offset + 64;
	store_u32(t->code + 10, (uint32_t)(t->base + 0x3010 - (region + 14)));
	store_u32(t->data + 64, (uint32_t)(t->base + 0x1010 - (region + data_offset + 64)));
	t->functions[0] = (struct plan_function){.start = 0x10, .size = 0x30, .entry = 0, .patch_count = 1};
	t->functions[1] = (struct plan_function){.start = 0x80, .size = 0x40, .entry = 32, .first_patch = 1, .patch_count = 1};
	t->patches[0] = (struct plan_patch){.at = 0x10, .target = 0, .function = 0, .kind = PLAN_PATCH_ENTRY};
	t->patches[1] = (struct plan_patch){.at = 0x84, .target = 32, .function = 1, .kind = PLAN_PATCH_REENTRY};
	for (unsigned i = 0; i < 2; i++) {
		t->functions[i].hash = hash_bytes(t->file + TINY_TEXT + t->functions[i].start, t->functions[i].size);
		memcpy(t->patches[i].original, t->file + TINY_TEXT + t->patches[i].at, PLAN_PATCH_SIZE);
	}
	t->runs[0] = (struct plan_run){.image = 0, .original = 0x10, .image_size = 32, .original_size = 32, .kind = PLAN_RUN_COPY};
	t->runs[1] = (struct plan_run){.image = 32, .original = 0x84, .image_size = 32, .original_size = 32, .kind = PLAN_RUN_COPY};
	t->module = (struct plan_module){
	    .module = {.build_id = {1, 2, 3, 4, 5, 6, 7, 8}, .build_id_size = 8, .path = path},
	    .text_base = t->base + TINY_TEXT,
	    .text_size = 0x200,
	    .load_low = t->base,
	    .load_high = t->base + 0x5000,
	    .region_vaddr = region,
	    .code = t->code,
	    .data = t->data,
	    .code_size = TINY_CODE,
	    .data_offset = data_offset,
	    .data_size = TINY_DATA,
	    .relocations = t->relocations,
	    .functions = t->functions,
	    .patches = t->patches,
	    .runs = t->runs,
	    .relocation_count = 2,
	    .function_count = 2,
	    .patch_count = 2,
	    .run_count = 2,
	    .fde_table = data_offset,
	    .fde_count = 1,
	    .eh_frame = data_offset + 8,
	    .eh_frame_size = 44,
	    .directory = PLAN_NONE,
	};
	t->plan = (struct plan){.modules = &t->module, .module_count = 1, .inputs_hash = 0x1122334455667788};
}

/* `t` must stay where it is. A PIE has base 0. */
static inline void tiny_init(struct tiny *t, uint64_t base, uint64_t region)
{
	memset(t, 0, sizeof *t);
	t->base = base;
	t->size = TINY_SIZE;
	tiny_contents(t, base == 0);
	tiny_plan(t, region);
}

#endif
