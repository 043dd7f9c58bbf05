/*
 * Runs hot_ functions only when it is asked to: "early", "late" or "both" on standard input, each answered with a line that says what the result is,
 * or WRONG. The first instructions of hot_late are shorter than a patch.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define HOT __attribute__((noinline, noclone, used, visibility("default")))

HOT uint64_t hot_early(uint64_t x, uint64_t n)
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

HOT uint64_t hot_late(uint64_t (*mix)(uint64_t, uint64_t), uint64_t n)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < n; i++)
		sum += mix(i + 1, 50);
	return sum;
}

/* Of its own, so that it can be told of without running what is probed. */
static uint64_t mix(uint64_t x, uint64_t n)
{
	return x * 31 + n;
}

int main(void)
{
	char line[64];
	const uint64_t early = hot_early(42, 2000), late = hot_late(mix, 50);
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		int right =
		    (!strcmp(line, "late") || hot_early(42, 2000) == early) && (!strcmp(line, "early") || hot_late(mix, 50) == late);
		printf("%s %s\n", right ? "right" : "WRONG", line);
		fflush(stdout);
	}
	return 0;
}
