/* Runs the self-healing stubs in a child of our own, without a tracer. */
#include "apply/finish.h"
#include "apply/inject.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <unistd.h>

#define VALUE(n) (0x1111111111111111ull * (n))

/*
 * Enters `stub` with the registers of a call and stores what it leaves behind: the stub jumps to the address in registers.rip, which is
 * test_inject_home here, which may exist only once. Registers that the stub restores get values of their own before, so a forgotten one shows.
 */
__attribute__((noinline)) static void run_stub(const uint8_t *stub, const uint64_t call[4], uint64_t after[9])
{
	register uint64_t r10 __asm__("r10") = 0;
	__asm__ volatile("mov %[call], %%r12\n\t"
			 "mov %[after], %%r13\n\t"
			 "mov 0(%%r12), %%rax\n\t"
			 "mov 8(%%r12), %%rdi\n\t"
			 "mov 16(%%r12), %%rsi\n\t"
			 "mov 24(%%r12), %%rdx\n\t"
			 "xor %%r10d, %%r10d\n\t"
			 "xor %%r8d, %%r8d\n\t"
			 "xor %%r9d, %%r9d\n\t"
			 "jmp *%[stub]\n\t"
			 ".globl test_inject_home\n"
			 "test_inject_home:\n\t"
			 "mov %%rax, 0(%%r13)\n\t"
			 "mov %%rcx, 8(%%r13)\n\t"
			 "mov %%r11, 16(%%r13)\n\t"
			 "mov %%rdi, 24(%%r13)\n\t"
			 "mov %%rsi, 32(%%r13)\n\t"
			 "mov %%rdx, 40(%%r13)\n\t"
			 "mov %%r10, 48(%%r13)\n\t"
			 "mov %%r8, 56(%%r13)\n\t"
			 "mov %%r9, 64(%%r13)\n\t"
			 : "+r"(r10)
			 : [call] "r"(call), [after] "r"(after), [stub] "r"(stub)
			 : "rax", "rcx", "r11", "rdi", "rsi", "rdx", "r8", "r9", "r12", "r13", "memory", "cc");
}

extern const char test_inject_home[];

static const struct user_regs_struct registers = {
    .rax = VALUE(1),
    .rcx = VALUE(2),
    .r11 = VALUE(3),
    .rdi = VALUE(4),
    .rsi = VALUE(5),
    .rdx = VALUE(6),
    .r10 = VALUE(7),
    .r8 = VALUE(8),
    .r9 = VALUE(9),
    .rip = (uintptr_t)test_inject_home,
    .orig_rax = (unsigned long long)-1,
};

static uint8_t *stub_page(const struct inject_revert *revert)
{
	uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(page, MAP_FAILED);
	inject_stub_encode(&registers, revert, page);
	assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
	return page;
}

static void assert_restored(const uint64_t after[9])
{
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(after[i], VALUE(i + 1));
}

static bool is_mapped(void *page)
{
	return msync(page, 4096, MS_ASYNC) == 0;
}

static void stub_restores_every_register_and_returns(void **state)
{
	(void)state;
	uint64_t after[9] = {0};
	uint8_t *stub = stub_page(NULL);
	run_stub(stub, (const uint64_t[4]){SYS_getpid}, after);
	assert_restored(after);
	munmap(stub, 4096);
}

static void call_that_did_its_work_is_taken_back(void **state)
{
	(void)state;
	uint64_t after[9] = {0};
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct inject_revert revert = {.number = SYS_munmap, .arguments = {(uintptr_t)page, 4096}};
	uint8_t *stub = stub_page(&revert);
	run_stub(stub, (const uint64_t[4]){SYS_madvise, (uintptr_t)page, 4096, MADV_DONTNEED}, after); /* returns 0, as expected */
	assert_restored(after);
	assert_false(is_mapped(page));
	munmap(stub, 4096);
}

static void call_that_failed_is_not_taken_back(void **state)
{
	(void)state;
	uint64_t after[9] = {0};
	void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct inject_revert revert = {.number = SYS_munmap, .arguments = {(uintptr_t)page, 4096}};
	uint8_t *stub = stub_page(&revert);
	run_stub(stub, (const uint64_t[4]){SYS_madvise, (uintptr_t)page + 1, 4096, MADV_DONTNEED}, after); /* EINVAL */
	assert_restored(after);
	assert_true(is_mapped(page));
	munmap(stub, 4096);
	munmap(page, 4096);
}

/* Sent behind the call, with what an earlier one returned, as a thread that never came to make this one. */
static void earlier_call_is_taken_back(void **state)
{
	(void)state;
	for (int right = 0; right < 2; right++) {
		uint64_t after[9] = {0};
		void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		const struct inject_revert revert = {
		    .number = SYS_munmap, .arguments = {(uintptr_t)page, 4096}, .takes_over = true, .earlier = (int64_t)(uintptr_t)page};
		uint8_t *stub = stub_page(&revert);
		run_stub(stub + 2, (const uint64_t[4]){(uintptr_t)page + (right ? 0 : 4096)}, after);
		assert_restored(after);
		assert_int_equal(is_mapped(page), !right);
		munmap(stub, 4096);
		if (!right)
			munmap(page, 4096);
	}
}

/* What the rest of a cut call returns is added to what it had done before; an error is nothing. */
static void rest_of_a_call_is_added_up(void **state)
{
	(void)state;
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	const struct {
		uint64_t fd, size, expected;
	} cases[] = {{(uint64_t)ends[1], 1000, 66536}, {(uint64_t)ends[1], 0, 65536}, {UINT64_MAX, 1000, 65536 /* EBADF */}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		static const uint8_t bytes[1000];
		uint64_t after[9] = {0};
		uint8_t code[INJECT_STUB_SIZE];
		uint8_t *stub = stub_page(NULL);
		assert_int_equal(mprotect(stub, 4096, PROT_READ | PROT_WRITE), 0);
		finish_stub_encode(&registers, 65536, code);
		memcpy(stub, code, sizeof code);
		assert_int_equal(mprotect(stub, 4096, PROT_READ | PROT_EXEC), 0);
		run_stub(stub, (const uint64_t[4]){SYS_write, cases[i].fd, (uintptr_t)bytes, cases[i].size}, after);
		assert_int_equal(after[0], cases[i].expected);
		after[0] = VALUE(1);
		assert_restored(after);
		munmap(stub, 4096);
	}
	close(ends[0]);
	close(ends[1]);
}

static void interrupted_call_is_made_again(void **state)
{
	(void)state;
	uint8_t code[INJECT_STUB_SIZE];
	struct user_regs_struct r = {.rax = (uint64_t)-512, .orig_rax = SYS_read, .rip = 0x1002};
	uint64_t value;
	inject_stub_encode(&r, NULL, code);
	memcpy(&value, code + INJECT_CODE_SIZE - 8, 8);
	assert_int_equal(value, 0x1000);
	memcpy(&value, code + INJECT_CODE_SIZE - 14 - 90 + 2, 8);
	assert_int_equal(value, SYS_read);
	r.rax = (uint64_t)-516; /* ERESTART_RESTARTBLOCK */
	inject_stub_encode(&r, NULL, code);
	memcpy(&value, code + INJECT_CODE_SIZE - 14 - 90 + 2, 8);
	assert_int_equal(value, SYS_restart_syscall);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(stub_restores_every_register_and_returns),
	    cmocka_unit_test(call_that_did_its_work_is_taken_back),
	    cmocka_unit_test(call_that_failed_is_not_taken_back),
	    cmocka_unit_test(earlier_call_is_taken_back),
	    cmocka_unit_test(rest_of_a_call_is_added_up),
	    cmocka_unit_test(interrupted_call_is_made_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
