/* The emulated CPU against the real one: a child executes all kinds of code step by step, and must be where it was said to be after each. */
#include "profile/emulate/cpu.h"

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STATUS_FLAGS 0x8d5u
#define STEPS_MAX 60000

/* --- code to execute --- */

static volatile uint64_t sink;

static int by_value(const void *a, const void *b)
{
	return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

static void run_library(void)
{
	char text[300], other[300];
	int numbers[24];
	for (int i = 0; i < 24; i++)
		numbers[i] = i * 7919 % 101 - 50;
	qsort(numbers, 24, sizeof *numbers, by_value);
	sink += (uint64_t)numbers[3];
	snprintf(text, sizeof text, "%d %s %.12g %llx", numbers[5], "word", 1.0 / 3, 0x123456789abcdefull);
	sink += strtoull(text + 20, NULL, 16) + (uint64_t)strtod("3.25e7", NULL) + strlen(text);
	for (size_t size = 1; size < 300; size = size * 2 + 1) {
		memset(other, (int)size, sizeof other);
		memcpy(other, text, size);
		sink += (uint64_t)memcmp(other, text, size) + (memchr(other, 'w', size) != NULL);
	}
	sink += strstr(text, "ord") != NULL;
	volatile double x = 1.5;
	for (int i = 0; i < 5; i++)
		x = x * x - 1.25 + (double)sink / 1e30;
	sink += (uint64_t)(x * x * 1000);
}

static void run_stack_and_flags(void)
{
	uint64_t a = 0x1122334455667788, out, flags;
	__asm__ volatile("pushfq; pop %0" : "=r"(flags));
	__asm__ volatile("push %1; popfq; pushfq; pop %0" : "=r"(out) : "r"((flags & ~(uint64_t)STATUS_FLAGS) | 0x811) : "cc");
	__asm__ volatile("mov %%rsp, %0; sub $64, %%rsp; mov %0, (%%rsp); add $3, %%rsp; sub $3, %%rsp; lea 64(%%rsp), %%rsp"
			 : "=r"(out)
			 :
			 : "cc", "memory");
	__asm__ volatile("push %%rbp; mov %%rsp, %%rbp; push $-5; leave" : : : "memory");
	__asm__ volatile("mov %1, %%rax; add %%ah, %%al; setc %%ah; bswap %%rax; mov %%rax, %0" : "=r"(out) : "r"(a) : "rax", "cc");
	__asm__ volatile("mov $3, %%ecx; 1: inc %0; loop 1b; jrcxz 2f; dec %0; 2: stc; adc $0, %0; lahf; cmc; sahf"
			 : "+r"(a)
			 :
			 : "rcx", "rax", "cc");
	sink += out + a;
}

static void run_strings(void)
{
	static uint8_t from[5000], to[5000];
	uint8_t *s = from, *d = to;
	size_t n = 100;
	__asm__ volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(n) : : "memory");
	n = 33;
	__asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(7ull) : "memory");
	to[40] = 9;
	s = from, d = to, n = 200;
	__asm__ volatile("repe cmpsb" : "+S"(s), "+D"(d), "+c"(n) : : "memory", "cc");
	d = to, n = 200;
	__asm__ volatile("repne scasb" : "+D"(d), "+c"(n) : "a"(9) : "memory", "cc");
	s = from + 64, d = to + 64, n = 8;
	__asm__ volatile("std; rep movsw; cld; lodsl" : "+S"(s), "+D"(d), "+c"(n) : : "rax", "memory", "cc");
	sink += (uint64_t)(d - to) + n;
}

static void run_arithmetic(void)
{
	static _Alignas(16) uint64_t pair[2] = {1, 2};
	static uint8_t bits[64];
	uint64_t a = 0x123456789, low = 5, high = 0;
	sink += a / (sink % 7 + 3) + (uint64_t)((int64_t)-a / 13) + (uint32_t)a % 1001u + (uint16_t)a / (uint16_t)17;
	__asm__ volatile("lock cmpxchg16b %0" : "+m"(pair), "+a"(low), "+d"(high) : "b"(3ull), "c"(4ull) : "cc");
	__asm__ volatile("lock xadd %1, %0; xchg %1, %0; lock incq %0" : "+m"(pair[0]), "+r"(a) : : "cc");
	__asm__ volatile("bts $77, %0; btr $3, %0" : "+m"(bits[0]) : : "cc", "memory");
	__asm__ volatile("shld $5, %1, %0; rol $9, %w0; sar %%cl, %0; popcnt %1, %1" : "+r"(a), "+r"(low) : "c"(3) : "cc");
	long double x = 2.5L + (long double)sink;
	for (int i = 0; i < 3; i++)
		x = x * 1.1L - (x > 100 ? 3 : 1);
	sink += (uint64_t)x + a + low;
}

__attribute__((target("avx2"))) static void run_vectors(void)
{
	uint8_t bytes[64] = {1, 2, 3, 4, 5, 6, 7};
	if (!__builtin_cpu_supports("avx2"))
		return;
	__asm__ volatile("vmovdqu %0, %%ymm1; vpaddb %%ymm1, %%ymm1, %%ymm2; vpmovmskb %%ymm2, %%eax; vmovdqu %%ymm2, 32+%0; vzeroupper"
			 : "+m"(bytes[0])
			 :
			 : "rax", "xmm1", "xmm2", "memory");
	__asm__ volatile("fld1; fldpi; faddp; fstpl %0; emms" : "=m"(bytes[8]) : : "st", "memory");
	sink += bytes[33];
}

static void run_over_page_ends(void)
{
	uint8_t *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = -9; i < 9; i++) {
		*(volatile uint64_t *)(pages + 4096 + i) += 0x0102030405060708;
		memcpy(pages + 8192 + i, pages + 4090, 17);
	}
	__asm__ volatile("movups %0, %%xmm3; paddb %%xmm3, %%xmm3; movups %%xmm3, %0" : "+m"(pages[4090]) : : "xmm3", "memory");
	sink += pages[4093];
	munmap(pages, 3 * 4096);
}

static void run_all(void)
{
	run_stack_and_flags();
	run_strings();
	run_arithmetic();
	run_vectors();
	run_over_page_ends();
	run_library();
}

__attribute__((noreturn)) static void run_child(void)
{
	run_all(); /* binds what is called: the loader does that with xsavec, which is not emulated */
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	run_all();
	for (;;)
		__asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(33) : "rcx", "r11", "memory");
}

/* --- the comparison --- */

struct child {
	pid_t pid;
	struct user_regs_struct registers;
	_Alignas(64) uint8_t vectors[16384];
	size_t vectors_size;
};

static void read_child(struct child *c)
{
	struct iovec io = {c->vectors, sizeof c->vectors};
	assert_int_equal(ptrace(PTRACE_GETREGS, c->pid, 0, &c->registers), 0);
	assert_int_equal(ptrace(PTRACE_GETREGSET, c->pid, NT_X86_XSTATE, &io), 0);
	c->vectors_size = io.iov_len;
}

/* false: it ended, with the status that shows that it computed what it should. */
static bool step_child(struct child *c)
{
	int status;
	assert_int_equal(ptrace(PTRACE_SINGLESTEP, c->pid, 0, 0), 0);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), 33);
		return false;
	}
	assert_true(WIFSTOPPED(status));
	assert_int_equal(WSTOPSIG(status), SIGTRAP);
	read_child(c);
	return true;
}

/* The CPU stops after each repetition of a string instruction, and pushf shows that it is made to step. */
static bool step_from(struct child *c, uint64_t at)
{
	bool pushes_flags = (ptrace(PTRACE_PEEKDATA, c->pid, at, 0) & 0xff) == 0x9c;
	do {
		if (!step_child(c))
			return false;
	} while (c->registers.rip == at);
	if (pushes_flags) {
		long flags = ptrace(PTRACE_PEEKDATA, c->pid, c->registers.rsp, 0);
		assert_int_equal(ptrace(PTRACE_POKEDATA, c->pid, c->registers.rsp, flags & ~0x100l), 0);
	}
	return true;
}

static void assert_same(const struct child *c, const struct cpu *cpu, uint64_t at)
{
	struct user_regs_struct said = c->registers;
	const struct user_regs_struct *is = &c->registers;
	cpu_store(cpu, &said);
	if (memcmp(&said, is, sizeof said))
		print_error("after the instruction at %#llx: rip %#llx for %#llx, flags %#llx for %#llx, rsp %#llx for %#llx, rax %#llx "
			    "for %#llx\n",
			    (unsigned long long)at, said.rip, is->rip, said.eflags, is->eflags, said.rsp, is->rsp, said.rax, is->rax);
	assert_memory_equal(&said, is, sizeof said);
}

static void assert_same_vectors(const struct child *c, const struct cpu *cpu, uint64_t at)
{
	_Alignas(64) static uint8_t said[16384];
	cpu_store_vectors(cpu, said, sizeof said);
	/* x87 registers, then xmm0 to xmm15: where FXSAVE has them (Intel SDM volume 1, table 10-2). */
	if (memcmp(said + 32, c->vectors + 32, 384))
		print_error("after the instruction at %#llx vectors differ\n", (unsigned long long)at);
	assert_memory_equal(said + 32, c->vectors + 32, 384);
	/* The upper halves of ymm0 to ymm15, which not all CPUs have (section 13.4.3). */
	if (c->vectors_size >= 576 + 256)
		assert_memory_equal(said + 576, c->vectors + 576, 256);
}

static void start_child(struct child *c)
{
	int status;
	c->pid = fork();
	if (!c->pid)
		run_child();
	assert_true(c->pid > 0);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	assert_true(WIFSTOPPED(status));
	read_child(c);
}

static void each_instruction_does_what_the_cpu_does(void **state)
{
	static struct child c;
	struct memory *memory;
	struct cpu *cpu;
	cpu_branches branches = {0};
	uint64_t steps = 0, calls = 0;
	(void)state;
	start_child(&c);
	assert_int_equal(memory_new(c.pid, 4096, &memory, NULL), 0);
	assert_int_equal(memory_share_clock(memory, c.pid, NULL), 0);
	assert_int_equal(cpu_new(memory, &cpu, NULL), 0);
	cpu_load(cpu, &c.registers, c.vectors, c.vectors_size);
	for (bool alive = true; alive; steps++) {
		enum cpu_end end;
		uint64_t executed, at = c.registers.rip;
		assert_true(steps < STEPS_MAX);
		assert_int_equal(cpu_run(cpu, 1, &branches, &end, &executed, NULL), 0);
		if (end == CPU_SYSCALL) {
			calls++;
			alive = step_child(&c);
			memory_forget(memory);
			if (alive)
				cpu_load(cpu, &c.registers, c.vectors, c.vectors_size);
			continue;
		}
		if (end != CPU_LIMIT)
			print_error("at %#llx: %s\n", (unsigned long long)at, cpu_end_name(end));
		assert_int_equal(end, CPU_LIMIT);
		alive = step_from(&c, at);
		assert_true(alive);
		assert_same(&c, cpu, at);
		assert_same_vectors(&c, cpu, at);
	}
	assert_true(steps > 5000);
	assert_true(calls >= 3);
	cpu_free(cpu);
	memory_free(memory);
	vec_free(&branches);
}

/* --- single cases --- */

static uint64_t frame[64];

/* Emulates code of this process at `code` until it is left by a system call, a limit, or something unknown. */
static enum cpu_end emulate(const uint8_t *code, uint64_t limit, cpu_branches *branches, struct user_regs_struct *r)
{
	static _Alignas(64) uint8_t vectors[2688] = {[0] = 0x7f, [1] = 3, [24] = 0x80, [25] = 0x1f};
	struct memory *memory;
	struct cpu *cpu;
	enum cpu_end end;
	uint64_t executed;
	assert_int_equal(memory_new(getpid(), 64, &memory, NULL), 0);
	assert_int_equal(cpu_new(memory, &cpu, NULL), 0);
	r->rip = (uint64_t)(uintptr_t)code;
	r->rsp = (uint64_t)(uintptr_t)(frame + 32);
	cpu_load(cpu, r, vectors, sizeof vectors);
	assert_int_equal(cpu_run(cpu, limit, branches, &end, &executed, NULL), 0);
	cpu_store(cpu, r);
	cpu_free(cpu);
	memory_free(memory);
	return end;
}

static void the_process_is_never_written_to(void **state)
{
	static const uint8_t code[] = {0x48, 0x89, 0x07, 0x50, 0x0f, 0x05}; /* mov [rdi], rax; push rax; syscall */
	uint64_t place = 5;
	struct user_regs_struct r = {.rax = 7, .rdi = (uint64_t)(uintptr_t)&place};
	cpu_branches branches = {0};
	(void)state;
	memset(frame, 0, sizeof frame);
	assert_int_equal(emulate(code, 100, &branches, &r), CPU_SYSCALL);
	assert_int_equal(r.rip, (uint64_t)(uintptr_t)code + 4);
	assert_int_equal(place, 5);
	assert_int_equal(frame[31], 0);
	assert_int_equal(branches.count, 0);
}

static void branches_are_recorded_when_taken(void **state)
{
	/* 0: dec ecx; 2: jnz 0; 4: call 10; 9: ud2 (never); 10: nop; 11: syscall */
	static const uint8_t code[] = {0xff, 0xc9, 0x75, 0xfc, 0xe8, 1, 0, 0, 0, 0x90, 0x90, 0x0f, 0x05};
	struct user_regs_struct r = {.rcx = 3};
	cpu_branches branches = {0};
	uint64_t base = (uint64_t)(uintptr_t)code;
	(void)state;
	assert_int_equal(emulate(code, 100, &branches, &r), CPU_SYSCALL);
	assert_int_equal(branches.count, 3);
	assert_int_equal(branches.data[1].from.v, base + 2);
	assert_int_equal(branches.data[1].to.v, base);
	assert_int_equal(branches.data[2].from.v, base + 4);
	assert_int_equal(branches.data[2].to.v, base + 10);
	vec_free(&branches);
}

static enum cpu_end end_of(const uint8_t *code, struct user_regs_struct r)
{
	cpu_branches branches = {0};
	enum cpu_end end = emulate(code, 1000000, &branches, &r);
	vec_free(&branches);
	assert_int_equal(r.rip, (uint64_t)(uintptr_t)code);
	return end;
}

static void what_cannot_be_emulated_ends_the_course_before_it(void **state)
{
	static const uint8_t divide[] = {0x48, 0xf7, 0xf1};		      /* div rcx */
	static const uint8_t overflow[] = {0xf7, 0xf9};			      /* idiv ecx */
	static const uint8_t load[] = {0x48, 0x8b, 0x07};		      /* mov rax, [rdi] */
	static const uint8_t unaligned[] = {0x0f, 0x28, 0x07};		      /* movaps xmm0, [rdi] */
	static const uint8_t far_jump[] = {0xff, 0x2f};			      /* jmp far [rdi] */
	static const uint8_t segment[] = {0x8e, 0xe0};			      /* mov fs, eax */
	static const uint8_t wrfsbase[] = {0xf3, 0x48, 0x0f, 0xae, 0xd0};     /* wrfsbase rax */
	static const uint8_t xrstor[] = {0x0f, 0xae, 0x2f};		      /* xrstor [rdi] */
	static const uint8_t interrupt[] = {0xcd, 0x80};		      /* int 0x80 */
	static const uint8_t gather[] = {0xc4, 0xe2, 0x69, 0x90, 0x04, 0x0f}; /* vpgatherdd */
	static const uint8_t halt[] = {0xf4};
	static const uint8_t far_bit[] = {0x48, 0x0f, 0xab, 0x07}; /* bts [rdi], rax */
	static const uint8_t *const unknown[] = {far_bit, far_jump, segment, wrfsbase, xrstor, interrupt, gather, halt};
	uint64_t stack = (uint64_t)(uintptr_t)frame;
	(void)state;
	assert_int_equal(end_of(divide, (struct user_regs_struct){.rax = 1}), CPU_FAULT);
	assert_int_equal(end_of(overflow, (struct user_regs_struct){.rax = 0x80000000, .rdx = 0xffffffff, .rcx = 0xffffffff}), CPU_FAULT);
	assert_int_equal(end_of(load, (struct user_regs_struct){.rdi = 16}), CPU_MEMORY);
	assert_int_equal(end_of(unaligned, (struct user_regs_struct){.rdi = stack + 1}), CPU_FAULT);
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
		assert_int_equal(end_of(unknown[i], (struct user_regs_struct){.rdi = stack}), CPU_UNKNOWN);
}

static void a_loop_ends_at_the_limit(void **state)
{
	static const uint8_t code[] = {0xeb, 0xfe};
	cpu_branches branches = {0};
	struct user_regs_struct r = {0};
	(void)state;
	assert_int_equal(emulate(code, 1000, &branches, &r), CPU_LIMIT);
	assert_int_equal(branches.count, 1000);
	vec_free(&branches);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_process_is_never_written_to),
	    cmocka_unit_test(branches_are_recorded_when_taken),
	    cmocka_unit_test(what_cannot_be_emulated_ends_the_course_before_it),
	    cmocka_unit_test(a_loop_ends_at_the_limit),
	    cmocka_unit_test(each_instruction_does_what_the_cpu_does),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
