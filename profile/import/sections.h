/*
 * sections: the section table of an ELF file, as far as names of functions need it. Untrusted: everything is checked against the file's size.
 * A file without a readable table (sstrip) has no sections; that is no error.
 */
#ifndef PROFILE_IMPORT_SECTIONS_H
#define PROFILE_IMPORT_SECTIONS_H

#include "formats/base/err.h"
#include "formats/base/vec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SECTION_SYMTAB = 2, SECTION_RELA = 4, SECTION_FLAG_ALLOC = 2, SECTION_FLAG_EXECUTE = 4 };

struct section {
	uint32_t name, type, link;
	uint64_t flags, address, offset, size;
};

struct sections {
	const uint8_t *file; /* borrowed */
	size_t size;
	VEC(struct section) list;
	uint16_t names; /* index of the section with their names */
};

/* ERR_MEMORY. */
int sections_read(const uint8_t *file, size_t size, struct sections *ret_sections, struct err *e) MUST_CHECK;
void sections_free(struct sections *s);

/* By index in the table; NULL for 0 and beyond its end. */
const struct section *sections_get(const struct sections *s, uint32_t index);
/* Does its content lie in the file? */
bool sections_inside(const struct sections *s, const struct section *section);
/* The text at `offset` in a section of strings that is inside; NULL when it passes the end or is longer than 4095 bytes. */
const char *sections_string(const struct sections *s, const struct section *strings, uint32_t offset);
/* Its name, or NULL. */
const char *sections_name(const struct sections *s, const struct section *section);
/* The executable section that holds the address, or NULL. */
const struct section *sections_of_code(const struct sections *s, uint64_t address);
/* Does it hold linkage stubs (.plt, .plt.got, .plt.sec)? */
bool sections_is_linkage(const struct sections *s, const struct section *section);

#endif
