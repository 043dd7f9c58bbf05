#include "apply/tracee.h"

#include "apply/fault.h"
#include "apply/finish.h"
#include "apply/witness.h"
#include "formats/base/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLL_NANOSECONDS 20000
#define POLLS_TO_REAP 256u /* looks for threads that died in their stop */
#define FINI_LIMIT 1000000000ull
#define STRANGER_LIMIT 100000000ull
#define SETTLE_LIMIT 1000000000ull
#define CALLS_LIMIT 2000000000ull
#define CALLS_PAUSE 1000000ull
#define STUCK_AFTER 20000000ull
#define STORM_ROUNDS 1000
#define SEIZE_TRIES 2
#define REAP_MICROSECONDS 5000
#define HELD_STOP (PTRACE_EVENT_STOP << 16 | SIGTRAP << 8 | 0x7f) /* as waitpid says it of a thread that was interrupted */

uint64_t monotonic_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void monotonic_pause(uint64_t nanoseconds)
{
	struct timespec wait = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
	nanosleep(&wait, NULL);
}

long tracee_request(int request, pid_t tid, uintptr_t address, uintptr_t data)
{
	fault_step();
	return ptrace(request, tid, (void *)address, (void *)data);
}

int tracees_init(struct target *t, struct tracees *ret_tracees, struct err *e)
{
	struct tracees s = {.target = t, .status_fd = -1, .list = calloc(TRACEES_MAX, sizeof *s.list)};
	int status = s.list ? sharers_open(t, &s.sharers, e) : err_set(e, ERR_MEMORY, "no memory for the thread list");
	/* Beside the descriptor of the task directory, which stays that of this process whatever happens to its number. */
	if (!status && (s.status_fd = openat(t->task_fd, "../status", O_RDONLY | O_CLOEXEC)) < 0)
		status = err_set(e, ERR_GONE, "process %d ended", t->pid);
	if (status)
		tracees_fini(&s);
	else
		*ret_tracees = s;
	return status;
}

uint32_t tracee_list(const struct target *t, pid_t *tids, uint32_t room)
{
	struct {
		uint64_t inode, offset;
		uint16_t length;
		uint8_t type;
		char name[];
	} * entry;
	_Alignas(8) char buffer[8192];
	uint32_t count = 0;
	long got;
	if (lseek(t->task_fd, 0, SEEK_SET) < 0)
		return 0;
	while ((got = syscall(SYS_getdents64, t->task_fd, buffer, sizeof buffer)) > 0)
		for (long at = 0; at < got; at += entry->length) {
			entry = (void *)(buffer + at);
			pid_t tid = (pid_t)strtol(entry->name, NULL, 10);
			if (tid > 0 && count < room)
				tids[count++] = tid;
		}
	return count;
}

/* What is known of threads that wait in a call that a stop would cut short. */
struct waiting {
	pid_t tid;
	uint64_t runs, moved; /* how often it has run; monotonic time when that was seen to change, 0 = never */
};

static uint64_t count_runs(const struct target *t, pid_t tid)
{
	char path[64], text[128];
	uint64_t runs = 0;
	snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", t->pid, tid);
	if (target_read_text(path, text, sizeof text) < 0 || sscanf(text, "%*u %*u %" SCNu64, &runs) != 1)
		return 0;
	return runs;
}

/* When was thread `tid` seen to move, now that it has run `runs` times? */
static uint64_t last_moved(const struct waiting *before, uint32_t count, pid_t tid, uint64_t runs)
{
	for (uint32_t i = 0; i < count; i++)
		if (before[i].tid == tid)
			return before[i].runs == runs ? before[i].moved : monotonic_now();
	return 0;
}

/* A thread that waits in such a call and has not moved lately: nobody takes its bytes. *ret_call: its name. 0: none. */
static pid_t find_stuck(const struct target *t, const char **ret_call)
{
	static struct waiting lists[2][TRACEES_MAX];
	static uint32_t counts[2], turn;
	static pid_t tids[TRACEES_MAX];
	uint32_t count = tracee_list(t, tids, TRACEES_MAX), before = turn, now = 1 - turn;
	pid_t stuck = 0;
	turn = now;
	counts[now] = 0;
	for (uint32_t i = 0; i < count; i++) {
		const char *call = tids[i] == t->held ? NULL : restart_cut_call(t->pid, tids[i]);
		if (!call)
			continue;
		uint64_t runs = count_runs(t, tids[i]), moved = last_moved(lists[before], counts[before], tids[i], runs);
		lists[now][counts[now]++] = (struct waiting){tids[i], runs, moved};
		if (moved && monotonic_now() - moved < STUCK_AFTER)
			continue;
		stuck = tids[i];
		*ret_call = call;
	}
	return stuck;
}

int tracee_wait_calls(struct target *t, struct err *e)
{
	if (!t->calls_by) {
		t->calls_by = monotonic_now() + CALLS_LIMIT;
		t->calls_stuck = false;
	}
	for (;;) {
		const char *call;
		pid_t tid = find_stuck(t, &call);
		if (!tid)
			return 0;
		if (monotonic_now() < t->calls_by)
			monotonic_pause(CALLS_PAUSE);
		else if ((t->calls_stuck = t->cut_calls))
			return 0;
		else
			return err_set(
			    e, ERR_BUSY,
			    "thread %d waits in %s, perhaps with a part of its bytes transferred: the stop would make it return that "
			    "part; try again, or --cut-calls",
			    tid, call);
	}
}

static struct tracee *find_tracee(struct tracees *s, pid_t tid)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (s->list[i].tid == tid && s->list[i].state != TRACEE_GONE)
			return &s->list[i];
	return NULL;
}

#define CALL_STOP (SIGTRAP | 0x80) /* at the border of a system call (PTRACE_O_TRACESYSGOOD) */

/* From a call that it interrupted. At once and not when the thread runs on: were this process killed in between, the program would see the stop. */
static void hide_stop(struct tracee *tracee)
{
	struct user_regs_struct registers = tracee->registers;
	if (fault_shows_stops() || !restart_call(tracee->tid, &registers))
		return;
	if (tracee->shows_limits && restart_has_limit(tracee->tid, &registers))
		return;
	tracee->registers = registers;
	if (tracee_request(PTRACE_SETREGS, tracee->tid, 0, (uintptr_t)&tracee->registers))
		tracee->state = TRACEE_GONE;
}

/* Takes note of a stop: its kind and the registers. `arrives`: the thread comes from its program, and not from where we sent it. */
static void enter_stop(struct tracee *tracee, int status, bool arrives)
{
	if (!WIFSTOPPED(status)) {
		tracee->state = TRACEE_GONE;
		return;
	}
	/* An event stop (group stops included) has nothing to hand back; a plain stop is the delivery of a signal. */
	tracee->signal = status >> 16 ? 0 : WSTOPSIG(status);
	tracee->changed = tracee->cut = false;
	tracee->moved_from = 0;
	if (tracee_request(PTRACE_GETREGS, tracee->tid, 0, (uintptr_t)&tracee->registers)) {
		tracee->state = TRACEE_GONE;
		return;
	}
	tracee->state = TRACEE_STOPPED;
	if (arrives)
		witness_take(tracee, &tracee->registers);
	if (tracee->signal != CALL_STOP)
		hide_stop(tracee);
}

#define TASK_EXITING 0x4u /* PF_EXITING in the flags of /proc/PID/stat */

/*
 * The thread is still ours from an earlier stop, since letting go of it failed: it is dying, or stuck, or it executed another program just then and got
 * another number. Its death is ours to collect.
 */
static int wait_lingering(const struct target *t, pid_t tid, struct err *e)
{
	if (tracee_request(PTRACE_INTERRUPT, tid, 0, 0) && errno == ESRCH)
		return err_set(e, ERR_GONE, "thread %d of process %d was killed", tid, t->pid);
	for (int i = 0; i < 50; i++) {
		int status;
		struct tracee lingering = {.tid = tid};
		pid_t got = waitpid(tid, &status, __WALL | WNOHANG);
		if (got < 0 || (got == tid && !WIFSTOPPED(status)))
			return err_set(e, ERR_GONE, "thread %d of process %d was killed", tid, t->pid);
		if (got == tid) {
			enter_stop(&lingering, status, true);
			tracee_detach(&lingering);
			break;
		}
		monotonic_pause(1000000);
	}
	return err_set(e, ERR_BUSY, "thread %d of process %d does not answer; try again", tid, t->pid);
}

/* ERR_REFUSED with the reason why SEIZE was not permitted. */
static int refuse_seize(const struct target *t, pid_t tid, int cause, struct err *e)
{
	char path[64], text[4096], name[64];
	snprintf(path, sizeof path, "/proc/%d/task/%d/status", t->pid, tid);
	if (target_read_text(path, text, sizeof text) < 0)
		text[0] = 0;
	const char *tracer = strstr(text, "\nTracerPid:\t");
	pid_t pid = tracer ? (pid_t)strtol(tracer + 12, NULL, 10) : 0;
	if (pid && pid != getpid()) {
		target_name(pid, name, sizeof name);
		return err_set(e, ERR_REFUSED, "thread %d is already traced by process %d (%s)", tid, pid, name);
	}
	if (pid)
		return wait_lingering(t, tid, e);
	return err_set_errno(e, cause, "thread %d: attaching", tid);
}

/* The number went to a thread of another process just before it was attached: that one goes on as if nothing had been. */
static void release_stranger(pid_t tid)
{
	struct tracee stranger = {.tid = tid};
	int stop;
	if (!tracee_request(PTRACE_INTERRUPT, tid, 0, 0) && !tracee_wait(&stranger, monotonic_now() + STRANGER_LIMIT, &stop, NULL))
		tracee_detach(&stranger);
}

/* Is it gone or about to go? A leader that has exited stays in the list as a zombie; one that was killed while attached to us is still exiting. */
static bool is_ending(const struct target *t, pid_t tid)
{
	char path[64], text[512], state = 'X';
	unsigned flags = 0;
	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", t->pid, tid);
	if (target_read_text(path, text, sizeof text) < 0)
		return errno == ENOENT || errno == ESRCH; /* otherwise it is we who cannot open anything */
	const char *name_end = strrchr(text, ')');
	return !name_end || sscanf(name_end + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2 || state == 'Z' || state == 'X' ||
	       (flags & TASK_EXITING);
}

/*
 * 1: attached, 0: the thread is gone or a zombie, negative: error. EPERM is the answer for zombies too, and a zombie leader may be alive again an instant
 * later: when another thread executes a program it gets the leader's number.
 */
static int seize(const struct target *t, pid_t tid, struct err *e)
{
	if (tid == t->held)
		return 1;
	int cause = 0;
	for (unsigned try = 0; try < SEIZE_TRIES; try++) {
		if (tracee_request(PTRACE_SEIZE, tid, 0, 0) == 0) {
			/* From here on its number cannot be given to another. */
			if (target_has_task(t, tid))
				return 1;
			release_stranger(tid);
			return 0;
		}
		cause = errno;
		if (cause == ESRCH || is_ending(t, tid))
			return 0;
	}
	return refuse_seize(t, tid, cause, e);
}

/*
 * A thread that executes another program waits until all others are gone, and dead ones that we trace are gone only when we have taken notice. To
 * attach to that thread waits for it in turn (cred_guard_mutex), for ever. So while we attach, a timer takes notice.
 */
static struct tracees *volatile attaching;

static void reap_dead(int signal)
{
	const struct tracees *s = attaching;
	int error = errno;
	(void)signal;
	for (uint32_t i = 0; s && i < s->count; i++) {
		siginfo_t info = {0};
		/* Stops are told whether one asks for them or not, and must not be taken here: a look first. */
		if (s->list[i].state != TRACEE_GONE && !waitid(P_PID, (id_t)s->list[i].tid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) &&
		    info.si_pid && (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED))
			waitid(P_PID, (id_t)s->list[i].tid, &info, WEXITED | WNOHANG | __WALL);
	}
	errno = error;
}

static void watch_attaching(struct tracees *s)
{
	const struct itimerval often = {{0, s ? REAP_MICROSECONDS : 0}, {0, s ? REAP_MICROSECONDS : 0}};
	struct sigaction act = {.sa_handler = reap_dead, .sa_flags = SA_RESTART};
	attaching = s;
	if (s)
		sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
}

/* Attaches to threads not attached yet; how many, or an error. */
static int seize_listed(struct tracees *s, struct err *e)
{
	static pid_t tids[TRACEES_MAX];
	s->ending = 0;
	uint32_t listed = tracee_list(s->target, tids, TRACEES_MAX);
	if (!listed)
		return err_set(e, ERR_GONE, "process %d ended", s->target->pid);
	int added = 0;
	for (uint32_t i = 0; i < listed; i++) {
		if (find_tracee(s, tids[i]))
			continue;
		if (s->count == TRACEES_MAX)
			return err_set(e, ERR_REFUSED, "process %d has more than %d threads", s->target->pid, TRACEES_MAX);
		int status = seize(s->target, tids[i], e);
		if (status < 0)
			return status;
		if (!status) {
			s->ending++;
			continue;
		}
		s->list[s->count++] = (struct tracee){
		    .tid = tids[i], .state = TRACEE_SEIZED, .held = tids[i] == s->target->held, .shows_limits = s->target->shows_limits};
		added++;
	}
	return added;
}

static int seize_new(struct tracees *s, struct err *e)
{
	watch_attaching(s);
	int added = seize_listed(s, e);
	watch_attaching(NULL);
	return added;
}

static void interrupt_new(struct tracees *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		struct tracee *tracee = &s->list[i];
		if (tracee->state != TRACEE_SEIZED)
			continue;
		if (!s->stop_begin)
			s->stop_begin = monotonic_now();
		if (tracee->held) {
			enter_stop(tracee, HELD_STOP, true);
			continue;
		}
		tracee->state = tracee_request(PTRACE_INTERRUPT, tracee->tid, 0, 0) ? TRACEE_GONE : TRACEE_PENDING;
	}
}

/* Takes in whatever stops are there; the number of threads that are still to stop. `ret_progress`: was there any? */
static uint32_t collect_stops(struct tracees *s, bool *ret_progress)
{
	uint32_t left = 0;
	*ret_progress = false;
	for (uint32_t i = 0; i < s->count; i++) {
		struct tracee *tracee = &s->list[i];
		if (tracee->state != TRACEE_PENDING)
			continue;
		int status;
		pid_t got = waitpid(tracee->tid, &status, __WALL | WNOHANG);
		if (got == 0) {
			left++;
			continue;
		}
		*ret_progress = true;
		if (got == tracee->tid)
			enter_stop(tracee, status, true);
		else
			tracee->state = TRACEE_GONE;
	}
	return left;
}

/*
 * A stopped thread may die (exec by another thread, SIGKILL), or under its number another go on (exec). Somebody waits for us to take
 * notice: exec returns only when the last of the other threads is collected.
 */
static void reap_stopped(struct tracees *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		int status;
		if (s->list[i].state == TRACEE_STOPPED && waitpid(s->list[i].tid, &status, __WALL | WNOHANG) == s->list[i].tid)
			enter_stop(&s->list[i], status, true);
	}
}

static int wait_all(struct tracees *s, uint64_t deadline, struct err *e)
{
	for (uint32_t polls = 1;; polls++) {
		bool progress;
		if (!collect_stops(s, &progress))
			return 0;
		if (progress)
			continue;
		if (monotonic_now() > deadline)
			break;
		if (polls % POLLS_TO_REAP == 0)
			reap_stopped(s);
		monotonic_pause(POLL_NANOSECONDS);
	}
	for (uint32_t i = 0; i < s->count; i++)
		if (s->list[i].state == TRACEE_PENDING)
			return err_set(e, ERR_BUSY, "thread %d did not stop in time (in an uninterruptible call such as vfork, or starved)",
				       s->list[i].tid);
	return err_set(e, ERR_BUSY, "process %d did not stop in time", s->target->pid);
}

/* Was every thread seen? A listing is cut short when the thread that it has come to ends just then. */
static bool all_listed(const struct tracees *s)
{
	char text[4096];
	uint32_t stopped = 0;
	ssize_t got;
	do
		got = pread(s->status_fd, text, sizeof text - 1, 0);
	while (got < 0 && errno == EINTR);
	text[got > 0 ? got : 0] = 0;
	const char *threads = strstr(text, "\nThreads:\t");
	for (uint32_t i = 0; i < s->count; i++)
		stopped += s->list[i].state == TRACEE_STOPPED;
	return !threads || strtoul(threads + 10, NULL, 10) <= stopped + s->ending;
}

static pid_t any_stopped(const struct tracees *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (s->list[i].state == TRACEE_STOPPED)
			return s->list[i].tid;
	return 0;
}

static int stop_all(struct tracees *s, uint64_t limit, struct err *e)
{
	for (int round = 0; round < STORM_ROUNDS; round++) {
		int added = seize_new(s, e);
		if (added < 0)
			return added;
		if (!added && all_listed(s))
			return 0;
		interrupt_new(s);
		int status = wait_all(s, s->stop_begin + limit, e);
		if (status)
			return status;
	}
	return err_set(e, ERR_BUSY, "process %d makes threads faster than they can be stopped", s->target->pid);
}

/*
 * While the target stands still nothing should run before us; best effort. Every thread still has to be scheduled once to stop, which on a
 * loaded machine is most of the pause.
 */
static void hurry(bool begin)
{
	const struct sched_param first = {.sched_priority = 1}, usual = {0};
	sched_setscheduler(0, begin ? SCHED_FIFO | SCHED_RESET_ON_FORK : SCHED_OTHER, begin ? &first : &usual);
}

static void mark_cut(struct tracees *s)
{
	for (uint32_t i = 0; i < s->count && !fault_shows_stops(); i++)
		s->list[i].cut = s->list[i].state == TRACEE_STOPPED && finish_is_cut(s->target, &s->list[i]);
}

static int stop_once(struct tracees *s, uint64_t limit, struct err *e)
{
	/* Threads that lingered from an earlier try are attached but not in this stop yet. */
	uint32_t kept = 0;
	for (uint32_t i = 0; i < s->count; i++)
		if (s->list[i].state != TRACEE_GONE)
			s->list[kept++] = s->list[i];
	s->count = kept;
	s->stop_begin = 0;
	/* Attach first, then interrupt: attaching costs the program nothing. */
	int status = sharers_refuse(&s->sharers, e);
	if (status)
		return status;
	for (int round = 0; (status = seize_new(s, e)) > 0 && round < 3; round++)
		;
	hurry(true);
	if (status >= 0) {
		interrupt_new(s);
		status = wait_all(s, s->stop_begin + limit, e);
	}
	if (!status)
		status = stop_all(s, limit, e);
	if (!status)
		witness_all_stand(s->list, s->count);
	if (!status)
		status = target_alive(s->target, e);
	if (!status)
		status = sharers_refuse_new(&s->sharers, any_stopped(s), e);
	mark_cut(s);
	if (status)
		tracees_resume(s);
	if (status == -ERR_BUSY && target_thawed(s->target, e)) /* then there is no use in trying again */
		return -ERR_REFUSED;
	return status;
}

int tracees_stop(struct tracees *s, uint64_t limit, struct err *e)
{
	int status = tracee_wait_calls(s->target, e);
	return status ? status : stop_once(s, limit, e);
}

void tracee_detach(struct tracee *tracee)
{
	if (tracee->state != TRACEE_STOPPED)
		return;
	if (tracee->changed)
		tracee_request(PTRACE_SETREGS, tracee->tid, 0, (uintptr_t)&tracee->registers);
	witness_compare(tracee);
	if (!tracee->held)
		tracee_request(PTRACE_DETACH, tracee->tid, 0, (uintptr_t)tracee->signal);
	else if (tracee->signal && tracee_settle(tracee, SETTLE_LIMIT, NULL))
		tracee->signal = 0; /* it was killed, by this signal perhaps */
	tracee->state = TRACEE_GONE;
}

void tracees_resume(struct tracees *s)
{
	/* All registers first: from the first detach on the others should be ready to go. */
	for (uint32_t i = 0; i < s->count; i++) {
		struct tracee *tracee = &s->list[i];
		if (tracee->state == TRACEE_STOPPED && tracee->changed && !tracee->cut) {
			tracee_request(PTRACE_SETREGS, tracee->tid, 0, (uintptr_t)&tracee->registers);
			tracee->changed = false;
		}
	}
	witness_compare_all(s->list, s->count);
	for (uint32_t i = 0; i < s->count; i++)
		if (!s->list[i].cut)
			tracee_detach(&s->list[i]);
	if (s->stop_begin)
		s->pause = monotonic_now() - s->stop_begin;
	s->stop_begin = 0;
	hurry(false);
	s->target->calls_cut += finish_calls(s->target, s->list, s->count, finish_deadline(s->target));
}

void tracees_fini(struct tracees *s)
{
	if (!s->target)
		return;
	tracees_resume(s);
	/* Threads still attached and running are stopped once more, since only a stopped thread can be let go. */
	interrupt_new(s);
	uint64_t deadline = monotonic_now() + FINI_LIMIT;
	bool progress;
	while (collect_stops(s, &progress) && monotonic_now() < deadline)
		monotonic_pause(POLL_NANOSECONDS);
	tracees_resume(s);
	free(s->list);
	sharers_close(&s->sharers);
	if (s->status_fd >= 0)
		close(s->status_fd);
	*s = (struct tracees){0};
}

static int wait_stop(struct tracee *tracee, uint64_t deadline, bool arrives, int *ret_status, struct err *e)
{
	for (;;) {
		int status;
		pid_t got = waitpid(tracee->tid, &status, __WALL | WNOHANG);
		if (got == tracee->tid) {
			enter_stop(tracee, status, arrives);
			if (tracee->state == TRACEE_GONE)
				return err_set(e, ERR_GONE, "thread %d ended", tracee->tid);
			*ret_status = status;
			return 0;
		}
		if (got < 0) {
			tracee->state = TRACEE_GONE;
			return err_set(e, ERR_GONE, "thread %d ended", tracee->tid);
		}
		if (monotonic_now() > deadline)
			return err_set(e, ERR_BUSY, "thread %d did not stop in time", tracee->tid);
		monotonic_pause(POLL_NANOSECONDS);
	}
}

int tracee_wait(struct tracee *tracee, uint64_t deadline, int *ret_status, struct err *e)
{
	return wait_stop(tracee, deadline, false, ret_status, e);
}

int tracee_settle(struct tracee *tracee, uint64_t limit, struct err *e)
{
	uint64_t deadline = monotonic_now() + limit;
	do {
		int stop, signal = tracee->signal;
		if (tracee_request(PTRACE_INTERRUPT, tracee->tid, 0, 0) ||
		    tracee_request(PTRACE_CONT, tracee->tid, 0, (uintptr_t)tracee->signal))
			return err_set(e, ERR_GONE, "thread %d ended", tracee->tid);
		int status = wait_stop(tracee, deadline, signal, &stop, e);
		if (status)
			return status;
	} while (tracee->signal);
	return 0;
}

int tracee_attach(const struct target *t, pid_t tid, uint64_t limit, struct tracee *ret_tracee, struct err *e)
{
	struct tracee tracee = {.tid = tid, .held = tid == t->held, .shows_limits = t->shows_limits};
	int stop, status = seize(t, tid, e);
	if (status < 0)
		return status;
	if (!status || (!tracee.held && tracee_request(PTRACE_INTERRUPT, tid, 0, 0)))
		return err_set(e, ERR_GONE, "thread %d ended", tid);
	if (tracee.held)
		enter_stop(&tracee, HELD_STOP, true);
	status = tracee.held ? 0 : wait_stop(&tracee, monotonic_now() + limit, true, &stop, e);
	if (!status && tracee.state == TRACEE_GONE)
		status = err_set(e, ERR_GONE, "thread %d ended", tid);
	if (status)
		return status;
	*ret_tracee = tracee;
	return 0;
}
