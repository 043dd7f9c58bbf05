#include "apply/exec_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST_DESCRIPTOR = 3, ADOPTS_ORPHANS = 1 /* the first process of a PID namespace */ };

bool exec_helper_is_child(pid_t program)
{
	return getppid() == program;
}

static bool receive(int channel, void *message, size_t size)
{
	ssize_t got;
	while ((got = recv(channel, message, size, 0)) < 0 && errno == EINTR)
		;
	return got == (ssize_t)size;
}

static bool transmit(int channel, const void *message, size_t size)
{
	ssize_t put;
	while ((put = send(channel, message, size, MSG_NOSIGNAL)) < 0 && errno == EINTR)
		;
	return put == (ssize_t)size;
}

static int close_between(int low, int high)
{
	return low + 1 < high ? close_range((unsigned)low + 1, (unsigned)high - 1, 0) : 0;
}

/* What the program has open must not stay open because of us: somebody may wait for its end. */
static int drop_descriptors(int channel, int keep, struct err *e)
{
	int low = keep < 0 || channel < keep ? channel : keep, high = keep > channel ? keep : channel;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || (fcntl(2, F_GETFD) < 0 && dup2(null, 2) < 0))
		return err_set_errno(e, errno, "/dev/null");
	if (close_between(2, low) || close_between(low, high) || close_range((unsigned)high + 1, ~0u, 0))
		return err_set_errno(e, errno, "closing descriptors");
	return 0;
}

/* Keys that end the program's process group are not for us, and no directory is kept busy. */
static int step_aside(int channel, int keep, struct err *e)
{
	sigset_t children;
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_SETMASK, &children, NULL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	setsid();
	if (chdir("/"))
		return err_set_errno(e, errno, "/");
	return drop_descriptors(channel, keep, e);
}

_Noreturn static void help(const struct exec_helper_work *work, pid_t program, int channel)
{
	struct err e = {0};
	pid_t self = getpid();
	char go;
	int status = step_aside(channel, work->keep, &e);
	/* Where only descendants may be traced (Yama), the program has to name us as its tracer. */
	if (!status && (!transmit(channel, &self, sizeof self) || !receive(channel, &go, sizeof go)))
		_exit(0);
	if (!status)
		status = work->attach(work->context, program, &e);
	transmit(channel, &e, sizeof e);
	close(channel);
	if (!status)
		work->work(work->context);
	_exit(0);
}

/* In the maker. An error message may come in place of the greeting. */
static int agree(int channel, struct err *e)
{
	struct err answer;
	ssize_t got;
	while ((got = recv(channel, &answer, sizeof answer, 0)) < 0 && errno == EINTR)
		;
	if (got == (ssize_t)sizeof(pid_t)) {
		prctl(PR_SET_PTRACER, *(const pid_t *)(const void *)&answer);
		got = transmit(channel, "", 1) && receive(channel, &answer, sizeof answer) ? (ssize_t)sizeof answer : 0;
		prctl(PR_SET_PTRACER, 0);
	}
	if (got != (ssize_t)sizeof answer)
		return err_set(e, ERR_ENVIRONMENT, "the process that applies it has died");
	if (answer.code && e)
		*e = answer;
	return -answer.code;
}

static void reap(pid_t child)
{
	while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
		;
}

/* A child that ends without a signal: one that is blocked would stay pending in the program. The child, or an error. */
static int make_helper(const struct exec_helper_work *work, int channel, struct err *e)
{
	pid_t program = getpid();
	pid_t child = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
	if (child < 0)
		return err_set_errno(e, errno, "no process can be made");
	if (!child) {
		if (program == ADOPTS_ORPHANS || !fork())
			help(work, program, channel);
		_exit(0);
	}
	if (program != ADOPTS_ORPHANS)
		reap(child);
	return child;
}

/* Above the standard descriptors, which may be closed now and must be closed in the program then. */
static int raise_descriptor(int *descriptor)
{
	int raised = fcntl(*descriptor, F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR);
	close(*descriptor);
	*descriptor = raised;
	return raised;
}

int exec_helper_start(const struct exec_helper_work *work, struct err *e)
{
	int ends[2], reaper = 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return err_set_errno(e, errno, "socketpair");
	if (raise_descriptor(&ends[0]) < 0 || raise_descriptor(&ends[1]) < 0) {
		int status = err_set_errno(e, errno, "socketpair");
		close(ends[0]);
		close(ends[1]);
		return status;
	}
	/* Whoever takes in the orphans of its descendants would be the helper's parent. */
	prctl(PR_GET_CHILD_SUBREAPER, &reaper);
	if (reaper)
		prctl(PR_SET_CHILD_SUBREAPER, 0);
	int child = make_helper(work, ends[1], e);
	if (reaper)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	close(ends[1]);
	int status = child < 0 ? child : agree(ends[0], e);
	close(ends[0]);
	if (status && child > 0 && getpid() == ADOPTS_ORPHANS)
		reap(child);
	return status;
}
