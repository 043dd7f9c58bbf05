/*
 * Threads that fill all their registers, flags, vector and matrix state and red zone with random data, spin or block in a call, and compare what is there
 * afterwards: fill.S. SIGUSR1: prints "rounds N", and "WRONG ..." lines come by themselves. SIGTERM: exits 0 if nothing was ever wrong.
 *
 * victim THREADS; a third of them spins, a third sleeps, a third waits in epoll_pwait, a call that shows stops.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15, GENERAL };
enum { STATE_MAX = 16384, LEGACY = 512, TILE_CONFIG = 17, TILE_DATA = 18 };

#define FLAGS_FREE 0x240cd5u /* carry, parity, adjust, zero, sign, direction, overflow, alignment check, identification */
#define FLAGS_ALWAYS 0x202u

struct filled {
	uint64_t general[GENERAL], flags, zone[16];
	_Alignas(64) uint8_t state[STATE_MAX]; /* as XSAVE stores it */
};

void hot_fill(const struct filled *in, struct filled *out, uint64_t mask);

static atomic_ulong rounds;
static atomic_int wrong;
static uint64_t mask; /* state components that are there */

static uint64_t random_word(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void random_bytes(uint8_t *to, size_t size, uint64_t *seed)
{
	for (size_t i = 0; i < size; i++)
		to[i] = (uint8_t)random_word(seed);
}

static void place_of(unsigned component, uint32_t *size, uint32_t *offset)
{
	uint32_t c, d;
	__cpuid_count(0xd, component, *size, *offset, c, d);
}

/* What XGETBV says, without protection keys; with tiles where the kernel lets us have them. */
static uint64_t components(void)
{
	uint32_t low, high;
	syscall(SYS_arch_prctl, 0x1023, TILE_DATA); /* ARCH_REQ_XCOMP_PERM */
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	uint64_t all = low | (uint64_t)high << 32, permitted = 0;
	if (syscall(SYS_arch_prctl, 0x1022, &permitted)) /* ARCH_GET_XCOMP_PERM */
		permitted = all & ~(1ull << TILE_DATA);
	return all & permitted & ~(1ull << 9);
}

static void fill_state(uint8_t *state, uint64_t *seed)
{
	memset(state, 0, STATE_MAX);
	random_bytes(state + 32, 8 * 16 + 16 * 16, seed); /* x87 and SSE registers */
	for (unsigned i = 0; i < 8; i++)
		memset(state + 32 + i * 16 + 10, 0, 6);
	uint16_t control = 0x37f | (uint16_t)(random_word(seed) & 0xc00);
	uint32_t mxcsr = 0x1f80 | (uint32_t)(random_word(seed) & 0xe03f);
	memcpy(state, &control, 2);
	state[3] = (uint8_t)(random_word(seed) & 0x38); /* top of stack */
	state[4] = 0xff;				/* no register empty */
	memcpy(state + 24, &mxcsr, 4);
	for (unsigned i = 2; i < 63; i++) {
		uint32_t size, offset;
		if (!(mask >> i & 1))
			continue;
		place_of(i, &size, &offset);
		random_bytes(state + offset, size, seed);
		if (i != TILE_CONFIG)
			continue;
		memset(state + offset, 0, size);
		state[offset] = 1; /* palette: eight tiles of 16 rows with 64 bytes */
		for (unsigned k = 0; k < 8; k++) {
			state[offset + 16 + 2 * k] = 64;
			state[offset + 48 + k] = 16;
		}
	}
	memcpy(state + LEGACY, &mask, 8);
}

static void complain(const char *kind, const char *what, unsigned which)
{
	printf("WRONG %s: %s %u\n", kind, what, which);
	fflush(stdout);
	wrong = 1;
}

static void compare_state(const char *kind, const uint8_t *in, const uint8_t *out)
{
	uint64_t stored;
	memcpy(&stored, out + LEGACY, 8);
	if ((stored & mask) != mask)
		complain(kind, "components in their initial state", (unsigned)(mask & ~stored));
	if (memcmp(in, out, 5) || memcmp(in + 24, out + 24, 4))
		complain(kind, "control, status or MXCSR", 0);
	if (memcmp(in + 32, out + 32, 8 * 16 + 16 * 16))
		complain(kind, "x87 or SSE registers", 0);
	for (unsigned i = 2; i < 63; i++) {
		uint32_t size, offset;
		if (!(mask >> i & 1))
			continue;
		place_of(i, &size, &offset);
		if (memcmp(in + offset, out + offset, size))
			complain(kind, "state component", i);
	}
}

/* A call changes rax, rcx and r11; spinning counts rcx down. */
static void compare(const char *kind, const struct filled *in, const struct filled *out, bool called)
{
	for (unsigned i = 0; i < GENERAL; i++)
		if (in->general[i] != out->general[i] && i != RCX && !(called && (i == RAX || i == R11)))
			complain(kind, "register", i);
	if (called && out->general[RAX])
		complain(kind, "result", (unsigned)-out->general[RAX]);
	if (((in->flags ^ out->flags) & (FLAGS_FREE | FLAGS_ALWAYS)) != 0)
		complain(kind, "flags", (unsigned)(in->flags ^ out->flags));
	if (memcmp(in->zone, out->zone, sizeof in->zone))
		complain(kind, "red zone", 0);
	compare_state(kind, in->state, out->state);
}

static void *work(void *argument)
{
	static const char *const kinds[] = {"spinning", "sleeping", "waiting"};
	unsigned number = (unsigned)(uintptr_t)argument, kind = number % 3;
	struct filled *in = aligned_alloc(64, sizeof *in), *out = aligned_alloc(64, sizeof *out);
	struct timespec pause = {0, 3000000};
	struct epoll_event event;
	uint64_t seed = 88172645463325252u + number, gs = random_word(&seed) & 0x7fffffffff8u;
	int set = epoll_create1(0);
	if (!in || !out || set < 0 || syscall(SYS_arch_prctl, ARCH_SET_GS, gs))
		exit(3);
	for (;;) {
		uint64_t base = 0;
		random_bytes((uint8_t *)in, offsetof(struct filled, state), &seed);
		fill_state(in->state, &seed);
		in->flags = (random_word(&seed) & FLAGS_FREE) | FLAGS_ALWAYS;
		in->general[RCX] = kind ? 0 : 300000 + random_word(&seed) % 100000;
		if (kind == 1) {
			in->general[RAX] = SYS_nanosleep;
			in->general[RDI] = (uintptr_t)&pause;
			in->general[RSI] = 0;
		} else if (kind == 2) {
			in->general[RAX] = SYS_epoll_pwait;
			in->general[RDI] = (uint64_t)set;
			in->general[RSI] = (uintptr_t)&event;
			in->general[RDX] = 1;
			in->general[R10] = 5;
			in->general[R8] = 0;
		}
		memset(out, 0, sizeof *out);
		hot_fill(in, out, mask);
		compare(kinds[kind], in, out, kind != 0);
		if (syscall(SYS_arch_prctl, ARCH_GET_GS, &base) || base != gs)
			complain(kinds[kind], "gs base", 0);
		rounds++;
	}
	return NULL;
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
	_exit(wrong ? 1 : 0);
}

int main(int argc, char **argv)
{
	unsigned threads = argc > 1 ? (unsigned)atoi(argv[1]) : 6;
	sigset_t both;
	mask = components();
	printf("state components: 0x%lx\n", (unsigned long)mask);
	fflush(stdout);
	signal(SIGUSR1, on_usr1);
	signal(SIGTERM, on_term);
	/* Handlers run in the main thread, which fills no registers. */
	sigemptyset(&both);
	sigaddset(&both, SIGUSR1);
	sigaddset(&both, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &both, NULL);
	for (uintptr_t i = 0; i < threads; i++) {
		pthread_t t;
		if (pthread_create(&t, NULL, work, (void *)i))
			return 3;
	}
	pthread_sigmask(SIG_UNBLOCK, &both, NULL);
	for (;;)
		pause();
}
