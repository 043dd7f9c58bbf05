/*
 * identity: which file stands behind an executable mapping of a process, and the module identity of it.
 *
 * The file is opened through the mapping itself (/proc/PID/map_files, right even when the file was deleted or replaced) or through the
 * process's root directory, and then only believed when its inode is the mapped one. When no file can be had, headers and build-id are
 * read from the process's memory; file_size and text_hash then stay 0, as formats/module.h says.
 */
#ifndef PROFILE_IDENTITY_H
#define PROFILE_IDENTITY_H

#include "formats/base/addr.h"
#include "formats/base/elfhead.h"
#include "formats/base/err.h"
#include "formats/base/procmaps.h"
#include "formats/module.h"

#include <sys/types.h>

/* Identity and headers of an open ELF file. `path` is what the identity will say. Errors of elfhead_read and elfhead_text_hash, ERR_MEMORY. */
int identity_of_file(int fd, const char *path, struct module_identity *ret_module, struct elfhead *ret_head, struct err *e) MUST_CHECK;

/* The same for a path. ERR_MISSING, ERR_PERMISSION, ... of the file too. */
int identity_of_path(const char *path, struct module_identity *ret_module, struct elfhead *ret_head, struct err *e) MUST_CHECK;

/*
 * For an executable mapping of process `pid`. `maps` (may be NULL) are the mappings of the process and tell where its ELF header stands in
 * memory. ERR_MISSING when neither file nor memory can be read, ERR_FORMAT or ERR_UNSUPPORTED when it is no ELF file we know.
 */
int identity_of_mapping(pid_t pid, const struct procmap *map, const struct procmaps *maps, struct module_identity *ret_module,
			struct elfhead *ret_head, struct err *e) MUST_CHECK;

#endif
