/* Calls that wait for a signal, a time, a word of memory, a message, a child. */
#define _GNU_SOURCE
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int semaphores, queue, full_queue;
const struct timespec an_hour = {HOUR, 0};

static long on_signalfd(struct call *c)
{
	struct signalfd_siginfo info;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 5);
	if (!c->other)
		c->fd = c->other = signalfd(-1, &set, 0);
	return read(c->fd, &info, sizeof info) == sizeof info ? (long)info.ssi_signo - SIGRTMIN : -1;
}

static void send_process_signal(struct call *c)
{
	must(!kill(getpid(), SIGRTMIN + (int)c->result), "kill");
}

static long in_pause(struct call *c)
{
	(void)c;
	return pause();
}

static long in_sigsuspend(struct call *c)
{
	sigset_t set;
	(void)c;
	sigfillset(&set);
	sigdelset(&set, SIGRTMIN + 1);
	return sigsuspend(&set);
}

static void send_thread_signal(struct call *c)
{
	must(!syscall(SYS_tgkill, getpid(), c->tid, SIGRTMIN + 1), "tgkill");
}

/* What was slept and what is said to be left must make up the whole. */
static long slept_well(struct call *c, long result, const struct timespec *left)
{
	struct timespec now;
	int error = errno;
	clock_gettime(CLOCK_MONOTONIC, &now);
	double slept = (double)(now.tv_sec - c->begin.tv_sec) + (double)(now.tv_nsec - c->begin.tv_nsec) / 1e9;
	double sum = slept + (double)left->tv_sec + (double)left->tv_nsec / 1e9;
	if (sum < HOUR - 0.01 || sum > HOUR + 0.1) {
		printf("WRONG %s: slept and left make %.3f s\n", c->name, sum);
		return 0;
	}
	errno = error;
	return result;
}

static long in_nanosleep(struct call *c)
{
	struct timespec left;
	return slept_well(c, nanosleep(&an_hour, &left), &left);
}

static long in_clock_nanosleep(struct call *c)
{
	struct timespec left;
	return slept_well(c, syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &an_hour, &left), &left);
}

static long in_clock_nanosleep_until(struct call *c)
{
	struct timespec until = {c->begin.tv_sec + HOUR, 0};
	return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static long in_futex(struct call *c)
{
	return syscall(SYS_futex, &c->word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static long in_futex_limit(struct call *c)
{
	return syscall(SYS_futex, &c->word, FUTEX_WAIT_PRIVATE, 0, &an_hour, NULL, 0);
}

static void wake(struct call *c)
{
	syscall(SYS_futex, &c->word, FUTEX_WAKE, 1, NULL, NULL, 0);
	syscall(SYS_futex, &c->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static long in_futex_waitv(struct call *c)
{
	struct futex_waitv wait = {.uaddr = (uintptr_t)&c->word, .flags = FUTEX_32};
	return syscall(449, &wait, 1, 0, NULL, 0);
}

struct message {
	long type;
	char text[8192];
};

static long in_msgrcv(struct call *c)
{
	struct message m;
	(void)c;
	return msgrcv(queue, &m, sizeof m.text, 0, 0);
}

static void send_message(struct call *c)
{
	struct message m = {.type = 1};
	must(!msgsnd(queue, &m, (size_t)c->result, 0), "msgsnd");
}

static long in_msgsnd(struct call *c)
{
	static struct message m = {.type = 1};
	if (!c->other) {
		c->other = 1;
		while (!msgsnd(full_queue, &m, sizeof m.text, IPC_NOWAIT))
			;
		errno = ERRNO_BEFORE;
	}
	return msgsnd(full_queue, &m, sizeof m.text, 0);
}

static void take_message(struct call *c)
{
	static struct message m;
	(void)c;
	must(msgrcv(full_queue, &m, sizeof m.text, 0, 0) >= 0, "msgrcv");
}

static long in_mq_receive(struct call *c)
{
	char text[64];
	struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = sizeof text};
	if (!c->other) {
		c->fd = c->other = mq_open("/calls-of-the-victim", O_RDWR | O_CREAT, 0600, &attributes);
		mq_unlink("/calls-of-the-victim");
	}
	struct timespec until = {time(NULL) + HOUR, 0};
	return mq_timedreceive(c->fd, text, sizeof text, NULL, &until);
}

static void send_mq(struct call *c)
{
	must(!mq_send(c->fd, "eight...", 8, 0), "mq_send");
}

static long in_wait4(struct call *c)
{
	int status;
	return wait4(c->child, &status, 0, NULL) == c->child && WIFSIGNALED(status) ? 1 : -1;
}

static long in_waitid(struct call *c)
{
	siginfo_t info;
	return waitid(P_PID, (id_t)c->child, &info, WEXITED) ? -1 : info.si_status == SIGKILL;
}

static void kill_child(struct call *c)
{
	must(!kill(c->child, SIGKILL), "kill");
}

static long in_sigtimedwait(struct call *c)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + (int)c->result);
	int got = sigtimedwait(&set, NULL, NULL);
	return got < 0 ? -1 : got - SIGRTMIN;
}

static long in_sigtimedwait_limit(struct call *c)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + (int)c->result);
	int got = sigtimedwait(&set, NULL, &an_hour);
	return got < 0 ? -1 : got - SIGRTMIN;
}

static long in_semop(struct call *c)
{
	struct sembuf take = {0, -1, 0};
	(void)c;
	return semop(semaphores, &take, 1);
}

static long in_semtimedop(struct call *c)
{
	struct sembuf take = {1, -1, 0};
	(void)c;
	return semtimedop(semaphores, &take, 1, &an_hour);
}

static void give(struct call *c)
{
	struct sembuf put = {(unsigned short)(c->block == in_semtimedop), 1, 0};
	must(!semop(semaphores, &put, 1), "semop");
}

/* clang-format off */
struct call other_calls[] = {
	{"sigtimedwait", in_sigtimedwait, send_process_signal, 6},
	{"sigtimedwait, limit", in_sigtimedwait_limit, send_process_signal, 7},
	{"semop", in_semop, give, 0},
	{"semtimedop", in_semtimedop, give, 0},
	{"read of a signalfd", on_signalfd, send_process_signal, 5},
	{"pause", in_pause, send_thread_signal, -EINTR},
	{"sigsuspend", in_sigsuspend, send_thread_signal, -EINTR},
	{"nanosleep", in_nanosleep, send_thread_signal, -EINTR},
	{"clock_nanosleep", in_clock_nanosleep, send_thread_signal, -EINTR},
	{"clock_nanosleep, until", in_clock_nanosleep_until, send_thread_signal, -EINTR},
	{"futex", in_futex, wake, 0},
	{"futex, limit", in_futex_limit, wake, 0},
	{"futex_waitv", in_futex_waitv, wake, 0},
	{"msgrcv", in_msgrcv, send_message, 3},
	{"msgsnd", in_msgsnd, take_message, 0},
	{"mq_timedreceive", in_mq_receive, send_mq, 8},
	{"wait4", in_wait4, kill_child, 1},
	{"waitid", in_waitid, kill_child, 1},
};
/* clang-format on */
const unsigned other_call_count = sizeof other_calls / sizeof *other_calls;

void prepare_others(void)
{
	for (unsigned i = 0; i < other_call_count; i++)
		if (other_calls[i].release == kill_child && !(other_calls[i].child = fork()))
			for (;;)
				pause();
	semaphores = semget(IPC_PRIVATE, 2, 0600);
	queue = msgget(IPC_PRIVATE, 0600);
	full_queue = msgget(IPC_PRIVATE, 0600);
	must(semaphores >= 0 && queue >= 0 && full_queue >= 0, "System V IPC");
}

void clean_others(void)
{
	for (unsigned i = 0; i < other_call_count; i++)
		if (other_calls[i].child)
			kill(other_calls[i].child, SIGKILL);
	semctl(semaphores, 0, IPC_RMID);
	msgctl(queue, IPC_RMID, NULL);
	msgctl(full_queue, IPC_RMID, NULL);
}
