/*
 * A thread that forks all the time: each child computes in hot_ functions and ends with 0 if the result is right, or executes true. Another thread computes.
 *
 * Commands, each answered by a line: "rounds" ("rounds N", N children that ended well), "child" ("child PID", one that stays and computes: it prints
 * "child rounds" every 50 ms), "become" (executes this program anew: "rounds 0"). "WRONG" when a result is not right.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_ulong ended;
static uint64_t right;

__attribute__((noipa, used)) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

/* Calls back, so that children are born inside of moved frames. */
__attribute__((noipa, used)) uint64_t hot_through(uint64_t (*inner)(uint64_t), uint64_t x)
{
	return inner(x) + 1;
}

static void complain(const char *what)
{
	if (write(1, what, strlen(what)) < 0)
		_exit(3);
}

static uint64_t in_child(uint64_t x)
{
	pid_t child = fork();
	if (child)
		return x + (uint64_t)child;
	_exit(hot_mix(42, 5000) == right ? 0 : 1);
}

static uint64_t spawned(uint64_t x)
{
	extern char **environ;
	char *const arguments[] = {"true", NULL};
	pid_t child;
	return x + (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) ? 0 : (uint64_t)child);
}

static void *make_children(void *unused)
{
	for (unsigned n = 0;; n++) {
		int status = 1;
		pid_t child = (pid_t)(hot_through(n % 4 ? in_child : spawned, 5) - 6);
		if (child <= 0 || waitpid(child, &status, 0) != child || status)
			complain("WRONG child\n");
		ended++;
		usleep(1000);
	}
	return unused;
}

static void *compute(void *unused)
{
	for (;;) {
		if (hot_mix(42, 5000) != right)
			complain("WRONG result\n");
		usleep(500);
	}
	return unused;
}

/* Its parent's death is its own. */
_Noreturn static void stay(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		for (int i = 0; i < 50; i++) {
			if (hot_mix(42, 5000) != right)
				complain("WRONG result in a child\n");
			usleep(1000);
		}
		complain("child rounds\n");
	}
}

int main(int argc, char **argv)
{
	pthread_t threads[2];
	char line[64];
	right = hot_mix(42, 5000);
	if (pthread_create(&threads[0], NULL, make_children, NULL) || pthread_create(&threads[1], NULL, compute, NULL))
		return 3;
	setvbuf(stdin, NULL, _IONBF, 0);
	if (argc > 1)
		printf("rounds 0\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		pid_t child = strcmp(line, "child\n") ? -1 : fork();
		if (!child)
			stay();
		if (child > 0)
			printf("child %d\n", child);
		else if (!strcmp(line, "become\n"))
			execv(argv[0], (char *[]){argv[0], "anew", NULL});
		else
			printf("rounds %lu\n", ended);
		fflush(stdout);
	}
	return 0;
}
