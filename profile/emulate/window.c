#include "profile/emulate/window.h"

#include "formats/base/restart.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

enum { STOP_LIMIT_MS = 200, VECTORS_MAX = 16384, LOOK_AGAIN_NS = 20000, CODE_64_BIT = 0x33, RUN_PIECE = 8192 };

struct holder {
	struct cpu *cpu;
	struct memory *memory;
	const struct window_limits *limits;
	struct window *window;
	pid_t pid, tid;
	bool attached, stopped;
	int signal; /* whose delivery the stop interrupted; handed back */
	struct user_regs_struct registers;
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool is_call_stop(int status)
{
	return WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80);
}

static bool is_interrupt_stop(int status)
{
	return WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGTRAP;
}

/* Waits for a stop, at first by looking often: most come within microseconds. false: none came in time, or the thread ended. */
static bool wait_stop(struct holder *h, uint64_t limit_ns, int *ret_status)
{
	uint64_t end = now_ns() + limit_ns;
	for (;;) {
		pid_t got = waitpid(h->tid, ret_status, __WALL | WNOHANG);
		if (got == h->tid && WIFSTOPPED(*ret_status)) {
			h->stopped = true;
			h->signal = *ret_status >> 16 || is_call_stop(*ret_status) ? 0 : WSTOPSIG(*ret_status);
			return true;
		}
		if (got) {
			h->attached = false;
			return false;
		}
		if (now_ns() > end)
			return false;
		nanosleep(&(struct timespec){0, LOOK_AGAIN_NS}, NULL);
	}
}

static bool read_registers(struct holder *h)
{
	return !ptrace(PTRACE_GETREGS, h->tid, 0, &h->registers);
}

/* The stop is hidden from a call that it interrupted. */
static void hide_stop(struct holder *h)
{
	if (!h->signal && read_registers(h) && restart_call(h->tid, &h->registers))
		ptrace(PTRACE_SETREGS, h->tid, 0, &h->registers);
}

/* Any stop uses up the one that was asked for, so at the border of a system call, where nothing can be hidden, it is asked for again. */
static bool wait_interrupt(struct holder *h, uint64_t limit_ns)
{
	int status;
	if (!wait_stop(h, limit_ns, &status))
		return false;
	for (int border = 0; border < 2 && is_call_stop(status); border++) {
		h->stopped = false;
		if (ptrace(PTRACE_INTERRUPT, h->tid, 0, 0) || ptrace(PTRACE_CONT, h->tid, 0, 0) || !wait_stop(h, limit_ns, &status))
			return false;
	}
	if (is_interrupt_stop(status))
		hide_stop(h);
	return true;
}

static void let_go(struct holder *h)
{
	ptrace(PTRACE_DETACH, h->tid, 0, (void *)(uintptr_t)h->signal);
	h->attached = h->stopped = false;
}

static void detach(struct holder *h)
{
	bool in_call = h->attached && !h->stopped && restart_cut_call(h->pid, h->tid);
	if (h->attached && !h->stopped && !in_call && !ptrace(PTRACE_INTERRUPT, h->tid, 0, 0))
		wait_interrupt(h, STOP_LIMIT_MS * 1000000ull);
	if (h->attached && h->stopped)
		let_go(h);
	h->window->left = (struct window_left){h->attached ? h->tid : 0, in_call};
	if (h->attached)
		h->window->lack = in_call ? WINDOW_IDLE : WINDOW_STUCK;
}

bool window_release(const struct window_left *left)
{
	int status;
	struct holder h = {.tid = left->tid, .attached = true};
	if (left->in_call ? !wait_stop(&h, 0, &status) : !wait_interrupt(&h, 0))
		return !h.attached;
	let_go(&h);
	return true;
}

/* 0 and h->attached: it stands still and no signal waits for it. */
static int attach(struct holder *h, struct err *e)
{
	int status;
	if (restart_cut_call(h->pid, h->tid))
		return 0;
	if (ptrace(PTRACE_SEIZE, h->tid, 0, (void *)PTRACE_O_TRACESYSGOOD)) {
		/* Who may read the memory may trace: EPERM means that somebody does already, or that the thread is ending. */
		h->window->lack = errno == EPERM ? WINDOW_TRACED : WINDOW_IDLE;
		return errno == ESRCH || errno == EPERM ? 0 : err_set_errno(e, errno, "thread %d", (int)h->tid);
	}
	h->attached = true;
	if (ptrace(PTRACE_INTERRUPT, h->tid, 0, 0) || !wait_stop(h, STOP_LIMIT_MS * 1000000ull, &status) || !is_interrupt_stop(status)) {
		detach(h);
		return 0;
	}
	hide_stop(h);
	return 0;
}

static bool load(struct holder *h)
{
	_Alignas(64) static uint8_t vectors[VECTORS_MAX];
	struct iovec io = {vectors, sizeof vectors};
	if (!read_registers(h) || ptrace(PTRACE_GETREGSET, h->tid, NT_X86_XSTATE, &io))
		return false;
	if (h->registers.cs != CODE_64_BIT) {
		h->window->lack = WINDOW_FOREIGN;
		return false;
	}
	memory_forget(h->memory);
	cpu_load(h->cpu, &h->registers, vectors, io.iov_len);
	return true;
}

/* Lets it run to its next stop at the border of a system call. */
static bool run_to_call(struct holder *h)
{
	int status;
	h->stopped = false;
	return !ptrace(PTRACE_SYSCALL, h->tid, 0, 0) && wait_stop(h, h->limits->blocked_ns, &status) && is_call_stop(status) &&
	       read_registers(h);
}

/* Is it where it was said that it would be? The kernel has put other values into rax, rcx and r11 by then. */
static bool is_confirmed(const struct holder *h)
{
	struct user_regs_struct said = h->registers;
	const struct user_regs_struct *is = &h->registers;
	cpu_store(h->cpu, &said);
	return said.rip + 2 == is->rip && said.rax == is->orig_rax && said.rsp == is->rsp && said.rbp == is->rbp && said.rbx == is->rbx &&
	       said.rdi == is->rdi && said.rsi == is->rsi && said.rdx == is->rdx && said.r10 == is->r10 && said.r8 == is->r8 &&
	       said.r9 == is->r9 && said.r12 == is->r12 && said.r13 == is->r13 && said.r14 == is->r14 && said.r15 == is->r15;
}

/* Emulates on to the next system call or the end of the window. */
static int run_on(struct holder *h, uint64_t begin_ns, struct err *e)
{
	struct window *w = h->window;
	uint64_t skip = h->limits->skip, whole = skip + h->limits->instructions;
	int status = 0;
	w->reason = CPU_LIMIT;
	while (!status && w->reason == CPU_LIMIT && w->instructions < whole && now_ns() - begin_ns < h->limits->held_ns) {
		uint64_t executed, piece = (w->instructions < skip ? skip : whole) - w->instructions;
		status = cpu_run(h->cpu, piece < RUN_PIECE ? piece : RUN_PIECE, &w->branches, &w->reason, &executed, e);
		w->instructions += executed;
		if (w->instructions == skip)
			w->first = w->branches.count;
	}
	return status;
}

/* One forecast, up to a system call; *ret_goes_on: the window goes on behind it. */
static int forecast(struct holder *h, bool *ret_goes_on, struct err *e)
{
	struct window *w = h->window;
	struct window before = *w;
	struct user_regs_struct end;
	uint64_t begin = now_ns();
	*ret_goes_on = false;
	if (!load(h))
		return 0;
	int status = run_on(h, begin, e);
	uint64_t held = now_ns() - begin;
	w->held_ns += held;
	w->held_max_ns = held > w->held_max_ns ? held : w->held_max_ns;
	if (status)
		return status;
	cpu_store(h->cpu, &end);
	if (w->reason == CPU_SYSCALL && run_to_call(h)) {
		if (!is_confirmed(h)) {
			w->wrong = 1;
			w->branches.count = before.branches.count;
			w->first = before.first;
			w->instructions = before.instructions;
			return 0;
		}
		*ret_goes_on = true;
	}
	w->end.v = end.rip;
	return 0;
}

static int record(struct holder *h, struct err *e)
{
	bool goes_on = true;
	int status = 0;
	if (!read_registers(h))
		return 0;
	/* Inside a call that the kernel makes again: its entry a second time, then its end. */
	if (restart_by_kernel(&h->registers) && (!run_to_call(h) || !run_to_call(h)))
		return 0;
	while (!status && goes_on && h->window->instructions < h->limits->skip + h->limits->instructions) {
		status = forecast(h, &goes_on, e);
		if (status || !goes_on)
			break;
		h->window->calls++;
		goes_on = run_to_call(h);
	}
	return status;
}

int window_record(struct cpu *cpu, struct memory *memory, pid_t pid, pid_t tid, const struct window_limits *limits, struct window *window,
		  struct err *e)
{
	struct holder h = {.cpu = cpu, .memory = memory, .limits = limits, .window = window, .pid = pid, .tid = tid};
	window->branches.count = window->first = 0;
	window->instructions = window->held_ns = window->held_max_ns = 0;
	window->calls = window->wrong = 0;
	window->lack = WINDOW_IDLE;
	window->end = (raddr){0};
	window->reason = CPU_LIMIT;
	int status = attach(&h, e);
	if (!status && h.attached)
		status = record(&h, e);
	detach(&h);
	if (window->instructions > limits->skip)
		window->instructions -= limits->skip;
	else
		window->first = 0; /* it did not get that far: better all of it than nothing */
	return status;
}

void window_free(struct window *window)
{
	vec_free(&window->branches);
}
