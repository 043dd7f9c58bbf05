/*
 * image_parts: the stages of image_open; private to analyze/elf/image*.c.
 */
#ifndef ANALYZE_ELF_IMAGE_PARTS_H
#define ANALYZE_ELF_IMAGE_PARTS_H

#include "analyze/elf/image.h"

#include <elf.h>

/* What the section headers say, if there are any: only hints, each checked against the file's size. */
struct image_sections {
	Elf64_Shdr dynsym, symtab, symtab_strings; /* sh_size 0 = none */
	Elf64_Shdr eh_frame;
};

/* Borrowed bytes [offset, offset + size) of the file, or NULL. */
const uint8_t *image_file_bytes(const struct image *image, uint64_t offset, uint64_t size);

/* Fills symbols, imports, pointers, code_pointers, init_fini, resolvers, needed, ... from PT_DYNAMIC and the symbol tables. */
int image_read_dynamic(struct image *image, const Elf64_Phdr *dynamic, const struct image_sections *sections, uint64_t entry,
		       struct err *e) MUST_CHECK;
/* Fills fdes, eh_frame, eh_frame_size. `header` is PT_GNU_EH_FRAME or NULL. */
int image_read_frames(struct image *image, const Elf64_Phdr *header, const struct image_sections *sections, struct err *e) MUST_CHECK;

#endif
