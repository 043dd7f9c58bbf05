#include "apply/file/output.h"

#include "formats/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096 };

static bool is_hole(const uint8_t *page, size_t size)
{
	return !page[0] && !memcmp(page, page + 1, size - 1);
}

/* Writes runs of pages that hold anything; the size is set first, so the rest reads as zeros. */
static int write_sparse(int fd, const uint8_t *data, size_t size)
{
	if (ftruncate(fd, (off_t)size) < 0)
		return -1;
	for (size_t at = 0; at < size;) {
		size_t end = at;
		while (end < size && !is_hole(data + end, size - end < PAGE ? size - end : PAGE))
			end += size - end < PAGE ? size - end : PAGE;
		if (end > at && (lseek(fd, (off_t)at, SEEK_SET) < 0 || file_write_all(fd, data + at, end - at) < 0))
			return -1;
		at = end + PAGE;
	}
	return 0;
}

static mode_t mode_of(const struct stat *from)
{
	mode_t mask = umask(0);
	umask(mask);
	return S_ISREG(from->st_mode) ? from->st_mode & 0777 : 0755 & ~mask;
}

/* The owner first: changing it would clear mode bits. */
static int write_temporary(int fd, const struct stat *from, const void *data, size_t size)
{
	if (write_sparse(fd, data, size) < 0)
		return -1;
	if (!geteuid() && S_ISREG(from->st_mode) && fchown(fd, from->st_uid, from->st_gid) < 0)
		return -1;
	if (fchmod(fd, mode_of(from)) < 0)
		return -1;
	return fsync(fd);
}

static int replace(const char *path, const struct stat *from, const void *data, size_t size, struct err *e)
{
	char temporary[4096];
	if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= sizeof temporary)
		return err_set(e, ERR_USAGE, "%s: path too long", path);
	int fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	int failed = write_temporary(fd, from, data, size), saved = errno;
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

int output_write(const char *path, const struct stat *from, const void *data, size_t size, struct err *e)
{
	struct stat there;
	if (!strcmp(path, "-"))
		return file_write_all(STDOUT_FILENO, data, size) < 0 ? err_set_errno(e, errno, "stdout") : 0;
	if (stat(path, &there))
		return replace(path, from, data, size, e);
	if (there.st_dev == from->st_dev && there.st_ino == from->st_ino)
		return err_set(e, ERR_USAGE, "%s: is the input itself; it is not overwritten", path);
	/* Devices and pipes are written in place. */
	return S_ISREG(there.st_mode) ? replace(path, from, data, size, e) : file_write(path, data, size, e);
}
