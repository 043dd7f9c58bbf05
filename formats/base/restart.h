/*
 * restart: hiding from a program that a tracer's stop interrupted its system call.
 *
 * A stop makes some blocking calls return EINTR to the program although no signal came (epoll_wait, semop and others: signal(7), "Interruption of
 * system calls and library functions by stop signals"). EINTR means that nothing was done, so they can be made again.
 *
 * Whether to make the call again is left to the kernel, at the moment when the thread runs on: like a call that answered ERESTARTNOHAND it is made
 * again unless a signal handler is to run first, and then returns EINTR. So no signal that comes during the stop is missed.
 *
 * A call with a time limit of its own begins anew: it ends at most that time after the stop. Who would rather have the program count (it does after
 * SIGSTOP and SIGCONT) asks restart_has_limit, and leaves such a call its EINTR.
 *
 * One thing cannot be hidden: a write that waits for room with a part of its bytes transferred returns that part. Such a call is to be waited out before
 * the stop.
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

/* Has the call that shows stops, and that restart_call would have made again, a time limit? Requires: as there. */
bool restart_has_limit(pid_t tid, const struct user_regs_struct *registers);

/*
 * Does thread `tid` of `pid`, running and not traced, wait in a call that a stop would end with a part of its bytes transferred? Returns the call's name,
 * or NULL. Whether a part is transferred cannot be seen, so a write to a pipe, socket or terminal that waits at all counts as one, unless it is too small
 * to be divided. Reads do not: what they wait for is their first byte, but for MSG_WAITALL, recvmmsg and terminals with VMIN, whose servers wait so for
 * ever. Needs what ptrace needs; NULL without it.
 */
const char *restart_cut_call(pid_t pid, pid_t tid);

/* Was a call interrupted that the kernel makes again by stepping back over its 2-byte instruction? */
bool restart_by_kernel(const struct user_regs_struct *registers);

#endif
