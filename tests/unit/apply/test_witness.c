/* Each kind of difference that the witness is to tell is made in a stopped child of our own. */
#include "apply/witness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define XMM0 160 /* in the legacy area of XSAVE; the header follows at 512 */
#define XSTATE_BV 512

static struct tracee child;
static volatile int *command; /* shared with the child: 1 = take a signal, then 2 */

static void live(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (*command = 3;;)
		if (*command == 1) {
			sigwaitinfo(&all, NULL);
			*command = 2;
		} else
			usleep(1000);
}

static void stop_child(void)
{
	int status;
	assert_int_equal(ptrace(PTRACE_INTERRUPT, child.tid, NULL, NULL), 0);
	assert_int_equal(waitpid(child.tid, &status, __WALL), child.tid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(ptrace(PTRACE_GETREGS, child.tid, NULL, &child.registers), 0);
	child.state = TRACEE_STOPPED;
}

static int begin(void **state)
{
	(void)state;
	command = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*command = 0;
	child = (struct tracee){.tid = fork()};
	if (!child.tid)
		live();
	while (*command != 3)
		usleep(100);
	assert_int_equal(ptrace(PTRACE_SEIZE, child.tid, NULL, NULL), 0);
	stop_child();
	return 0;
}

static int end(void **state)
{
	(void)state;
	kill(child.tid, SIGKILL);
	waitpid(child.tid, NULL, __WALL);
	return munmap((void *)command, 4096);
}

static void take(void)
{
	witness_take(&child, &child.registers);
	witness_all_stand(&child, 1);
}

/* What is told; *ret_count: how many differences. */
static const char *compared(bool all_stand, unsigned *ret_count)
{
	static char said[4096];
	int file = memfd_create("said", 0), usual = dup(2);
	unsigned before = witness_differences();
	dup2(file, 2);
	if (all_stand)
		witness_compare_all(&child, 1);
	else
		witness_compare(&child);
	dup2(usual, 2);
	memset(said, 0, sizeof said);
	assert_true(pread(file, said, sizeof said - 1, 0) >= 0);
	close(file);
	close(usual);
	*ret_count = witness_differences() - before;
	return said;
}

/* Exactly one difference, whose text contains `text`; NULL: none. */
static void tells(const char *text, bool all_stand)
{
	unsigned count;
	const char *said = compared(all_stand, &count);
	if (count != (text ? 1 : 0) || !strstr(said, text ? text : ""))
		fail_msg("%u differences, '%s', instead of '%s'", count, said, text ? text : "none");
}

static void poke(uint64_t address)
{
	uint8_t byte;
	struct iovec local = {&byte, 1}, remote = {(void *)(uintptr_t)address, 1};
	assert_int_equal(process_vm_readv(child.tid, &local, 1, &remote, 1, 0), 1);
	byte ^= 0x40;
	assert_int_equal(process_vm_writev(child.tid, &local, 1, &remote, 1, 0), 1);
}

static void equal_is_equal(void **state)
{
	(void)state;
	take();
	tells(NULL, true);
	take();
	tells(NULL, false);
	poke(child.registers.rsp - 1);
	tells(NULL, true); /* is compared once */
}

static void registers_told(void **state)
{
	(void)state;
	const struct user_regs_struct own = child.registers;
	struct user_regs_struct r = own;
	take();
	r.rbx ^= 4;
	ptrace(PTRACE_SETREGS, child.tid, NULL, &r);
	tells("rbx was", true);
	r = own;
	take();
	r.rip += 2;
	ptrace(PTRACE_SETREGS, child.tid, NULL, &r);
	tells("rip was", true);
	/* where it is meant to be */
	ptrace(PTRACE_SETREGS, child.tid, NULL, &own);
	take();
	child.registers = r;
	ptrace(PTRACE_SETREGS, child.tid, NULL, &r);
	tells(NULL, true);
}

static void result_of_call_told(void **state)
{
	(void)state;
	struct user_regs_struct found = child.registers, r = found;
	found.rax = (unsigned long long)-EINTR;
	r.rax = (unsigned long long)-514;
	child.registers = r;
	ptrace(PTRACE_SETREGS, child.tid, NULL, &r);
	witness_take(&child, &found);
	tells(NULL, true); /* made again */
	found.rax = (unsigned long long)-EAGAIN;
	witness_take(&child, &found);
	tells("rax was", true);
	found.rax = 10;
	r.rax = 20;
	ptrace(PTRACE_SETREGS, child.tid, NULL, &r);
	witness_take(&child, &found);
	tells("rax was", false); /* by accident */
	child.registers = r;
	witness_take(&child, &found);
	tells(NULL, false); /* finished */
	found.rax = 30;
	witness_take(&child, &found);
	tells("rax was", false);
}

static void vector_state_told(void **state)
{
	uint8_t bytes[16384];
	struct iovec xstate = {bytes, sizeof bytes};
	(void)state;
	take();
	assert_int_equal(ptrace(PTRACE_GETREGSET, child.tid, (void *)(uintptr_t)NT_X86_XSTATE, &xstate), 0);
	bytes[XMM0] ^= 1;
	bytes[XSTATE_BV] |= 2;
	assert_int_equal(ptrace(PTRACE_SETREGSET, child.tid, (void *)(uintptr_t)NT_X86_XSTATE, &xstate), 0);
	tells("x87 and vector state", false);
}

static void debug_registers_told(void **state)
{
	(void)state;
	take();
	assert_int_equal(ptrace(PTRACE_POKEUSER, child.tid, (void *)offsetof(struct user, u_debugreg), (void *)child.registers.rip), 0);
	tells("debug registers", false);
}

static void mask_told(void **state)
{
	uint64_t mask = 0;
	(void)state;
	take();
	assert_int_equal(ptrace(PTRACE_SETSIGMASK, child.tid, (void *)sizeof mask, &mask), 0);
	tells("signal mask", false);
}

static void scheduling_told(void **state)
{
	(void)state;
	take();
	assert_int_equal(setpriority(PRIO_PROCESS, (id_t)child.tid, getpriority(PRIO_PROCESS, 0) + 3), 0);
	tells("scheduling", false);
}

static void memory_told(void **state)
{
	(void)state;
	take();
	poke(child.registers.rsp - 128);
	tells("red zone", false);
	take();
	poke(child.registers.rsp + 8);
	tells("stack", true);
	take();
	poke(child.registers.rsp + 8);
	tells(NULL, false); /* by others */
	take();
	poke((uint64_t)(uintptr_t)&errno);
	tells("thread-local storage", true);
}

static void expected_word_accepted(void **state)
{
	(void)state;
	uint64_t at = (child.registers.rsp + 23) & ~7ull, value = 0x1234;
	struct iovec local = {&value, sizeof value}, remote = {(void *)(uintptr_t)at, sizeof value};
	take();
	witness_expect((raddr){at}, value);
	assert_int_equal(process_vm_writev(child.tid, &local, 1, &remote, 1, 0), sizeof value);
	tells(NULL, true);
	/* That is forgotten; and what is expected must come. */
	value++;
	take();
	assert_int_equal(process_vm_writev(child.tid, &local, 1, &remote, 1, 0), sizeof value);
	tells("stack", true);
	take();
	witness_expect((raddr){at}, 7);
	tells("stack", true);
}

static void queue(int value)
{
	assert_int_equal(sigqueue(child.tid, SIGRTMIN, (union sigval){.sival_int = value}), 0);
}

/* The child runs and takes the first one. */
static void take_signal(void)
{
	*command = 1;
	ptrace(PTRACE_CONT, child.tid, NULL, NULL);
	while (*command != 2)
		usleep(100);
	stop_child();
}

/* Among other things: it has run. */
static void tells_also(const char *text)
{
	unsigned count;
	const char *said = compared(true, &count);
	if (!count || !strstr(said, text))
		fail_msg("%u differences, '%s', without '%s'", count, said, text);
}

static void signals_told(void **state)
{
	(void)state;
	queue(1);
	take();
	queue(2);
	tells(NULL, true); /* it came meanwhile */
	take();
	take_signal();
	queue(3);
	tells_also("signal 0 of those that wait for the process is another one");
	take();
	take_signal();
	tells_also("2 signals waited for the process, now 1");
}

int main(void)
{
	setenv("REPAVE_WITNESS", "1", 1);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(equal_is_equal, begin, end),
	    cmocka_unit_test_setup_teardown(registers_told, begin, end),
	    cmocka_unit_test_setup_teardown(result_of_call_told, begin, end),
	    cmocka_unit_test_setup_teardown(vector_state_told, begin, end),
	    cmocka_unit_test_setup_teardown(debug_registers_told, begin, end),
	    cmocka_unit_test_setup_teardown(mask_told, begin, end),
	    cmocka_unit_test_setup_teardown(scheduling_told, begin, end),
	    cmocka_unit_test_setup_teardown(memory_told, begin, end),
	    cmocka_unit_test_setup_teardown(expected_word_accepted, begin, end),
	    cmocka_unit_test_setup_teardown(signals_told, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
