/*
 * Throws and catches through frames of its own in four threads until it is killed; SIGUSR1 prints "ROUNDS n MOVED m", where m counts frames seen by
 * _Unwind_Backtrace that lie outside of the file's own mapping. A wrong result ends it with exit 1.
 */
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <unwind.h>

#define NOINLINE __attribute__((noinline))

extern "C" char __executable_start, etext;

static std::atomic<long> rounds, moved;
static volatile sig_atomic_t asked;
static thread_local int live;

struct guard {
	guard()
	{
		live++;
	}
	~guard()
	{
		live--;
	}
};

static NOINLINE unsigned churn(unsigned seed)
{
	for (int i = 0; i < 50; i++)
		seed = seed * 1664525u + (seed >> 7) + 1;
	return seed;
}

static _Unwind_Reason_Code count_frame(_Unwind_Context *context, void *)
{
	uintptr_t pc = _Unwind_GetIP(context);
	moved += pc && (pc < (uintptr_t)&__executable_start || pc >= (uintptr_t)&etext) && pc < 0x700000000000;
	return _URC_NO_REASON;
}

static NOINLINE void throw_one(int kind)
{
	guard g;
	_Unwind_Backtrace(count_frame, nullptr);
	if (kind == 0)
		throw 7;
	if (kind == 1)
		throw std::runtime_error(std::string(kind * 30, 'x'));
}

static NOINLINE unsigned middle(int kind, unsigned seed)
{
	guard g;
	std::string text(40, 'a');
	throw_one(kind);
	return churn(seed) + text.size();
}

static NOINLINE int catching(int kind, unsigned *seed)
{
	try {
		*seed = middle(kind, churn(*seed));
	} catch (int value) {
		return value;
	} catch (const std::exception &e) {
		return e.what()[0];
	}
	return 1;
}

static NOINLINE int rethrowing(unsigned *seed)
{
	try {
		try {
			*seed = middle(1, *seed);
		} catch (const std::exception &) {
			throw;
		}
	} catch (const std::runtime_error &) {
		return 3;
	}
	return 0;
}

static void check(int got, int expected)
{
	if (got == expected)
		return;
	printf("WRONG %d, expected %d\n", got, expected);
	fflush(stdout);
	_exit(1);
}

static void *work(void *)
{
	unsigned seed = 5;
	for (;;) {
		check(catching(0, &seed), 7);
		check(catching(1, &seed), 'x');
		check(catching(2, &seed), 1);
		check(rethrowing(&seed), 3);
		check(live, 0);
		if (++rounds % 16 == 0)
			usleep(1000); /* otherwise somebody is always inside the unwinder, and undo waits for that */
	}
	return nullptr;
}

int main()
{
	pthread_t thread;
	signal(SIGUSR1, [](int) { asked = 1; });
	for (int i = 0; i < 4; i++)
		pthread_create(&thread, nullptr, work, nullptr);
	for (;;) {
		usleep(10000);
		if (!asked)
			continue;
		asked = 0;
		printf("ROUNDS %ld MOVED %ld\n", rounds.load(), moved.load());
		fflush(stdout);
	}
}
