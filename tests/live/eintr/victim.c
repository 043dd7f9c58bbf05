/*
 * One thread in each call that answers EINTR when a process is merely stopped. Each waits for ever; SIGUSR1 prints "rounds N" with N the number of
 * calls that came back so far, which must stay 0. SIGTERM ends it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static atomic_int returned;
static int semaphores = -1;

__attribute__((noinline, noclone, used)) int hot_nothing(int x)
{
	for (int i = 0; i < x; i++)
		x ^= i * 3;
	return x;
}

static void came_back(const char *call, long result)
{
	fprintf(stdout, "%s came back: %ld, errno %d\n", call, result, errno);
	fflush(stdout);
	returned++;
	for (;;)
		pause();
}

static void *in_epoll(void *unused)
{
	struct epoll_event event;
	came_back("epoll_wait", epoll_wait(epoll_create1(0), &event, 1, -1));
	return unused;
}

static void *in_epoll2(void *unused)
{
	struct epoll_event event;
	came_back("epoll_pwait2", syscall(SYS_epoll_pwait2, epoll_create1(0), &event, 1, NULL, NULL, 0));
	return unused;
}

static void *in_sigwait(void *unused)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	came_back("sigtimedwait", sigtimedwait(&set, NULL, NULL));
	return unused;
}

static void *in_semop(void *unused)
{
	struct sembuf take = {0, -1, 0};
	came_back("semop", semop(semaphores, &take, 1));
	return unused;
}

static void *in_recv(void *unused)
{
	int pair[2];
	char byte;
	struct timeval limit = {3600, 0};
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit))
		exit(3);
	came_back("recv", recv(pair[0], &byte, 1, 0));
	return unused;
}

static void *in_accept(void *unused)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct timeval limit = {3600, 0};
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(s, (struct sockaddr *)&name, sizeof name.sun_family) || listen(s, 1) ||
	    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit))
		exit(3);
	came_back("accept", accept(s, NULL, NULL));
	return unused;
}

static void *in_io_getevents(void *unused)
{
	unsigned long context = 0;
	char event[32];
	if (syscall(SYS_io_setup, 1, &context)) /* no such call on some kernels */
		for (;;)
			pause();
	came_back("io_getevents", syscall(SYS_io_getevents, context, 1, 1, event, NULL));
	return unused;
}

static void *in_pause(void *unused)
{
	came_back("pause", pause());
	return unused;
}

static void on_usr1(int signal)
{
	char text[64];
	(void)signal;
	int n = snprintf(text, sizeof text, "rounds %d\n", returned);
	if (write(1, text, (size_t)n) < 0)
		_exit(3);
}

static void on_term(int signal)
{
	(void)signal;
	int status = returned ? 1 : 0; /* the next line wakes a thread, which is no news any more */
	semctl(semaphores, 0, IPC_RMID);
	_exit(status);
}

int main(void)
{
	static void *(*const calls[])(void *) = {in_epoll, in_epoll2, in_sigwait, in_semop, in_recv, in_accept, in_io_getevents, in_pause};
	sigset_t mine;
	pthread_t thread;
	semaphores = semget(IPC_PRIVATE, 1, 0600);
	signal(SIGUSR1, on_usr1);
	signal(SIGTERM, on_term);
	sigemptyset(&mine);
	sigaddset(&mine, SIGUSR1);
	sigaddset(&mine, SIGTERM);
	sigaddset(&mine, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &mine, NULL);
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
		if (pthread_create(&thread, NULL, calls[i], NULL))
			return 3;
	sigdelset(&mine, SIGRTMIN);
	pthread_sigmask(SIG_UNBLOCK, &mine, NULL);
	volatile int x = 3;
	for (;;) {
		usleep(10000);
		x = hot_nothing(x & 3);
	}
}
