/*
 * The forms of instructions that real libraries are made of, one by one: what the emulator makes of each against what the CPU makes of it in a
 * child, on the same random registers, vectors and memory.
 */
#include "profile/emulate/cpu.h"
#include "profile/emulate/op.h"
#include "profile/emulate/thunk.h"

#include <elf.h>
#include <fcntl.h>
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
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CODE 0x10000000ull
#define ARENA 0x20000000ull
#define ARENA_SIZE 0x4000u
#define FORMS_MAX 4000
#define STATUS_FLAGS 0x8d5u

static const char *const libraries[] = {"/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libm.so.6",
					"/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"};

struct bench {
	pid_t pid;
	int mem;
	struct memory *memory;
	struct cpu *cpu;
	struct thunks *thunks; /* for decoding only */
	uint64_t seed;
	_Alignas(64) uint8_t vectors[16384], before[16384];
	size_t vectors_size;
	uint8_t seen[1 << 16];
	uint32_t tried, unknown, faults;
};

static uint64_t next_random(struct bench *b)
{
	b->seed ^= b->seed << 13;
	b->seed ^= b->seed >> 7;
	b->seed ^= b->seed << 17;
	return b->seed;
}

__attribute__((noreturn)) static void run_child(void)
{
	mmap((void *)CODE, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	uint8_t *arena = mmap((void *)ARENA, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (uint32_t i = 0; i < ARENA_SIZE; i++)
		arena[i] = (uint8_t)(i * 37 + (i >> 8));
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	_exit(1);
}

static void start(struct bench *b)
{
	char path[64];
	int status;
	b->seed = 88172645463325252u;
	b->pid = fork();
	if (!b->pid)
		run_child();
	assert_int_equal(waitpid(b->pid, &status, 0), b->pid);
	snprintf(path, sizeof path, "/proc/%d/mem", (int)b->pid);
	b->mem = open(path, O_RDWR | O_CLOEXEC);
	assert_true(b->mem >= 0);
	assert_int_equal(memory_new(b->pid, 64, &b->memory, NULL), 0);
	assert_int_equal(thunks_new(&b->thunks, NULL), 0);
	struct iovec io = {b->before, sizeof b->before};
	assert_int_equal(ptrace(PTRACE_GETREGSET, b->pid, NT_X86_XSTATE, &io), 0);
	b->vectors_size = io.iov_len;
}

/* One instruction per cpu: it remembers code by its address. */
static enum cpu_end emulate(struct bench *b, const struct user_regs_struct *registers)
{
	cpu_branches branches = {0};
	enum cpu_end end;
	uint64_t executed;
	memory_forget(b->memory);
	assert_int_equal(cpu_new(b->memory, &b->cpu, NULL), 0);
	cpu_load(b->cpu, registers, b->before, b->vectors_size);
	assert_int_equal(cpu_run(b->cpu, 1, &branches, &end, &executed, NULL), 0);
	vec_free(&branches);
	return end;
}

/* Random values, small ones among them; the place lies inside the arena. false: the form cannot be given such registers. */
static bool fill_registers(struct bench *b, const struct op *op, struct user_regs_struct *r)
{
	uint64_t gpr[16];
	for (unsigned i = 0; i < 16; i++)
		gpr[i] = next_random(b) & 1 ? next_random(b) : next_random(b) % 200;
	gpr[4] = ARENA + ARENA_SIZE / 2;
	gpr[5] = ARENA + ARENA_SIZE / 2 + 256;
	if (op->kind == OP_STRING) {
		gpr[1] = next_random(b) % 20;
		gpr[6] = ARENA + 0x1000 + next_random(b) % 512;
		gpr[7] = ARENA + 0x1000 + next_random(b) % 512;
	}
	if (op->has_place) {
		/* Often on the end of a page, and as aligned as vectors may want it the other times. */
		uint64_t place = ARENA + 0x2000 + (next_random(b) & 1 ? -(uint64_t)(next_random(b) % 8) : next_random(b) % 16 * 64);
		if (op->place.segment || op->place.base == OP_NO_REGISTER || op->place.base == op->place.index)
			return false;
		if (op->place.index != OP_NO_REGISTER)
			gpr[op->place.index] = next_random(b) % 16 * 8;
		gpr[op->place.base] = place - op->place.displacement;
		if (op->place.index != OP_NO_REGISTER)
			gpr[op->place.base] -= gpr[op->place.index] * op->place.scale;
	}
	r->rax = gpr[0], r->rcx = gpr[1], r->rdx = gpr[2], r->rbx = gpr[3], r->rsp = gpr[4], r->rbp = gpr[5], r->rsi = gpr[6],
	r->rdi = gpr[7];
	r->r8 = gpr[8], r->r9 = gpr[9], r->r10 = gpr[10], r->r11 = gpr[11], r->r12 = gpr[12], r->r13 = gpr[13], r->r14 = gpr[14],
	r->r15 = gpr[15];
	r->eflags = (r->eflags & ~(uint64_t)(STATUS_FLAGS | 0x400)) | (next_random(b) & STATUS_FLAGS);
	r->rip = CODE;
	r->orig_rax = (unsigned long long)-1;
	return true;
}

/* xmm0 to xmm15 and their upper halves; the header says that they are in use. */
static void fill_vectors(struct bench *b)
{
	for (unsigned i = 160; i < 160 + 256; i++)
		b->before[i] = (uint8_t)next_random(b);
	b->before[512] |= 3;
	if (b->vectors_size >= 576 + 256) {
		for (unsigned i = 576; i < 576 + 256; i++)
			b->before[i] = (uint8_t)next_random(b);
		b->before[512] |= 4;
	}
}

static void print_form(const struct bench *b, const uint8_t *bytes, uint32_t length, const char *what)
{
	print_error("form %u, ", b->tried);
	for (uint32_t i = 0; i < length; i++)
		print_error("%02x ", bytes[i]);
	print_error(": %s\n", what);
}

/* Steps until the instruction is behind it: each repetition of a string instruction is a step. 0, or the signal that it got. */
static int step(struct bench *b, struct user_regs_struct *ret_registers)
{
	int status;
	do {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, b->pid, 0, 0), 0);
		assert_int_equal(waitpid(b->pid, &status, 0), b->pid);
		assert_true(WIFSTOPPED(status));
		assert_int_equal(ptrace(PTRACE_GETREGS, b->pid, 0, ret_registers), 0);
	} while (WSTOPSIG(status) == SIGTRAP && ret_registers->rip == CODE);
	return WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
}

static bool same_memory(struct bench *b)
{
	uint8_t is[ARENA_SIZE], said[ARENA_SIZE];
	assert_int_equal(pread(b->mem, is, sizeof is, (off_t)ARENA), sizeof is);
	for (uint32_t i = 0; i < ARENA_SIZE; i += MEMORY_PAGE)
		assert_true(memory_load(b->memory, (raddr){ARENA + i}, said + i, MEMORY_PAGE));
	return !memcmp(is, said, sizeof is);
}

static bool same_vectors(struct bench *b)
{
	static _Alignas(64) uint8_t said[16384];
	struct iovec io = {b->vectors, sizeof b->vectors};
	assert_int_equal(ptrace(PTRACE_GETREGSET, b->pid, NT_X86_XSTATE, &io), 0);
	cpu_store_vectors(b->cpu, said, sizeof said);
	return !memcmp(said + 32, b->vectors + 32, 384) && (b->vectors_size < 576 + 256 || !memcmp(said + 576, b->vectors + 576, 256));
}

/* Where the CPU got: as was said? NULL, or what is not. */
static const char *compare(struct bench *b, struct user_regs_struct *said, enum cpu_end end)
{
	struct user_regs_struct is;
	int signal = step(b, &is);
	if (end == CPU_FAULT)
		return signal ? NULL : "it does not fault";
	if (signal)
		return "it faults";
	cpu_store(b->cpu, said);
	said->eflags = (said->eflags & ~0x10000ull) | (is.eflags & 0x10000);
	if (memcmp(said, &is, sizeof is))
		return "the registers differ";
	if (!same_vectors(b))
		return "the vectors differ";
	return same_memory(b) ? NULL : "the memory differs";
}

static bool is_tried(const struct op *op)
{
	/* Transfers go to code that is not there; the clock goes on; the flags on the stack show the step. */
	return op->kind == OP_NATIVE || op->kind == OP_DIVIDE || op->kind == OP_LEA || op->kind == OP_STRING || op->kind == OP_LEAVE ||
	       op->kind == OP_PUSH || op->kind == OP_POP || op->kind == OP_DIRECTION;
}

static void try_form(struct bench *b, const struct op *op, const uint8_t *bytes)
{
	struct user_regs_struct registers;
	struct iovec io = {b->before, b->vectors_size};
	assert_int_equal(ptrace(PTRACE_GETREGS, b->pid, 0, &registers), 0);
	if (!fill_registers(b, op, &registers))
		return;
	fill_vectors(b);
	assert_int_equal(pwrite(b->mem, bytes, op->length, (off_t)CODE), op->length);
	assert_int_equal(ptrace(PTRACE_SETREGS, b->pid, 0, &registers), 0);
	assert_int_equal(ptrace(PTRACE_SETREGSET, b->pid, NT_X86_XSTATE, &io), 0);
	enum cpu_end end = emulate(b, &registers);
	const char *wrong = end == CPU_LIMIT || end == CPU_FAULT ? compare(b, &registers, end) : cpu_end_name(end);
	cpu_free(b->cpu);
	if (wrong)
		print_form(b, bytes, op->length, wrong);
	assert_null(wrong);
	b->tried++;
	b->faults += end == CPU_FAULT;
}

/* A form is the bytes without what follows the ModRM byte, roughly: the first four, and the length. */
static bool is_new(struct bench *b, const uint8_t *bytes, uint32_t length)
{
	uint64_t key = length;
	for (uint32_t i = 0; i < length && i < 5; i++)
		key = (key * 257 + bytes[i]) * 0x9e3779b97f4a7c15u;
	uint16_t at = (uint16_t)(key >> 48);
	if (b->seen[at])
		return false;
	b->seen[at] = 1;
	return true;
}

static void try_library(struct bench *b, const char *path)
{
	struct stat stat;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &stat)) {
		print_message("%s is not there\n", path);
		return;
	}
	const uint8_t *file = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	assert_ptr_not_equal(file, MAP_FAILED);
	const Elf64_Phdr *segments = (const void *)(file + ((const Elf64_Ehdr *)file)->e_phoff);
	const Elf64_Phdr *text = segments;
	while (text->p_type != PT_LOAD || !(text->p_flags & PF_X))
		text++;
	uint32_t before = b->tried;
	for (uint64_t at = 0; at + 16 < text->p_filesz && b->tried - before < FORMS_MAX / 4;) {
		struct op op;
		const uint8_t *bytes = file + text->p_offset + at;
		if (!is_new(b, bytes, 5)) { /* decoding makes a thunk: only for what may be tried */
			at++;
			continue;
		}
		op_decode(b->thunks, (raddr){CODE}, bytes, 16, &op);
		b->unknown += op.kind == OP_UNKNOWN;
		if (is_tried(&op))
			try_form(b, &op, bytes);
		at += op.length ? op.length : 1;
	}
	munmap((void *)(uintptr_t)file, (size_t)stat.st_size);
}

static void forms_of_real_code_do_what_the_cpu_does(void **state)
{
	static struct bench b;
	(void)state;
	start(&b);
	for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
		try_library(&b, libraries[i]);
	print_message("%u forms, of which %u fault; %u others are not emulated\n", b.tried, b.faults, b.unknown);
	assert_true(b.tried > 3000);
	thunks_free(b.thunks);
	memory_free(b.memory);
	close(b.mem);
	kill(b.pid, SIGKILL);
	waitpid(b.pid, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(forms_of_real_code_do_what_the_cpu_does)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
