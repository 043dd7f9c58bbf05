/* library_work(x) is 3x + 1, computed in a function whose text holds the address of another where RELOCATED_TEXT is defined. */
#include <stdint.h>

static uint64_t triple(uint64_t x)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < 3; i++)
		sum += x;
	return sum;
}

uint64_t library_work(uint64_t x);
uint64_t library_count(uint64_t x);

__attribute__((noinline)) uint64_t library_count(uint64_t x)
{
	uint64_t n = 1;
	for (; x; x &= x - 1)
		n ^= n << 1;
	return n ? 1 : 2;
}

uint64_t library_work(uint64_t x)
{
	uint64_t (*call)(uint64_t) = triple;
#ifdef RELOCATED_TEXT
	__asm__("movabs $library_count, %0" : "=r"(call));
	return triple(x) + call(x);
#else
	return call(x) + library_count(x);
#endif
}
