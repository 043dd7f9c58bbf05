/*
 * output: an executable file, written whole or not at all, with the mode and owner of the one it was made from.
 */
#ifndef APPLY_FILE_OUTPUT_H
#define APPLY_FILE_OUTPUT_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/*
 * Writes `size` bytes to `path` ("-": stdout) by way of a temporary file beside it, fsync, rename; whole pages of zeros become holes. Mode: that
 * of `from`, without set-user-id, set-group-id and sticky bits; what is no regular file (a pipe) gives 0755 minus umask. Owner: that of
 * `from` for root, else whoever runs this. ERR_USAGE when `path` is the file of `from`; ERR_IO, ERR_PERMISSION; no temporary file remains.
 */
int output_write(const char *path, const struct stat *from, const void *data, size_t size, struct err *e) MUST_CHECK;

/* Does `from` have mode bits that output_write drops? */
static inline bool output_drops(const struct stat *from)
{
	return S_ISREG(from->st_mode) && (from->st_mode & (S_ISUID | S_ISGID));
}

#endif
