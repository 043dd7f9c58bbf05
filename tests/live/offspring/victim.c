/*
 * Asked on standard input. work: hot_ functions, their results checked. fork: a child that does the same as its parent, for whoever asks it through the pipe
 * PREFIX.NUMBER (given as argument; the child says its number). Every answer is a line; a wrong result is WRONG.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOT __attribute__((noinline, noclone, used, visibility("default")))

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

/* Calls back from a moved frame: a child that is born there has one on its stack. */
HOT uint64_t hot_call(uint64_t (*call)(uint64_t), uint64_t n)
{
	uint64_t sum = n;
	for (uint64_t i = 0; i < 3; i++)
		sum = sum * 3 + call(i);
	return sum;
}

static const char *prefix;

static uint64_t plain(uint64_t i)
{
	return i;
}

static uint64_t give_birth(uint64_t i)
{
	if (i != 1 || fork())
		return i;
	char path[4096];
	snprintf(path, sizeof path, "%s.%d", prefix, getpid());
	if (mkfifo(path, 0600) || !freopen(path, "r+", stdin))
		_exit(3);
	printf("child %d\n", getpid());
	fflush(stdout);
	return i;
}

int main(int argc, char **argv)
{
	char line[64];
	const uint64_t mix = hot_mix(42, 2000), call = hot_call(plain, 7);
	prefix = argc > 1 ? argv[1] : "";
	signal(SIGCHLD, SIG_IGN);
	while (fgets(line, sizeof line, stdin) && strcmp(line, "end\n")) {
		int right = hot_mix(42, 2000) == mix && hot_call(strcmp(line, "fork\n") ? plain : give_birth, 7) == call;
		if (strcmp(line, "fork\n") || !right) {
			printf("%s %d\n", right ? "right" : "WRONG", getpid());
			fflush(stdout);
		}
	}
	return 0;
}
