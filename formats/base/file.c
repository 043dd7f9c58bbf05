#include "formats/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int read_stream(int fd, const char *name, struct file_data *file, struct err *e)
{
	uint8_t *data = NULL;
	size_t size = 0, capacity = 0;
	for (;;) {
		if (size == capacity) {
			capacity = capacity ? capacity * 2 : 1 << 16;
			uint8_t *grown = realloc(data, capacity);
			if (!grown) {
				free(data);
				return err_set(e, ERR_MEMORY, "%s: no memory for more than %zu bytes", name, size);
			}
			data = grown;
		}
		ssize_t got = read(fd, data + size, capacity - size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int saved = errno;
			free(data);
			return err_set_errno(e, saved, "%s: read at offset %zu", name, size);
		}
		if (got == 0)
			break;
		size += (size_t)got;
	}
	file->data = data;
	file->size = size;
	return 0;
}

int file_read_fd(int fd, const char *name, struct file_data *ret_data, struct err *e)
{
	struct file_data file = {0};
	if (fstat(fd, &file.stat) < 0)
		return err_set_errno(e, errno, "%s", name);
	/* Of the devices of characters only a terminal has an end that somebody says; /dev/zero would be read until no memory is left. */
	if (S_ISDIR(file.stat.st_mode) || S_ISBLK(file.stat.st_mode) || (S_ISCHR(file.stat.st_mode) && !isatty(fd)))
		return err_set(e, ERR_IO, "%s: not a file", name);
	if (S_ISREG(file.stat.st_mode) && file.stat.st_size > 0) {
		void *map = mmap(NULL, (size_t)file.stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED)
			return err_set_errno(e, errno, "%s: mmap", name);
		file.data = map;
		file.size = (size_t)file.stat.st_size;
		file.mapped = true;
	} else {
		int status = read_stream(fd, name, &file, e);
		if (status)
			return status;
	}
	*ret_data = file;
	return 0;
}

int file_read(const char *path, struct file_data *ret_data, struct err *e)
{
	if (!strcmp(path, "-"))
		return file_read_fd(STDIN_FILENO, "stdin", ret_data, e);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	int status = file_read_fd(fd, path, ret_data, e);
	close(fd);
	return status;
}

void file_data_free(struct file_data *file)
{
	if (file->mapped)
		munmap((void *)(uintptr_t)file->data, file->size);
	else
		free((void *)(uintptr_t)file->data);
	*file = (struct file_data){0};
}

int file_write_all(int fd, const void *data, size_t size)
{
	const uint8_t *p = data;
	while (size) {
		ssize_t put = write(fd, p, size);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -1;
		p += put;
		size -= (size_t)put;
	}
	return 0;
}

static int write_temporary(int fd, const void *data, size_t size)
{
	mode_t mask = umask(0);
	umask(mask);
	if (file_write_all(fd, data, size) < 0)
		return -1;
	if (fchmod(fd, 0666 & ~mask) < 0)
		return -1;
	return fsync(fd);
}

/* A device or FIFO must not be replaced by a file: written in place. */
static int write_special(const char *path, const void *data, size_t size, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	int failed = file_write_all(fd, data, size), saved = errno;
	if (close(fd) < 0 && !failed) {
		failed = -1;
		saved = errno;
	}
	return failed ? err_set_errno(e, saved, "%s", path) : 0;
}

int file_write(const char *path, const void *data, size_t size, struct err *e)
{
	if (!strcmp(path, "-"))
		return file_write_all(STDOUT_FILENO, data, size) < 0 ? err_set_errno(e, errno, "stdout") : 0;
	struct stat existing;
	if (!stat(path, &existing) && !S_ISREG(existing.st_mode))
		return write_special(path, data, size, e);
	char temporary[4096];
	if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= sizeof temporary)
		return err_set(e, ERR_USAGE, "%s: path too long", path);
	int fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	int failed = write_temporary(fd, data, size), saved = errno;
	if (close(fd) < 0 && !failed) {
		failed = -1;
		saved = errno;
	}
	if (!failed && rename(temporary, path) < 0) {
		failed = -1;
		saved = errno;
	}
	if (!failed)
		return 0;
	unlink(temporary);
	return err_set_errno(e, saved, "%s", path);
}
