/*
 * file: whole files in, whole files out.
 *
 * Reading maps a regular file privately, or reads a pipe or stdin ("-") to its end. Writing goes to a temporary file beside the target,
 * fsync, rename; so a reader sees the old file or the new one, never half. "-" writes to stdout.
 */
#ifndef FORMATS_BASE_FILE_H
#define FORMATS_BASE_FILE_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct file_data {
	const uint8_t *data; /* owned; file_data_free. May be NULL when size is 0 */
	size_t size;
	bool mapped; /* munmap instead of free */
	struct stat stat;
};

/* Opens and reads `path`. ERR_MISSING, ERR_PERMISSION, ERR_IO (also: a directory or device), ERR_MEMORY. */
int file_read(const char *path, struct file_data *ret_data, struct err *e) MUST_CHECK;
/* The same from an open descriptor, which stays open; `name` is for messages. */
int file_read_fd(int fd, const char *name, struct file_data *ret_data, struct err *e) MUST_CHECK;
void file_data_free(struct file_data *file);

/* Replaces `path` by these bytes, atomically and durably; mode is 0666 minus umask. ERR_IO with errno text; no temporary file remains. */
int file_write(const char *path, const void *data, size_t size, struct err *e) MUST_CHECK;

/* write(2) until all is written. 0, or -1 with errno. */
int file_write_all(int fd, const void *data, size_t size) MUST_CHECK;

#endif
