/*
 * victim [LIBRARY]: in each round it calls functions of its own, through pointers, of libraries (library_work, linked or of LIBRARY), indirect ones, and
 * code that it has written itself, and checks all results; its heap and its break grow. SIGUSR1: prints "rounds N". SIGTERM: exits 0 if nothing
 * was ever wrong, 1 otherwise.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LINE 128
#define GROWTH (4 << 20)

uint64_t library_work(uint64_t x);

static volatile unsigned long rounds;
static volatile int wrong;

#ifdef APART /* in an executable segment of its own, far behind the other */
__attribute__((section(".apart")))
#endif
__attribute__((noinline)) uint64_t
mix(uint64_t x)
{
	for (unsigned i = 0; i < 40; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		switch (x & 7) {
		case 0:
			x += 3;
			break;
		case 1:
			x ^= 5;
			break;
		case 2:
			x *= 7;
			break;
		case 3:
			x -= 11;
			break;
		case 4:
			x = ~x;
			break;
		case 5:
			x += i;
			break;
		default:
			break;
		}
	}
	return x;
}

static uint64_t twice(uint64_t x)
{
	return mix(mix(x));
}

static uint64_t (*resolve(void))(uint64_t)
{
	return twice;
}

#ifdef INDIRECT
uint64_t indirect(uint64_t x) __attribute__((ifunc("resolve")));
#else
static uint64_t indirect(uint64_t x)
{
	return resolve()(x);
}
#endif

/* sub $8,%rsp; mov $target,%rax; call *%rax; add $8,%rsp; ret */
static uint64_t (*write_code(uint64_t (*target)(uint64_t), int protection))(uint64_t)
{
	uint8_t code[] = {0x48, 0x83, 0xec, 8, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x48, 0x83, 0xc4, 8, 0xc3};
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(code + 6, &target, sizeof target);
	if (page == MAP_FAILED)
		exit(3);
	memcpy(page, code, sizeof code);
	if (mprotect(page, 4096, protection))
		exit(3);
	return (uint64_t(*)(uint64_t))(uintptr_t)page;
}

static uint64_t (*written[2])(uint64_t);
static uint64_t (*work)(uint64_t);

/* What is right without any of the ways. */
static uint64_t expect(uint64_t x)
{
	return mix(mix(x)) ^ mix(x + 1) ^ (x * 3 + 1);
}

__attribute__((noinline)) static uint64_t all_ways(uint64_t x)
{
	char text[LINE], *copy;
	uint64_t (*again)(uint64_t) = rounds & 1 ? written[0] : written[1];
	snprintf(text, sizeof text, "%llu", (unsigned long long)again(x + 1));
	copy = strdup(text);
	uint64_t back = strlen(copy) < sizeof text ? strtoull(copy, NULL, 10) : 0;
	free(copy);
	return indirect(x) ^ back ^ work(x);
}

static void grow(void)
{
	static size_t grown;
	if (grown < GROWTH) {
		char *more = sbrk(8192);
		if (more == (void *)-1)
			wrong = 1;
		else
			memset(more, 1, 8192);
		grown += 8192;
	}
}

static void on_usr1(int signal)
{
	char text[64];
	(void)signal;
	int n = snprintf(text, sizeof text, "%s %lu\n", wrong ? "WRONG" : "rounds", rounds);
	if (write(1, text, (size_t)n) < 0)
		_exit(3);
}

static void on_term(int signal)
{
	(void)signal;
	_exit(wrong);
}

int main(int argc, char **argv)
{
	const struct timespec moment = {0, 500000};
	void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
	work = library ? (uint64_t(*)(uint64_t))(uintptr_t)dlsym(library, "library_work") : library_work;
	written[0] = write_code(mix, PROT_EXEC);
	written[1] = write_code(mix, PROT_READ | PROT_WRITE | PROT_EXEC);
	signal(SIGUSR1, on_usr1);
	signal(SIGTERM, on_term);
	if (!work)
		return 3;
	for (uint64_t x = 0;; x += 12345) {
		if (all_ways(x) != expect(x)) {
			puts("WRONG result");
			fflush(stdout);
			wrong = 1;
		}
		grow();
		rounds++;
		nanosleep(&moment, NULL);
	}
}
