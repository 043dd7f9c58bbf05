/*
 * Threads that spend their time in hot_ functions, which the plan moves: computing, deep in recursion, or blocked in calls made from moved
 * frames. Every result is checked. It forbids itself transparent huge pages, as MariaDB does. SIGUSR1: prints "rounds N". SIGTERM: exits 0 if nothing was ever wrong, 1 otherwise.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define HOT __attribute__((noinline, noclone, used, visibility("default")))

typedef uint64_t (*callback)(uint64_t);
typedef uint64_t (*recursion)(void *, uint64_t, callback);

static atomic_ulong rounds;
static atomic_int wrong, stop;
static int pipes[2];

HOT uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (x & 1)
			x += i;
	}
	return x;
}

HOT uint64_t hot_recurse(void *self, uint64_t depth, callback leaf)
{
	if (!depth)
		return leaf(7) + 1;
	return ((recursion)self)(self, depth - 1, leaf) * 3 + depth;
}

HOT uint64_t hot_each(uint64_t (*mix)(uint64_t, uint64_t), callback leaf, uint64_t n)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < n; i++)
		sum += mix(i + 1, 50) ^ leaf(i);
	return sum;
}

static uint64_t leaf_plain(uint64_t x)
{
	return x * 5;
}

static uint64_t leaf_sleep(uint64_t x)
{
	struct timespec t = {0, 300000};
	nanosleep(&t, NULL);
	return x * 5;
}

static uint64_t leaf_block(uint64_t x)
{
	char byte;
	while (read(pipes[0], &byte, 1) < 0)
		if (errno != EINTR)
			break;
	return x * 5;
}

static uint64_t expect_recurse(uint64_t depth)
{
	uint64_t r = 36;
	for (uint64_t d = 1; d <= depth; d++)
		r = r * 3 + d;
	return r;
}

static void check(uint64_t got, uint64_t expected, const char *what)
{
	if (got != expected) {
		fprintf(stdout, "WRONG %s\n", what);
		fflush(stdout);
		wrong = 1;
	}
}

static void *work(void *argument)
{
	long kind = (long)argument % 4;
	volatile recursion recurse = hot_recurse;
	callback leaf = kind == 1 ? leaf_sleep : kind == 2 ? leaf_block : leaf_plain;
	uint64_t mix = hot_mix(42, 20000), each = hot_each(hot_mix, leaf_plain, 100);
	while (!stop) {
		if (kind == 0)
			check(hot_mix(42, 20000), mix, "mix");
		else if (kind == 3)
			check(hot_each(hot_mix, leaf_plain, 100), each, "each");
		else
			check(recurse((void *)recurse, 50, leaf), expect_recurse(50), "recurse");
		rounds++;
		if (kind == 0 || kind == 3) /* leave some of the processor to others */
			usleep(1000);
	}
	return NULL;
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
	_exit(wrong ? 1 : 0);
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 8;
	if (pipe(pipes) || prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		return 3;
	signal(SIGUSR1, on_usr1);
	signal(SIGTERM, on_term);
	for (long i = 0; i < threads; i++) {
		pthread_t t;
		if (pthread_create(&t, NULL, work, (void *)i))
			return 3;
	}
	for (;;) {
		struct timespec t = {0, 200000};
		if (write(pipes[1], "x", 1) < 0)
			return 3;
		nanosleep(&t, NULL);
	}
}
