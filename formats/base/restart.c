#include "formats/base/restart.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

/* What the kernel leaves in rax of an interrupted call until it is restarted or turned into EINTR (include/linux/errno.h). */
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514 /* again, unless a handler is to run: then EINTR */
#define ERESTART_RESTARTBLOCK 516

#define SYSCALL_BYTES 0x050fu /* 0f 05 */

/* Calls that answer EINTR to a mere stop (measured on Linux 6.18, tests/live/transparent). */
static bool shows_stop(uint64_t number)
{
	switch (number) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_rt_sigtimedwait:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_io_getevents:
	case SYS_io_pgetevents:
	case SYS_io_uring_enter:
	/* With a timeout in memory that the kernel cannot write. */
	case SYS_select:
	case SYS_pselect6:
	case SYS_ppoll:
	/* Sockets with SO_RCVTIMEO or SO_SNDTIMEO. */
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_sendmmsg:
	case SYS_sendfile:
	case SYS_splice:
	case SYS_read:
	case SYS_readv:
	case SYS_write:
	case SYS_writev:
		return true;
	default:
		return false;
	}
}

/* Numbers of calls made by `int $0x80` mean other calls. */
static bool behind_syscall(pid_t tid, const struct user_regs_struct *r)
{
	errno = 0;
	long code = ptrace(PTRACE_PEEKTEXT, tid, (void *)(uintptr_t)(r->rip - 2), NULL);
	return !errno && ((unsigned long)code & 0xffff) == SYSCALL_BYTES;
}

bool restart_call(pid_t tid, struct user_regs_struct *r)
{
	if ((int64_t)r->rax != -EINTR || !shows_stop(r->orig_rax) || !behind_syscall(tid, r))
		return false;
	r->rax = (uint64_t)-ERESTARTNOHAND;
	return true;
}

bool restart_by_kernel(const struct user_regs_struct *r)
{
	int64_t result = (int64_t)r->rax;
	if ((int64_t)r->orig_rax < 0)
		return false;
	return result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND || result == -ERESTART_RESTARTBLOCK;
}
