/*
 * filter: what the system call filters (seccomp) of a thread would answer to a call.
 *
 * While an injected call is made the filters are suspended. If this process is killed meanwhile they are back, and the thread is about to make that call,
 * or the one that takes it back. One that is then answered with an error does no harm; one that the thread is killed for does.
 */
#ifndef APPLY_FILTER_H
#define APPLY_FILTER_H

#include "formats/base/err.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Would thread `tid` be killed for the call, have a signal for it, or a supervisor be asked? Requires: traced by the caller and stopped, filters suspended
 * (needs the same privilege as looking at them). ERR_ENVIRONMENT: the filters cannot be read. Target unchanged; allocates nothing.
 */
int filter_forbids(pid_t tid, const struct seccomp_data *call, bool *ret_forbids, struct err *e) MUST_CHECK;

/* What `size` instructions of classic BPF answer (seccomp(2)); SECCOMP_RET_KILL_PROCESS for a program that the kernel would not have taken. */
uint32_t filter_answer(const struct sock_filter *code, uint32_t size, const struct seccomp_data *call);

#endif
