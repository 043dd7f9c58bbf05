/*
 * A process to which signals matter. Its parent does nothing but print what it is told of it ("event stopped", "event continued"); it
 * prints "pid N" first and is what the test works on.
 *
 * Four threads receive numbered real-time signals from another process and check that none is lost and all come in order; they also look at their
 * errno, signal mask, alternate stack, robust list and rseq registration all the time. The main thread waits in epoll_wait for commands. One thread
 * waits in epoll_pwait, the only place where it can receive SIGRTMIN+9. It is counted how often these two come back although no signal was handled.
 *
 * Commands, each answered by a line: "queue N" (N real-time signals with numbers, and a SIGTRAP, to wait blocked), "drain" (they are all there, in
 * order), "flood", "dry" (what was sent has been received), "state" ("interrupted I woken W"), "rounds". "WRONG" when something is not right.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECEIVERS = 4 };
#define NUMBERED (SIGRTMIN + 8)
#define WAKES (SIGRTMIN + 9)
#define QUEUED (SIGRTMIN + 2)

struct receiver {
	pthread_t thread;
	atomic_int tid;
	atomic_int next; /* the number that must come */
};

/* Shared with the sender. */
struct flood {
	atomic_int on, tids[RECEIVERS], sent[RECEIVERS];
};

static struct receiver receivers[RECEIVERS];
static struct flood *flood;
static atomic_ulong rounds;
static atomic_int interrupted, woken, handled;
static int queued;

static void wrong(const char *what)
{
	printf("WRONG: %s\n", what);
}

__attribute__((noinline, noclone, used)) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

static void on_numbered(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	int error = errno;
	pid_t me = (pid_t)syscall(SYS_gettid);
	for (int i = 0; i < RECEIVERS; i++)
		if (receivers[i].tid == me && receivers[i].next++ != info->si_value.sival_int && write(1, "WRONG order\n", 12) < 0)
			_exit(3);
	errno = error;
}

static void on_wakes(int signal)
{
	(void)signal;
	handled++;
}

/* The other process: numbers to each thread while it is on. */
static void send_for_ever(pid_t target)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0;; i = (i + 1) % RECEIVERS) {
		siginfo_t info = {.si_signo = NUMBERED, .si_code = SI_QUEUE};
		if (!flood->on || !flood->tids[i]) {
			usleep(1000);
			continue;
		}
		info.si_pid = getpid();
		info.si_value.sival_int = flood->sent[i];
		if (!syscall(SYS_rt_tgsigqueueinfo, target, flood->tids[i], NUMBERED, &info))
			flood->sent[i]++;
		if (i == 0)
			usleep(50);
	}
}

struct own {
	sigset_t mask;
	stack_t stack;
	void *robust;
	size_t robust_size;
};

static struct own own_state(void)
{
	struct own o;
	memset(&o, 0, sizeof o);
	pthread_sigmask(SIG_BLOCK, NULL, &o.mask);
	sigaltstack(NULL, &o.stack);
	syscall(SYS_get_robust_list, 0, &o.robust, &o.robust_size);
	return o;
}

static bool rseq_is_registered(void)
{
	struct rseq *area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	int error = errno;
	bool is = syscall(SYS_rseq, area, 32, 0, RSEQ_SIG) < 0 && errno == EBUSY && (int)area->cpu_id >= 0;
	errno = error;
	return !__rseq_size || is;
}

static void *receive(void *argument)
{
	struct receiver *r = argument;
	stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigset_t trap;
	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	pthread_sigmask(SIG_BLOCK, &trap, NULL);
	sigaltstack(&alternate, NULL);
	const struct own first = own_state();
	const uint64_t right = hot_mix(42, 500);
	r->tid = flood->tids[r - receivers] = (int)syscall(SYS_gettid);
	for (;;) {
		errno = 77;
		if (hot_mix(42, 500) != right)
			wrong("result");
		struct own now = own_state();
		if (memcmp(&now, &first, sizeof now))
			wrong("signal mask, alternate stack or robust list");
		if (!rseq_is_registered())
			wrong("rseq registration");
		usleep(300);
		if (errno != 77 && errno != EINTR)
			wrong("errno");
		rounds++;
	}
	return NULL;
}

static void *wait_to_be_woken(void *unused)
{
	struct epoll_event event;
	sigset_t only;
	int set = epoll_create1(0);
	sigfillset(&only);
	sigdelset(&only, WAKES);
	for (;;) {
		int before = handled;
		int got = epoll_pwait(set, &event, 1, -1, &only);
		if (got >= 0 || errno != EINTR)
			wrong("epoll_pwait came back");
		if (handled == before)
			interrupted++;
		else
			woken++;
	}
	return unused;
}

static void fill_queue(int n)
{
	for (queued = 0; queued < n; queued++)
		if (sigqueue(getpid(), QUEUED, (union sigval){.sival_int = queued})) {
			wrong("sigqueue");
			return;
		}
	syscall(SYS_tgkill, getpid(), receivers[0].tid, SIGTRAP);
	printf("queued\n");
}

static void drain_queue(void)
{
	const struct timespec now = {0, 0};
	siginfo_t info;
	sigset_t set;
	char path[64], line[256];
	unsigned long pending = 0;
	sigemptyset(&set);
	sigaddset(&set, QUEUED);
	for (int i = 0; i < queued; i++)
		if (sigtimedwait(&set, &info, &now) != QUEUED || info.si_value.sival_int != i) {
			printf("WRONG: queued signal %d is not there\n", i);
			return;
		}
	if (sigtimedwait(&set, &info, &now) >= 0)
		wrong("more signals than were queued");
	snprintf(path, sizeof path, "/proc/self/task/%d/status", receivers[0].tid);
	FILE *status = fopen(path, "r");
	while (status && fgets(line, sizeof line, status))
		sscanf(line, "SigPnd: %lx", &pending);
	if (status)
		fclose(status);
	if (!(pending >> (SIGTRAP - 1) & 1))
		wrong("the blocked SIGTRAP is not pending any more");
	printf("drained\n");
}

/* All that was sent arrives, whatever it takes. */
static void end_flood(void)
{
	flood->on = 0;
	usleep(20000);
	for (int i = 0; i < RECEIVERS; i++) {
		for (int tries = 0; tries < 500 && receivers[i].next != flood->sent[i]; tries++)
			usleep(10000);
		if (receivers[i].next != flood->sent[i])
			printf("WRONG: %d of %d signals received\n", receivers[i].next, flood->sent[i]);
	}
	printf("received %d\n", receivers[0].next);
}

static void obey(const char *command)
{
	if (!strncmp(command, "queue", 5)) {
		fill_queue(atoi(command + 5));
	} else if (!strncmp(command, "drain", 5)) {
		drain_queue();
	} else if (!strncmp(command, "flood", 5)) {
		flood->on = 1;
		printf("flooding\n");
	} else if (!strncmp(command, "dry", 3)) {
		end_flood();
	} else if (!strncmp(command, "state", 5)) {
		printf("interrupted %d woken %d\n", interrupted, woken);
	} else {
		printf("rounds %lu\n", (unsigned long)rounds);
	}
}

static void watch(pid_t child)
{
	siginfo_t info;
	printf("pid %d\n", child);
	while (!waitid(P_PID, (id_t)child, &info, WEXITED | WSTOPPED | WCONTINUED)) {
		if (info.si_code == CLD_STOPPED)
			printf("event stopped\n");
		else if (info.si_code == CLD_CONTINUED)
			printf("event continued\n");
		else
			exit(info.si_code == CLD_EXITED ? info.si_status : 4);
	}
}

static void be_target(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct sigaction act = {.sa_sigaction = on_numbered, .sa_flags = SA_SIGINFO | SA_RESTART};
	char line[64];
	sigset_t set;
	pthread_t waiter;
	sigaction(NUMBERED, &act, NULL);
	signal(WAKES, on_wakes);
	sigemptyset(&set);
	sigaddset(&set, QUEUED);
	sigaddset(&set, WAKES);
	sigaddset(&set, NUMBERED);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&waiter, NULL, wait_to_be_woken, NULL))
		exit(3);
	sigemptyset(&set);
	sigaddset(&set, NUMBERED);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	for (int i = 0; i < RECEIVERS; i++)
		if (pthread_create(&receivers[i].thread, NULL, receive, &receivers[i]))
			exit(3);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	int poll = epoll_create1(0);
	epoll_ctl(poll, EPOLL_CTL_ADD, 0, &event);
	for (;;) {
		int got = epoll_wait(poll, &event, 1, -1);
		interrupted += got < 0;
		if (got <= 0)
			continue;
		if (!fgets(line, sizeof line, stdin))
			exit(0);
		obey(line);
	}
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stdin, NULL, _IONBF, 0);
	flood = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t target = fork();
	if (target) {
		watch(target);
		return 0;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pid_t me = getpid();
	if (!fork())
		send_for_ever(me);
	be_target();
}
