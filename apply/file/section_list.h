/*
 * section_list: the section headers of an ELF file that is put together, and their names.
 */
#ifndef APPLY_FILE_SECTION_LIST_H
#define APPLY_FILE_SECTION_LIST_H

#include "formats/base/bytes.h"

#include <elf.h>
#include <string.h>

struct section_list {
	Elf64_Shdr *sections; /* of the caller, who has made room for all that will be added */
	uint32_t count;
	struct writer names; /* contents of .shstrtab */
};

/* The new section, without a place yet. */
static inline Elf64_Shdr *section_list_add(struct section_list *l, const char *name, uint32_t type, uint64_t flags)
{
	Elf64_Shdr *s = &l->sections[l->count++];
	*s = (Elf64_Shdr){.sh_name = (uint32_t)l->names.size, .sh_type = type, .sh_flags = flags, .sh_addralign = 1};
	write_bytes(&l->names, name, strlen(name) + 1);
	return s;
}

#endif
