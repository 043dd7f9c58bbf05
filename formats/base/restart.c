#include "formats/base/restart.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

/* What the kernel leaves in rax of an interrupted call until it is restarted or turned into EINTR (include/linux/errno.h). */
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

/* Is a signal waiting that the thread would take? Looks at most at 64 of each queue and then says yes. */
static bool signal_waits(pid_t tid)
{
	uint64_t blocked = 0;
	siginfo_t infos[8];
	if (ptrace(PTRACE_GETSIGMASK, tid, sizeof blocked, &blocked))
		return true;
	for (unsigned shared = 0; shared < 2; shared++) {
		struct __ptrace_peeksiginfo_args ask = {.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = 8};
		for (ask.off = 0; ask.off < 64; ask.off += 8) {
			long got = ptrace(PTRACE_PEEKSIGINFO, tid, &ask, infos);
			for (long i = 0; i < got; i++)
				if (infos[i].si_signo > 0 && !(blocked >> (infos[i].si_signo - 1) & 1))
					return true;
			if (got < 8)
				break;
		}
		if (ask.off >= 64)
			return true;
	}
	return false;
}

/* Calls that answer EINTR to a mere stop (measured on Linux 6.18). */
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
	case SYS_read:
	case SYS_readv:
	case SYS_write:
	case SYS_writev:
		return true;
	default:
		return false;
	}
}

bool restart_call(pid_t tid, struct user_regs_struct *r)
{
	if ((int64_t)r->rax != -EINTR || !shows_stop(r->orig_rax) || signal_waits(tid))
		return false;
	r->rax = r->orig_rax;
	r->rip -= 2;
	r->orig_rax = (unsigned long long)-1;
	return true;
}

bool restart_by_kernel(const struct user_regs_struct *r)
{
	int64_t result = (int64_t)r->rax;
	if ((int64_t)r->orig_rax < 0)
		return false;
	return result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND || result == -ERESTART_RESTARTBLOCK;
}
