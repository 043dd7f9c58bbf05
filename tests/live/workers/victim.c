/* Has a read from an empty pipe done by a worker of io_uring, and works in a hot_ function. SIGUSR1: prints "rounds N". SIGTERM: exits 0. */
#include <linux/io_uring.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_ulong rounds;

__attribute__((noinline, noclone, used)) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

/* 77: there is no io_uring here. */
static int read_by_worker(void)
{
	static char byte;
	int ends[2];
	struct io_uring_params p = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (ring < 0 || pipe(ends))
		return 77;
	char *queue = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entry = mmap(NULL, p.sq_entries * sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (queue == MAP_FAILED || entry == MAP_FAILED)
		return 3;
	*entry = (struct io_uring_sqe){
	    .opcode = IORING_OP_READ, .flags = IOSQE_ASYNC, .fd = ends[0], .addr = (uintptr_t)&byte, .len = 1, .off = UINT64_MAX};
	*(unsigned *)(queue + p.sq_off.array) = 0;
	atomic_store((_Atomic unsigned *)(queue + p.sq_off.tail), 1);
	return syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1 ? 0 : 3;
}

static void on_usr1(int signal)
{
	char text[64];
	(void)signal;
	int n = snprintf(text, sizeof text, "rounds %lu\n", (unsigned long)rounds);
	if (write(1, text, (size_t)n) < 0)
		_exit(3);
}

static void on_term(int signal)
{
	(void)signal;
	_exit(0);
}

int main(void)
{
	uint64_t right = hot_mix(42, 500);
	int status = read_by_worker();
	if (status)
		return status;
	signal(SIGUSR1, on_usr1);
	signal(SIGTERM, on_term);
	for (;;) {
		if (hot_mix(42, 500) != right)
			puts("WRONG result");
		rounds++;
		usleep(500);
	}
}
