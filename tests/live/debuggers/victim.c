/*
 * Two threads: one that sleeps below work > library_outer > middle > library_inner > sleeps, and one that works below spins > library_spin > turns >
 * library_leaf. Before it sleeps the first takes a backtrace(3), which must have as many frames as the first time. For each line on standard input it prints
 * "rounds N outside M": M of the frames were in no loaded file. At the end of the input it exits; a wrong result prints WRONG.
 */
#include "victim.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_long rounds;
static atomic_int outside;
static atomic_uint spun;

static void wrong(const char *what, long got)
{
	printf("WRONG %s: %ld\n", what, got);
	fflush(stdout);
	_exit(1);
}

__attribute__((noinline)) static unsigned sleeps(unsigned seed)
{
	static int usual;
	void *frames[64];
	int count = backtrace(frames, 64), now = 0;
	for (int i = 0; i < count; i++) {
		Dl_info info;
		now += !dladdr(frames[i], &info);
	}
	usual = usual ? usual : count;
	if (count != usual)
		wrong("frames of a backtrace", count);
	outside = now;
	usleep(20000);
	return seed + 1;
}

__attribute__((noinline)) static unsigned middle(unsigned seed)
{
	return library_inner(seed, sleeps) + 3;
}

static unsigned expected(unsigned seed)
{
	unsigned first = library_leaf(seed, 20);
	return first ^ (library_leaf(first, 10) + 1 + first + 3);
}

static void *work(void *unused)
{
	for (unsigned seed = 1;; seed++) {
		unsigned got = library_outer(seed, middle);
		if (got != expected(seed))
			wrong("result", got);
		rounds++;
	}
	return unused;
}

__attribute__((noinline)) static unsigned turns(unsigned seed)
{
	for (unsigned i = 0; i < 20000; i++)
		seed ^= seed * 22695477u + i;
	return library_leaf(seed, 20000);
}

static void *spins(void *unused)
{
	for (;;)
		spun = library_spin(spun, turns);
	return unused;
}

int main(void)
{
	pthread_t threads[2];
	char line[64];
	pthread_create(&threads[0], NULL, work, NULL);
	pthread_create(&threads[1], NULL, spins, NULL);
	while (fgets(line, sizeof line, stdin)) {
		printf("rounds %ld outside %d\n", rounds, outside);
		fflush(stdout);
	}
	return 0;
}
