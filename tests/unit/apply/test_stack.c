/* Walks real stacks of a stopped child: recursion, a signal handler on an alternate stack, a second thread. */
#include "apply/stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { DEPTH = 40 };

static int ready_pipe[2];
static volatile int sink;

static void announce_and_sleep(void)
{
	if (write(ready_pipe[1], "x", 1) != 1)
		_exit(3);
	for (;;)
		pause();
}

extern const char __start_recurse_code[], __stop_recurse_code[];

/* In a section of its own, so that the linker says where it ends. */
static __attribute__((noinline, section("recurse_code"))) int recurse(int depth, void (*leaf)(void))
{
	volatile char padding[100];
	padding[depth % 100] = (char)depth;
	if (!depth)
		leaf();
	else
		sink = recurse(depth - 1, leaf) + padding[depth % 100];
	return sink + 1;
}

static void on_signal(int signal_number)
{
	(void)signal_number;
	announce_and_sleep();
}

static void raise_on_alternate_stack(void)
{
	static char memory[65536];
	stack_t alternate = {.ss_sp = memory, .ss_size = sizeof memory};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	sigaltstack(&alternate, NULL);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
}

static void *thread_main(void *argument)
{
	(void)argument;
	recurse(DEPTH, announce_and_sleep);
	return NULL;
}

static void start_thread(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, thread_main, NULL);
	for (;;)
		pause();
}

struct seen {
	unsigned frames, recursing, interrupted, slots;
};

static bool see_frame(void *context, const struct stack_frame *frame)
{
	struct seen *seen = context;
	seen->frames++;
	seen->slots += frame->slot.v != 0;
	seen->interrupted += frame->slot.v && !frame->is_return;
	/* The child is a fork: functions stand where they stand here. */
	seen->recursing += frame->pc.v - (uint64_t)(uintptr_t)__start_recurse_code < (uint64_t)(__stop_recurse_code - __start_recurse_code);
	return true;
}

static raddr same_pc(void *context, const struct stack_frame *frame)
{
	(void)context;
	return frame->pc;
}

static struct stack_result walk_thread(pid_t pid, pid_t tid, struct seen *seen)
{
	struct err e = {0};
	struct procmaps maps;
	struct stack_unwinder *unwinder;
	struct user_regs_struct regs;
	assert_int_equal(procmaps_read(pid, &maps, &e), 0);
	assert_int_equal(stack_open(pid, &maps, &unwinder, &e), 0);
	assert_int_equal(ptrace(PTRACE_SEIZE, tid, 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, tid, 0, 0), 0);
	assert_int_equal(waitpid(tid, NULL, __WALL), tid);
	assert_int_equal(ptrace(PTRACE_GETREGS, tid, 0, &regs), 0);
	struct stack_visitor visitor = {seen, see_frame, same_pc};
	struct stack_result result = stack_walk(unwinder, &regs, &visitor);
	assert_int_equal(ptrace(PTRACE_DETACH, tid, 0, 0), 0);
	stack_close(unwinder);
	procmaps_free(&maps);
	return result;
}

/* The thread of `pid` that is not its leader. */
static pid_t second_thread(pid_t pid)
{
	char path[64];
	pid_t tid = 0;
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *directory = opendir(path);
	assert_non_null(directory);
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != pid)
			tid = atoi(entry->d_name);
	}
	closedir(directory);
	return tid;
}

static pid_t start_child(void (*body)(void))
{
	assert_int_equal(pipe(ready_pipe), 0);
	pid_t child = fork();
	if (!child) {
		body();
		_exit(0);
	}
	char byte;
	assert_int_equal(read(ready_pipe[0], &byte, 1), 1);
	usleep(20000); /* let it go to sleep */
	return child;
}

static void end_child(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ready_pipe[0]);
	close(ready_pipe[1]);
}

static void recurse_plainly(void)
{
	recurse(DEPTH, announce_and_sleep);
}

static void recurse_into_signal(void)
{
	recurse(DEPTH, raise_on_alternate_stack);
}

static void recurse_in_context(void)
{
	recurse(DEPTH, announce_and_sleep);
}

static void start_context(void)
{
	static char memory[65536];
	static ucontext_t context, outside;
	getcontext(&context);
	context.uc_stack.ss_sp = memory;
	context.uc_stack.ss_size = sizeof memory;
	context.uc_link = &outside;
	makecontext(&context, recurse_in_context, 0);
	swapcontext(&outside, &context);
}

static void recursion_reachesBottomAndSeesEveryFrame(void **state)
{
	(void)state;
	struct seen seen = {0};
	pid_t child = start_child(recurse_plainly);
	struct stack_result result = walk_thread(child, child, &seen);
	assert_int_equal(result.end, STACK_BOTTOM);
	assert_int_equal(seen.recursing, DEPTH + 1);
	assert_int_equal(seen.slots, seen.frames - 1);
	assert_int_equal(seen.interrupted, 0);
	end_child(child);
}

static void signalOnAlternateStack_isWalkedThrough(void **state)
{
	(void)state;
	struct seen seen = {0};
	pid_t child = start_child(recurse_into_signal);
	struct stack_result result = walk_thread(child, child, &seen);
	assert_int_equal(result.end, STACK_BOTTOM);
	assert_int_equal(seen.recursing, DEPTH + 1);
	assert_int_equal(seen.interrupted, 1);
	end_child(child);
}

static void secondThread_reachesBottom(void **state)
{
	(void)state;
	struct seen seen = {0};
	pid_t child = start_child(start_thread);
	struct stack_result result = walk_thread(child, second_thread(child), &seen);
	assert_int_equal(result.end, STACK_BOTTOM);
	assert_int_equal(seen.recursing, DEPTH + 1);
	end_child(child);
}

/* glibc has no unwind information for the place where a context ends. */
static void contextOfMakecontext_reachesBottom(void **state)
{
	(void)state;
	struct seen seen = {0};
	pid_t child = start_child(start_context);
	struct stack_result result = walk_thread(child, child, &seen);
	assert_int_equal(result.end, STACK_BOTTOM);
	assert_int_equal(seen.recursing, DEPTH + 1);
	end_child(child);
}

static bool stop_at_third(void *context, const struct stack_frame *frame)
{
	(void)frame;
	return ++*(unsigned *)context < 3;
}

static void visitorStops_walkEnds(void **state)
{
	(void)state;
	unsigned count = 0;
	struct err e = {0};
	struct procmaps maps;
	struct stack_unwinder *unwinder;
	struct user_regs_struct regs;
	pid_t child = start_child(recurse_plainly);
	assert_int_equal(procmaps_read(child, &maps, &e), 0);
	assert_int_equal(stack_open(child, &maps, &unwinder, &e), 0);
	assert_int_equal(ptrace(PTRACE_SEIZE, child, 0, 0), 0);
	assert_int_equal(ptrace(PTRACE_INTERRUPT, child, 0, 0), 0);
	assert_int_equal(waitpid(child, NULL, __WALL), child);
	assert_int_equal(ptrace(PTRACE_GETREGS, child, 0, &regs), 0);
	struct stack_visitor visitor = {&count, stop_at_third, same_pc};
	assert_int_equal(stack_walk(unwinder, &regs, &visitor).end, STACK_STOPPED);
	assert_int_equal(count, 3);
	regs.rip = 0x1000; /* nowhere: no row */
	visitor.frame = see_frame;
	struct seen seen = {0};
	visitor.context = &seen;
	assert_int_equal(stack_walk(unwinder, &regs, &visitor).end, STACK_NO_CFI);
	stack_close(unwinder);
	procmaps_free(&maps);
	end_child(child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(recursion_reachesBottomAndSeesEveryFrame),
	    cmocka_unit_test(signalOnAlternateStack_isWalkedThrough),
	    cmocka_unit_test(secondThread_reachesBottom),
	    cmocka_unit_test(contextOfMakecontext_reachesBottom),
	    cmocka_unit_test(visitorStops_walkEnds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
