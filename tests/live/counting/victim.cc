/*
 * Work whose numbers are known: loops, a jump table, calls through a table, recursion, exceptions, and code that depends on flags. All results
 * are checked. `victim THREADS [calls|births|lost]`: with "calls" only calls through the table, with "births" threads that live for one round, with
 * "lost" one more that never leaves code made at run time.
 * SIGUSR1: prints "rounds N". SIGUSR2: forks, prints "child PID"; the child works on with one thread. SIGTERM: exits 0 if nothing was wrong.
 */
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOT extern "C" __attribute__((noinline, noclone, used))
/* Runs as often as the place where it stands. */
#define MARK(name) asm volatile(".globl " #name "\n" #name ":\n\tnop")

static std::atomic<unsigned long> rounds;
static std::atomic<int> wrong, fork_wanted, is_lost;
static bool calls_only;

HOT uint64_t inner(uint64_t n)
{
	uint64_t x = n;
	for (int i = 0; i < 1000; i++) {
		MARK(mark_inner);
		x = x * 25 + (x >> 3);
		if (x & 4) {
			MARK(mark_odd);
			x += 7;
		}
	}
	return x;
}

HOT uint64_t run_switch(uint64_t x)
{
	static const uint8_t pattern[7] = {0, 1, 0, 5, 1, 0, 2};
	for (int i = 0; i < 700; i++) {
		switch (pattern[i % 7]) {
		case 0: MARK(mark_case0); x += 3; break;
		case 1: MARK(mark_case1); x ^= x << 5; break;
		case 2: MARK(mark_case2); x *= 9; break;
		case 3: x = ~x; break;
		case 4: x -= 11; break;
		case 5: MARK(mark_case5); x ^= x >> 9; break;
		case 6: x = x * 3 + 1; break;
		case 7: x += x; break;
		}
	}
	return x;
}

HOT uint64_t target0(uint64_t x) { return x * 5 + 1; }
HOT uint64_t target1(uint64_t x) { return x * 7 + 2; }
HOT uint64_t target2(uint64_t x) { return x * 9 + 3; }
typedef uint64_t (*target)(uint64_t);
extern "C" const target targets[16];
const target targets[16] = {target0, target1, target0, target0, target1, target0, target0, target2,
			    target0, target1, target0, target0, target1, target0, target0, target1};

HOT uint64_t call_table(uint64_t x)
{
	for (int i = 0; i < 1600; i++) {
		x ^= targets[i % 16](x);
		/* Readings of where a call went are by time: the same between all calls, whatever the CPU foresees of them. */
		for (int k = 0; calls_only && k < 100; k++)
			x = x * 25 + (x >> 3);
	}
	return x;
}

HOT __attribute__((optimize("O1"))) uint64_t fib(uint64_t n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

struct thrown { uint64_t value; };

HOT uint64_t throwing(uint64_t x, int depth)
{
	if (!depth && x % 3 == 0)
		throw thrown{x};
	return depth ? throwing(x, depth - 1) + 1 : x;
}

HOT uint64_t catching(uint64_t n)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < n; i++)
		try {
			sum += throwing(i, 3);
		} catch (const thrown &t) {
			sum += t.value * 100;
		}
	return sum;
}

/*
 * Flags. adc_chain(a, b): 256 bits added, the carry passed through a loop, dec between. select: cmov and setcc far behind their compare.
 * gives: returns flags; gives_too: only returns behind it; asks: reads them. takes: reads flags that it is called with.
 */
asm(".text\n"
    ".globl adc_chain, adc_chain_end, select_flags, asks, passes\n"
    ".type adc_chain, @function\n.type select_flags, @function\n.type gives, @function\n.type gives_too, @function\n"
    ".type asks, @function\n.type takes, @function\n.type passes, @function\n"
    "adc_chain:\n	.cfi_startproc\n"
    "	mov $4, %ecx\n	xor %edx, %edx\n	clc\n"
    "1:	mov (%rsi,%rdx,8), %rax\n	adc %rax, (%rdi,%rdx,8)\n	lea 1(%rdx), %rdx\n	dec %ecx\n	jnz 1b\n"
    "	setc %al\n	movzbl %al, %eax\n	ret\n	.cfi_endproc\n	.size adc_chain, . - adc_chain\n	.balign 16\n"
    "select_flags:\n	.cfi_startproc\n"
    "	cmp %rsi, %rdi\n	mov %rdi, %rax\n	mov $0, %ecx\n	jmp 1f\n	.balign 16\n"
    "1:	lea (%rax,%rsi), %rdx\n	cmovl %rsi, %rax\n	jz 2f\n	setg %cl\n	lea (%rdx,%rcx), %rdx\n"
    "2:	setle %cl\n	movzbl %cl, %ecx\n	lea (%rax,%rdx,2), %rax\n	add %rcx, %rax\n	ret\n"
    "	.cfi_endproc\n	.size select_flags, . - select_flags\n	.balign 16\n"
    "gives:\n	.cfi_startproc\n	mov %rdi, %rax\n	test $5, %dil\n	jz 1f\n	lea 3(%rax), %rax\n1:	lea (%rax), %rax\n	ret\n"
    "	.cfi_endproc\n	.size gives, . - gives\n	.balign 16\n"
    "gives_too:\n	.cfi_startproc\n	lea 1(%rdi), %rdi\n	call gives\n	lea 2(%rax), %rax\n	mov %rax, %rdx\n	ret\n"
    "	.cfi_endproc\n	.size gives_too, . - gives_too\n	.balign 16\n"
    "asks:\n	.cfi_startproc\n	call gives_too\n	jz 1f\n	lea 100(%rax), %rax\n1:	setnz %cl\n	movzbl %cl, %ecx\n	add %rcx, %rax\n	ret\n"
    "	.cfi_endproc\n	.size asks, . - asks\n	.balign 16\n"
    "takes:\n	.cfi_startproc\n	setl %al\n	movzbl %al, %eax\n	cmovo %rdi, %rax\n	js 1f\n	lea 8(%rax), %rax\n1:	ret\n"
    "	.cfi_endproc\n	.size takes, . - takes\n	.balign 16\n"
    "passes:\n	.cfi_startproc\n	cmp %rsi, %rdi\n	mov %rsi, %rdx\n	call takes\n	lea (%rax,%rdx), %rax\n	ret\n"
    "	.cfi_endproc\n	.size passes, . - passes\n	.balign 16\n");
extern "C" uint64_t adc_chain(uint64_t *a, const uint64_t *b), select_flags(int64_t a, int64_t b), asks(uint64_t x), passes(int64_t a, int64_t b);

HOT uint64_t flags(uint64_t x)
{
	uint64_t sum = 0, a[4] = {~x, ~0ull, x, ~0ull}, b[4] = {x * 3, x, ~0ull, 5};
	for (uint64_t i = 0; i < 300; i++) {
		sum = sum * 3 + adc_chain(a, b) + a[i % 4];
		sum ^= select_flags((int64_t)(sum % 7) - 3, (int64_t)(i % 5) - 2);
		sum += asks(i) * 17 + passes((int64_t)(i % 3) - 1, (int64_t)(sum % 3) - 1);
	}
	return sum;
}

static uint64_t one_round()
{
	uint64_t x = call_table(3);
	if (calls_only)
		return x;
	for (uint64_t i = 0; i < 20; i++)
		x ^= inner(i);
	return x ^ run_switch(5) ^ fib(12) ^ catching(30) ^ flags(9);
}

static uint64_t expected;

static void check()
{
	if (one_round() != expected) {
		wrong = 1;
		if (write(1, "WRONG\n", 6) != 6)
			_exit(3);
	}
	rounds++;
}

static void *worker(void *)
{
	while (true)
		check();
	return nullptr;
}

static void *short_lived(void *)
{
	check();
	return nullptr;
}

static void on_signal(int signal)
{
	char text[64];
	if (signal == SIGTERM)
		_exit(wrong ? 1 : 0);
	if (signal == SIGUSR2) {
		fork_wanted = 1;
		return;
	}
	int n = snprintf(text, sizeof text, "rounds %lu\n", rounds.load());
	if (write(1, text, (size_t)n) < 0)
		_exit(3);
}

static void fork_now()
{
	char text[64];
	fork_wanted = 0;
	pid_t child = fork();
	if (child == 0) {
		worker(nullptr);
	}
	int n = snprintf(text, sizeof text, "child %d\n", (int)child);
	if (write(1, text, (size_t)n) < 0)
		_exit(3);
}

static void *run_lost(void *)
{
	static const uint8_t loop[] = {0xf3, 0x90, 0xeb, 0xfc}; /* pause, and again */
	void *code = mmap(nullptr, sizeof loop, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		_exit(3);
	memcpy(code, loop, sizeof loop);
	is_lost = 1;
	reinterpret_cast<void (*)()>(code)();
	return nullptr;
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 1;
	const char *mode = argc > 2 ? argv[2] : "";
	calls_only = !strcmp(mode, "calls");
	expected = one_round();
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	signal(SIGTERM, on_signal);
	for (int i = 1; i < threads; i++) {
		pthread_t t;
		if (pthread_create(&t, nullptr, worker, nullptr))
			return 3;
	}
	pthread_t lost;
	if (!strcmp(mode, "lost") && pthread_create(&lost, nullptr, run_lost, nullptr))
		return 3;
	while (!strcmp(mode, "lost") && !is_lost)
		usleep(1000);
	while (true) {
		pthread_t t;
		check();
		if (fork_wanted)
			fork_now();
		if (strcmp(mode, "births"))
			continue;
		if (pthread_create(&t, nullptr, short_lived, nullptr) || pthread_detach(t))
			usleep(1000);
	}
}
