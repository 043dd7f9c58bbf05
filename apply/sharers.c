#include "apply/sharers.h"

#include "apply/tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOKS 50
#define PAUSE 2000000ull
#define NEW_MAX 1000 /* so many new processes are looked at one by one, more by reading /proc */

int sharers_open(const struct target *t, struct sharers *ret_sharers, struct err *e)
{
	struct sharers s = {
	    .target = t,
	    .proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	    .load_fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC),
	};
	if (s.proc_fd < 0 || s.load_fd < 0) {
		int status = err_set_errno(e, errno, "/proc");
		sharers_close(&s);
		return status;
	}
	*ret_sharers = s;
	return 0;
}

void sharers_close(struct sharers *s)
{
	if (!s->target)
		return;
	if (s->proc_fd >= 0)
		close(s->proc_fd);
	if (s->load_fd >= 0)
		close(s->load_fd);
	*s = (struct sharers){0};
}

/* `task`: a thread of the target that has its memory. */
static bool is_sharer(const struct sharers *s, pid_t task, pid_t pid)
{
	return pid != s->target->pid && syscall(SYS_kcmp, task, pid, KCMP_VM, 0, 0) == 0 && !target_has_task(s->target, pid);
}

/* The number that was given to a process or thread last; 0 = unknown. */
static pid_t newest(const struct sharers *s)
{
	char text[128];
	ssize_t got = pread(s->load_fd, text, sizeof text - 1, 0);
	text[got > 0 ? got : 0] = 0;
	const char *field = strrchr(text, ' ');
	return field ? (pid_t)strtol(field, NULL, 10) : 0;
}

static pid_t find_anywhere(const struct sharers *s, pid_t task)
{
	struct {
		uint64_t inode, offset;
		uint16_t length;
		uint8_t type;
		char name[];
	} * entry;
	_Alignas(8) char buffer[8192];
	long got;
	if (lseek(s->proc_fd, 0, SEEK_SET) < 0)
		return 0;
	while ((got = syscall(SYS_getdents64, s->proc_fd, buffer, sizeof buffer)) > 0)
		for (long at = 0; at < got; at += entry->length) {
			entry = (void *)(buffer + at);
			pid_t pid = (pid_t)strtol(entry->name, NULL, 10);
			if (pid > 0 && is_sharer(s, task, pid))
				return pid;
		}
	return 0;
}

int sharers_refuse(struct sharers *s, struct err *e)
{
	pid_t first = 0, sharer = 0, task = target_living_task(s->target);
	bool changes = false;
	if (task < 0)
		return err_set_errno(e, errno, "process %d: its threads", s->target->pid);
	s->seen = newest(s);
	for (unsigned n = 0; task && n < LOOKS; n++) {
		if (n)
			monotonic_pause(PAUSE);
		sharer = find_anywhere(s, task);
		if (!sharer)
			return 0;
		changes |= n && sharer != first;
		first = n ? first : sharer;
	}
	if (!task)
		return err_set(e, ERR_GONE, "process %d ended", s->target->pid);
	return err_set(e, changes ? ERR_BUSY : ERR_REFUSED,
		       "process %d shares its memory with process %d (vfork or clone), which cannot be stopped safely", s->target->pid,
		       sharer);
}

/* A look at all of /proc may be long, so only at what is new where numbers tell it. */
int sharers_refuse_new(const struct sharers *s, pid_t task, struct err *e)
{
	pid_t last = newest(s), sharer = 0;
	if (s->seen <= 0 || last < s->seen || last - s->seen > NEW_MAX)
		sharer = find_anywhere(s, task);
	for (pid_t pid = s->seen + 1; !sharer && pid <= last && last - s->seen <= NEW_MAX; pid++)
		if (is_sharer(s, task, pid))
			sharer = pid;
	if (!sharer)
		return 0;
	return err_set(e, ERR_BUSY, "process %d began to share its memory with process %d (vfork or clone)", s->target->pid, sharer);
}
