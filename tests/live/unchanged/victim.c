/*
 * A process with a bit of everything that /proc shows: locked memory, pages of code made at run time, memory that is not dumped or not inherited, shared
 * memory, timers, children alive and dead, descriptors of many kinds. Threads work in a hot_ function. SIGUSR1: prints "rounds N". SIGTERM: exits 0.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static atomic_ulong rounds;

__attribute__((noinline, noclone, used)) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

static void *work(void *name)
{
	uint64_t right = hot_mix(42, 500);
	prctl(PR_SET_NAME, name);
	prctl(PR_SET_TIMERSLACK, 123456);
	for (;;) {
		if (hot_mix(42, 500) != right) {
			printf("WRONG result\n");
			fflush(stdout);
		}
		rounds++;
		usleep(500);
	}
	return NULL;
}

static void *map(int protection, int flags, int advice)
{
	void *p = mmap(NULL, 65536, protection, flags | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || (advice && madvise(p, 65536, advice)))
		exit(3);
	return p;
}

static void make_memory(void)
{
	int segment = shmget(IPC_PRIVATE, 8192, 0600);
	if (segment < 0 || shmat(segment, NULL, 0) == (void *)-1)
		exit(3);
	shmctl(segment, IPC_RMID, NULL);
	if (mlock(map(PROT_READ | PROT_WRITE, MAP_PRIVATE, 0), 65536))
		exit(3);
	map(PROT_READ | PROT_EXEC, MAP_PRIVATE, 0);
	map(PROT_READ, MAP_PRIVATE, 0);
	map(PROT_NONE, MAP_PRIVATE, 0);
	map(PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	map(PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_DONTFORK);
	map(PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_WIPEONFORK);
	map(PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_DONTDUMP);
	memset(map(PROT_READ | PROT_WRITE, MAP_PRIVATE, MADV_MERGEABLE), 7, 65536);
}

static void make_descriptors(void)
{
	int ends[2];
	struct epoll_event event = {.events = EPOLLIN};
	const struct itimerspec late = {.it_value = {36000, 0}};
	if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) || eventfd(5, 0) < 0 || memfd_create("mine", MFD_CLOEXEC) < 0)
		exit(3);
	int set = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0), file = open("/proc/self/exe", O_RDONLY);
	if (epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event) || timerfd_settime(timer, TFD_TIMER_ABSTIME, &late, NULL) ||
	    lseek(file, 1234, SEEK_SET) != 1234)
		exit(3);
}

static void make_children(void)
{
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	if (!fork())
		_exit(7); /* remains a zombie */
}

static void on_usr1(int signal)
{
	char text[64];
	(void)signal;
	int n = snprintf(text, sizeof text, "rounds %lu\n", (unsigned long)rounds);
	if (write(1, text, (size_t)n) < 0)
		_exit(3);
}

static void on_term(int signal)
{
	(void)signal;
	_exit(0);
}

int main(void)
{
	static char names[3][16] = {"first", "second", "third"};
	timer_t timer;
	struct sigevent quiet = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGURG};
	const struct itimerspec late = {.it_value = {36000, 0}};
	make_children();
	make_memory();
	make_descriptors();
	if (timer_create(CLOCK_BOOTTIME, &quiet, &timer) || timer_settime(timer, 0, &late, NULL))
		return 3;
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, on_usr1);
	signal(SIGTERM, on_term);
	for (int i = 0; i < 3; i++) {
		pthread_t t;
		if (pthread_create(&t, NULL, work, names[i]))
			return 3;
	}
	for (;;)
		pause();
}
