/*
 * Work before the entry point: by BEFORE in the environment, a thread that stays, another program, blocked signals, a child, a handler; work of
 * a hot_ function, which plans move.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((noinline, noclone, used, visibility("default"))) uint64_t hot_library(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		x = x * 31 + (x >> 7) + i;
	return x;
}

__attribute__((destructor)) static void after(void)
{
	if (getenv("AFTER") && hot_library(1, 1000) != hot_library(1, 500) && write(2, "AFTER\n", 6) < 0)
		_exit(1);
}

static void *stay(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void handle(int signal)
{
	static const char text[] = "HANDLED\n";
	if (write(2, text, sizeof text - 1) < 0)
		_exit(signal);
}

__attribute__((constructor)) static void before(int argc, char **argv)
{
	const char *what = getenv("BEFORE");
	pthread_t thread;
	sigset_t all;
	if (!what || !argc)
		return;
	if (!strcmp(what, "thread"))
		pthread_create(&thread, NULL, stay, NULL);
	if (!strcmp(what, "child"))
		waitpid(fork() ?: (_exit(0), 0), NULL, 0);
	if (!strcmp(what, "handler"))
		signal(SIGURG, handle);
	if (!strcmp(what, "raise"))
		raise(SIGURG);
	if (!strcmp(what, "block")) {
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, NULL);
	}
	if (!strcmp(what, "exec")) {
		unsetenv("BEFORE");
		execv("/proc/self/exe", argv);
	}
	if (!strcmp(what, "exit"))
		_exit(9);
}
