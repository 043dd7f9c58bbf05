/* What is moved: it calls back into the program, which is not, so stacks go in and out of moved code. */
#include "victim.h"

unsigned library_leaf(unsigned seed, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		seed = seed * 1664525u + (seed >> 7) + 1;
	return seed;
}

/* The frame size is not known before it runs: its row goes by the frame pointer. */
unsigned library_inner(unsigned seed, callback *call)
{
	volatile unsigned room[seed % 7 + 1];
	room[0] = library_leaf(seed, 10);
	room[seed % 7] = call(room[0]);
	return room[seed % 7] + seed;
}

unsigned library_outer(unsigned seed, callback *call)
{
	unsigned first = library_leaf(seed, 20), second = call(first);
	return first ^ second;
}

unsigned library_spin(unsigned seed, callback *call)
{
	for (unsigned i = 0; i < 100; i++)
		seed = call(seed) + i;
	return seed;
}
