/*
 * Executes itself again and again, from a thread that is not the first one, while others compute in a hot_ function. SIGUSR1: prints "rounds N", N times
 * executed. SIGUSR2: does it no more. SIGTERM: exits 0; a wrong result ends it with 1 at once.
 */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char **arguments;
static int times;
static bool stays;
static sigset_t asked;

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

static void answer(int number)
{
	char text[64];
	int n = snprintf(text, sizeof text, "rounds %d\n", times);
	if (number == SIGTERM)
		_exit(0);
	if (number == SIGUSR2)
		stays = true;
	else if (number == SIGUSR1 && write(1, text, (size_t)n) < 0)
		_exit(3);
}

/*
 * Nobody else takes signals: exec would end a thread together with the signal that it has just taken. What nobody has taken outlives exec, so each one
 * is answered.
 */
static void *execute(void *unused)
{
	struct timespec wait = {0, (5 + times * 7919 % 40) * 1000000l};
	char number[16];
	for (int taken; (taken = sigtimedwait(&asked, NULL, &wait)) > 0 || stays;)
		answer(taken);
	snprintf(number, sizeof number, "%d", times + 1);
	execl("/proc/self/exe", arguments[0], number, NULL);
	exit(3);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	arguments = argv;
	times = argc > 1 ? atoi(argv[1]) : 0;
	sigemptyset(&asked);
	sigaddset(&asked, SIGUSR1);
	sigaddset(&asked, SIGUSR2);
	sigaddset(&asked, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &asked, NULL);
	for (int i = 0; i < 3; i++)
		if (pthread_create(&thread, NULL, work, NULL))
			return 3;
	if (pthread_create(&thread, NULL, execute, NULL))
		return 3;
	for (;;)
		pause();
}
