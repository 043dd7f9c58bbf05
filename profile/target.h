/*
 * target: the process that is profiled, seen from outside.
 */
#ifndef PROFILE_TARGET_H
#define PROFILE_TARGET_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct target {
	pid_t pid;
	int pidfd;	 /* readable when the whole process has ended */
	clockid_t clock; /* CPU time of all its threads, also those that have exited */
};

/* ERR_GONE: no such process, or a zombie; ERR_UNSUPPORTED: a kernel thread or a thread that is no process; ERR_IO. */
int target_open(pid_t pid, struct target *ret_target, struct err *e) MUST_CHECK;
void target_close(struct target *target);

/* CPU time in ns; `otherwise` when the process has been reaped. */
uint64_t target_cpu_ns(const struct target *target, uint64_t otherwise);

/* Path of the executable, or its short name when the link cannot be read, or "". malloc'ed; NULL when memory is out. */
char *target_command(const struct target *target);

/* CPU model of this machine and kernel release. malloc'ed, never empty-handed ("unknown"); NULL when memory is out. */
char *target_cpu_model(void);
char *target_kernel(void);

#endif
