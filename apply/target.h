/*
 * target: the process that is worked on: who it is, whether we may touch it, its memory.
 *
 * Identity: a pidfd, the start time and a descriptor of /proc/PID/mem. That descriptor belongs to the address space that was there when it was
 * opened: after exec or exit it reads and writes nothing, so no write can reach another program, whatever happens to the pid.
 */
#ifndef APPLY_TARGET_H
#define APPLY_TARGET_H

#include "formats/base/addr.h"
#include "formats/base/err.h"
#include "formats/base/procmaps.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct target {
	pid_t pid;
	pid_t task; /* a thread that had the memory at the last target_refresh: the first, unless it has exited */
	int pidfd, mem_fd, task_fd, lock_fd;
	uint64_t start_time; /* clock ticks after boot, /proc/PID/stat field 22 */
	bool seccomp_filter; /* injected calls need PTRACE_O_SUSPEND_SECCOMP */
	bool filter_passes;  /* set by the caller: the filter is known to let injected calls through, it need not be suspended */
	bool cut_calls;	     /* set by the caller: in the end threads are stopped even in calls that this cuts short (tracee.h) */
	bool
	    shows_limits; /* set by the caller: waits with a time limit return EINTR where they would begin anew (formats/base/restart.h) */
	uint64_t calls_by;    /* monotonic time until which such calls are waited out; 0, set by each transaction: not looked yet */
	bool calls_stuck;     /* and that was done */
	uint32_t calls_cut;   /* so many returned only a part, since they could be neither waited for nor finished (finish.h) */
	pid_t held;	      /* set by the caller: this thread is attached to this process and stopped, and is left so; 0 = none */
	struct procmaps maps; /* of the last target_refresh */
	struct core *core;    /* owned; not NULL: there is no process, only its core file (core.h) */
};

/*
 * Opens `pid` and takes the lock that keeps other instances away. ERR_GONE (no such process, zombie), ERR_PERMISSION, ERR_BUSY (another
 * instance works on it, or the thread that was chosen has just ended). The target is not touched.
 */
int target_open(pid_t pid, struct target *ret_target, struct err *e) MUST_CHECK;
void target_close(struct target *t);

/*
 * May this process be worked on? ERR_REFUSED: not x86-64, traced already (names the tracer), strict seccomp, frozen, shadow stack on, itself;
 * ERR_GONE: exited, zombie.
 */
int target_check(struct target *t, struct err *e) MUST_CHECK;

/* As target_check, as far as `status` tells, the text of /proc/PID/status. Notes a seccomp filter in the target. */
int target_check_status(struct target *t, const char *status, struct err *e) MUST_CHECK;

/* ERR_REFUSED: frozen by its cgroup. Opens files. */
int target_thawed(const struct target *t, struct err *e) MUST_CHECK;

/* Is the address space still the one that was opened? ERR_GONE if not. Cheap: one read. */
int target_alive(const struct target *t, struct err *e) MUST_CHECK;

/* A task of the process that still has its memory: the leader, or another when the leader has exited. 0: there is none; -1 with errno: that cannot be told. */
pid_t target_living_task(const struct target *t);

/* Is `tid` a thread of this process, whatever happened to its number? Opens nothing. */
bool target_has_task(const struct target *t, pid_t tid);

/* Whose it is, for files (effective user and group), and which number it has itself, in its innermost PID namespace. */
struct target_user {
	uid_t uid;
	gid_t gid;
	pid_t own_pid;
};
/* ERR_GONE, ERR_ENVIRONMENT. */
int target_user(const struct target *t, struct target_user *ret_user, struct err *e) MUST_CHECK;

/* Reads the mappings anew. */
int target_refresh(struct target *t, struct err *e) MUST_CHECK;

/* All `size` bytes or an error: ERR_GONE when the address space went away, ERR_IO when a part is not mapped or not accessible. */
int target_read(const struct target *t, raddr address, void *buffer, size_t size, struct err *e) MUST_CHECK;
/* Writes whatever the protection is (private mappings are copied). After an error the bytes there are unknown. */
int target_write(const struct target *t, raddr address, const void *data, size_t size, struct err *e) MUST_CHECK;
/* Up to `size` bytes; how many were read. */
size_t target_read_some(const struct target *t, raddr address, void *buffer, size_t size);

/* A small file of /proc as text, cut at `size` - 1 bytes; its length, or -1 with errno. Allocates nothing. */
ssize_t target_read_text(const char *path, char *text, size_t size);

/* The name of a process, escaped for output, into `text`; "?" if unknown. */
void target_name(pid_t pid, char *text, size_t size);

#endif
