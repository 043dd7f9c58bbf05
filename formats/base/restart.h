/*
 * restart: hiding from a program that a tracer's stop interrupted its system call.
 *
 * A stop makes some blocking calls return EINTR to the program although no signal came (epoll_wait, semop and others: signal(7), "Interruption of
 * system calls and library functions by stop signals"). EINTR means that nothing was done, so they can be made again.
 *
 * Whether to make the call again is left to the kernel, at the moment when the thread runs on: like a call that answered ERESTARTNOHAND it is made
 * again unless a signal handler is to run first, and then returns EINTR. So no signal that comes during the stop is missed.
 *
 * A call with a time limit of its own begins anew: it ends at most that time after the stop.
 */
#ifndef FORMATS_BASE_RESTART_H
#define FORMATS_BASE_RESTART_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/user.h>

/*
 * Requires: thread `tid` is traced by the caller and stopped, but not at the border of a system call; `registers` are its own. When a call that
 * shows stops was interrupted, changes `registers` so that it is made again and returns true: they are to be written back in this very stop.
 */
bool restart_call(pid_t tid, struct user_regs_struct *registers);

/* Was a call interrupted that the kernel makes again by stepping back over its 2-byte instruction? */
bool restart_by_kernel(const struct user_regs_struct *registers);

#endif
