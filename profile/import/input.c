#include "profile/import/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CAPACITY (INPUT_LINE_MAX + (1u << 20))

int input_of_fd(int fd, const char *name, struct input *ret_input, struct err *e)
{
	uint8_t *buffer = malloc(CAPACITY);
	if (!buffer)
		return err_set(e, ERR_MEMORY, "%s: no memory to read it", name);
	*ret_input = (struct input){.fd = fd, .name = name, .buffer = buffer, .capacity = CAPACITY};
	return 0;
}

int input_open(const char *path, struct input *ret_input, struct err *e)
{
	if (!strcmp(path, "-"))
		return input_of_fd(STDIN_FILENO, "stdin", ret_input, e);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	int status = input_of_fd(fd, path, ret_input, e);
	if (status)
		close(fd);
	else
		ret_input->owned = true;
	return status;
}

void input_close(struct input *in)
{
	free(in->buffer);
	if (in->owned)
		close(in->fd);
	*in = (struct input){.fd = -1};
}

/* Moves what is left to the front and reads once more. */
static int fill(struct input *in, struct err *e)
{
	in->size -= in->at;
	memmove(in->buffer, in->buffer + in->at, in->size);
	in->at = 0;
	ssize_t got;
	do
		got = read(in->fd, in->buffer + in->size, in->capacity - in->size);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_set_errno(e, errno, "%s", in->name);
	in->ended = !got;
	in->size += (size_t)got;
	return 0;
}

int input_peek(struct input *in, const void **ret_data, size_t *ret_size, struct err *e)
{
	while (!in->ended && in->size < INPUT_PEEK) {
		int status = fill(in, e);
		if (status)
			return status;
	}
	*ret_data = in->buffer;
	*ret_size = in->size;
	return 0;
}

/* What was peeked at goes before the rest. */
static int join(struct input *in, struct file_data *file, struct err *e)
{
	size_t rest = file->size;
	uint8_t *whole = realloc((void *)(uintptr_t)file->data, in->size + rest + 1);
	if (!whole) {
		file_data_free(file);
		return err_set(e, ERR_MEMORY, "%s: no memory for %zu bytes", in->name, in->size + rest);
	}
	memmove(whole + in->size, whole, rest);
	memcpy(whole, in->buffer, in->size);
	file->data = whole;
	file->size = in->size + rest;
	return 0;
}

int input_whole(struct input *in, struct file_data *ret_data, struct err *e)
{
	struct file_data file;
	int status = file_read_fd(in->fd, in->name, &file, e);
	if (!status && !file.mapped) /* a mapping has it all, whatever was read before */
		status = join(in, &file, e);
	if (!status)
		*ret_data = file;
	return status;
}

/* The newline behind `from`, or NULL: reads on until there is one or the buffer is full of one line. */
static uint8_t *find_end(struct input *in, int *ret_status, struct err *e)
{
	size_t searched = 0;
	for (;;) {
		uint8_t *end = memchr(in->buffer + in->at + searched, '\n', in->size - in->at - searched);
		searched = in->size - in->at;
		if (end || in->ended || searched >= INPUT_LINE_MAX)
			return end;
		*ret_status = fill(in, e);
		if (*ret_status)
			return NULL;
	}
}

/* Drops the rest of a line that is too long, up to and with its newline; false when there is none. */
static bool skip_rest(struct input *in, int *ret_status, struct err *e)
{
	for (;;) {
		in->at = in->size;
		*ret_status = fill(in, e);
		uint8_t *end = *ret_status ? NULL : memchr(in->buffer, '\n', in->size);
		if (end)
			in->at = (size_t)(end - in->buffer) + 1;
		if (end || *ret_status || in->ended)
			return end;
	}
}

int input_line(struct input *in, struct slice *ret_line, bool *ret_more, struct err *e)
{
	int status = 0;
	uint8_t *end = find_end(in, &status, e), *start = in->buffer + in->at;
	if (status)
		return status;
	*ret_more = end;
	if (end) {
		in->at = (size_t)(end - in->buffer) + 1;
		*ret_line = (struct slice){(const char *)start, (const char *)end};
	} else if (in->size - in->at >= INPUT_LINE_MAX) {
		*ret_more = skip_rest(in, &status, e);
		*ret_line = (struct slice){"", ""};
	}
	in->line += *ret_more;
	return status;
}
