/*
 * Threads that live for a moment: each computes in a hot_ function, checks the result and ends; others are born all the time, some by those. A few stay.
 * SIGUSR1: prints "rounds N", the number of threads that have ended. SIGTERM: exits 0 if nothing was ever wrong.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_ulong ended;
static atomic_int wrong, alive;
static uint64_t right;

__attribute__((noinline, noclone, used)) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

static void compute(void)
{
	if (hot_mix(42, 2000) != right) {
		wrong = 1;
		printf("WRONG result\n");
		fflush(stdout);
	}
}

static void *live(void *generations)
{
	pthread_t child;
	uintptr_t left = (uintptr_t)generations;
	compute();
	if (left && !pthread_create(&child, NULL, live, (void *)(left - 1))) {
		alive++;
		pthread_detach(child);
	}
	ended++;
	alive--;
	return NULL;
}

static void *stay(void *unused)
{
	for (;;) {
		compute();
		usleep(500);
	}
	return unused;
}

static void on_usr1(int signal)
{
	char text[64];
	(void)signal;
	int n = snprintf(text, sizeof text, "rounds %lu\n", (unsigned long)ended);
	if (write(1, text, (size_t)n) < 0)
		_exit(3);
}

static void on_term(int signal)
{
	(void)signal;
	_exit(wrong ? 1 : 0);
}

int main(void)
{
	pthread_t thread;
	pthread_attr_t small;
	right = hot_mix(42, 2000);
	signal(SIGUSR1, on_usr1);
	signal(SIGTERM, on_term);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&thread, NULL, stay, NULL))
			return 3;
	for (;;) {
		if (alive < 50 && !pthread_create(&thread, &small, live, (void *)3))
			alive++;
		usleep(500);
	}
}
