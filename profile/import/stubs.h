/*
 * stubs: the linkage stubs (PLT) of an ELF file, each with the name of what it leads to.
 *
 * A stub jumps through a slot; the dynamic relocation of that slot names a symbol. Cut as llvm-bolt 16 cuts them, whose profiles say
 * "strtol@PLT": every 16 bytes of .plt, every 8 of .plt.got and .plt.sec, named after the jump that is found first in each piece.
 */
#ifndef PROFILE_IMPORT_STUBS_H
#define PROFILE_IMPORT_STUBS_H

#include "profile/import/sections.h"

struct stub {
	uint64_t start, size; /* vaddr, bytes */
	const char *name;     /* of the symbol, into the file */
};

/* Sorted by start, malloc'ed, none overlapping. Stubs whose slot no relocation names are left out. ERR_MEMORY. */
int stubs_read(const struct sections *s, struct stub **ret_stubs, size_t *ret_count, struct err *e) MUST_CHECK;

#endif
