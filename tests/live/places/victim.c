/*
 * Threads in places where it is awkward to be stopped; the first thread of the process has exited. Each checks its results. SIGUSR1: prints "rounds N";
 * "PLACE n" lines with what each has done on SIGUSR2. SIGTERM: exits 0 if nothing was ever wrong.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 8 << 20, DEPTH = 20000 };

typedef uint64_t (*recursion)(void *, uint64_t);

static atomic_int wrong;

static void check(int is, const char *what)
{
	if (is)
		return;
	wrong = 1;
	printf("WRONG %s\n", what);
	fflush(stdout);
}

__attribute__((noinline, noclone, used)) uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

__attribute__((noinline, noclone, used)) uint64_t hot_recurse(void *self, uint64_t depth)
{
	return depth ? ((recursion)self)(self, depth - 1) * 3 + depth : 7;
}

static void recurse_deeply(void)
{
	static uint64_t first;
	volatile recursion recurse = hot_recurse;
	uint64_t result = recurse((void *)recurse, DEPTH);
	first = first ? first : result;
	check(result == first, "deep recursion");
}

/* Spends its time in the handler, on the alternate stack. */
static void on_alarm(int signal)
{
	int here;
	stack_t now;
	(void)signal;
	sigaltstack(NULL, &now);
	check(now.ss_flags & SS_ONSTACK && (char *)&here - (char *)now.ss_sp < (long)now.ss_size, "alternate stack");
	check(hot_mix(42, 100000) == hot_mix(42, 100000), "handler");
}

static void handle_on_another_stack(void)
{
	static _Alignas(16) char stack[65536];
	const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
	struct sigaction act = {.sa_handler = on_alarm, .sa_flags = SA_ONSTACK};
	sigaltstack(&alternate, NULL);
	sigaction(SIGRTMIN, &act, NULL);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGRTMIN);
}

static void ask_the_time(void)
{
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 2000; i++) {
		clock_gettime(CLOCK_MONOTONIC, &b);
		check(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec), "clock");
		a = b;
	}
}

static void allocate(void)
{
	for (int i = 0; i < 500; i++) {
		unsigned char *p = malloc(100 + (size_t)(i % 50) * 1000);
		__asm__ volatile("" : "+r"(p)); /* or the compiler does without */
		memset(p, i, 100);
		check(p[99] == (unsigned char)i, "memory");
		free(p);
	}
}

static void copy_bytes(void)
{
	static char *from, *to;
	if (!from) {
		from = malloc(BLOCK);
		to = malloc(BLOCK);
		for (int i = 0; i < BLOCK; i++)
			from[i] = (char)(i * 7);
	}
	memset(to, 0, BLOCK);
	char *s = from, *d = to;
	size_t n = BLOCK;
	__asm__ volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(n) : : "memory");
	check(!n && s == from + BLOCK && !memcmp(from, to, BLOCK), "rep movsb");
}

static void call_the_kernel(void)
{
	pid_t me = getpid();
	for (int i = 0; i < 1000; i++)
		check(syscall(SYS_getpid) == me, "getpid");
}

static int compare_words(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* So short a function that much of the time goes by in the linkage table. */
static void call_through_table(void)
{
	static int first;
	unsigned seed = 42;
	int last = 0;
	for (int i = 0; i < 20000; i++)
		last = rand_r(&seed);
	first = first ? first : last;
	check(last == first, "linkage table");
}

/* A callback out of the library, through the linkage table into it. */
static void sort_words(void)
{
	int words[500];
	for (int i = 0; i < 500; i++)
		words[i] = (i * 7919) % 500;
	qsort(words, 500, sizeof *words, compare_words);
	for (int i = 0; i < 500; i++)
		check(words[i] == i, "qsort");
}

/*
 * A restartable sequence: adds one to `counter` at its end, unless it was interrupted; then it was not added. How often it got to its end must be what
 * was added.
 */
static void run_sequences(void)
{
	static volatile uint64_t counter;
	struct rseq *area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	uint64_t before = counter, done = 0;
	if (!__rseq_size)
		return;
	for (int i = 0; i < 2000; i++) {
		uint64_t committed = 0, next = counter + 1, spin = 300;
		__asm__ volatile(".pushsection __rseq_cs, \"aw\"\n\t"
				 ".balign 32\n"
				 "3:	.long 0, 0\n\t"
				 ".quad 1f, 2f - 1f, 4f\n\t"
				 ".popsection\n\t"
				 "lea 3b(%%rip), %%rax\n\t"
				 "mov %%rax, 8(%[area])\n"
				 "1:	dec %[spin]\n\t"
				 "jnz 1b\n\t"
				 "mov %[next], %[counter]\n"
				 "2:	mov $1, %[committed]\n\t"
				 "jmp 5f\n\t"
				 ".long 0x53053053\n" /* RSEQ_SIG */
				 "4:	xor %k[committed], %k[committed]\n"
				 "5:"
				 : [committed] "+&r"(committed), [counter] "+m"(counter), [spin] "+&r"(spin)
				 : [area] "r"(area), [next] "r"(next)
				 : "rax", "memory", "cc");
		done += committed;
	}
	check(counter - before == done, "restartable sequence");
}

static struct place {
	const char *name;
	void (*visit)(void);
	atomic_ulong visits;
} places[] = {
    {"deep recursion", recurse_deeply, 0},
    {"handler on another stack", handle_on_another_stack, 0},
    {"vdso", ask_the_time, 0},
    {"malloc", allocate, 0},
    {"rep movsb", copy_bytes, 0},
    {"system calls", call_the_kernel, 0},
    {"linkage table", call_through_table, 0},
    {"qsort", sort_words, 0},
    {"restartable sequence", run_sequences, 0},
};
#define PLACES (sizeof places / sizeof *places)

static void *visit(void *argument)
{
	struct place *p = argument;
	for (;;) {
		p->visit();
		hot_mix(1, 10);
		p->visits++;
		usleep(100); /* to leave some of the processor to others */
	}
	return NULL;
}

static void *answer(void *unused)
{
	sigset_t set;
	int number;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	while (!sigwait(&set, &number)) {
		unsigned long sum = 0;
		for (unsigned i = 0; i < PLACES; i++) {
			sum += places[i].visits;
			if (number == SIGUSR2)
				printf("%s: %lu times\n", places[i].name, (unsigned long)places[i].visits);
		}
		if (number == SIGTERM)
			_exit(wrong ? 1 : 0);
		printf("rounds %lu\n", sum);
		fflush(stdout);
	}
	return unused;
}

int main(void)
{
	pthread_t thread;
	pthread_attr_t large;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_attr_init(&large);
	pthread_attr_setstacksize(&large, 64 << 20);
	for (unsigned i = 0; i < PLACES; i++)
		if (pthread_create(&thread, &large, visit, &places[i]))
			return 3;
	if (pthread_create(&thread, NULL, answer, NULL))
		return 3;
	pthread_exit(NULL);
}
