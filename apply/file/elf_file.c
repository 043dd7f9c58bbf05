#include "apply/file/elf_file.h"

#include "formats/base/bytes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool inside(const struct elf_file *f, uint64_t offset, uint64_t size)
{
	return offset <= f->size && size <= f->size - offset;
}

static void extend(struct elf_file *f, uint64_t end)
{
	if (f->contents_end < end)
		f->contents_end = end;
}

/* elfhead_read has checked header and table; here each segment is held against the file, and the numbers that follow are derived. */
static int read_segments(struct elf_file *f, struct err *e)
{
	bool first = true;
	memcpy(f->segments, f->data + f->header.e_phoff, f->head.segment_count * sizeof *f->segments);
	extend(f, sizeof f->header);
	extend(f, f->header.e_phoff + f->head.segment_count * sizeof *f->segments);
	for (uint32_t i = 0; i < f->head.segment_count; i++) {
		const Elf64_Phdr *p = &f->segments[i];
		if (p->p_filesz && !inside(f, p->p_offset, p->p_filesz))
			return err_set(e, ERR_FORMAT,
				       "%s: segment %u at offset 0x%" PRIx64 " of 0x%" PRIx64 " bytes passes the end of the file", f->name,
				       i, p->p_offset, p->p_filesz);
		if (p->p_filesz)
			extend(f, p->p_offset + p->p_filesz);
		if (p->p_type != PT_LOAD)
			continue;
		if (first)
			f->load_base = p->p_vaddr - p->p_offset;
		first = false;
		f->load_end = p->p_vaddr + p->p_memsz;
	}
	return 0;
}

static int read_sections(struct elf_file *f, struct err *e)
{
	const Elf64_Ehdr *h = &f->header;
	/* Without names, or with more than a 16-bit count holds, they stay as they are. */
	if (!h->e_shoff || !h->e_shnum || h->e_shstrndx == SHN_UNDEF || h->e_shstrndx >= h->e_shnum)
		return 0;
	uint64_t size = (uint64_t)h->e_shnum * sizeof *f->sections;
	if (h->e_shentsize != sizeof *f->sections)
		return err_set(e, ERR_FORMAT, "%s: section headers of %u bytes, expected %zu", f->name, h->e_shentsize,
			       sizeof *f->sections);
	if (!inside(f, h->e_shoff, size))
		return err_set(e, ERR_FORMAT, "%s: %u section headers at offset 0x%" PRIx64 " pass the end of the file", f->name,
			       h->e_shnum, h->e_shoff);
	f->sections = malloc(size);
	if (!f->sections)
		return err_set(e, ERR_MEMORY, "%s: no memory for %u sections", f->name, h->e_shnum);
	memcpy(f->sections, f->data + h->e_shoff, size);
	f->section_count = h->e_shnum;
	extend(f, h->e_shoff + size);
	for (uint32_t i = 1; i < f->section_count; i++) {
		const Elf64_Shdr *s = &f->sections[i];
		if (s->sh_type == SHT_NOBITS || s->sh_type == SHT_NULL)
			continue;
		if (!inside(f, s->sh_offset, s->sh_size))
			return err_set(e, ERR_FORMAT, "%s: section %u at offset 0x%" PRIx64 " passes the end of the file", f->name, i,
				       s->sh_offset);
		extend(f, s->sh_offset + s->sh_size);
	}
	return 0;
}

static int read_identity(struct elf_file *f, const struct elf_source *source, struct err *e)
{
	size_t size = 0;
	elfhead_build_id(&f->head, source, false, f->identity.build_id, sizeof f->identity.build_id, &size);
	f->identity.build_id_size = (uint8_t)size;
	f->identity.file_size = f->size;
	f->identity.path = (char *)(uintptr_t)f->name;
	return elfhead_text_hash(&f->head, source, f->name, &f->identity.text_hash, e);
}

int elf_file_open(const void *data, size_t size, const char *name, struct elf_file *ret_file, struct err *e)
{
	struct elf_file f = {.name = name, .data = data, .size = size};
	struct elf_source source = elf_source_of_buffer(data, size);
	int status = elfhead_read(&source, name, &f.head, e);
	if (status)
		return status;
	memcpy(&f.header, data, sizeof f.header);
	status = read_segments(&f, e);
	if (!status)
		status = read_sections(&f, e);
	if (!status)
		status = read_identity(&f, &source, e);
	if (status)
		elf_file_close(&f);
	else
		*ret_file = f;
	return status;
}

void elf_file_close(struct elf_file *f)
{
	free(f->sections);
	*f = (struct elf_file){0};
}

bool elf_file_offset(const struct elf_file *f, vaddr address, uint64_t size, uint32_t flags, uint64_t *ret_offset)
{
	for (uint32_t i = 0; i < f->head.segment_count; i++) {
		const Elf64_Phdr *p = &f->segments[i];
		if (p->p_type != PT_LOAD || (p->p_flags & flags) != flags || address.v < p->p_vaddr)
			continue;
		uint64_t at = address.v - p->p_vaddr;
		if (at > p->p_filesz || size > p->p_filesz - at)
			continue;
		*ret_offset = p->p_offset + at;
		return true;
	}
	return false;
}

const Elf64_Phdr *elf_file_segment(const struct elf_file *f, uint32_t type)
{
	for (uint32_t i = 0; i < f->head.segment_count; i++)
		if (f->segments[i].p_type == type)
			return &f->segments[i];
	return NULL;
}

uint32_t elf_file_section(const struct elf_file *f, const char *name)
{
	if (!f->section_count)
		return 0;
	const Elf64_Shdr *names = &f->sections[f->header.e_shstrndx];
	size_t length = strlen(name) + 1; /* with the NUL */
	if (names->sh_type != SHT_STRTAB)
		return 0;
	for (uint32_t i = 1; i < f->section_count; i++) {
		uint64_t at = f->sections[i].sh_name;
		if (at < names->sh_size && length <= names->sh_size - at && !memcmp(f->data + names->sh_offset + at, name, length))
			return i;
	}
	return 0;
}

static const uint8_t *find_note(struct reader *r, const char *owner, uint32_t type, size_t align, size_t *ret_size)
{
	size_t length = strlen(owner) + 1;
	while (reader_left(r) >= 12) {
		uint32_t name_size = read_u32(r), size = read_u32(r), here = read_u32(r);
		const uint8_t *name = read_bytes(r, name_size);
		read_bytes(r, -r->position & (align - 1));
		const uint8_t *data = read_bytes(r, size);
		if (r->failed)
			return NULL;
		if (here == type && name_size == length && !memcmp(name, owner, length)) {
			*ret_size = size;
			return data;
		}
		read_bytes(r, -r->position & (align - 1)); /* may fail behind the last note: nothing follows then */
	}
	return NULL;
}

const uint8_t *elf_file_note(const struct elf_file *f, const char *owner, uint32_t type, size_t *ret_size)
{
	for (uint32_t i = 0; i < f->head.segment_count; i++) {
		const Elf64_Phdr *p = &f->segments[i];
		if (p->p_type != PT_NOTE || !p->p_filesz)
			continue;
		struct reader r = reader_of(f->data + p->p_offset, p->p_filesz);
		const uint8_t *found = find_note(&r, owner, type, p->p_align == 8 ? 8 : 4, ret_size);
		if (found)
			return found;
	}
	return NULL;
}

bool elf_file_relocates_text(const struct elf_file *f)
{
	const Elf64_Phdr *p = elf_file_segment(f, PT_DYNAMIC);
	for (uint64_t at = 0; p && at + sizeof(Elf64_Dyn) <= p->p_filesz; at += sizeof(Elf64_Dyn)) {
		Elf64_Dyn entry;
		memcpy(&entry, f->data + p->p_offset + at, sizeof entry);
		if (entry.d_tag == DT_NULL)
			return false;
		if (entry.d_tag == DT_TEXTREL || (entry.d_tag == DT_FLAGS && (entry.d_un.d_val & DF_TEXTREL)))
			return true;
	}
	return false;
}
