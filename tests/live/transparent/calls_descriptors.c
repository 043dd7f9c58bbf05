/* Calls that wait for a descriptor: pipes, sockets, files, sets of them. */
#define _GNU_SOURCE
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

static char directory[] = "/tmp/calls.XXXXXX";

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
struct call descriptor_calls[] = {
	{"epoll_wait", in_epoll, write_byte, 1},
	{"epoll_wait, limit", in_epoll_limit, write_byte, 1},
	{"epoll_pwait", in_epoll_pwait, write_byte, 1},
	{"epoll_pwait2", in_epoll_pwait2, write_byte, 1},
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
	{"read of inotify", on_inotify, touch_directory, 1},
	{"poll", in_poll, write_byte, 1},
	{"ppoll", in_ppoll, write_byte, 1},
	{"select", in_select, write_byte, 1},
	{"pselect6", in_pselect, write_byte, 1},
	{"accept", in_accept, connect_there, 1},
	{"recv", in_recv, write_byte, 8},
	{"connect", in_connect, accept_one, 0},
	{"write to a pipe", in_write, drain_pipe, 8},
	{"open of a fifo", in_open, open_other_end, 1},
	{"flock", in_flock, unlock, 0},
	{"fcntl, F_OFD_SETLKW", in_setlkw, unlock_range, 0},
};
/* clang-format on */
const unsigned descriptor_call_count = sizeof descriptor_calls / sizeof *descriptor_calls;

void prepare_descriptors(void)
{
	must(mkdtemp(directory) != NULL, directory);
}

void clean_descriptors(void)
{
	char path[64];
	for (unsigned i = 0; i < descriptor_call_count; i++)
		unlink(path_of(&descriptor_calls[i], path));
	rmdir(directory);
}
