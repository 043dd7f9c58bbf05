/*
 * Reads commands: "begin N" has coroutine N suspend itself in a function that it called hot_call for, "end N" has it go on and end; each is answered by a
 * line. Works in hot_call on its own before each. "wait N" has it suspend itself in hot_wait, "spin N" has it go on there on a thread of its own, in
 * the loop behind the call, and "stop N" has it leave them and end. Ends with its input.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { COROUTINES = 4, STACK_SIZE = 64 << 10 };

static ucontext_t outside, inside[COROUTINES], beside;
static pthread_t spinner;
static atomic_int stopped, spinning;
static char *stacks[COROUTINES];
static int current, results[COROUTINES];

__attribute__((noinline, noclone, used)) int hot_call(void (*function)(void), int x)
{
	function();
	return x * 3 + 1;
}

/* Calls `function`, and comes back when *flag is not zero; until then it is in a loop whose first five bytes, behind the call, are two instructions. */
void hot_wait(void (*function)(void), atomic_int *flag);
__asm__(".text\n"
	".type hot_wait, @function\n"
	"hot_wait:\n"
	".cfi_startproc\n"
	"push %rbx\n .cfi_adjust_cfa_offset 8\n .cfi_offset %rbx, -16\n"
	"mov %rsi, %rbx\n"
	"call *%rdi\n"
	"1: pause\n"
	"cmpl $0, (%rbx)\n"
	"je 1b\n"
	"pop %rbx\n .cfi_adjust_cfa_offset -8\n"
	"ret\n"
	".cfi_endproc\n"
	".size hot_wait, . - hot_wait\n");

static void nothing(void)
{
}

/* Not moved. What was saved must not look as if it were still to be gone on from. */
static void yield(void)
{
	int n = current;
	swapcontext(&inside[n], &outside);
	memset(&inside[n], 0, sizeof inside[n]);
}

static void coroutine(void)
{
	int n = current;
	results[n] = hot_call(yield, n);
}

static void waiting_coroutine(void)
{
	hot_wait(yield, &stopped);
}

static const char *begin(int n, void (*function)(void), ucontext_t *then)
{
	getcontext(&inside[n]);
	inside[n].uc_stack.ss_sp = stacks[n];
	inside[n].uc_stack.ss_size = STACK_SIZE;
	inside[n].uc_link = then;
	makecontext(&inside[n], function, 0);
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

/* On another thread than it began. */
static void *go_on(void *which)
{
	int n = *(int *)which;
	spinning = 1;
	swapcontext(&beside, &inside[n]);
	return NULL;
}

static const char *spin(int n)
{
	static int which;
	which = n;
	stopped = spinning = 0;
	if (pthread_create(&spinner, NULL, go_on, &which))
		return "WRONG";
	while (!spinning)
		;
	return "spinning";
}

static const char *stop(int n)
{
	stopped = 1;
	pthread_join(spinner, NULL);
	memset(stacks[n], 0, STACK_SIZE);
	memset(&inside[n], 0, sizeof inside[n]);
	memset(&beside, 0, sizeof beside);
	return "stopped";
}

static const char *obey(const char *verb, int n)
{
	if (!strcmp(verb, "begin"))
		return begin(n, coroutine, &outside);
	if (!strcmp(verb, "wait"))
		return begin(n, waiting_coroutine, &beside);
	if (!strcmp(verb, "spin"))
		return spin(n);
	return strcmp(verb, "stop") ? end(n) : stop(n);
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
		puts(obey(verb, current));
	}
	return 0;
}
