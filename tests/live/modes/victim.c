/*
 * A process whose threads can be told to run by other rules. One thread computes in a hot_ function and checks the result, in whatever mode it is in between.
 *
 * Commands on standard input, each answered by a line: "main dispatch", "main plain", "worker dispatch", "worker plain" (system calls dispatched to user
 * space, with the selector such that all are let through), "worker compat" (runs 32-bit code until "worker plain"), "segments" (makes an LDT), "rounds".
 * A mode that this kernel does not have is answered by "cannot". "WRONG" when a result is not right.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

enum mode { PLAIN, DISPATCH, COMPAT };

static atomic_ulong rounds;
static atomic_int wanted, is;
static uint64_t right;
static char let_through; /* SYSCALL_DISPATCH_FILTER_ALLOW */

__attribute__((noinline, noclone, used)) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

/* In the low 2 GiB, for 32-bit code: code, and beside it what it writes. */
static struct low {
	uint8_t code[4096];
	struct {
		uint64_t stack_pointer; /* of 64-bit code */
		uint32_t far_offset;
		uint16_t far_selector;
		uint8_t leave;
	} data;
} * low;

static uint8_t *put(uint8_t *p, const char *bytes, size_t size, const void *address)
{
	uint32_t low_address = (uint32_t)(uintptr_t)address;
	memcpy(p, bytes, size);
	if (!address)
		return p + size;
	memcpy(p + size, &low_address, sizeof low_address);
	return p + size + sizeof low_address;
}
#define PUT(bytes, address) p = put(p, bytes, sizeof(bytes) - 1, address)

/*
 *	enter:	mov [stack_pointer], rsp	64-bit
 *		ljmp [far]
 *	home:	mov rsp, [stack_pointer]
 *		ret
 *	small:	mov eax, 0x2b			32-bit
 *		mov ds, eax
 *	wait:	pause
 *		cmp byte [leave], 0
 *		je wait
 *		ljmp 0x33:home
 */
static bool make_low_code(void)
{
	/* Of a file: what is anonymous and not writable is taken for a leftover of the tool. */
	int fd = memfd_create("low", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, sizeof *low))
		return false;
	low = mmap(NULL, sizeof *low, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_32BIT, fd, 0);
	close(fd);
	if (low == MAP_FAILED)
		return false;
	uint8_t *p = low->code;
	PUT("\x48\x89\x24\x25", &low->data.stack_pointer);
	PUT("\xff\x2c\x25", &low->data.far_offset);
	uint8_t *home = p;
	PUT("\x48\x8b\x24\x25", &low->data.stack_pointer);
	PUT("\xc3", NULL);
	low->data.far_offset = (uint32_t)(uintptr_t)p;
	low->data.far_selector = 0x23;
	PUT("\xb8\x2b\x00\x00\x00\x8e\xd8", NULL);
	PUT("\xf3\x90\x80\x3d", &low->data.leave);
	PUT("\x00\x74\xf5\xea", home);
	PUT("\x33\x00", NULL);
	return !mprotect(low->code, sizeof low->code, PROT_READ | PROT_EXEC);
}

static void run_compat(void)
{
	void (*enter)(void);
	memcpy(&enter, &(void *){low->code}, sizeof enter);
	enter();
}

/* Tried in a child, which dies where the kernel has no 32-bit code. */
static bool can_compat(void)
{
	int status;
	if (!low && !make_low_code())
		return false;
	pid_t child = fork();
	if (!child) {
		low->data.leave = 1;
		run_compat();
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && status == 0;
}

static bool dispatch(bool on)
{
	return !prctl(PR_SET_SYSCALL_USER_DISPATCH, on, 0, 0, on ? &let_through : NULL);
}

static void *work(void *unused)
{
	for (;;) {
		if (hot_mix(42, 2000) != right && write(1, "WRONG result\n", 13) < 0)
			_exit(3);
		rounds++;
		usleep(500);
		int mode = wanted;
		if (mode == is)
			continue;
		if (mode == COMPAT) {
			is = mode;
			run_compat();
		} else if (!dispatch(mode == DISPATCH)) {
			wanted = is = PLAIN;
		}
		is = mode == COMPAT ? PLAIN : mode;
	}
	return unused;
}

static bool worker(int mode)
{
	if (low)
		low->data.leave = mode == PLAIN;
	wanted = mode;
	for (int i = 0; i < 400 && is != wanted; i++)
		usleep(5000);
	return is == mode;
}

static bool make_segment(void)
{
	const struct user_desc segment = {.limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1, .useable = 1};
	return !syscall(SYS_modify_ldt, 1, &segment, sizeof segment);
}

static bool obey(const char *command)
{
	if (!strcmp(command, "main dispatch"))
		return dispatch(true);
	if (!strcmp(command, "main plain"))
		return dispatch(false);
	if (!strcmp(command, "worker dispatch"))
		return worker(DISPATCH);
	if (!strcmp(command, "worker compat"))
		return can_compat() && worker(COMPAT);
	if (!strcmp(command, "worker plain"))
		return worker(PLAIN);
	if (!strcmp(command, "segments"))
		return make_segment();
	return !strcmp(command, "rounds");
}

int main(int argc, char **argv)
{
	pthread_t thread;
	char line[64];
	(void)argv;
	right = hot_mix(42, 2000);
	if (argc > 1 && pthread_create(&thread, NULL, work, NULL))
		return 3;
	while (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (hot_mix(42, 2000) != right)
			printf("WRONG result\n");
		if (obey(line))
			printf("done %lu\n", rounds);
		else
			printf("cannot\n");
		fflush(stdout);
	}
	return 0;
}
