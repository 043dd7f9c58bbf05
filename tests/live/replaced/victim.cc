/*
 * Reads commands, each answered by a line: "begin N" has coroutine N suspend itself deep inside of functions that catch nothing; "end N" has it go on and throw through
 * them, "caught" when that arrives where the coroutine began; "throw" does the same without one. Ends with its input.
 */
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>

namespace
{
constexpr int coroutines = 4, depth = 6;
constexpr size_t stack_size = 256 << 10;

ucontext_t outside, inside[coroutines];
char *stacks[coroutines];
int current;
bool caught;

struct counted { /* what is destroyed on the way */
	static int alive;
	counted()
	{
		alive++;
	}
	~counted()
	{
		alive--;
	}
};
int counted::alive;

void yield()
{
	int n = current;
	swapcontext(&inside[n], &outside);
	current = n;
}

[[gnu::noinline]] int go_down(int n, int left, void (*at_bottom)())
{
	counted c;
	if (left)
		return go_down(n, left - 1, at_bottom) * 3 + n;
	at_bottom();
	if (counted::alive >= 0)
		throw std::runtime_error(std::to_string(n));
	return left;
}

[[gnu::noinline]] bool catches(int n, void (*at_bottom)())
{
	try {
		go_down(n, depth, at_bottom);
	} catch (const std::runtime_error &e) {
		return e.what() == std::to_string(n);
	}
	return false;
}

void coroutine()
{
	int n = current;
	caught = catches(n, yield);
}

/* What it leaves on its stack must not look as if it were still there. */
void end(int n)
{
	caught = false;
	current = n;
	swapcontext(&outside, &inside[n]);
	puts(caught ? "caught" : "WRONG");
	memset(stacks[n], 0, stack_size);
	memset(&inside[n], 0, sizeof inside[n]);
}

void begin(int n)
{
	getcontext(&inside[n]);
	inside[n].uc_stack.ss_sp = stacks[n];
	inside[n].uc_stack.ss_size = stack_size;
	inside[n].uc_link = &outside;
	makecontext(&inside[n], coroutine, 0);
	current = n;
	swapcontext(&outside, &inside[n]);
	puts("begun");
}

void nothing()
{
}
} // namespace

int main()
{
	char line[64], verb[16];
	int n;
	for (char *&stack : stacks)
		stack = static_cast<char *>(mmap(nullptr, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	setvbuf(stdout, nullptr, _IOLBF, 0);
	setvbuf(stdin, nullptr, _IONBF, 0);
	while (fgets(line, sizeof line, stdin)) {
		n = 0;
		if (sscanf(line, "%15s %d", verb, &n) < 1 || n < 0 || n >= coroutines)
			return 2;
		int before = counted::alive;
		if (!catches(77, nothing) || counted::alive != before)
			puts("WRONG");
		if (!strcmp(verb, "begin"))
			begin(n);
		else if (!strcmp(verb, "end"))
			end(n);
		else
			puts("caught");
	}
	return 0;
}
