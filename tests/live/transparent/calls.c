/*
 * One thread in each call that blocks. Nothing happens to them until SIGUSR2, which makes each call do what it waits for; then every result, errno and
 * time left is checked.
 *
 * SIGUSR1: prints "rounds N", N calls that came back before they should. SIGUSR2: releases all, prints one line "NAME: early N, then RESULT" per call and
 * "released", or WRONG where a result is not as it must be. SIGTERM: ends; exit 1 if anything was wrong.
 */
#define _GNU_SOURCE
#include "calls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct call *calls[100];
static unsigned call_count;
static atomic_bool released;

/* Something for a plan to move. */
__attribute__((noinline, noclone, used)) int hot_nothing(int x)
{
	for (int i = 0; i < x; i++)
		x ^= i * 3;
	return x;
}

void must(bool is, const char *what)
{
	if (is)
		return;
	perror(what);
	exit(3);
}

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
	for (unsigned i = 0; i < call_count; i++)
		early += calls[i]->early != 0;
	printf("rounds %d\n", early);
	fflush(stdout);
}

static bool release_all(void)
{
	bool right = true;
	released = true;
	for (unsigned i = 0; i < call_count; i++)
		calls[i]->release(calls[i]);
	for (unsigned tries = 0; tries < 500; tries++) {
		unsigned left = 0;
		for (unsigned i = 0; i < call_count; i++)
			left += !calls[i]->done;
		if (!left)
			break;
		usleep(10000);
	}
	for (unsigned i = 0; i < call_count; i++) {
		const struct call *c = calls[i];
		bool good = c->done == 1 && c->got == c->result;
		right &= good;
		printf("%s%s: early %d, then %s%ld\n", good ? "" : "WRONG ", c->name, c->early, c->done ? "" : "blocked, not ",
		       c->done ? c->got : c->result);
	}
	printf("released\n");
	fflush(stdout);
	return right;
}

static void add(struct call *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		calls[call_count++] = &list[i];
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
	add(descriptor_calls, descriptor_call_count);
	add(other_calls, other_call_count);
	prepare_others();
	prepare_descriptors();
	signal(SIGRTMIN + 1, nothing);
	sigfillset(&mine);
	sigdelset(&mine, SIGRTMIN + 1);
	pthread_sigmask(SIG_BLOCK, &mine, NULL);
	for (unsigned i = 0; i < call_count; i++)
		must(!pthread_create(&calls[i]->thread, NULL, block, calls[i]), "pthread_create");
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
	clean_descriptors();
	clean_others();
	return right ? 0 : 1;
}
