#include "profile/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The line of a small /proc file that starts with `prefix` ("": the first); what follows it, in `text`. */
static bool find_line(const char *path, const char *prefix, char *text, size_t size)
{
	FILE *file = fopen(path, "re");
	bool found = false;
	while (file && !found && fgets(text, (int)size, file))
		found = !strncmp(text, prefix, strlen(prefix));
	if (file)
		fclose(file);
	if (!found)
		return false;
	text[strcspn(text, "\n")] = 0;
	memmove(text, text + strlen(prefix), strlen(text + strlen(prefix)) + 1);
	return true;
}

/* A zombie has no memory, but nor has a leader that exited before its threads: VmSize is then missing too, but other tasks are alive. */
static int check_state(pid_t pid, struct err *e)
{
	char path[64], text[256];
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	if (!find_line(path, "Tgid:\t", text, sizeof text))
		return err_set(e, ERR_GONE, "process %d does not exist", (int)pid);
	if (strtol(text, NULL, 10) != pid)
		return err_set(e, ERR_UNSUPPORTED, "%d is a thread of process %s", (int)pid, text);
	bool zombie = find_line(path, "State:\t", text, sizeof text) && text[0] == 'Z';
	if (zombie && find_line(path, "Threads:\t", text, sizeof text) && strtol(text, NULL, 10) <= 1)
		return err_set(e, ERR_GONE, "process %d is a zombie: it has exited", (int)pid);
	if (!zombie && !find_line(path, "VmSize:\t", text, sizeof text))
		return err_set(e, ERR_UNSUPPORTED, "process %d is a kernel thread", (int)pid);
	return 0;
}

int target_open(pid_t pid, struct target *ret_target, struct err *e)
{
	struct target target = {.pid = pid};
	target.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (target.pidfd < 0 && (errno == ESRCH || errno == EINVAL)) {
		int saved = errno, status = check_state(pid, e);
		return status ? status : err_set_errno(e, saved, "process %d", (int)pid);
	}
	if (target.pidfd < 0)
		return err_set_errno(e, errno, "process %d", (int)pid);
	int status = check_state(pid, e);
	int failure = status ? 0 : clock_getcpuclockid(pid, &target.clock);
	if (failure)
		status = err_set_errno(e, failure, "CPU time of process %d", (int)pid);
	if (status)
		target_close(&target);
	else
		*ret_target = target;
	return status;
}

void target_close(struct target *target)
{
	close(target->pidfd);
	target->pidfd = -1;
}

uint64_t target_cpu_ns(const struct target *target, uint64_t otherwise)
{
	struct timespec t;
	if (clock_gettime(target->clock, &t))
		return otherwise;
	uint64_t ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	return ns > otherwise ? ns : otherwise;
}

char *target_command(const struct target *target)
{
	char path[64], text[4096];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)target->pid);
	ssize_t size = readlink(path, text, sizeof text - 1);
	if (size > 0) {
		text[size] = 0;
		return strdup(text);
	}
	snprintf(path, sizeof path, "/proc/%d/comm", (int)target->pid);
	return strdup(find_line(path, "", text, sizeof text) ? text : "");
}

char *target_cpu_model(void)
{
	char text[512];
	if (!find_line("/proc/cpuinfo", "model name", text, sizeof text))
		return strdup("unknown");
	return strdup(text + strspn(text, "\t :"));
}

char *target_kernel(void)
{
	struct utsname name;
	return strdup(uname(&name) ? "unknown" : name.release);
}
