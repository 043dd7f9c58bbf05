/*
 * Reads commands: "begin N" has coroutine N suspend itself in a function that it called hot_call for, "end N" has it go on and end; each is answered by a
 * line. Works in hot_call on its own before each. Ends with its input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { COROUTINES = 4, STACK_SIZE = 64 << 10 };

static ucontext_t outside, inside[COROUTINES];
static char *stacks[COROUTINES];
static int current, results[COROUTINES];

__attribute__((noinline, noclone, used)) int hot_call(void (*function)(void), int x)
{
	function();
	return x * 3 + 1;
}

static void nothing(void)
{
}

/* Not moved. */
static void yield(void)
{
	swapcontext(&inside[current], &outside);
}

static void coroutine(void)
{
	int n = current;
	results[n] = hot_call(yield, n);
}

static const char *begin(int n)
{
	getcontext(&inside[n]);
	inside[n].uc_stack.ss_sp = stacks[n];
	inside[n].uc_stack.ss_size = STACK_SIZE;
	inside[n].uc_link = &outside;
	makecontext(&inside[n], coroutine, 0);
	swapcontext(&outside, &inside[n]);
	return "begun";
}

/* What it leaves on its stack must not look as if it were still there. */
static const char *end(int n)
{
	results[n] = 0;
	swapcontext(&outside, &inside[n]);
	memset(stacks[n], 0, STACK_SIZE);
	memset(&inside[n], 0, sizeof inside[n]);
	return results[n] == n * 3 + 1 ? "ended" : "WRONG";
}

int main(void)
{
	char line[64], verb[16];
	for (int i = 0; i < COROUTINES; i++)
		stacks[i] = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "%15s %d", verb, &current) != 2 || current < 0 || current >= COROUTINES)
			return 2;
		if (hot_call(nothing, 5) != 16)
			puts("WRONG");
		puts(verb[0] == 'b' ? begin(current) : end(current));
	}
	return 0;
}
