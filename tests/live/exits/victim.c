/*
 * Rounds that leave an image a known number of times. `victim ROUNDS THREADS [surprise|walk]`: ROUNDS 0 is for ever. Without "surprise" some
 * blocks never run; a plan made from such a run does not have them. All results are checked. "walk": with surprises, and a signal every 200
 * microseconds whose handler unwinds the stack from wherever that is to its end.
 * SIGUSR1: prints "walks N" and "rounds N". SIGTERM: exits 0 if nothing was wrong.
 *
 * In each round, if the code of all functions but `saver` is in the image as far as it ran without surprises:
 *	step		125 of 1000 take a branch that is not in the image
 *	framed		all 1000 take one, with something on the stack
 *	chilly		50 of 200 take one to the split part of the function, which is a function of its own to a map without symbols
 *	caller		10 calls of saver, which cannot be moved
 *	jumper		20 jumps to saver at the end of a function
 *	by_pointer	30 calls of leaf through a pointer, which come back through its patch, and 15 of saver
 *	switcher	20 of 40 jumps through a table: four of its eight cases have a patch, the last four in memory, which are the last four in
 *			turn; each of the others goes on in the original until the next of these
 *	by_slot		25 calls of a function of libc
 *	leaf		80 returns: 45 to saver, the others to where it was called in the image
 */
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HOT __attribute__((noinline, noclone, used))

static volatile uint64_t surprising, sink;
static volatile int ended, asked, wrong;
static uint64_t rounds, wanted;
static unsigned long walks;
static _Thread_local void *outermost; /* return address */

HOT uint64_t step(uint64_t i)
{
	uint64_t x = i * 3 + (i >> 2);
	if ((i & 7) == 0 && surprising) {
		sink = x;
		x = x * 5 + 1;
	}
	return x ^ x << 3;
}

HOT uint64_t framed(uint64_t i)
{
	volatile uint64_t room[40]; /* more than the red zone */
	room[i % 40] = i * 13 + 7;
	if (surprising) {
		sink = i;
		room[i % 40] += 5;
	}
	return room[i % 40];
}

__attribute__((cold, noinline, used)) void frozen(uint64_t x)
{
	sink += x;
}

HOT uint64_t chilly(uint64_t i)
{
	uint64_t x = i * 7 + 1;
	if ((i & 3) == 0 && surprising) {
		frozen(x);
		x += 2;
	}
	return x ^ x >> 3;
}

HOT uint64_t leaf(uint64_t x)
{
	return (x * 9 + 5) ^ x << 9;
}

/* Nothing that calls setjmp is moved. */
HOT uint64_t saver(uint64_t x)
{
	jmp_buf here;
	if (setjmp(here))
		return 0;
	return leaf(x) + 1;
}

HOT uint64_t caller(uint64_t x)
{
	return saver(x) * 3;
}

HOT uint64_t jumper(uint64_t x)
{
	x = x * 11 + 3;
	return saver(x);
}

static uint64_t (*volatile to_leaf)(uint64_t) = leaf;
static uint64_t (*volatile to_saver)(uint64_t) = saver;

HOT uint64_t by_pointer(uint64_t x)
{
	for (int i = 0; i < 30; i++)
		x += to_leaf(x) >> 1;
	for (int i = 0; i < 15; i++)
		x += to_saver(x) >> 1;
	return x;
}

HOT uint64_t switcher(uint64_t x)
{
	for (unsigned i = 0; i < 40; i++)
		switch (i & 7) {
		case 0:
			x += 3;
			break;
		case 1:
			x ^= x << 5;
			break;
		case 2:
			x *= 9;
			break;
		case 3:
			x = ~x;
			break;
		case 4:
			x -= 11;
			break;
		case 5:
			x ^= x >> 9;
			break;
		case 6:
			x = x * 3 + 1;
			break;
		case 7:
			x += x;
			break;
		}
	return x;
}

HOT uint64_t by_slot(uint64_t x)
{
	static const char *volatile number = "12";
	for (int i = 0; i < 25; i++)
		x += (uint64_t)atoi(number);
	return x;
}

HOT uint64_t round_once(void)
{
	uint64_t x = 0;
	for (uint64_t i = 0; i < 1000; i++)
		x += step(i);
	for (uint64_t i = 0; i < 1000; i++)
		x += framed(i);
	for (uint64_t i = 0; i < 200; i++)
		x += chilly(i) & 0xfff;
	for (uint64_t i = 0; i < 10; i++)
		x += caller(i);
	for (uint64_t i = 0; i < 20; i++)
		x += jumper(i);
	for (uint64_t i = 0; i < 5; i++)
		x += leaf(i);
	return by_slot(switcher(by_pointer(x)));
}

static void *last_frame(void)
{
	void *frames[64];
	int count = backtrace(frames, 64);
	return count > 2 ? frames[count - 1] : NULL;
}

static void walk(int signal)
{
	(void)signal;
	if (last_frame() != outermost)
		wrong = 1;
	__atomic_fetch_add(&walks, 1, __ATOMIC_RELAXED);
}

static int walk_often(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
	struct itimerspec often = {{0, 200000}, {0, 200000}};
	timer_t timer;
	outermost = last_frame(); /* also loads the unwinder */
	event._sigev_un._tid = (int)syscall(SYS_gettid);
	return timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, NULL);
}

static void *work(void *walking)
{
	if (walking && walk_often())
		wrong = 1;
	uint64_t first = round_once();
	for (uint64_t n = 1; !ended && (!wanted || n < wanted); n++) {
		if (round_once() != first)
			wrong = 1;
		__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void handle(int signal)
{
	if (signal == SIGTERM)
		ended = 1;
	else
		asked = 1;
}

int main(int argc, char **argv)
{
	pthread_t threads[16];
	int count = argc > 2 ? atoi(argv[2]) : 1;
	struct sigaction action = {.sa_handler = handle};
	wanted = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
	bool walking = argc > 3 && !strcmp(argv[3], "walk");
	surprising = walking || (argc > 3 && !strcmp(argv[3], "surprise"));
	sigaction(SIGUSR1, &action, NULL);
	action.sa_handler = walk;
	sigaction(SIGUSR2, &action, NULL);
	action.sa_handler = handle;
	sigaction(SIGTERM, &action, NULL);
	if (wanted) {
		work(NULL);
		return wrong;
	}
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, work, walking ? argv : NULL))
			return 2;
	while (!ended) {
		usleep(1000);
		if (asked) {
			asked = 0;
			printf("walks %lu\nrounds %lu\n", walks, (unsigned long)rounds);
			fflush(stdout);
		}
		if (wrong) {
			printf("WRONG\n");
			return 1;
		}
	}
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return wrong;
}
