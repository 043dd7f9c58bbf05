/*
 * A C program: works until SIGUSR1, then loads a library whose exceptions go through its frames, cancels threads, and prints "LATE n MOVED m": m, how
 * many of the frames that a backtrace of such a callback sees lie in no loaded module. Exit 1 when something is wrong.
 *
 * Usage: victim PLUGIN
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static void (*plugin_throw)(int);
static int (*plugin_catch)(void (*)(int), int);
static volatile sig_atomic_t asked;
static long moved;
static volatile long cleanups;

static void die(const char *text)
{
	printf("WRONG %s\n", text);
	fflush(stdout);
	_exit(1);
}

static NOINLINE int compare(const void *a, const void *b)
{
	const int *x = a, *y = b;
	if (plugin_throw && *x == 99) {
		void *frames[32];
		int count = backtrace(frames, 32);
		for (int i = 0; i < count; i++) {
			Dl_info info;
			moved += !dladdr(frames[i], &info);
		}
		plugin_throw(42);
	}
	return (*x > *y) - (*x < *y);
}

static NOINLINE void sort(int code)
{
	int numbers[64];
	for (int i = 0; i < 64; i++)
		numbers[i] = i * 37 % 64;
	numbers[7] = code;
	qsort(numbers, 64, sizeof *numbers, compare);
	if (numbers[0] != 0)
		die("order");
}

static void clean(void *unused)
{
	(void)unused;
	cleanups++;
}

static NOINLINE void wait_inside(int depth)
{
	pthread_cleanup_push(clean, NULL);
	if (depth)
		wait_inside(depth - 1);
	else
		for (;;)
			pause();
	pthread_cleanup_pop(0);
}

static void *thread(void *unused)
{
	wait_inside(3);
	return unused;
}

static void cancel_one(void)
{
	pthread_t id;
	void *result;
	long before = cleanups;
	pthread_create(&id, NULL, thread, NULL);
	usleep(1000);
	pthread_cancel(id);
	pthread_join(id, &result);
	if (result != PTHREAD_CANCELED || cleanups != before + 4)
		die("cancelled thread");
}

static void load(const char *path)
{
	void *plugin = dlopen(path, RTLD_NOW);
	if (!plugin)
		die(dlerror());
	plugin_catch = (int (*)(void (*)(int), int))dlsym(plugin, "plugin_catch");
	plugin_throw = (void (*)(int))dlsym(plugin, "plugin_throw");
}

static void on_signal(int number)
{
	(void)number;
	asked = 1;
}

int main(int argc, char **argv)
{
	(void)argc;
	signal(SIGUSR1, on_signal);
	for (long late = 0;;) {
		for (int i = 0; i < 200; i++)
			sort(7);
		if (!asked)
			continue;
		asked = 0;
		cancel_one();
		if (!plugin_catch)
			load(argv[1]);
		for (int i = 0; i < 100; i++)
			if (plugin_catch(sort, 99) != 42)
				die("caught");
		printf("LATE %ld MOVED %ld\n", ++late, moved);
		fflush(stdout);
	}
}
