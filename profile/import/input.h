/*
 * input: the file, pipe or stdin that is imported, as its format wants it: a look at its start, then all of it in memory or line by line.
 *
 * Lines take memory for one of them, whatever the length of the input; formats of gigabytes come through a pipe and are never stored.
 */
#ifndef PROFILE_IMPORT_INPUT_H
#define PROFILE_IMPORT_INPUT_H

#include "formats/base/err.h"
#include "formats/base/file.h"
#include "profile/import/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INPUT_PEEK (64u << 10)
#define INPUT_LINE_MAX (256u << 10) /* a longer line comes as an empty one */

struct input {
	int fd;
	bool owned, ended; /* fd is to be closed; read(2) has said 0 */
	const char *name;  /* borrowed: the path, or "stdin"; for messages */
	uint8_t *buffer;   /* [capacity] owned */
	size_t capacity, size, at;
	uint64_t line; /* number of the line last read, from 1 */
};

/* Opens `path` ("-": stdin). Errors of open; ERR_MEMORY. */
int input_open(const char *path, struct input *ret_input, struct err *e) MUST_CHECK;
/* The same for an open descriptor, which stays open. ERR_MEMORY. */
int input_of_fd(int fd, const char *name, struct input *ret_input, struct err *e) MUST_CHECK;
void input_close(struct input *in);

/* The start of it, INPUT_PEEK bytes or less where it is shorter; nothing is consumed. Borrowed until the next call. Before lines. ERR_IO. */
int input_peek(struct input *in, const void **ret_data, size_t *ret_size, struct err *e) MUST_CHECK;
/* All of it; not after lines. Errors of file_read_fd. */
int input_whole(struct input *in, struct file_data *ret_data, struct err *e) MUST_CHECK;
/*
 * The next line without its end, borrowed until the next call; *ret_more is false at the end. What stands behind the last newline is no line: a pipe
 * that broke may have cut it anywhere. ERR_IO.
 */
int input_line(struct input *in, struct slice *ret_line, bool *ret_more, struct err *e) MUST_CHECK;

#endif
