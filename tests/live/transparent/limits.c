/*
 * limits SECONDS: one thread in each kind of wait with a time limit. Prints what each returned and how long it took and exits: 1 when one was not right.
 *
 * Those whose time the kernel keeps while they are interrupted must take as long as they were told to. Those that a stop interrupts and that are
 * made again begin anew: they may take up to twice the time, as long as no stop comes later than SECONDS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SLACK 0.15 /* that a thread may run late on a busy machine */

static double seconds;

struct wait {
	const char *name;
	long (*wait)(void);
	long result; /* or -errno */
	bool anew;
	pthread_t thread;
	long got;
	double took;
};

/* Something for a plan to move. */
__attribute__((noinline, noclone, used)) int hot_nothing(int x)
{
	for (int i = 0; i < x; i++)
		x ^= i * 3;
	return x;
}

static struct timespec limit(void)
{
	return (struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
}

static struct timespec until(clockid_t clock)
{
	struct timespec now, l = limit();
	clock_gettime(clock, &now);
	now.tv_sec += l.tv_sec + (now.tv_nsec + l.tv_nsec) / 1000000000;
	now.tv_nsec = (now.tv_nsec + l.tv_nsec) % 1000000000;
	return now;
}

static int milliseconds(void)
{
	return (int)(seconds * 1000);
}

static long by_nanosleep(void)
{
	struct timespec l = limit();
	return nanosleep(&l, NULL);
}

static long by_clock_nanosleep(void)
{
	struct timespec l = limit();
	return syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &l, NULL);
}

static long by_clock_nanosleep_until(void)
{
	struct timespec l = until(CLOCK_REALTIME);
	return syscall(SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &l, NULL);
}

static long by_poll(void)
{
	return poll(NULL, 0, milliseconds());
}

static long by_ppoll(void)
{
	struct timespec l = limit();
	return ppoll(NULL, 0, &l, NULL);
}

static long by_select(void)
{
	struct timeval l = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
	return select(0, NULL, NULL, NULL, &l);
}

static long by_pselect(void)
{
	struct timespec l = limit();
	return pselect(0, NULL, NULL, NULL, &l, NULL);
}

static long by_futex(void)
{
	static int word;
	struct timespec l = limit();
	return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &l, NULL, 0);
}

static long by_condition(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	struct timespec l = until(CLOCK_MONOTONIC);
	pthread_mutex_lock(&mutex);
	int error = pthread_cond_clockwait(&condition, &mutex, CLOCK_MONOTONIC, &l);
	pthread_mutex_unlock(&mutex);
	errno = error;
	return error ? -1 : 0;
}

static long by_semaphore(void)
{
	static sem_t semaphore;
	struct timespec l = until(CLOCK_REALTIME);
	return sem_timedwait(&semaphore, &l);
}

static long by_timerfd(void)
{
	const struct itimerspec once = {.it_value = limit()};
	uint64_t count;
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	timerfd_settime(fd, 0, &once, NULL);
	return read(fd, &count, sizeof count);
}

static long by_mq(void)
{
	char text[64];
	struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = sizeof text};
	mqd_t q = mq_open("/limits-of-the-victim", O_RDWR | O_CREAT, 0600, &attributes);
	struct timespec l = until(CLOCK_REALTIME);
	mq_unlink("/limits-of-the-victim");
	return mq_timedreceive(q, text, sizeof text, NULL, &l);
}

static long by_timer_signal(void)
{
	const struct itimerval once = {.it_value = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)}};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	setitimer(ITIMER_REAL, &once, NULL);
	return sigwaitinfo(&set, NULL);
}

static long by_epoll(void)
{
	struct epoll_event event;
	return epoll_wait(epoll_create1(0), &event, 1, milliseconds());
}

static long by_epoll_pwait2(void)
{
	struct epoll_event event;
	struct timespec l = limit();
	return syscall(SYS_epoll_pwait2, epoll_create1(0), &event, 1, &l, NULL, 0);
}

static long by_sigtimedwait(void)
{
	struct timespec l = limit();
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	return sigtimedwait(&set, NULL, &l);
}

static long by_semtimedop(void)
{
	struct sembuf take = {0, -1, 0};
	struct timespec l = limit();
	int semaphore = semget(IPC_PRIVATE, 1, 0600);
	long result = semtimedop(semaphore, &take, 1, &l);
	int error = errno;
	semctl(semaphore, 0, IPC_RMID);
	errno = error;
	return result;
}

static long by_io_getevents(void)
{
	aio_context_t context = 0;
	struct io_event event;
	struct timespec l = limit();
	syscall(SYS_io_setup, 1, &context);
	return syscall(SYS_io_getevents, context, 1, 1, &event, &l);
}

static long by_recv(void)
{
	int ends[2];
	char byte;
	const struct timeval l = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) || setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &l, sizeof l))
		exit(3);
	return recv(ends[0], &byte, 1, 0);
}

static struct wait waits[] = {
    {"nanosleep", by_nanosleep, 0, false},
    {"clock_nanosleep", by_clock_nanosleep, 0, false},
    {"clock_nanosleep, until", by_clock_nanosleep_until, 0, false},
    {"poll", by_poll, 0, false},
    {"ppoll", by_ppoll, 0, false},
    {"select", by_select, 0, false},
    {"pselect", by_pselect, 0, false},
    {"futex", by_futex, -ETIMEDOUT, false},
    {"pthread_cond_clockwait", by_condition, -ETIMEDOUT, false},
    {"sem_timedwait", by_semaphore, -ETIMEDOUT, false},
    {"timerfd", by_timerfd, 8, false},
    {"mq_timedreceive", by_mq, -ETIMEDOUT, false},
    {"setitimer, sigwaitinfo", by_timer_signal, SIGALRM, false},
    {"epoll_wait", by_epoll, 0, true},
    {"epoll_pwait2", by_epoll_pwait2, 0, true},
    {"sigtimedwait", by_sigtimedwait, -EAGAIN, true},
    {"semtimedop", by_semtimedop, -EAGAIN, true},
    {"io_getevents", by_io_getevents, 0, true},
    {"recv, SO_RCVTIMEO", by_recv, -EAGAIN, true},
};
#define WAITS (sizeof waits / sizeof *waits)

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *wait_once(void *argument)
{
	struct wait *w = argument;
	double begin = now();
	w->got = w->wait();
	if (w->got < 0)
		w->got = -errno;
	w->took = now() - begin;
	return NULL;
}

int main(int argc, char **argv)
{
	sigset_t all;
	bool right = true;
	volatile int x = hot_nothing(3);
	(void)x;
	seconds = argc > 1 ? atof(argv[1]) : 2;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (unsigned i = 0; i < WAITS; i++)
		if (pthread_create(&waits[i].thread, NULL, wait_once, &waits[i]))
			return 3;
	printf("waiting\n");
	fflush(stdout);
	for (unsigned i = 0; i < WAITS; i++) {
		struct wait *w = &waits[i];
		pthread_join(w->thread, NULL);
		bool good = w->got == w->result && w->took > seconds - 0.001 && w->took < (w->anew ? 2 : 1) * seconds + SLACK;
		right &= good;
		printf("%s%s: ", good ? "" : "WRONG ", w->name);
		if (w->got < 0)
			printf("%s", strerrorname_np((int)-w->got));
		else
			printf("%ld", w->got);
		printf(" after %.3f s%s\n", w->took, w->anew ? " (begins anew)" : "");
	}
	return right ? 0 : 1;
}
