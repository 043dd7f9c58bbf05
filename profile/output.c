#include "profile/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int output_open(const char *path, struct output *ret_output, struct err *e)
{
	if (!strcmp(path, "-")) {
		if (isatty(STDOUT_FILENO))
			return err_set(e, ERR_USAGE, "stdout is a terminal: a profile is not text (use -o FILE)");
		*ret_output = (struct output){.fd = STDOUT_FILENO, .name = "stdout", .is_stdout = true};
		return 0;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	*ret_output = (struct output){.fd = fd, .name = path};
	return 0;
}

int output_close(struct output *output, struct err *e)
{
	int fd = output->fd;
	output->fd = -1;
	if (output->is_stdout || !close(fd))
		return 0;
	return err_set_errno(e, errno, "%s", output->name);
}
