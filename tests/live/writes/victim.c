/*
 * victim KIND [PAIRS]: a thread writes blocks of a megabyte, by one call each of that kind, as fast as another reads them and compares them with what was
 * written; so many such pairs (1). Some kinds need no other thread.
 * SIGUSR1: "rounds N", blocks that were read. At the end (SIGTERM): how many calls wrote less than the whole block; what was left of theirs was written
 * by another call. Exit 1 when a byte was wrong, lost or doubled.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, CHUNK = 32768, PIECES = 7, PAIRS_MAX = 8 };

uint32_t hot_word(uint32_t i);
static uint8_t block[BLOCK], room[BLOCK];
static int file;
static atomic_bool ending;
static atomic_ulong calls, parts, blocks;
static ssize_t (*put)(int out, size_t done);
static struct pair {
	int in, out;
	uint8_t got[CHUNK];
	pthread_t writer, reader;
} pairs[PAIRS_MAX];

/* To be moved. */
__attribute__((noinline)) uint32_t hot_word(uint32_t i)
{
	uint32_t mixed = i * 2654435761u;
	for (unsigned k = 0; k < 3; k++)
		mixed ^= mixed >> (7 + k);
	return mixed;
}

static ssize_t put_write(int out, size_t done)
{
	return write(out, block + done, BLOCK - done);
}

static ssize_t put_send(int out, size_t done)
{
	return send(out, block + done, BLOCK - done, 0);
}

/* What is left of the block in pieces of different sizes, one of them empty. */
static int cut_up(size_t done, struct iovec pieces[PIECES])
{
	size_t left = BLOCK - done;
	for (int i = 0; i < PIECES; i++) {
		size_t size = i == PIECES - 1 ? left : i == 2 ? 0 : left / 4 + 1;
		size = size < left ? size : left;
		pieces[i] = (struct iovec){block + BLOCK - left, size};
		left -= size;
	}
	return PIECES;
}

static ssize_t put_writev(int out, size_t done)
{
	struct iovec pieces[PIECES];
	return writev(out, pieces, cut_up(done, pieces));
}

static ssize_t put_sendmsg(int out, size_t done)
{
	struct iovec pieces[PIECES];
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)cut_up(done, pieces)};
	return sendmsg(out, &message, 0);
}

static ssize_t put_sendfile(int out, size_t done)
{
	off_t at = (off_t)done;
	ssize_t n = sendfile(out, file, &at, BLOCK - done);
	if (n > 0 && at != (off_t)done + n) {
		printf("WRONG offset after sendfile\n");
		exit(1);
	}
	return n;
}

static ssize_t put_pwritev2(int out, size_t done)
{
	struct iovec pieces[PIECES];
	return pwritev2(out, pieces, cut_up(done, pieces), -1, 0);
}

static ssize_t put_getrandom(int out, size_t done)
{
	(void)out;
	if (!done)
		memset(room, 0, BLOCK);
	ssize_t n = getrandom(room + done, BLOCK - done, 0);
	for (size_t i = 0; n == (ssize_t)(BLOCK - done) && i < BLOCK; i += 64)
		if (!memcmp(room + i, (const uint8_t[64]){0}, 64)) {
			printf("WRONG: nothing came at %zu\n", i);
			exit(1);
		}
	return n;
}

static ssize_t put_zero(int out, size_t done)
{
	static int zero = -1;
	(void)out;
	if (zero < 0)
		zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; !done && i < BLOCK; i += 509)
		room[i] = 1;
	ssize_t n = read(zero, room + done, BLOCK - done);
	for (size_t i = 0; n == (ssize_t)(BLOCK - done) && i < BLOCK; i += 509)
		if (room[i]) {
			printf("WRONG: nothing came at %zu\n", i);
			exit(1);
		}
	return n;
}

static void *write_blocks(void *context)
{
	struct pair *p = context;
	while (!ending) {
		for (size_t done = 0; done < BLOCK;) {
			errno = 0;
			ssize_t n = put(p->out, done);
			if (n <= 0) {
				printf("WRONG: %zd %m\n", n);
				exit(1);
			}
			calls++;
			done += (size_t)n;
			parts += done < BLOCK;
		}
		blocks += p->out < 0;
	}
	if (p->out >= 0) {
		shutdown(p->out, SHUT_WR);
		close(p->out);
	}
	return NULL;
}

static void *read_blocks(void *context)
{
	struct pair *p = context;
	size_t at = 0;
	for (ssize_t n; (n = read(p->in, p->got, sizeof p->got)) > 0;) {
		for (size_t i = 0; i < (size_t)n; i += 509)
			if (p->got[i] != block[(at + i) % BLOCK]) {
				printf("WRONG byte\n");
				exit(1);
			}
		blocks += (at + (size_t)n) / BLOCK - at / BLOCK;
		at += (size_t)n;
	}
	if (at % BLOCK) {
		printf("WRONG number of bytes\n");
		exit(1);
	}
	return NULL;
}

static void answer(int signal)
{
	char text[64];
	int n = snprintf(text, sizeof text, "rounds %lu\n", (unsigned long)blocks);
	(void)signal;
	(void)!write(1, text, (size_t)n);
}

static int open_terminal(int ends[2])
{
	struct termios raw;
	if (openpty(&ends[0], &ends[1], NULL, NULL, NULL) || tcgetattr(ends[1], &raw))
		return -1;
	cfmakeraw(&raw);
	return tcsetattr(ends[1], TCSANOW, &raw);
}

enum way { PIPE, SOCKET, TERMINAL, ALONE };

static int open_pair(enum way way, struct pair *p)
{
	int ends[2] = {-1, -1};
	if (way == SOCKET     ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends)
	    : way == TERMINAL ? open_terminal(ends)
	    : way == PIPE     ? pipe(ends)
			      : 0)
		return 2;
	p->in = ends[0];
	p->out = ends[1];
	return (way != ALONE && pthread_create(&p->reader, NULL, read_blocks, p)) || pthread_create(&p->writer, NULL, write_blocks, p) ? 2
																       : 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		ssize_t (*put)(int out, size_t done);
		enum way way;
	} kinds[] = {
	    {"write", put_write, PIPE},
	    {"writev", put_writev, PIPE},
	    {"sendfile", put_sendfile, SOCKET},
	    {"send", put_send, SOCKET},
	    {"sendmsg", put_sendmsg, SOCKET},
	    {"write-socket", put_write, SOCKET},
	    {"writev-socket", put_writev, SOCKET},
	    {"pwritev2", put_pwritev2, PIPE},
	    {"write-terminal", put_write, TERMINAL},
	    {"getrandom", put_getrandom, ALONE},
	    {"read-zero", put_zero, ALONE},
	};
	enum way way = PIPE;
	for (size_t i = 0; argc > 1 && i < sizeof kinds / sizeof *kinds; i++)
		if (!strcmp(argv[1], kinds[i].name)) {
			put = kinds[i].put;
			way = kinds[i].way;
		}
	int count = argc > 2 ? atoi(argv[2]) : 1;
	if (!put || count < 1 || count > PAIRS_MAX)
		return 2;
	for (uint32_t i = 0; i < BLOCK; i += 4) {
		uint32_t word = hot_word(i);
		memcpy(block + i, &word, sizeof word);
	}
	file = memfd_create("block", 0);
	if (write(file, block, BLOCK) != BLOCK)
		return 2;
	sigset_t end;
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	signal(SIGUSR1, answer); /* its handler ends no call: glibc has it restarted, but a part that is done is returned */
	sigset_t usr1;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	for (int i = 0; i < count; i++) {
		if (open_pair(way, &pairs[i]))
			return 2;
	}
	sigprocmask(SIG_UNBLOCK, &usr1, NULL);
	int signal;
	sigwait(&end, &signal);
	ending = true;
	for (int i = 0; i < count; i++) {
		pthread_join(pairs[i].writer, NULL);
		if (way != ALONE)
			pthread_join(pairs[i].reader, NULL);
	}
	printf("parts %lu of %lu calls\n", (unsigned long)parts, (unsigned long)calls);
	return 0;
}
