/*
 * Executes itself again and again, from a thread that is not the first one, while others compute in a hot_ function. SIGUSR1: prints "rounds N", N times
 * executed. SIGUSR2: does it no more. SIGTERM: exits 0; a wrong result ends it with 1 at once.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char **arguments;
static int times;
static atomic_bool stays;

__attribute__((noinline, noclone, used)) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

static void *work(void *unused)
{
	uint64_t right = hot_mix(42, 1000);
	while (hot_mix(42, 1000) == right)
		usleep(200);
	printf("WRONG result\n");
	exit(1);
	return unused;
}

static void *execute(void *unused)
{
	char number[16];
	usleep(5000 + (unsigned)(times * 7919 % 40) * 1000);
	while (stays)
		pause();
	snprintf(number, sizeof number, "%d", times + 1);
	execl("/proc/self/exe", arguments[0], number, NULL);
	exit(3);
	return unused;
}

static void on_usr1(int signal)
{
	char text[64];
	(void)signal;
	int n = snprintf(text, sizeof text, "rounds %d\n", times);
	if (write(1, text, (size_t)n) < 0)
		_exit(3);
}

static void on_usr2(int signal)
{
	(void)signal;
	stays = true;
}

static void on_term(int signal)
{
	(void)signal;
	_exit(0);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	sigset_t all;
	arguments = argv;
	times = argc > 1 ? atoi(argv[1]) : 0;
	/* Blocked from before the handlers stand, also in the thread that executes: nothing is lost in between. */
	sigemptyset(&all);
	sigaddset(&all, SIGUSR1);
	sigaddset(&all, SIGUSR2);
	sigaddset(&all, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	signal(SIGUSR1, on_usr1);
	signal(SIGUSR2, on_usr2);
	signal(SIGTERM, on_term);
	for (int i = 0; i < 3; i++)
		if (pthread_create(&thread, NULL, work, NULL))
			return 3;
	if (pthread_create(&thread, NULL, execute, NULL))
		return 3;
	pthread_sigmask(SIG_UNBLOCK, &all, NULL);
	for (;;)
		pause();
}
