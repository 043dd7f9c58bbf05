/*
 * Maps memory of its own where it is told to, as a program may at any time, and looks whether it is still there. One thread works in a hot_ function,
 * which the plan moves.
 *
 * Commands, a line each on standard input: "map ADDRESS SIZE" (hexadecimal; answers "mapped", or "taken" when something is there), "keep" (unmaps what
 * was mapped; "WRONG" when it was not there any more), "rounds". Ends at the end of the input.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_ulong rounds;

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
	for (;;) {
		if (hot_mix(42, 1000) != right)
			printf("WRONG result\n");
		rounds++;
		usleep(500);
	}
	return unused;
}

/* Is every page there? */
static int is_mapped(char *address, size_t size)
{
	return address && !msync(address, size, MS_ASYNC);
}

int main(void)
{
	pthread_t thread;
	char line[128], *mine = NULL;
	size_t size = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (pthread_create(&thread, NULL, work, NULL))
		return 3;
	while (fgets(line, sizeof line, stdin)) {
		unsigned long address, length;
		if (sscanf(line, "map %lx %lx", &address, &length) == 2) {
			char *got = mmap((void *)address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
			mine = got == MAP_FAILED ? mine : got;
			size = got == MAP_FAILED ? size : length;
			printf("%s\n", got == MAP_FAILED ? "taken" : "mapped");
		} else if (!strncmp(line, "keep", 4)) {
			printf("%s\n", !size || is_mapped(mine, size) ? "kept" : "WRONG: my memory was unmapped");
			if (size)
				munmap(mine, size);
			size = 0;
		} else {
			printf("rounds %lu\n", (unsigned long)rounds);
		}
	}
	return 0;
}
