/*
 * files: the ELF files that imported addresses belong to, and the way from a mapped address to a vaddr.
 *
 * A module is identified by what the recording says (path, build-id) and, when its file can be read here (below `root`, or given by name), by the
 * file. In a file an address is found through its segment table; without the file only the recorded file offset is known, and that is used in
 * place of the vaddr: right for libraries whose segments stand at their offsets, wrong for others, so such modules are counted and named.
 */
#ifndef PROFILE_IMPORT_FILES_H
#define PROFILE_IMPORT_FILES_H

#include "formats/base/addr.h"
#include "formats/base/elfhead.h"
#include "formats/base/err.h"
#include "formats/module.h"
#include "formats/profile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct files;
struct spaces;

struct files_options {
	const char *root; /* before every recorded path; "" = this machine */
	const char *const
	    *given; /* ELF files by name: taken for modules of the same build-id, or of the same file name where none is recorded */
	size_t given_count;
};

/* One executable mapping as it was recorded. */
struct files_mapping {
	uint64_t start, end, offset; /* raddr, raddr, file offset of start */
	const char *path;	     /* kept by files_add as a copy */
	const uint8_t *build_id;     /* may be NULL */
	uint8_t build_id_size;
};

/* Reads the given files: their errors. */
int files_new(const struct files_options *options, struct files **ret_files, struct err *e) MUST_CHECK;
void files_free(struct files *files);

/* What the recording says elsewhere of the build-id of a path; for mappings that do not say it themselves. ERR_MEMORY. */
int files_build_id(struct files *files, const char *path, const uint8_t *build_id, size_t size, struct err *e) MUST_CHECK;
/* Number for spaces_map, or SPACES_NONE when the path is of no file (anonymous, vdso, shared memory). Nothing is opened yet. ERR_MEMORY. */
int files_add(struct files *files, const struct files_mapping *mapping, uint32_t *ret_mapping, struct err *e) MUST_CHECK;

/* An address as a process saw it, with the mappings (numbers of files_add) it had then. */
struct files_address {
	const struct spaces *spaces;
	uint32_t pid;
	uint64_t address;
};

/* PROFILE_NO_MODULE and the address itself when it is in no file. */
struct files_place {
	uint32_t module;
	uint64_t address;
};

/* Opens the file on first use. ERR_MEMORY. */
int files_find(struct files *files, const struct files_address *address, struct files_place *ret_place, struct err *e) MUST_CHECK;

/*
 * The file that is recorded as `path` by name alone. *ret_module is its number; *ret_head its headers (borrowed), NULL when it cannot be read here.
 * ERR_MEMORY.
 */
int files_open(struct files *files, const char *path, uint32_t *ret_module, const struct elfhead **ret_head, struct err *e) MUST_CHECK;
/* Identity of a module by its number, borrowed until the next module comes. */
const struct module_identity *files_module(const struct files *files, uint32_t module);

/* Modules that addresses were found in, numbered from 0 in the order of first use; moved into `profile`. */
int files_finish(struct files *files, struct profile *profile, struct err *e) MUST_CHECK;
size_t files_unknown(const struct files *files);	   /* of them, those whose file could not be read */
const char *files_unknown_path(const struct files *files); /* one of those, NULL if none; borrowed */

#endif
