/*
 * Rounds that leave an image a known number of times. `victim ROUNDS THREADS [surprise]`: ROUNDS 0 is for ever. Without "surprise" some blocks
 * never run; a plan made from such a run does not have them. All results are checked.
 * SIGUSR1: prints "rounds N". SIGTERM: exits 0 if nothing was wrong.
 *
 * In each round, if the code of all functions but `saver` is in the image as far as it ran without surprises:
 *	step		125 of 1000 take a branch that is not in the image
 *	chilly		50 of 200 take one to the split part of the function, which is a function of its own to a map without symbols
 *	caller		10 calls of saver, which cannot be moved
 *	jumper		20 jumps to saver at the end of a function
 *	by_pointer	30 calls of leaf through a pointer, which come back through its patch, and 15 of saver
 *	switcher	20 of 40 jumps through a table: four of its eight cases have a patch, the last four in memory, which are the last four in
 *			turn; each of the others goes on in the original until the next of these
 *	by_slot		25 calls of a function of libc
 *	leaf		80 returns: 45 to saver, the others to where it was called in the image
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOT __attribute__((noinline, noclone, used))

static volatile uint64_t surprising, sink;
static volatile int ended, asked, wrong;
static uint64_t rounds, wanted;

HOT uint64_t step(uint64_t i)
{
	uint64_t x = i * 3 + (i >> 2);
	if ((i & 7) == 0 && surprising) {
		sink = x;
		x = x * 5 + 1;
	}
	return x ^ x << 3;
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

static void *work(void *unused)
{
	(void)unused;
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
	surprising = argc > 3 && !strcmp(argv[3], "surprise");
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (wanted) {
		work(NULL);
		return wrong;
	}
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, work, NULL))
			return 2;
	while (!ended) {
		usleep(1000);
		if (asked) {
			asked = 0;
			printf("rounds %lu\n", (unsigned long)rounds);
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
