/*
 * Two threads call hot_ functions that hardware breakpoints of their own watch. One counts: the calls of hot_step, and the writes that it makes to a
 * variable, as two perf events count them. The other gets a SIGTRAP at each call of hot_trapped, and each must have come before the call returns.
 *
 * undo may put a thread that has just entered the image back to the entry, where the breakpoint is met a second time: so many more are allowed as there were
 * stops, which SIGUSR2 tells. SIGUSR1: prints "rounds N". SIGTERM: the counts; exits 0 if nothing was ever wrong. Exit 77: this machine has no breakpoints for us.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HOT __attribute__((noipa, used)) /* a call that has no effect that the compiler sees is one all the same */

static atomic_ulong rounds, trapped, undone;
static atomic_int wrong, stop;
static volatile uint64_t watched;

HOT uint64_t hot_step(volatile uint64_t *to, uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	*to = x;
	return x ^ x << 17;
}

HOT uint64_t hot_trapped(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		x += x << 5 ^ i;
	return x;
}

static int watch(uint32_t type, const volatile void *address, uint64_t size, int signals)
{
	struct perf_event_attr a = {.type = PERF_TYPE_BREAKPOINT, .size = sizeof a, .bp_type = type, .exclude_kernel = 1, .exclude_hv = 1};
	a.bp_addr = (uintptr_t)address;
	a.bp_len = size;
	if (signals) {
		a.sigtrap = a.remove_on_exec = 1;
		a.sample_period = 1;
	}
	int fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
	if (fd < 0) {
		printf("no hardware breakpoints here: %s\n", strerror(errno));
		exit(77);
	}
	return fd;
}

static uint64_t count_of(int fd)
{
	uint64_t count = 0;
	if (read(fd, &count, sizeof count) != sizeof count)
		exit(3);
	return count;
}

static void check(uint64_t got, uint64_t expected, uint64_t more, const char *what)
{
	if (got >= expected && got - expected <= more)
		return;
	printf("WRONG %s: %lu, not %lu\n", what, (unsigned long)got, (unsigned long)expected);
	fflush(stdout);
	wrong = 1;
}

static void *count(void *unused)
{
	int calls = watch(HW_BREAKPOINT_X, (void *)hot_step, sizeof(long), 0), writes = watch(HW_BREAKPOINT_W, &watched, 8, 0);
	uint64_t x = 42, same = 42, made = 0;
	while (!stop) {
		for (unsigned i = 0; i < 100; i++, made++) {
			x = hot_step(&watched, x);
			same ^= same << 13;
			same ^= same >> 7;
			same ^= same << 17;
		}
		check(x, same, 0, "result");
		check(count_of(calls), made, undone, "calls seen");
		check(count_of(writes), made, 0, "writes seen");
		rounds++;
		usleep(300);
	}
	printf("%lu calls: %lu seen, %lu writes\n", (unsigned long)made, (unsigned long)count_of(calls), (unsigned long)count_of(writes));
	return unused;
}

static void on_trap(int signal)
{
	(void)signal;
	trapped++;
}

static void *take_traps(void *unused)
{
	uint64_t made = 0, right = hot_trapped(42, 300);
	watch(HW_BREAKPOINT_X, (void *)hot_trapped, sizeof(long), 1);
	while (!stop) {
		check(hot_trapped(42, 300), right, 0, "result with a trap");
		check(trapped, ++made, undone, "traps");
		rounds++;
		if (made % 50 == 0)
			usleep(300);
	}
	printf("%lu calls: %lu traps\n", (unsigned long)made, (unsigned long)trapped);
	return unused;
}

int main(void)
{
	pthread_t threads[2];
	sigset_t mine;
	int got;
	signal(SIGTRAP, on_trap);
	sigemptyset(&mine);
	sigaddset(&mine, SIGUSR1);
	sigaddset(&mine, SIGUSR2);
	sigaddset(&mine, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &mine, NULL);
	if (pthread_create(&threads[0], NULL, count, NULL) || pthread_create(&threads[1], NULL, take_traps, NULL))
		return 3;
	while (!sigwait(&mine, &got) && got != SIGTERM) {
		if (got == SIGUSR2)
			undone++;
		printf("rounds %lu\n", rounds);
		fflush(stdout);
	}
	stop = 1;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	return wrong;
}
