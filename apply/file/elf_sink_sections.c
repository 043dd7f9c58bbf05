/*
 * What is not loaded: the sections of the new file, so that tools find its code and frames by name, and the overlay.
 */
#include "apply/file/elf_sink_parts.h"
#include "apply/file/frame_table.h"
#include "apply/file/section_list.h"

#include <stdlib.h>
#include <string.h>

#define SECTIONS_NEW 5 /* at most: code, data, note, .eh_frame_hdr, .debug_frame */

struct table {
	struct elf_sink *sink;
	struct section_list list; /* the old ones and room for SECTIONS_NEW */
};

/* Fills `tail` so that what follows stands at a multiple of 8 in the file; returns where that is. */
static uint64_t align_tail(struct elf_sink *s)
{
	while (!s->tail.failed && (elf_sink_tail_offset(s) + s->tail.size) % 8)
		write_u8(&s->tail, 0);
	return elf_sink_tail_offset(s) + s->tail.size;
}

static void set_loaded(const struct table *t, Elf64_Shdr *s, uint64_t address, uint64_t size, uint64_t align)
{
	s->sh_addr = address;
	s->sh_offset = elf_sink_offset(t->sink, address);
	s->sh_size = size;
	s->sh_addralign = align;
}

static void add_loaded(struct table *t)
{
	const struct elf_sink *k = t->sink;
	uint64_t data = elf_sink_data_vaddr(k);
	uint32_t frames = elf_file_section(k->in, ".eh_frame_hdr");
	set_loaded(t, section_list_add(&t->list, ".repave.text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR), k->region, k->m->code_size, 16);
	if (k->m->data_size)
		set_loaded(t, section_list_add(&t->list, ".repave.data", SHT_PROGBITS, SHF_ALLOC), data, k->m->data_size, 8);
	set_loaded(t, section_list_add(&t->list, ".note.repave", SHT_NOTE, SHF_ALLOC), data + k->note.at, k->note.size, 4);
	/* Some profilers take the unwind table from the section, not from the program header. */
	if (k->frame_table.size)
		set_loaded(t, frames ? &t->list.sections[frames] : section_list_add(&t->list, ".eh_frame_hdr", SHT_PROGBITS, SHF_ALLOC),
			   data + k->frame_table.at, k->frame_table.size, 4);
}

/* A .debug_frame that is there already is continued; a compressed one is left alone, then debuggers have to guess in moved code. */
static int add_debug_frame(struct table *t)
{
	struct elf_sink *k = t->sink;
	const struct elf_file *in = k->in;
	uint32_t old = elf_file_section(in, ".debug_frame");
	if (!k->m->fde_count || (old && ((in->sections[old].sh_flags & SHF_COMPRESSED) || in->sections[old].sh_type != SHT_PROGBITS)))
		return 0;
	struct writer frames = {0};
	Elf64_Shdr *s = old ? &t->list.sections[old] : section_list_add(&t->list, ".debug_frame", SHT_PROGBITS, 0);
	if (old)
		write_bytes(&frames, in->data + s->sh_offset, s->sh_size);
	const struct frame_image image = frame_image_of_plan(k->m, k->region);
	int status = frame_table_write_debug(&image, &frames, k->e);
	s->sh_offset = align_tail(k);
	s->sh_size = frames.size;
	s->sh_addralign = 8;
	if (!status)
		write_bytes(&k->tail, frames.data, frames.size);
	writer_free(&frames);
	return status;
}

static int write_sections(struct table *t)
{
	struct elf_sink *k = t->sink;
	Elf64_Shdr *names = &t->list.sections[k->in->header.e_shstrndx];
	write_bytes(&t->list.names, k->in->data + names->sh_offset, names->sh_size);
	write_u8(&t->list.names, 0);
	add_loaded(t);
	int status = add_debug_frame(t);
	if (status)
		return status;
	names->sh_offset = elf_sink_tail_offset(k) + k->tail.size;
	names->sh_size = t->list.names.size;
	write_bytes(&k->tail, t->list.names.data, t->list.names.size);
	align_tail(k);
	k->headers = (struct elf_sink_piece){k->tail.size, t->list.count * sizeof *t->list.sections};
	k->section_count = (uint16_t)t->list.count;
	write_bytes(&k->tail, t->list.sections, k->headers.size);
	return t->list.names.failed ? err_set(k->e, ERR_MEMORY, "%s: no memory for section names", k->in->name) : 0;
}

/* Can sections be added? Not when their names are where they cannot be continued. */
static bool can_extend(const struct elf_file *in)
{
	if (!in->section_count || in->section_count + SECTIONS_NEW >= SHN_LORESERVE)
		return false;
	const Elf64_Shdr *names = &in->sections[in->header.e_shstrndx];
	return names->sh_type == SHT_STRTAB && !(names->sh_flags & SHF_ALLOC);
}

int elf_sink_write_tail(struct elf_sink *s)
{
	const struct elf_file *in = s->in;
	int status = 0;
	if (can_extend(in)) {
		struct table t = {.sink = s,
				  .list = {calloc(in->section_count + SECTIONS_NEW, sizeof(Elf64_Shdr)), in->section_count, {0}}};
		if (!t.list.sections)
			return err_set(s->e, ERR_MEMORY, "%s: no memory for %u sections", in->name, in->section_count);
		memcpy(t.list.sections, in->sections, in->section_count * sizeof *t.list.sections);
		status = write_sections(&t);
		free(t.list.sections);
		writer_free(&t.list.names);
	}
	/* Who looks for it from the end of the file, or behind the section headers, finds it there. */
	write_bytes(&s->tail, in->data + in->contents_end, in->size - in->contents_end);
	if (!status && s->tail.failed)
		status = err_set(s->e, ERR_MEMORY, "%s: no memory for sections", in->name);
	return status;
}
