/*
 * Throws in every way through hot functions, counts, and checks itself. Prints "ROUNDS n MOVED m" when asked by SIGUSR1 and at the end, where
 * m is the number of frames seen by backtrace(3) that lie in no loaded module; any wrong result ends it with exit 1 and a line that says
 * which. Runs until SIGTERM.
 *
 * Usage: victim [THREADS]
 */
#include "victim.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <exception>
#include <map>
#include <pthread.h>
#include <stdexcept>
#include <unistd.h>
#include <vector>

#define NOINLINE __attribute__((noinline))

static std::atomic<long> rounds, moved, wrong;
static volatile sig_atomic_t asked, stop;
static thread_local int live; /* guards alive */

static void check(long got, long expected, const char *what)
{
	if (got == expected)
		return;
	fprintf(stdout, "WRONG %s: %ld, expected %ld\n", what, got, expected);
	fflush(stdout);
	wrong++;
	_exit(1);
}

/* Work that makes the functions around the throws hot. */
static NOINLINE unsigned churn(unsigned seed)
{
	for (int i = 0; i < 200; i++)
		seed = seed * 1664525u + (seed >> 7) + 1;
	return seed;
}

static NOINLINE void throw_one(int kind)
{
	guard g(&live);
	switch (kind) {
	case 0:
		throw special_failure(kind + 10);
	case 1:
		throw failure(kind + 10);
	case 2:
		throw 12;
	case 3:
		throw std::runtime_error("thirteen");
	default:
		return;
	}
}

static NOINLINE unsigned middle(int kind, unsigned seed)
{
	guard a(&live);
	std::vector<std::string> strings(3, std::string(40, 'a'));
	seed = churn(seed);
	{
		guard b(&live);
		throw_one(kind);
	}
	return seed + strings[1].size();
}

static NOINLINE int catch_all_kinds(int kind, unsigned *seed)
{
	try {
		*seed = middle(kind, *seed);
	} catch (const special_failure &f) {
		return f.code + (f.text == "special" ? 0 : 100);
	} catch (const failure &f) {
		return f.code;
	} catch (int value) {
		return value;
	} catch (...) {
		return 13;
	}
	return 14;
}

static NOINLINE int rethrown(unsigned *seed)
{
	int seen = 0;
	try {
		try {
			*seed = middle(1, churn(*seed));
		} catch (failure &f) {
			f.code += 100;
			seen++;
			throw;
		}
	} catch (const failure &f) {
		return f.code + seen;
	}
	return -1;
}

/* An exception thrown and caught while another unwinds. */
struct throws_inside {
	unsigned *seed;
	~throws_inside()
	{
		check(catch_all_kinds(0, seed), 10, "catch in a destructor");
	}
};

static NOINLINE int nested(unsigned *seed)
{
	try {
		throws_inside t{seed};
		*seed = middle(2, *seed);
	} catch (int value) {
		check(std::uncaught_exceptions(), 0, "uncaught exceptions");
		return value;
	}
	return -1;
}

static void throw_from_library(int, void *data)
{
	throw_one(*static_cast<int *>(data));
}

static NOINLINE int across_libraries(int kind, unsigned *seed)
{
	guard g(&live);
	*seed = churn(*seed);
	try {
		library_descend(4, throw_from_library, &kind);
	} catch (const special_failure &f) {
		return f.code;
	} catch (const failure &f) {
		return f.code;
	} catch (int value) {
		return value;
	} catch (const std::exception &e) {
		return 13;
	}
	return 14;
}

static void throw_kind(int kind, void *)
{
	throw_one(kind);
}

static NOINLINE void noexcept_inner() noexcept
{
	try {
		throw_one(2);
	} catch (int) {
	}
}

static NOINLINE int transported(unsigned *seed)
{
	std::exception_ptr held;
	try {
		*seed = middle(3, *seed);
	} catch (...) {
		held = std::current_exception();
	}
	try {
		std::rethrow_exception(held);
	} catch (const std::runtime_error &e) {
		return e.what()[0];
	}
	return -1;
}

/* Through code of libstdc++ that may be moved too. */
static NOINLINE int from_the_standard_library(unsigned seed)
{
	std::map<std::string, int> table;
	std::vector<int> numbers;
	int caught = 0;
	for (int i = 0; i < 4; i++)
		table[std::to_string(churn(seed + i))] = i;
	try {
		numbers.at(seed % 5);
	} catch (const std::out_of_range &) {
		caught += 1;
	}
	try {
		std::string("abc").substr(4);
	} catch (const std::out_of_range &) {
		caught += 2;
	}
	try {
		std::stoi("not a number");
	} catch (const std::invalid_argument &) {
		caught += 4;
	}
	try {
		table.at("missing");
	} catch (const std::out_of_range &) {
		caught += 8;
	}
	return caught;
}

static NOINLINE int trace_depth(int depth)
{
	void *frames[64];
	if (depth > 0) {
		volatile int below = trace_depth(depth - 1); /* no tail call */
		return below;
	}
	int count = backtrace(frames, 64);
	for (int i = 0; i < count; i++) {
		Dl_info info;
		moved += !dladdr(frames[i], &info);
	}
	return count;
}

static NOINLINE void one_round(unsigned *seed)
{
	static const int expected[] = {10, 11, 12, 13, 14};
	for (int kind = 0; kind < 5; kind++) {
		check(catch_all_kinds(kind, seed), expected[kind], "catch");
		check(across_libraries(kind, seed), expected[kind], "catch across libraries");
	}
	check(library_catch(0, throw_kind, nullptr), 1010, "catch in the library");
	check(library_catch(1, throw_kind, nullptr), 2011, "catch of a base in the library");
	check(library_catch(2, throw_kind, nullptr), 3012, "catch of an int in the library");
	check(rethrown(seed), 112, "rethrow");
	check(nested(seed), 12, "nested");
	check(transported(seed), 't', "exception_ptr");
	check(from_the_standard_library(*seed), 15, "standard library");
	noexcept_inner();
	check(live, 0, "guards alive");
	check(library_live, 0, "guards alive in the library");
	static thread_local int shallow = trace_depth(0);
	check(trace_depth(10) - trace_depth(0), 10, "frames of a backtrace");
	check(shallow > 2, 1, "frames of a shallow backtrace");
	rounds++;
}

struct on_cancel {
	std::atomic<long> *count;
	~on_cancel()
	{
		(*count)++;
	}
};

static std::atomic<long> cancelled, loops;

static NOINLINE void *until_cancelled(void *)
{
	on_cancel c{&cancelled};
	unsigned seed = 1;
	for (;;) {
		try {
			guard g(&live);
			seed = churn(seed);
			loops++;
			pthread_testcancel();
		} catch (abi::__forced_unwind &) {
			check(live, 0, "guards alive when cancelled");
			throw;
		}
	}
	return nullptr;
}

/* Forced unwinding through a hot function. */
static void cancel_one()
{
	pthread_t thread;
	void *result;
	long before = cancelled;
	pthread_create(&thread, nullptr, until_cancelled, nullptr);
	for (long from = loops; loops < from + 20;)
		usleep(100);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	check(result == PTHREAD_CANCELED, 1, "result of a cancelled thread");
	check(cancelled - before, 1, "destructors of a cancelled thread");
}

static void *work(void *argument)
{
	unsigned seed = 12345u + (unsigned)(long)argument;
	while (!stop)
		one_round(&seed);
	return nullptr;
}

static void on_signal(int number)
{
	if (number == SIGUSR1)
		asked = 1;
	else
		stop = 1;
}

static void report()
{
	printf("ROUNDS %ld MOVED %ld\n", rounds.load(), moved.load());
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 2;
	std::vector<pthread_t> threads(count);
	struct sigaction action = {};
	action.sa_handler = on_signal;
	sigaction(SIGUSR1, &action, nullptr);
	sigaction(SIGTERM, &action, nullptr);
	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], nullptr, work, (void *)(long)i);
	while (!stop) {
		cancel_one();
		if (asked) {
			asked = 0;
			report();
		}
		usleep(10000);
	}
	for (pthread_t thread : threads)
		pthread_join(thread, nullptr);
	report();
	return wrong != 0;
}
