#include "profile/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int output_open(const char *path, struct output *ret_output, struct err *e)
{
	if (!strcmp(path, "-")) {
		if (isatty(STDOUT_FILENO))
			return err_set(e, ERR_USAGE, "stdout is a terminal: a profile is not text (use -o FILE)");
		*ret_output = (struct output){.fd = STDOUT_FILENO, .name = "stdout", .is_stdout = true};
		return 0;
	}
	bool is_new = true;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 && errno == EEXIST) {
		is_new = false;
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	}
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	*ret_output = (struct output){.fd = fd, .name = path, .is_new = is_new};
	return 0;
}

int output_empty(int fd, const char *name, struct err *e)
{
	struct stat stat;
	if (fstat(fd, &stat) || (S_ISREG(stat.st_mode) && ftruncate(fd, 0)))
		return err_set_errno(e, errno, "%s", name);
	return 0;
}

void output_abandon(struct output *output)
{
	struct stat stat;
	if (output->is_new && !fstat(output->fd, &stat) && !stat.st_size)
		unlink(output->name);
	if (!output->is_stdout)
		close(output->fd);
	output->fd = -1;
}

void output_discard(struct output *output)
{
	/* If it cannot be emptied it stays as it is: there is an error to be reported already. */
	if (!output->is_stdout && !output_empty(output->fd, output->name, NULL))
		output_abandon(output);
	else if (!output->is_stdout)
		close(output->fd);
	output->fd = -1;
}

int output_close(struct output *output, struct err *e)
{
	int fd = output->fd;
	output->fd = -1;
	if (output->is_stdout || !close(fd))
		return 0;
	return err_set_errno(e, errno, "%s", output->name);
}
