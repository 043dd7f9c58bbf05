#include "apply/exec_follow.h"

#include "apply/exec_entry.h"
#include "apply/exec_filter.h"
#include "apply/exec_helper.h"
#include "apply/exec_privilege.h"
#include "apply/tracee.h"
#include "formats/base/vec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ENTRY_LIMIT 30000000000ull
#define WAKE_SECONDS 1
#define EXEC_ONLY PTRACE_O_TRACEEXEC
#define ALL_CHILDREN (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE)

/* A program that was executed and has not been let go. */
struct starting {
	struct target target;
	struct tracee tracee;
	struct exec_entry entry;
	uint64_t since; /* monotonic nanoseconds of its execve */
	bool late;	/* told to stop, since it does not reach its entry point */
};

struct exec_follow {
	struct exec_follow_options options;
	pid_t first;
	VEC(struct starting) starting; /* on their way through their loaders */
};

static uintptr_t trace_options(const struct exec_follow *f)
{
	return EXEC_ONLY | (f->options.children ? ALL_CHILDREN : 0);
}

int exec_follow_attach(pid_t pid, const struct exec_follow_options *options, struct exec_follow **ret_follow, struct err *e)
{
	struct exec_follow *f = calloc(1, sizeof *f);
	if (!f)
		return err_set(e, ERR_MEMORY, "no memory");
	f->options = *options;
	f->first = pid;
	if (tracee_request(PTRACE_SEIZE, pid, 0, trace_options(f))) {
		int status = err_set_errno(e, errno, "process %d may not be traced", pid);
		free(f);
		return status;
	}
	*ret_follow = f;
	return 0;
}

static void tell(const struct exec_follow *f, const struct starting *s, enum exec_outcome outcome, const struct err *why,
		 const struct apply_report *report)
{
	const struct exec_event event = {s->tracee.tid, outcome, why, report, s->since ? monotonic_now() - s->since : 0};
	f->options.tell(f->options.context, &event);
}

/* Lets the process go, or lets it run on attached. A dead one needs neither. */
static void let_go(const struct exec_follow *f, struct starting *s, bool keep)
{
	struct err ignored;
	pid_t tid = s->tracee.tid;
	int signal = s->tracee.signal;
	if (keep && !tracee_request(PTRACE_SETOPTIONS, tid, 0, trace_options(f))) {
		tracee_request(PTRACE_CONT, tid, 0, (uintptr_t)signal);
	} else {
		if (tid == f->first && exec_helper_is_child(tid) && exec_entry_reap(&s->target, &s->tracee, getpid(), &ignored))
			signal = s->tracee.signal; /* it will have a zombie */
		tracee_request(PTRACE_DETACH, tid, 0, (uintptr_t)signal);
	}
	target_close(&s->target);
}

/* No plan for this one, for the reason given. */
static void leave(const struct exec_follow *f, struct starting *s, const struct err *why)
{
	struct err failed;
	bool refuse = f->options.strict && s->tracee.tid == f->first;
	tell(f, s, refuse ? EXEC_REFUSED : EXEC_UNCHANGED, why, NULL);
	if (refuse && exec_entry_exit(&s->target, &s->tracee, err_exit_status(why->code), &failed))
		kill(s->tracee.tid, SIGKILL); /* its memory may not be written */
	let_go(f, s, !refuse && f->options.always);
}

/* No plan is meant for this one, but perhaps for what it starts. */
static void pass_over(const struct exec_follow *f, struct starting *s, const struct err *why)
{
	if (!f->options.children || (f->options.strict && s->tracee.tid == f->first)) {
		leave(f, s, why);
		return;
	}
	tell(f, s, EXEC_FOLLOWED, why, NULL);
	let_go(f, s, true);
}

/* At the entry point. */
static void apply_here(const struct exec_follow *f, struct starting *s)
{
	struct apply_report report;
	struct plan plan;
	struct err e = {0};
	int status = target_refresh(&s->target, &e);
	if (!status)
		status = exec_plans_choose(f->options.plans, &s->target, &plan, &e);
	if (status == -ERR_MISMATCH) {
		e.code = ERR_REFUSED; /* to apply it would be */
		pass_over(f, s, &e);
		return;
	}
	if (!status) {
		status = apply_plan(&s->target, &plan, &f->options.apply, &report, &e);
		free(plan.modules);
	}
	if (status) {
		leave(f, s, &e);
		return;
	}
	tell(f, s, EXEC_APPLIED, NULL, &report);
	apply_report_free(&report);
	let_go(f, s, f->options.always);
}

static void arrive(const struct exec_follow *f, struct starting *s)
{
	struct err e = {0};
	if (exec_entry_arrive(&s->target, &s->tracee, &s->entry, &e))
		leave(f, s, &e);
	else
		apply_here(f, s);
}

static int read_registers(struct tracee *tracee, pid_t tid)
{
	*tracee = (struct tracee){.tid = tid, .state = TRACEE_STOPPED, .held = true};
	return (int)tracee_request(PTRACE_GETREGS, tid, 0, (uintptr_t)&tracee->registers);
}

static void run_to_entry(struct exec_follow *f, const struct starting *s)
{
	tracee_request(PTRACE_SETOPTIONS, s->tracee.tid, 0, EXEC_ONLY);
	tracee_request(PTRACE_CONT, s->tracee.tid, 0, 0);
	f->starting.data[f->starting.count++] = *s;
}

/* A plan is for this program, or perhaps for its libraries. */
static void begin(struct exec_follow *f, struct starting *s)
{
	struct err e = {0};
	int status = vec_reserve(&f->starting, 1) ? err_set(&e, ERR_MEMORY, "no memory") : 0;
	if (!status)
		status = exec_entry_begin(&s->target, &s->tracee, &s->entry, &e);
	if (status)
		leave(f, s, &e);
	else if (s->entry.stub.v)
		run_to_entry(f, s);
	else
		arrive(f, s);
}

static int open_program(struct starting *s, struct err *e)
{
	pid_t pid = s->tracee.tid;
	int status = target_open(pid, &s->target, e);
	if (status)
		return status;
	s->target.held = pid;
	s->target.filter_passes = exec_filter_passes(pid);
	status = target_check(&s->target, e);
	if (!status && s->target.seccomp_filter) /* it might not even stop at its entry point */
		status = err_set(e, ERR_REFUSED, "process %d filters system calls (seccomp) that applying a plan needs", pid);
	return status;
}

/* The kernel withheld the privileges of this program because it is traced. It has not begun: it is executed again, untraced. */
static bool give_privileges(const struct exec_follow *f, struct starting *s)
{
	char path[64];
	struct err e = {0};
	snprintf(path, sizeof path, "/proc/%d/exe", s->tracee.tid);
	if (!exec_privilege_needed(path))
		return false;
	if (!exec_entry_again(&s->target, &s->tracee, &e))
		err_set(&e, ERR_REFUSED, "it runs with other privileges, so it may not be traced");
	else
		err_prefix(&e, "it runs without the privileges that its file would give it, since it is traced");
	tell(f, s, EXEC_UNCHANGED, &e, NULL);
	let_go(f, s, false);
	return true;
}

/* A new program, before its first instruction. */
static void take_program(struct exec_follow *f, pid_t pid)
{
	struct starting s = {.target = {.pid = pid, .pidfd = -1, .mem_fd = -1, .task_fd = -1, .lock_fd = -1}, .since = monotonic_now()};
	struct err e = {0};
	if (read_registers(&s.tracee, pid))
		return; /* killed: its end is reported next */
	if (open_program(&s, &e)) {
		leave(f, &s, &e);
		return;
	}
	if (give_privileges(f, &s))
		return;
	switch (exec_plans_fit(f->options.plans, &s.target, &e)) {
	case EXEC_FITS:
	case EXEC_PERHAPS:
		begin(f, &s);
		break;
	case EXEC_OTHER_BUILD:
		leave(f, &s, &e);
		break;
	case EXEC_NOT_MEANT:
		pass_over(f, &s, &e);
		break;
	}
}

static struct starting *find_starting(struct exec_follow *f, pid_t pid)
{
	for (size_t i = 0; i < f->starting.count; i++)
		if (f->starting.data[i].tracee.tid == pid)
			return &f->starting.data[i];
	return NULL;
}

/* Removes it from the list; the caller owns it then. */
static struct starting take_starting(struct exec_follow *f, struct starting *s)
{
	struct starting taken = *s;
	*s = f->starting.data[--f->starting.count];
	return taken;
}

static void forget_starting(struct exec_follow *f, pid_t pid)
{
	struct starting *s = find_starting(f, pid);
	if (!s)
		return;
	struct starting gone = take_starting(f, s);
	target_close(&gone.target);
}

/* A stop of a process on its way through its loader: is it the one that is waited for? Then it is dealt with. */
static bool take_arrival(struct exec_follow *f, struct starting *s, int signal, bool interrupted)
{
	struct err e = {0};
	if ((signal != SIGURG && !interrupted) || read_registers(&s->tracee, s->tracee.tid))
		return false;
	bool reached = exec_entry_reached(&s->entry, &s->tracee.registers);
	if (!reached && !(interrupted && s->late))
		return false;
	struct starting taken = take_starting(f, s);
	if (reached) {
		arrive(f, &taken);
	} else {
		err_set(&e, ERR_BUSY, "its loader does not come to an end");
		leave(f, &taken, &e);
	}
	return true;
}

/* Everything else is none of our business: the process goes on as it would. */
static void go_on(pid_t tid, int signal, int event)
{
	bool stopped = event == PTRACE_EVENT_STOP && signal != SIGTRAP;
	tracee_request(stopped ? PTRACE_LISTEN : PTRACE_CONT, tid, 0, (uintptr_t)(event ? 0 : signal));
}

static void handle_stop(struct exec_follow *f, pid_t tid, int status)
{
	int signal = WSTOPSIG(status), event = status >> 16;
	if (event == PTRACE_EVENT_EXEC) {
		forget_starting(f, tid);
		take_program(f, tid);
		return;
	}
	struct starting *s = find_starting(f, tid);
	bool interrupted = event == PTRACE_EVENT_STOP && signal == SIGTRAP;
	if (!s || (event && !interrupted) || !take_arrival(f, s, signal, interrupted))
		go_on(tid, signal, event);
}

static void handle_end(struct exec_follow *f, pid_t tid)
{
	struct starting ended = {.tracee.tid = tid};
	forget_starting(f, tid);
	if (tid == f->first)
		tell(f, &ended, EXEC_ENDED, NULL, NULL);
}

static void interrupt_late(struct exec_follow *f)
{
	for (size_t i = 0; i < f->starting.count; i++) {
		struct starting *s = &f->starting.data[i];
		if (s->late || monotonic_now() - s->since < ENTRY_LIMIT)
			continue;
		s->late = true;
		tracee_request(PTRACE_INTERRUPT, s->tracee.tid, 0, 0);
	}
}

/* Until something happens; from time to time while a program is on its way to its entry point. */
static void wait_for_event(const struct exec_follow *f)
{
	const struct timespec wake = {.tv_sec = WAKE_SECONDS};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigtimedwait(&set, NULL, f->starting.count ? &wake : NULL);
}

void exec_follow_run(struct exec_follow *f)
{
	for (;;) {
		int status;
		pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);
		if (tid < 0)
			break;
		if (!tid) {
			interrupt_late(f);
			wait_for_event(f);
		} else if (WIFSTOPPED(status)) {
			handle_stop(f, tid, status);
		} else {
			handle_end(f, tid);
		}
	}
	while (f->starting.count)
		forget_starting(f, f->starting.data[0].tracee.tid);
	vec_free(&f->starting);
	free(f);
}
