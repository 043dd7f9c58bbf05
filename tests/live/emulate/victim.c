/* Calls hot_mix, which turns 50 times, for ever, with a system call now and then. */
#include <stdint.h>
#include <unistd.h>

__attribute__((noinline, noclone, used)) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		x = (x ^ x << 13) + (x >> 7) * i;
	return x;
}

int main(void)
{
	for (uint64_t i = 1;; i++)
		if (hot_mix(i, 50) % 97 == 0 && getppid() == 0)
			return 1;
}
