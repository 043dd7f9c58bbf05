/*
 * launch FLAG... -- CMD...: executes CMD with unusual things to inherit.
 *
 *   block     all signals that can be blocked are        ignore   SIGCHLD, SIGURG and SIGPIPE are ignored
 *   close N   descriptor N is closed                     open N   descriptor N is open (/dev/zero)
 *   reaper    it adopts orphans                          pending  SIGCHLD and SIGTERM are blocked and pending
 *   child     it has a child, which ends in a second     filter N a filter denies system call N
 *   group     it leads a process group of its own        limit N  at most N descriptors
 */
#include <fcntl.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void deny(unsigned number)
{
	struct sock_filter program[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof program / sizeof *program, program};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
		perror("filter");
		exit(99);
	}
}

static void make_pending(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGCHLD);
	kill(getpid(), SIGTERM);
}

static void prepare(const char *flag, int number)
{
	sigset_t all;
	sigfillset(&all);
	if (!strcmp(flag, "block"))
		sigprocmask(SIG_BLOCK, &all, NULL);
	if (!strcmp(flag, "ignore")) {
		signal(SIGCHLD, SIG_IGN);
		signal(SIGURG, SIG_IGN);
		signal(SIGPIPE, SIG_IGN);
	}
	if (!strcmp(flag, "close"))
		close(number);
	if (!strcmp(flag, "open"))
		dup2(open("/dev/zero", O_RDONLY), number);
	if (!strcmp(flag, "reaper"))
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!strcmp(flag, "pending"))
		make_pending();
	if (!strcmp(flag, "child") && !fork()) {
		sleep(1);
		_exit(0);
	}
	if (!strcmp(flag, "filter"))
		deny((unsigned)number);
	if (!strcmp(flag, "group"))
		setpgid(0, 0);
	if (!strcmp(flag, "limit"))
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)number, (rlim_t)number});
}

int main(int argc, char **argv)
{
	int i = 1;
	for (; i < argc && strcmp(argv[i], "--"); i++)
		prepare(argv[i], i + 1 < argc ? atoi(argv[i + 1]) : 0);
	if (i + 1 >= argc)
		return 2;
	execvp(argv[i + 1], argv + i + 1);
	perror(argv[i + 1]);
	return 127;
}
