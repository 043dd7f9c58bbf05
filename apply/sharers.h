/*
 * sharers: processes that share the memory of the target without being threads of it (clone with CLONE_VM, vfork, posix_spawn).
 *
 * They run the same code, so patching would need them to stand still as well, and they are not ours to stop. Children of vfork and posix_spawn
 * share the memory only for a moment, until they execute a program.
 */
#ifndef APPLY_SHARERS_H
#define APPLY_SHARERS_H

#include "apply/target.h"

struct sharers {
	const struct target *target; /* borrowed */
	int proc_fd, load_fd;	     /* /proc, /proc/loadavg */
	pid_t seen;		     /* the newest process or thread when sharers_refuse began */
};

int sharers_open(const struct target *t, struct sharers *ret_sharers, struct err *e) MUST_CHECK;
void sharers_close(struct sharers *s);

/*
 * Target running. Waits a moment for sharers to go. ERR_REFUSED: one stays. ERR_BUSY: there are always others. ERR_GONE. Sharers that this user may not
 * look at are not found (kcmp(2)), and none on a kernel without CONFIG_KCMP.
 */
int sharers_refuse(struct sharers *s, struct err *e) MUST_CHECK;

/* All threads stopped, `task` is one of them. ERR_BUSY: a sharer was made since sharers_refuse. Allocates and opens nothing. */
int sharers_refuse_new(const struct sharers *s, pid_t task, struct err *e) MUST_CHECK;

#endif
