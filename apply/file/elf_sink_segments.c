/*
 * The program headers of the new file, and the note that says what it is.
 */
#include "apply/file/elf_sink_parts.h"
#include "apply/version.h"

#include <stdio.h>
#include <string.h>

#define NOTE_FORMAT 1u
#define NOTE_VERSION_SIZE 32

static Elf64_Phdr segment(const struct elf_sink *s, uint32_t type, uint32_t flags, uint64_t address, uint64_t size)
{
	return (Elf64_Phdr){
	    .p_type = type,
	    .p_flags = flags,
	    .p_offset = elf_sink_offset(s, address),
	    .p_vaddr = address,
	    .p_paddr = address,
	    .p_filesz = size,
	    .p_memsz = size,
	};
}

static Elf64_Phdr piece_segment(const struct elf_sink *s, uint32_t type, const struct elf_sink_piece *piece, uint64_t align)
{
	Elf64_Phdr p = segment(s, type, PF_R, elf_sink_data_vaddr(s) + piece->at, piece->size);
	p.p_align = align;
	return p;
}

/* See file.md */
static void write_note(struct elf_sink *s)
{
	struct writer *w = &s->data;
	char version[NOTE_VERSION_SIZE] = {0};
	snprintf(version, sizeof version, "%s", REPAVE_VERSION);
	write_pad(w, 8, 0);
	s->note.at = w->size;
	write_u32(w, sizeof ELF_SINK_NOTE_OWNER);
	size_t size_field = w->size;
	write_u32(w, 0);
	write_u32(w, ELF_SINK_NOTE_TYPE);
	write_bytes(w, ELF_SINK_NOTE_OWNER, sizeof ELF_SINK_NOTE_OWNER);
	write_pad(w, 4, 0);
	size_t start = w->size;
	write_u32(w, NOTE_FORMAT);
	write_u32(w, s->m->function_count);
	write_u64(w, s->plan->inputs_hash);
	write_u64(w, s->in->identity.text_hash);
	write_u64(w, s->region);
	write_u64(w, s->m->code_size);
	write_u64(w, elf_sink_data_vaddr(s));
	write_u64(w, s->m->data_size);
	write_bytes(w, version, sizeof version);
	if (!w->failed)
		store_u32(w->data + size_field, (uint32_t)(w->size - start));
	s->note.size = w->size - s->note.at;
}

static uint32_t last_load(const struct elf_file *in)
{
	uint32_t last = 0;
	for (uint32_t i = 0; i < in->head.segment_count; i++)
		if (in->segments[i].p_type == PT_LOAD)
			last = i;
	return last;
}

/* The old table with PT_PHDR and PT_GNU_EH_FRAME led to their new places, the image behind the last PT_LOAD, the note at the end. */
static uint32_t fill_table(const struct elf_sink *s, uint64_t data_size, Elf64_Phdr *table)
{
	const struct elf_file *in = s->in;
	uint32_t count = 0, last = last_load(in);
	for (uint32_t i = 0; i < in->head.segment_count; i++) {
		const Elf64_Phdr *old = &in->segments[i];
		if (old->p_type == PT_PHDR)
			table[count++] = piece_segment(s, PT_PHDR, &s->segments, 8);
		else if (old->p_type == PT_GNU_EH_FRAME && s->frame_table.size)
			table[count++] = piece_segment(s, PT_GNU_EH_FRAME, &s->frame_table, 4);
		else
			table[count++] = *old;
		if (i != last)
			continue;
		table[count] = segment(s, PT_LOAD, PF_R | PF_X, s->region, s->m->code_size);
		table[count++].p_align = PLAN_PAGE;
		table[count] = segment(s, PT_LOAD, PF_R, elf_sink_data_vaddr(s), data_size);
		table[count++].p_align = PLAN_PAGE;
	}
	if (s->frame_table.size && !elf_file_segment(in, PT_GNU_EH_FRAME))
		table[count++] = piece_segment(s, PT_GNU_EH_FRAME, &s->frame_table, 4);
	table[count++] = piece_segment(s, PT_NOTE, &s->note, 4);
	return count;
}

int elf_sink_write_segments(struct elf_sink *s)
{
	Elf64_Phdr table[ELFHEAD_SEGMENT_MAX + 4];
	uint32_t count = s->in->head.segment_count + 3 + (s->frame_table.size && !elf_file_segment(s->in, PT_GNU_EH_FRAME));
	if (count > ELFHEAD_SEGMENT_MAX)
		return err_set(s->e, ERR_REFUSED, "%s: would have %u program headers, more than %d", s->in->name, count,
			       ELFHEAD_SEGMENT_MAX);
	write_note(s);
	write_pad(&s->data, 8, 0);
	s->segments = (struct elf_sink_piece){s->data.size, count * sizeof *table};
	s->segment_count = fill_table(s, s->data.size + s->segments.size, table);
	write_bytes(&s->data, table, s->segments.size);
	if (s->segment_count != count)
		return err_set(s->e, ERR_INTERNAL, "%s: %u program headers instead of %u", s->in->name, s->segment_count, count);
	return s->data.failed ? err_set(s->e, ERR_MEMORY, "%s: no memory for program headers", s->in->name) : 0;
}
