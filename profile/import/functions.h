/*
 * functions: the functions of one ELF file under the names that llvm-bolt 16 gives them, for BOLT's profile formats.
 *
 * From .symtab, the FDEs of .eh_frame and the linkage stubs. Names, as observed with that version (.dynsym only names stubs):
 *   a global symbol           its name
 *   a local symbol            name/N, and name/FILE/N where a file symbol precedes; N counts equal names by address, from 1
 *   an FDE without a symbol   __BOLT_FDE_FUNCat and the address in lower-case hex; none in .plt and its like
 *   a linkage stub            the name of what it leads to, and @PLT
 */
#ifndef PROFILE_IMPORT_FUNCTIONS_H
#define PROFILE_IMPORT_FUNCTIONS_H

#include "formats/base/addr.h"
#include "formats/base/bytes.h"
#include "formats/base/err.h"
#include "formats/module.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct functions;

struct function {
	uint64_t start, end; /* vaddr, [start, end) */
	const char *name;    /* into the file; NULL: an FDE without a symbol */
	uint32_t number;     /* of a local symbol, 0 = global */
	bool is_stub;	     /* a linkage stub of the function `name` */
};

/* ERR_MISSING, ..., ERR_FORMAT, ERR_UNSUPPORTED: as elfhead_read; a file without symbols or FDEs is no error. */
int functions_read(const char *path, struct functions **ret_functions, struct err *e) MUST_CHECK;
void functions_free(struct functions *functions);

const struct module_identity *functions_module(const struct functions *functions);
/* The function that holds the address, or NULL. Sorted by start: neighbours may be walked. */
const struct function *functions_at(const struct functions *functions, vaddr address);
/* Start of the function of this name; false when there is none. */
bool functions_find(const struct functions *functions, const char *name, size_t length, vaddr *ret_start);
/* Appends BOLT's name, with blanks and backslashes escaped if `escaped`. */
void functions_put_name(const struct function *function, bool escaped, struct writer *w);

#endif
