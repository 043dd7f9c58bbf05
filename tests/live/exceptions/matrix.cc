/*
 * Thrower, middle and catcher in a library each (-DTHROWER, -DMIDDLE, -DCATCHER), so that any of them can be moved, and a program that has threads throw
 * through them. SIGUSR1 prints "ROUNDS n SEEN m": m, a bit for each role whose frame a backtrace before the last throws found outside of all modules.
 * A child that violates noexcept must end in terminate with the exception current. A wrong result ends it with exit 1.
 */
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <exception>
#include <execinfo.h>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

enum { INT, RUNTIME_ERROR, THREAD_EXIT, KINDS };

struct work {
	std::atomic<int> seen;
	int live, kind;
	bool (*is_moved)(void *frame); /* in the program: who calls dladdr is not moved */
};

struct guard {
	work *w;
	explicit guard(work *of) : w(of)
	{
		w->live++;
	}
	~guard()
	{
		w->live--;
	}
};

unsigned thrower(work *w);
unsigned middle(work *w);
unsigned middle_noexcept(work *w) noexcept;
int catcher(work *w);

#ifdef THROWER
unsigned thrower(work *w)
{
	guard g(w);
	void *frames[8];
	int count = backtrace(frames, 8), seen = 0;
	for (int i = 0; i < count && i < 3; i++)
		seen |= w->is_moved(frames[i]) << i;
	w->seen = seen;
	if (w->kind == INT)
		throw 5;
	if (w->kind == RUNTIME_ERROR)
		throw std::runtime_error(std::string(50, 'r'));
	pthread_exit(w);
}
#endif

#ifdef MIDDLE
unsigned middle(work *w)
{
	guard g(w);
	std::string text(40, 'm');
	return thrower(w) + text.size();
}

unsigned middle_noexcept(work *w) noexcept
{
	guard g(w);
	return thrower(w) + 1;
}
#endif

#ifdef CATCHER
int catcher(work *w)
{
	guard g(w);
	try {
		try {
			return middle(w);
		} catch (const std::exception &e) {
			if (std::current_exception() == nullptr || e.what()[0] != 'r')
				return -1;
			throw;
		}
	} catch (int value) {
		return value;
	} catch (const std::runtime_error &e) {
		return e.what()[49];
	}
}
#endif

#if !defined THROWER && !defined MIDDLE && !defined CATCHER
static std::atomic<long> rounds;
static std::atomic<int> seen;
static volatile sig_atomic_t asked;

static bool is_moved(void *frame)
{
	Dl_info info;
	return !dladdr(frame, &info);
}

static void die(const char *what, int got)
{
	printf("WRONG %s: %d\n", what, got);
	fflush(stdout);
	_exit(1);
}

static void *exits(void *argument)
{
	catcher(static_cast<work *>(argument));
	die("a thread that has exited", 0);
	return nullptr;
}

static void on_terminate()
{
	try {
		std::rethrow_exception(std::current_exception());
	} catch (int value) {
		_exit(value == 5 ? 9 : 8);
	}
}

/* In a child of its own: the process is a copy, image and all. */
static void violate()
{
	pid_t child = fork();
	int status;
	if (!child) {
		work w = {};
		w.is_moved = is_moved;
		std::set_terminate(on_terminate);
		middle_noexcept(&w);
		_exit(7);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 9)
		die("noexcept", status);
}

static void *throws(void *)
{
	work w = {};
	w.is_moved = is_moved;
	for (;; rounds++) {
		static const int expected[] = {5, 'r'};
		for (w.kind = INT; w.kind <= RUNTIME_ERROR; w.kind++) {
			int got = catcher(&w);
			if (got != expected[w.kind])
				die("caught", got);
			if (w.live)
				die("guards alive", w.live);
		}
		seen = w.seen.load();
		if (rounds % 8 == 0)
			usleep(1000); /* otherwise somebody is always inside the unwinder, and undo waits for that */
	}
	return nullptr;
}

int main()
{
	pthread_t thread;
	signal(SIGUSR1, [](int) { asked = 1; });
	for (int i = 0; i < 3; i++)
		pthread_create(&thread, nullptr, throws, nullptr);
	for (;;) {
		work w = {};
		void *result;
		w.is_moved = is_moved;
		w.kind = THREAD_EXIT;
		pthread_create(&thread, nullptr, exits, &w);
		pthread_join(thread, &result);
		if (result != &w || w.live)
			die("pthread_exit", w.live);
		usleep(5000);
		if (!asked)
			continue;
		asked = 0;
		violate();
		printf("ROUNDS %ld SEEN %d\n", rounds.load(), seen.load());
		fflush(stdout);
	}
}
#endif
