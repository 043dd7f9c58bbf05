/*
 * elf_file: an ELF file to be copied with changes: its headers as raw structures, every number in them checked against the file.
 *
 * Beyond elfhead (which a live process shows too) it knows the program header table byte for byte, the sections, text relocations, and where
 * the file's own contents end: what lies behind is an overlay, data that programs append to their executables.
 */
#ifndef APPLY_FILE_ELF_FILE_H
#define APPLY_FILE_ELF_FILE_H

#include "formats/base/elfhead.h"
#include "formats/module.h"

#include <elf.h>

struct elf_file {
	const char *name;    /* for messages; borrowed */
	const uint8_t *data; /* borrowed */
	size_t size;
	Elf64_Ehdr header;
	struct elfhead head;
	Elf64_Phdr segments[ELFHEAD_SEGMENT_MAX]; /* the raw table; head.segment_count of them */
	Elf64_Shdr *sections;			  /* owned; NULL when there are none, or none that could be named */
	uint32_t section_count;
	uint64_t load_base;		 /* vaddr of the byte at file offset 0, as the first PT_LOAD says */
	uint64_t load_end;		 /* vaddr behind the last PT_LOAD's last byte, .bss included */
	uint64_t contents_end;		 /* file offset behind the last byte that a header names; up to size */
	struct module_identity identity; /* path is `name`, borrowed: not to be freed */
};

/*
 * Reads and checks `size` bytes, which must outlive the result. ERR_FORMAT, ERR_UNSUPPORTED as elfhead_read; and ERR_FORMAT when a segment
 * or section lies outside of the file, ERR_MEMORY.
 */
int elf_file_open(const void *data, size_t size, const char *name, struct elf_file *ret_file, struct err *e) MUST_CHECK;
void elf_file_close(struct elf_file *f);

/* File offset of [address, address + size), when all of it are file bytes of one PT_LOAD that has all of `flags` (PF_X ...). */
bool elf_file_offset(const struct elf_file *f, vaddr address, uint64_t size, uint32_t flags, uint64_t *ret_offset);
/* The first program header of this type, or NULL. */
const Elf64_Phdr *elf_file_segment(const struct elf_file *f, uint32_t type);
/* Index of the first section with this name, or 0. */
uint32_t elf_file_section(const struct elf_file *f, const char *name);
/* Contents of the first note with this owner and type, or NULL. */
const uint8_t *elf_file_note(const struct elf_file *f, const char *owner, uint32_t type, size_t *ret_size);
/* Does the loader write into code (DT_TEXTREL)? Then its bytes in the file are not what runs. */
bool elf_file_relocates_text(const struct elf_file *f);

#endif
