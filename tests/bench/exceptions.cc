/*
 * Throws through the libraries of tests/live/exceptions/matrix.cc in THREADS threads until it is killed. SIGUSR1 prints "THROWS SECONDS": throws
 * since the start, and the time.
 *
 * Usage: exceptions THREADS
 */
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <pthread.h>
#include <unistd.h>

struct work { /* as in matrix.cc */
	std::atomic<int> seen;
	int live, kind;
	bool (*is_moved)(void *frame);
};
int catcher(work *w);

static std::atomic<long> throws;
static volatile sig_atomic_t asked;

static bool is_moved(void *)
{
	return false;
}

static void *throwing(void *)
{
	work w = {};
	w.is_moved = is_moved;
	for (;;) {
		for (int i = 0; i < 64; i++)
			catcher(&w);
		throws += 64;
		usleep(50); /* otherwise undo would find somebody inside the unwinder for ever */
	}
	return nullptr;
}

int main(int argc, char **argv)
{
	signal(SIGUSR1, [](int) { asked = 1; });
	for (int i = argc > 1 ? atoi(argv[1]) : 1; i > 0; i--) {
		pthread_t thread;
		pthread_create(&thread, nullptr, throwing, nullptr);
	}
	for (;;) {
		timespec now;
		usleep(2000);
		if (!asked)
			continue;
		asked = 0;
		clock_gettime(CLOCK_MONOTONIC, &now);
		printf("%ld %.6f\n", throws.load(), (double)now.tv_sec + (double)now.tv_nsec * 1e-9);
		fflush(stdout);
	}
}
