#include "formats/base/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/* The third word of struct io_uring_getevents_arg. */
static bool ring_has_limit(pid_t tid, const struct user_regs_struct *r)
{
	if (!(r->r10 & IORING_ENTER_EXT_ARG) || r->r9 < offsetof(struct io_uring_getevents_arg, ts) + sizeof(uint64_t))
		return false;
	errno = 0;
	long limit = ptrace(PTRACE_PEEKDATA, tid, (void *)(uintptr_t)(r->r8 + offsetof(struct io_uring_getevents_arg, ts)), NULL);
	return errno || limit;
}

bool restart_has_limit(pid_t tid, const struct user_regs_struct *r)
{
	switch (r->orig_rax) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait: /* -1: none */
		return (int32_t)r->r10 > 0;
	case SYS_epoll_pwait2:
	case SYS_semtimedop:
		return r->r10;
	case SYS_rt_sigtimedwait:
		return r->rdx;
	case SYS_io_getevents:
	case SYS_io_pgetevents:
		return r->r8;
	case SYS_io_uring_enter:
		return ring_has_limit(tid, r);
	case SYS_semop:
		return false;
	default: /* sockets, select and ppoll show stops only if they have one */
		return true;
	}
}

bool restart_by_kernel(const struct user_regs_struct *r)
{
	int64_t result = (int64_t)r->rax;
	if ((int64_t)r->orig_rax < 0)
		return false;
	return result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND || result == -ERESTART_RESTARTBLOCK;
}

/*
 * Calls that wait until all of their bytes are taken; which argument says how many (-1: none). All have the descriptor first. Into a pipe sendfile,
 * splice and vmsplice put what there is room for, and do not wait.
 */
static const struct divisible {
	const char *name;
	uint16_t number;
	int8_t size;
	bool sockets_only;
} divisible[] = {
    {"write", SYS_write, 2, false},	 {"writev", SYS_writev, -1, false},  {"pwritev2", SYS_pwritev2, -1, false},
    {"sendto", SYS_sendto, 2, true},	 {"sendmsg", SYS_sendmsg, -1, true}, {"sendmmsg", SYS_sendmmsg, -1, true},
    {"sendfile", SYS_sendfile, 3, true},
};

/* The call that a thread sleeps in. false: it runs, or is in none, or that may not be known. */
static bool read_call(pid_t pid, pid_t tid, uint64_t *ret_number, uint64_t arguments[6])
{
	char path[64], text[256];
	snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t got = read(fd, text, sizeof text - 1);
	close(fd);
	if (got <= 0)
		return false;
	text[got] = 0;
	return sscanf(text, "%" SCNu64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64, ret_number, &arguments[0],
		      &arguments[1], &arguments[2], &arguments[3], &arguments[4], &arguments[5]) == 7;
}

/* Files on disks are written to their end; what is not divided is written whole or not at all (pipe(7), PIPE_BUF). */
static bool takes_pieces(pid_t pid, uint64_t descriptor, bool sockets_only, uint64_t size)
{
	char path[64];
	struct stat status;
	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, (int)descriptor);
	if (stat(path, &status))
		return false;
	return S_ISSOCK(status.st_mode) || (!sockets_only && (S_ISCHR(status.st_mode) || (S_ISFIFO(status.st_mode) && size > PIPE_BUF)));
}

const char *restart_cut_call(pid_t pid, pid_t tid)
{
	uint64_t number, arguments[6];
	if (!read_call(pid, tid, &number, arguments))
		return NULL;
	for (size_t i = 0; i < sizeof divisible / sizeof *divisible; i++) {
		const struct divisible *d = &divisible[i];
		if (d->number == number && takes_pieces(pid, arguments[0], d->sockets_only, d->size < 0 ? UINT64_MAX : arguments[d->size]))
			return d->name;
	}
	return NULL;
}
