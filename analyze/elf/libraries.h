/*
 * libraries: which shared libraries a program links, found as the dynamic linker finds them: RPATH or RUNPATH (with $ORIGIN), ld.so.cache, the
 * standard directories. LD_LIBRARY_PATH is not looked at: it belongs to a process, not to a file.
 */
#ifndef ANALYZE_ELF_LIBRARIES_H
#define ANALYZE_ELF_LIBRARIES_H

#include "formats/base/err.h"

#include <stddef.h>

struct libraries {
	char **paths; /* real paths, each once, in the order found; owned */
	size_t count;
	char **missing; /* "NAME (needed by PATH)"; owned */
	size_t missing_count;
};

/* Adds `path` and everything it links, its interpreter too, that is not there yet. Errors: those of image_open for `path` itself, ERR_MEMORY; a
   library that is not found is listed as missing. */
int libraries_add(struct libraries *libraries, const char *path, struct err *e) MUST_CHECK;
void libraries_free(struct libraries *libraries);

#endif
