// Throws through frames of its own and of libstdc++, with destructors on the way. Prints what came of it, and how many frames of its own stack stand
// behind its .bss, where the file sink puts an image. With a second argument it aborts, for a debugger to look at.
#include <cstdio>
#include <cstdlib>
#include <execinfo.h>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" char _end;

static long destroyed, moved;

struct guard {
	~guard()
	{
		destroyed++;
	}
};

__attribute__((noinline)) static void look()
{
	void *frames[64];
	int count = backtrace(frames, 64);
	for (int i = 0; i < count; i++)
		moved += (char *)frames[i] > &_end && (char *)frames[i] < &_end + (64 << 20);
}

__attribute__((noinline)) static int throw_some(int n)
{
	guard g;
	if (n % 64 == 1)
		look();
	if (n % 3 == 0)
		throw std::runtime_error("three " + std::to_string(n));
	if (n % 5 == 0)
		throw n;
	return n * 2;
}

__attribute__((noinline)) static int descend(int n, int depth)
{
	guard g;
	return depth ? descend(n, depth - 1) + 1 : throw_some(n);
}

__attribute__((noinline)) static long library(int n)
{
	long sum = 0;
	try {
		sum += (long)std::vector<int>(3).at((size_t)n % 5);
	} catch (const std::out_of_range &e) {
		sum += 100 + e.what()[0];
	}
	try {
		sum += (long)std::string("abc").substr((size_t)n % 6).size();
		sum += std::stol(n % 4 ? "12" : "x");
	} catch (const std::exception &) {
		sum += 7;
	}
	return sum;
}

__attribute__((noinline)) static long round(int i)
{
	try {
		return descend(i, i % 7);
	} catch (const std::runtime_error &e) {
		return (long)std::string(e.what()).size();
	} catch (int v) {
		return -v;
	}
}

int main(int argc, char **argv)
{
	long sum = 0;
	int rounds = argc > 1 ? atoi(argv[1]) : 0;
	for (int i = 0; i < rounds; i++)
		sum += round(i) + library(i);
	printf("%ld %ld\n", sum, destroyed);
	fprintf(stderr, "%ld\n", moved);
	fflush(stdout);
	if (argc > 2)
		abort();
	return 0;
}
