/*
 * restart: hiding from a program that a tracer's stop interrupted its system call.
 *
 * A stop makes some blocking calls return EINTR to the program although no signal came (epoll_wait, semop and others: signal(7), "Interruption of
 * system calls and library functions by stop signals"). EINTR means that nothing was done, so they can be made again.
 */
#ifndef FORMATS_BASE_RESTART_H
#define FORMATS_BASE_RESTART_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/user.h>

/*
 * Requires: thread `tid` is traced by the caller and stopped, not for the delivery of a signal; `registers` are its own. When the stop made a call
 * return EINTR that the program would not have seen, rewinds `registers` to make the call again and returns true: they are to be written back.
 */
bool restart_call(pid_t tid, struct user_regs_struct *registers);

/* Was a call interrupted that the kernel makes again by stepping back over its 2-byte instruction? */
bool restart_by_kernel(const struct user_regs_struct *registers);

#endif
