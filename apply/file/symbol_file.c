#include "apply/file/symbol_file.h"

#include "apply/file/section_list.h"

#include <stdlib.h>

#define SECTIONS_OTHER 5 /* the null section, .debug_frame, .symtab, .strtab, .shstrtab */
#define FIRST_TEXT 1

struct build {
	const struct symbol_file *f;
	struct section_list list;
	struct writer *w;
};

static Elf64_Shdr *begin_section(struct build *b, const char *name, uint32_t type, uint64_t flags, uint64_t align)
{
	Elf64_Shdr *s = section_list_add(&b->list, name, type, flags);
	write_pad(b->w, align, 0);
	s->sh_addralign = align;
	s->sh_offset = b->w->size;
	return s;
}

static void end_section(const struct build *b, Elf64_Shdr *s)
{
	s->sh_size = b->w->size - s->sh_offset;
}

static void write_text(struct build *b)
{
	for (uint32_t i = 0; i < b->f->image_count; i++) {
		const struct symbol_file_image *image = &b->f->images[i];
		Elf64_Shdr *s = begin_section(b, ".text", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 16);
		s->sh_addr = image->code.v;
		write_bytes(b->w, image->bytes, image->size);
		end_section(b, s);
	}
}

/* Offsets in .debug_frame count from its start, so it is written by itself first. */
static int write_frames(struct build *b, struct err *e)
{
	struct writer frames = {0};
	int status = 0;
	for (uint32_t i = 0; !status && i < b->f->image_count; i++)
		if (b->f->images[i].frames.fde_count)
			status = frame_table_write_debug(&b->f->images[i].frames, &frames, e);
	if (!status && frames.size) {
		Elf64_Shdr *s = begin_section(b, ".debug_frame", SHT_PROGBITS, 0, 8);
		write_bytes(b->w, frames.data, frames.size);
		end_section(b, s);
	}
	writer_free(&frames);
	return status;
}

static void write_symbols(struct build *b)
{
	const Elf64_Sym none = {0};
	Elf64_Shdr *s = begin_section(b, ".symtab", SHT_SYMTAB, 0, 8);
	write_bytes(b->w, &none, sizeof none);
	for (uint32_t i = 0; i < b->f->symbol_count; i++) {
		const struct symbol *from = &b->f->symbols[i];
		const Elf64_Sym symbol = {
		    .st_name = from->name,
		    .st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC),
		    .st_shndx = (uint16_t)(FIRST_TEXT + from->image),
		    .st_value = from->start.v,
		    .st_size = from->size,
		};
		write_bytes(b->w, &symbol, sizeof symbol);
	}
	end_section(b, s);
	s->sh_entsize = sizeof none;
	s->sh_info = b->f->symbol_count + 1; /* all of them are local */
	s->sh_link = b->list.count;	     /* .strtab is next */
	s = begin_section(b, ".strtab", SHT_STRTAB, 0, 1);
	write_bytes(b->w, b->f->names, b->f->names_size);
	end_section(b, s);
}

static void write_headers(struct build *b)
{
	Elf64_Shdr *names = begin_section(b, ".shstrtab", SHT_STRTAB, 0, 1);
	write_bytes(b->w, b->list.names.data, b->list.names.size);
	end_section(b, names);
	write_pad(b->w, 8, 0);
	const Elf64_Ehdr h = {
	    .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	    .e_type = ET_EXEC,
	    .e_machine = EM_X86_64,
	    .e_version = EV_CURRENT,
	    .e_shoff = b->w->size,
	    .e_ehsize = sizeof h,
	    .e_shentsize = sizeof *b->list.sections,
	    .e_shnum = (uint16_t)b->list.count,
	    .e_shstrndx = (uint16_t)(b->list.count - 1),
	};
	write_bytes(b->w, b->list.sections, b->list.count * sizeof *b->list.sections);
	if (!b->w->failed)
		memcpy(b->w->data, &h, sizeof h);
}

int symbol_file_write(const struct symbol_file *f, struct writer *w, struct err *e)
{
	const Elf64_Ehdr room = {0};
	struct build b = {.f = f, .w = w};
	if (f->image_count >= SHN_LORESERVE - SECTIONS_OTHER)
		return err_set(e, ERR_UNSUPPORTED, "%u images are too many for one symbol file", f->image_count);
	b.list.sections = calloc(f->image_count + SECTIONS_OTHER, sizeof *b.list.sections);
	if (!b.list.sections)
		return err_set(e, ERR_MEMORY, "no memory for the symbol file");
	write_bytes(w, &room, sizeof room);
	write_u8(&b.list.names, 0);
	b.list.count = FIRST_TEXT;
	write_text(&b);
	int status = write_frames(&b, e);
	if (!status) {
		write_symbols(&b);
		write_headers(&b);
	}
	if (!status && (w->failed || b.list.names.failed))
		status = err_set(e, ERR_MEMORY, "no memory for the symbol file");
	writer_free(&b.list.names);
	free(b.list.sections);
	return status;
}
