/*
 * Processes that share their memory without being threads: a thread works in a hot_ function; on command others are made by clone(CLONE_VM), vfork or
 * posix_spawn, which compute in the same function and check the result.
 *
 * Commands, each answered by a line: "share" (one that stays, "sharing PID"), "alone" (it ends), "vfork" (a child that keeps its parent thread waiting for a
 * second), "flash" / "spawn" (many short-lived ones, one after the other, until "quiet"), "rounds". "WRONG" when a result is not right.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STACK = 65536 };

static atomic_ulong rounds, made;
static atomic_bool flashing, spawning, sharing;
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
	if (hot_mix(42, 2000) != right && write(1, "WRONG result\n", 13) < 0)
		_exit(3);
	rounds++;
}

static int live_shortly(void *unused)
{
	(void)unused;
	compute();
	_exit(0);
}

static int stay(void *unused)
{
	(void)unused;
	while (sharing)
		compute();
	_exit(0);
}

static pid_t make_sharer(int (*function)(void *))
{
	static char *stack;
	if (!stack)
		stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return clone(function, stack + STACK, CLONE_VM | SIGCHLD, NULL);
}

static void *work(void *unused)
{
	extern char **environ;
	char *const arguments[] = {"true", NULL};
	for (;;) {
		pid_t child = 0;
		compute();
		if (flashing)
			child = make_sharer(live_shortly);
		else if (spawning && posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ))
			child = 0;
		else if (!spawning)
			usleep(500);
		if (child > 0 && waitpid(child, NULL, 0) == child)
			made++;
	}
	return unused;
}

static void *wait_for_child(void *unused)
{
	const struct timespec second = {1, 0};
	pid_t child = vfork();
	if (!child) {
		nanosleep(&second, NULL);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	return unused;
}

static void obey(const char *command)
{
	static pid_t sharer;
	pthread_t thread;
	if (!strncmp(command, "share", 5)) {
		sharing = true;
		sharer = make_sharer(stay);
		printf("sharing %d\n", sharer);
	} else if (!strncmp(command, "alone", 5)) {
		sharing = false;
		waitpid(sharer, NULL, 0);
		printf("alone\n");
	} else if (!strncmp(command, "vfork", 5)) {
		if (pthread_create(&thread, NULL, wait_for_child, NULL))
			exit(3);
		pthread_detach(thread);
		printf("waiting\n");
	} else if (!strncmp(command, "flash", 5) || !strncmp(command, "spawn", 5)) {
		flashing = *command == 'f';
		spawning = *command == 's';
		printf("making\n");
	} else if (!strncmp(command, "quiet", 5)) {
		flashing = spawning = false;
		usleep(50000);
		printf("made %lu\n", (unsigned long)made);
		made = 0;
	} else {
		printf("rounds %lu\n", (unsigned long)rounds);
	}
}

int main(void)
{
	char line[64];
	pthread_t thread;
	setvbuf(stdout, NULL, _IOLBF, 0);
	right = hot_mix(42, 2000);
	if (pthread_create(&thread, NULL, work, NULL))
		return 3;
	while (fgets(line, sizeof line, stdin))
		obey(line);
	return 0;
}
