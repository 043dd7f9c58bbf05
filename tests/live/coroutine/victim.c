/*
 * SIGUSR1 begins a coroutine, which suspends itself deep inside `work`, or has it go on, end, and its stack unmapped; each is answered by a line
 * "begun" or "ended". Meanwhile the program works and leaves `work` by longjmp. Exit 1 when something is wrong.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define STACK_SIZE (64 << 10)

static ucontext_t outside, inside;
static jmp_buf out;
static volatile sig_atomic_t asked;
static int result, jumps;

/* Not moved: it saves its PC. */
static NOINLINE void yield(void)
{
	swapcontext(&inside, &outside);
}

static NOINLINE int work(int depth, void (*end)(void))
{
	int sum = depth;
	for (int i = 0; i < 20; i++)
		sum = sum * 3 + i;
	if (depth)
		return work(depth - 1, end) + (sum & 1);
	end();
	return sum & 1;
}

static void jump(void)
{
	longjmp(out, 1);
}

static void nothing(void)
{
}

static void coroutine(void)
{
	result = work(8, yield);
}

static NOINLINE void jumping(void)
{
	if (!setjmp(out))
		work(5, jump);
	jumps++;
}

static void on_signal(int number)
{
	(void)number;
	asked = 1;
}

int main(void)
{
	void *stack = NULL;
	const int expected = work(8, nothing);
	signal(SIGUSR1, on_signal);
	for (;;) {
		jumping();
		if (work(8, nothing) != expected)
			return 1;
		if (jumps % 64 == 0)
			usleep(1000);
		if (!asked)
			continue;
		asked = 0;
		if (!stack) {
			stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			getcontext(&inside);
			inside.uc_stack.ss_sp = stack;
			inside.uc_stack.ss_size = STACK_SIZE;
			inside.uc_link = &outside;
			makecontext(&inside, coroutine, 0);
			swapcontext(&outside, &inside);
			puts("begun");
		} else {
			result = -1;
			swapcontext(&outside, &inside);
			munmap(stack, STACK_SIZE);
			stack = NULL;
			puts(result == expected ? "ended" : "WRONG");
		}
		fflush(stdout);
	}
}
