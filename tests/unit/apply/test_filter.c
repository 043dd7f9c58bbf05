/* The answers of small filters, and those of the kernel to the same ones. */
#include "apply/filter.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/audit.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, value)
#define SIZE(code) (uint32_t)(sizeof(code) / sizeof *(code))
#define REFUSE (SECCOMP_RET_ERRNO | EXDEV)

static const struct seccomp_data getppid_call = {.nr = SYS_getppid, .arch = AUDIT_ARCH_X86_64, .args = {7, 0x1122334455667788, 3}};

/* What getppid(7, 0x1122334455667788, 3) answers under this filter: 0 = it was made. */
static int kernel_answer(const struct sock_filter *code, uint32_t size)
{
	int status = -1;
	pid_t child = fork();
	if (!child) {
		const struct sock_fprog program = {(unsigned short)size, (struct sock_filter *)(uintptr_t)code};
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
			_exit(100);
		long result = syscall(SYS_getppid, 7, 0x1122334455667788, 3, 0, 0, 0);
		_exit(result < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* `code` answers ALLOW or REFUSE for this call, the former for all others. */
static void check(const struct sock_filter *code, uint32_t size, uint32_t expected)
{
	assert_int_equal(filter_answer(code, size, &getppid_call), expected);
	assert_int_equal(kernel_answer(code, size), expected == REFUSE ? EXDEV : 0);
}

static void jumps_as_the_kernel_does(void **state)
{
	(void)state;
	const struct sock_filter equal[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1), ANSWER(REFUSE),
					    ANSWER(SECCOMP_RET_ALLOW)};
	check(equal, SIZE(equal), REFUSE);
	const struct sock_filter other[] = {LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1), ANSWER(REFUSE),
					    ANSWER(SECCOMP_RET_ALLOW)};
	check(other, SIZE(other), SECCOMP_RET_ALLOW);
	const struct sock_filter far[] = {LOAD(nr),
					  BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_getppid, 0, 2),
					  BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_getppid, 1, 0),
					  BPF_STMT(BPF_JMP | BPF_JA, 1),
					  ANSWER(SECCOMP_RET_ALLOW),
					  ANSWER(REFUSE)};
	const struct sock_filter all[] = {LOAD(nr),
					  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
					  ANSWER(SECCOMP_RET_ALLOW),
					  far[0],
					  far[1],
					  far[2],
					  far[3],
					  far[4],
					  far[5]};
	check(all, SIZE(all), REFUSE);
}

/* ((args[1] high ^ low) >> 4 | 3) * 5 - 1 in scratch memory, the other operand in X. */
static void calculates_as_the_kernel_does(void **state)
{
	(void)state;
	const uint32_t high = 0x11223344, low = 0x55667788, right = ((high ^ low) >> 4 | 3) * 5 - 1;
	const struct sock_filter code[] = {
	    LOAD(nr),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
	    ANSWER(SECCOMP_RET_ALLOW),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, args[1])),
	    BPF_STMT(BPF_ST, 3),
	    BPF_STMT(BPF_LDX | BPF_W | BPF_MEM, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, args[1]) + 4),
	    BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
	    BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
	    BPF_STMT(BPF_ALU | BPF_OR | BPF_K, 3),
	    BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 5),
	    BPF_STMT(BPF_MISC | BPF_TAX, 0),
	    BPF_STMT(BPF_LD | BPF_W | BPF_IMM, 0),
	    BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 1),
	    BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, right, 0, 1),
	    ANSWER(REFUSE),
	    ANSWER(SECCOMP_RET_ALLOW),
	};
	check(code, SIZE(code), REFUSE);
}

static void division_by_zero_kills(void **state)
{
	(void)state;
	const struct sock_filter code[] = {BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, 0), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),
					   ANSWER(SECCOMP_RET_ALLOW)};
	assert_int_equal(filter_answer(code, SIZE(code), &getppid_call), SECCOMP_RET_KILL_THREAD);
}

static void programs_no_kernel_takes_kill(void **state)
{
	(void)state;
	const struct sock_filter endless[] = {LOAD(nr)}, outside[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), ANSWER(SECCOMP_RET_ALLOW)},
				 memory[] = {BPF_STMT(BPF_ST, BPF_MEMWORDS), ANSWER(SECCOMP_RET_ALLOW)},
				 beyond[] = {BPF_STMT(BPF_JMP | BPF_JA, UINT32_MAX), ANSWER(SECCOMP_RET_ALLOW)};
	assert_int_equal(filter_answer(endless, SIZE(endless), &getppid_call), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(filter_answer(outside, SIZE(outside), &getppid_call), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(filter_answer(memory, SIZE(memory), &getppid_call), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(filter_answer(beyond, SIZE(beyond), &getppid_call), SECCOMP_RET_KILL_PROCESS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(jumps_as_the_kernel_does),
	    cmocka_unit_test(calculates_as_the_kernel_does),
	    cmocka_unit_test(division_by_zero_kills),
	    cmocka_unit_test(programs_no_kernel_takes_kill),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
