/*
 * One thread in each call that blocks. Nothing happens to them until SIGUSR2, which makes each call do what it waits for; then every result, errno and
 * time left is checked.
 *
 * SIGUSR1: prints "rounds N", N calls that came back before they should. SIGUSR2: releases all, prints one line "NAME: early N, then RESULT" per call and
 * "released", or WRONG where a result is not as it must be. SIGTERM: ends; exit 1 if anything was wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ERRNO_BEFORE 4242
#define HOUR 3600

struct call {
	const char *name;
	long (*block)(struct call *);
	void (*release)(struct call *);
	long result; /* when released; -errno, for calls that end only by a signal -EINTR */
	pthread_t thread;
	struct timespec begin;
	atomic_int tid, early, done;
	long got;
	int fd, other, word; /* whatever the call waits on and what wakes it */
	pid_t child;
};

static char directory[] = "/tmp/calls.XXXXXX";
static int semaphores, queue, full_queue;
static const struct timespec an_hour = {HOUR, 0}; /* read-only: the kernel cannot write back what is left */

/* Something for a plan to move. */
__attribute__((noinline, noclone, used)) int hot_nothing(int x)
{
	for (int i = 0; i < x; i++)
		x ^= i * 3;
	return x;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(3);
}

static char *path_of(const struct call *c, char path[64])
{
	snprintf(path, 64, "%s/%.16s", directory, c->name);
	for (char *p = path + sizeof directory; *p; p++)
		if (*p == ' ')
			*p = '-';
	return path;
}

static void set_limit(int fd, int option)
{
	const struct timeval limit = {HOUR, 0};
	must(!setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit), "setsockopt");
}

/* --- what blocks, and what wakes it --- */

static void write_byte(struct call *c)
{
	must(write(c->other, "xxxxxxxx", 8) == 8, "write");
}

static void make_pipe(struct call *c)
{
	int ends[2];
	must(!pipe(ends), "pipe");
	c->fd = ends[0];
	c->other = ends[1];
}

static void make_pair(struct call *c)
{
	int ends[2];
	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	c->fd = ends[0];
	c->other = ends[1];
}

static long eight_bytes(struct call *c)
{
	char bytes[8];
	return read(c->fd, bytes, sizeof bytes);
}

static long on_pipe(struct call *c)
{
	if (!c->other)
		make_pipe(c);
	return eight_bytes(c);
}

static long on_eventfd(struct call *c)
{
	if (!c->other)
		c->fd = c->other = eventfd(0, 0);
	return eight_bytes(c);
}

static long on_timerfd(struct call *c)
{
	const struct itimerspec late = {.it_value = {HOUR, 0}};
	if (!c->other) {
		c->fd = c->other = timerfd_create(CLOCK_MONOTONIC, 0);
		timerfd_settime(c->fd, 0, &late, NULL);
	}
	return eight_bytes(c);
}

static void fire_timer(struct call *c)
{
	const struct itimerspec now = {.it_value = {0, 1}};
	must(!timerfd_settime(c->fd, 0, &now, NULL), "timerfd_settime");
}

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

static long on_inotify(struct call *c)
{
	char events[4096];
	if (!c->other) {
		c->fd = c->other = inotify_init1(0);
		inotify_add_watch(c->fd, directory, IN_DELETE_SELF | IN_ATTRIB);
	}
	return read(c->fd, events, sizeof events) > 0;
}

static void touch_directory(struct call *c)
{
	(void)c;
	must(!chmod(directory, 0711), "chmod");
}

static long in_poll(struct call *c)
{
	if (!c->other)
		make_pipe(c);
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	return poll(&p, 1, -1);
}

static long in_ppoll(struct call *c)
{
	if (!c->other)
		make_pipe(c);
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	return syscall(SYS_ppoll, &p, 1, NULL, NULL, 0);
}

static long in_ppoll_constant(struct call *c)
{
	if (!c->other)
		make_pipe(c);
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	return syscall(SYS_ppoll, &p, 1, &an_hour, NULL, 0);
}

static long selecting(struct call *c, long number, const void *limit)
{
	fd_set set;
	if (!c->other)
		make_pipe(c);
	FD_ZERO(&set);
	FD_SET(c->fd, &set);
	return syscall(number, c->fd + 1, &set, NULL, NULL, limit, NULL);
}

static long in_select(struct call *c)
{
	return selecting(c, SYS_select, NULL);
}

static long in_pselect(struct call *c)
{
	return selecting(c, SYS_pselect6, NULL);
}

static long in_pselect_constant(struct call *c)
{
	return selecting(c, SYS_pselect6, &an_hour);
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

/* A listening socket; c->other is the address' descriptor for whoever connects. */
static void make_listener(struct call *c)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t size = sizeof name;
	c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	must(!bind(c->fd, (struct sockaddr *)&name, sizeof name.sun_family) && !listen(c->fd, 0), "listen");
	must(!getsockname(c->fd, (struct sockaddr *)&name, &size), "getsockname");
	c->other = socket(AF_UNIX, SOCK_STREAM, 0);
}

static int connect_to(const struct call *c, int from)
{
	struct sockaddr_un name;
	socklen_t size = sizeof name;
	must(!getsockname(c->fd, (struct sockaddr *)&name, &size), "getsockname");
	return connect(from, (struct sockaddr *)&name, size);
}

static long in_accept(struct call *c)
{
	if (!c->other)
		make_listener(c);
	return accept(c->fd, NULL, NULL) >= 0;
}

static long in_accept_limit(struct call *c)
{
	if (!c->other) {
		make_listener(c);
		set_limit(c->fd, SO_RCVTIMEO);
	}
	return accept(c->fd, NULL, NULL) >= 0 ? 1 : -1;
}

static void connect_there(struct call *c)
{
	must(!connect_to(c, c->other), "connect");
}

/* The backlog of one is taken by the first, so the second waits. */
static long connecting(struct call *c, bool limit)
{
	if (!c->other) {
		make_listener(c);
		must(!connect_to(c, c->other), "connect");
		c->word = socket(AF_UNIX, SOCK_STREAM, 0);
		if (limit)
			set_limit(c->word, SO_SNDTIMEO);
	}
	return connect_to(c, c->word);
}

static long in_connect(struct call *c)
{
	return connecting(c, false);
}

static long in_connect_limit(struct call *c)
{
	return connecting(c, true);
}

static void accept_one(struct call *c)
{
	must(accept(c->fd, NULL, NULL) >= 0, "accept");
}

static long in_recv(struct call *c)
{
	char bytes[8];
	if (!c->other)
		make_pair(c);
	return recv(c->fd, bytes, sizeof bytes, MSG_WAITALL);
}

static long in_recv_limit(struct call *c)
{
	if (!c->other) {
		make_pair(c);
		set_limit(c->fd, SO_RCVTIMEO);
	}
	return in_recv(c);
}

static long in_recvmsg_limit(struct call *c)
{
	char bytes[8];
	struct iovec part = {bytes, sizeof bytes};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
	if (!c->other) {
		make_pair(c);
		set_limit(c->fd, SO_RCVTIMEO);
	}
	return recvmsg(c->fd, &m, 0);
}

static long in_read_limit(struct call *c)
{
	if (!c->other) {
		make_pair(c);
		set_limit(c->fd, SO_RCVTIMEO);
	}
	return eight_bytes(c);
}

static void fill(int fd)
{
	static char much[4096];
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (write(fd, much, sizeof much) > 0)
		;
	fcntl(fd, F_SETFL, 0);
	errno = ERRNO_BEFORE;
}

static long in_send_limit(struct call *c)
{
	if (!c->other) {
		make_pair(c);
		set_limit(c->fd, SO_SNDTIMEO);
		fill(c->fd);
	}
	return send(c->fd, "eight...", 8, 0);
}

static long in_write(struct call *c)
{
	if (!c->other) {
		make_pipe(c);
		fill(c->other);
	}
	return write(c->other, "eight...", 8);
}

/* Reads all that there is. */
static void drain(int fd)
{
	static char much[1 << 20];
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (read(fd, much, sizeof much) > 0)
		usleep(1000);
	fcntl(fd, F_SETFL, 0);
}

static void drain_socket(struct call *c)
{
	drain(c->other);
}

static void drain_pipe(struct call *c)
{
	drain(c->fd);
}

static long in_open(struct call *c)
{
	char path[64];
	mkfifo(path_of(c, path), 0600);
	return open(path, O_RDONLY) >= 0 ? 1 : -1;
}

static void open_other_end(struct call *c)
{
	char path[64];
	must(open(path_of(c, path), O_WRONLY) >= 0, "fifo");
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

static long in_flock(struct call *c)
{
	char path[64];
	if (!c->other) {
		c->other = open(path_of(c, path), O_RDWR | O_CREAT, 0600);
		c->fd = open(path, O_RDWR);
		must(!flock(c->other, LOCK_EX), "flock");
	}
	return flock(c->fd, LOCK_EX);
}

static void unlock(struct call *c)
{
	must(!flock(c->other, LOCK_UN), "flock");
}

static long in_setlkw(struct call *c)
{
	char path[64];
	struct flock all = {.l_type = F_WRLCK};
	if (!c->other) {
		c->other = open(path_of(c, path), O_RDWR | O_CREAT, 0600);
		c->fd = open(path, O_RDWR);
		must(!fcntl(c->other, F_OFD_SETLK, &all), "F_OFD_SETLK");
	}
	return fcntl(c->fd, F_OFD_SETLKW, &all);
}

static void unlock_range(struct call *c)
{
	struct flock all = {.l_type = F_UNLCK};
	must(!fcntl(c->other, F_OFD_SETLK, &all), "F_OFD_SETLK");
}

static int watch(struct call *c)
{
	struct epoll_event event = {.events = EPOLLIN};
	make_pipe(c);
	int set = epoll_create1(0);
	must(set >= 0 && !epoll_ctl(set, EPOLL_CTL_ADD, c->fd, &event), "epoll");
	return set;
}

static long in_epoll(struct call *c)
{
	struct epoll_event event;
	if (!c->other)
		c->word = watch(c);
	return epoll_wait(c->word, &event, 1, -1);
}

static long in_epoll_limit(struct call *c)
{
	struct epoll_event event;
	if (!c->other)
		c->word = watch(c);
	return epoll_wait(c->word, &event, 1, HOUR * 1000);
}

static long in_epoll_pwait(struct call *c)
{
	struct epoll_event event;
	sigset_t none;
	sigfillset(&none);
	if (!c->other)
		c->word = watch(c);
	return epoll_pwait(c->word, &event, 1, -1, &none);
}

static long in_epoll_pwait2(struct call *c)
{
	struct epoll_event event;
	if (!c->other)
		c->word = watch(c);
	return syscall(SYS_epoll_pwait2, c->word, &event, 1, NULL, NULL, 0);
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

/* A poll of a pipe as an asynchronous request, which ends when the pipe is written to. */
static aio_context_t submit_poll(struct call *c)
{
	aio_context_t context = 0;
	struct iocb request = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN}, *requests[] = {&request};
	make_pipe(c);
	request.aio_fildes = (uint32_t)c->fd;
	must(!syscall(SYS_io_setup, 1, &context) && syscall(SYS_io_submit, context, 1, requests) == 1, "io_submit");
	return context;
}

static long in_io_getevents(struct call *c)
{
	static aio_context_t context;
	struct io_event event;
	if (!c->other)
		context = submit_poll(c);
	return syscall(SYS_io_getevents, context, 1, 1, &event, NULL);
}

static long in_io_pgetevents(struct call *c)
{
	static aio_context_t context;
	struct io_event event;
	if (!c->other)
		context = submit_poll(c);
	return syscall(SYS_io_pgetevents, context, 1, 1, &event, NULL, NULL);
}

/* Waits for one completion; what completes is a NOP that the releasing thread submits. */
static long in_io_uring(struct call *c)
{
	struct io_uring_params parameters = {0};
	if (!c->other)
		c->fd = c->other = (int)syscall(SYS_io_uring_setup, 4, &parameters);
	return syscall(SYS_io_uring_enter, c->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}

static void submit_nop(struct call *c)
{
	struct io_uring_params parameters = {0};
	/* Only to learn the offsets, which are the same for each ring of this size. */
	int other = (int)syscall(SYS_io_uring_setup, 4, &parameters);
	must(other >= 0, "io_uring_setup");
	close(other);
	size_t size =
	    parameters.sq_off.array + 16 > parameters.cq_off.cqes + 256 ? parameters.sq_off.array + 16 : parameters.cq_off.cqes + 256;
	char *ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entries = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, IORING_OFF_SQES);
	must(ring != MAP_FAILED && entries != MAP_FAILED, "mmap");
	memset(entries, 0, sizeof *entries);
	entries->opcode = IORING_OP_NOP;
	*(unsigned *)(ring + parameters.sq_off.array) = 0;
	atomic_store((atomic_uint *)(ring + parameters.sq_off.tail), 1);
	must(syscall(SYS_io_uring_enter, c->fd, 1, 0, 0, NULL, 0) == 1, "io_uring_enter");
	munmap(ring, size);
	munmap(entries, 4096);
}

/* clang-format off */
static struct call calls[] = {
	{"epoll_wait", in_epoll, write_byte, 1},
	{"epoll_wait, limit", in_epoll_limit, write_byte, 1},
	{"epoll_pwait", in_epoll_pwait, write_byte, 1},
	{"epoll_pwait2", in_epoll_pwait2, write_byte, 1},
	{"sigtimedwait", in_sigtimedwait, send_process_signal, 6},
	{"sigtimedwait, limit", in_sigtimedwait_limit, send_process_signal, 7},
	{"semop", in_semop, give, 0},
	{"semtimedop", in_semtimedop, give, 0},
	{"io_getevents", in_io_getevents, write_byte, 1},
	{"io_pgetevents", in_io_pgetevents, write_byte, 1},
	{"io_uring_enter", in_io_uring, submit_nop, 0},
	{"accept, SO_RCVTIMEO", in_accept_limit, connect_there, 1},
	{"recv, SO_RCVTIMEO", in_recv_limit, write_byte, 8},
	{"recvmsg, SO_RCVTIMEO", in_recvmsg_limit, write_byte, 8},
	{"read, SO_RCVTIMEO", in_read_limit, write_byte, 8},
	{"send, SO_SNDTIMEO", in_send_limit, drain_socket, 8},
	{"connect, SO_SNDTIMEO", in_connect_limit, accept_one, 0},
	{"ppoll, constant limit", in_ppoll_constant, write_byte, 1},
	{"pselect6, constant limit", in_pselect_constant, write_byte, 1},
	{"read of a pipe", on_pipe, write_byte, 8},
	{"read of an eventfd", on_eventfd, write_byte, 8},
	{"read of a timerfd", on_timerfd, fire_timer, 8},
	{"read of a signalfd", on_signalfd, send_process_signal, 5},
	{"read of inotify", on_inotify, touch_directory, 1},
	{"poll", in_poll, write_byte, 1},
	{"ppoll", in_ppoll, write_byte, 1},
	{"select", in_select, write_byte, 1},
	{"pselect6", in_pselect, write_byte, 1},
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
	{"accept", in_accept, connect_there, 1},
	{"recv", in_recv, write_byte, 8},
	{"connect", in_connect, accept_one, 0},
	{"write to a pipe", in_write, drain_pipe, 8},
	{"open of a fifo", in_open, open_other_end, 1},
	{"wait4", in_wait4, kill_child, 1},
	{"waitid", in_waitid, kill_child, 1},
	{"flock", in_flock, unlock, 0},
	{"fcntl, F_OFD_SETLKW", in_setlkw, unlock_range, 0},
};
/* clang-format on */
#define CALLS (sizeof calls / sizeof *calls)

static atomic_bool released;

static void *block(void *argument)
{
	struct call *c = argument;
	clock_gettime(CLOCK_MONOTONIC, &c->begin);
	c->tid = (int)syscall(SYS_gettid);
	for (;;) {
		errno = ERRNO_BEFORE;
		c->got = c->block(c);
		bool right_errno = errno == (c->got < 0 ? EINTR : ERRNO_BEFORE);
		if (c->got < 0)
			c->got = -errno;
		if (released && (c->got == c->result || c->got != -EINTR)) {
			c->done = right_errno ? 1 : 2;
			return NULL;
		}
		c->early++;
	}
}

static void report(void)
{
	int early = 0;
	for (unsigned i = 0; i < CALLS; i++)
		early += calls[i].early != 0;
	printf("rounds %d\n", early);
	fflush(stdout);
}

static bool release_all(void)
{
	bool right = true;
	released = true;
	for (unsigned i = 0; i < CALLS; i++)
		calls[i].release(&calls[i]);
	for (unsigned tries = 0; tries < 500; tries++) {
		unsigned left = 0;
		for (unsigned i = 0; i < CALLS; i++)
			left += !calls[i].done;
		if (!left)
			break;
		usleep(10000);
	}
	for (unsigned i = 0; i < CALLS; i++) {
		const struct call *c = &calls[i];
		bool good = c->done == 1 && c->got == c->result;
		right &= good;
		printf("%s%s: early %d, then %s%ld\n", good ? "" : "WRONG ", c->name, c->early, c->done ? "" : "blocked, not ",
		       c->done ? c->got : c->result);
	}
	printf("released\n");
	fflush(stdout);
	return right;
}

static void prepare(void)
{
	/* Children are made while there is only one thread. */
	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i].release == kill_child && !(calls[i].child = fork()))
			for (;;)
				pause();
	must(mkdtemp(directory) != NULL, directory);
	semaphores = semget(IPC_PRIVATE, 2, 0600);
	queue = msgget(IPC_PRIVATE, 0600);
	full_queue = msgget(IPC_PRIVATE, 0600);
	must(semaphores >= 0 && queue >= 0 && full_queue >= 0, "System V IPC");
}

static void clean_up(void)
{
	char path[64];
	for (unsigned i = 0; i < CALLS; i++) {
		unlink(path_of(&calls[i], path));
		if (calls[i].child)
			kill(calls[i].child, SIGKILL);
	}
	rmdir(directory);
	semctl(semaphores, 0, IPC_RMID);
	msgctl(queue, IPC_RMID, NULL);
	msgctl(full_queue, IPC_RMID, NULL);
}

static void nothing(int signal)
{
	(void)signal;
}

int main(void)
{
	sigset_t mine;
	bool right = true;
	int signal_number;
	prepare();
	signal(SIGRTMIN + 1, nothing);
	sigfillset(&mine);
	sigdelset(&mine, SIGRTMIN + 1);
	pthread_sigmask(SIG_BLOCK, &mine, NULL);
	for (unsigned i = 0; i < CALLS; i++)
		must(!pthread_create(&calls[i].thread, NULL, block, &calls[i]), "pthread_create");
	sigemptyset(&mine);
	sigaddset(&mine, SIGUSR1);
	sigaddset(&mine, SIGUSR2);
	sigaddset(&mine, SIGTERM);
	volatile int x = 3;
	do {
		x = hot_nothing(x & 3);
		signal_number = sigwaitinfo(&mine, NULL);
		if (signal_number == SIGUSR1)
			report();
		if (signal_number == SIGUSR2)
			right &= release_all();
	} while (signal_number != SIGTERM);
	clean_up();
	return right ? 0 : 1;
}
