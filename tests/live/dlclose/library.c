/* What the victim opens and closes. */
#include <stdint.h>

__attribute__((noinline, noclone, used, visibility("default"))) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

__attribute__((noinline, noclone, used, visibility("default"))) uint64_t hot_twice(uint64_t (*mix)(uint64_t, uint64_t), uint64_t x)
{
	return mix(mix(x, 10), 10) + 1;
}
