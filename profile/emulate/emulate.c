#include "profile/emulate/emulate.h"

#include "formats/base/hash.h"
#include "profile/emulate/chooser.h"
#include "profile/idmap.h"
#include "profile/output.h"
#include "profile/space.h"
#include "profile/target.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGES_MAX = 16384, STACK_MAX = UINT16_MAX, EMPTY_PAUSE_NS = 2000000 };
static const uint64_t second_ns = 1000000000, held_max_ns = 50000000, blocked_ns = 30000000, progress_ns = 250000000, flush_ns = 1000000000;

struct session {
	const struct emulate_options *options;
	struct target target;
	struct space *space;
	struct memory *memory;
	struct cpu *cpu;
	struct profile_stream *stream;
	struct chooser chooser;
	struct window window;
	VEC(uint32_t) stream_modules; /* module of the space -> module of the stream, PROFILE_NO_MODULE = not yet */
	VEC(struct profile_branch) stack;
	struct idmap threads;
	VEC(struct window_left) left; /* threads that could not be let go yet */
	struct emulate_result result;
	uint64_t start_ns, target_cpu_start, recorder_cpu_start, flushed_ns, reported_ns, read_ns;
	uint64_t mappings; /* hash of the executable mappings: when they change, remembered code is forgotten */
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * second_ns + (uint64_t)t.tv_nsec;
}

/* --- addresses --- */

static int stream_module(struct session *s, uint32_t module, uint32_t *ret_module, struct err *e)
{
	*ret_module = PROFILE_NO_MODULE;
	if (module == PROFILE_NO_MODULE)
		return 0;
	while (s->stream_modules.count <= module)
		if (vec_push(&s->stream_modules, PROFILE_NO_MODULE))
			return err_set(e, ERR_MEMORY, "no memory for modules");
	uint32_t *known = &s->stream_modules.data[module];
	if (*known == PROFILE_NO_MODULE) {
		int status = profile_stream_module(s->stream, space_module(s->space, module), known, e);
		if (status)
			return status;
		s->result.modules++;
	}
	*ret_module = *known;
	return 0;
}

static int attribute(struct session *s, raddr at, uint32_t *ret_module, uint64_t *ret_address, struct err *e)
{
	uint32_t module;
	space_find(s->space, at, &module, ret_address);
	s->result.unattributed += module == PROFILE_NO_MODULE;
	return stream_module(s, module, ret_module, e);
}

static int read_space(struct session *s, struct err *e)
{
	struct procmaps maps;
	uint64_t mappings = 0;
	int status = procmaps_read(s->options->pid, &maps, e);
	if (status)
		return status;
	for (size_t i = 0; i < maps.count; i++) {
		const struct procmap *m = &maps.maps[i];
		const uint64_t key[] = {mappings, m->start.v, m->end.v, m->offset, m->inode};
		if (m->execute)
			mappings = hash_bytes(key, sizeof key);
	}
	procmaps_free(&maps);
	s->read_ns = clock_ns(CLOCK_MONOTONIC);
	if (mappings == s->mappings)
		return 0;
	s->mappings = mappings;
	cpu_free(s->cpu);
	s->cpu = NULL;
	status = cpu_new(s->memory, &s->cpu, e);
	if (!status)
		status = memory_share_clock(s->memory, s->options->pid, e);
	return status ? status : space_read(s->space, e);
}

/* --- windows to samples --- */

/* Branches [first, end) of the window, oldest first there, newest first in the sample. */
static int write_stack(struct session *s, pid_t tid, size_t first, size_t end, struct err *e)
{
	const struct window *w = &s->window;
	struct profile_sample sample = {.time_ns = clock_ns(CLOCK_MONOTONIC) - s->start_ns, .thread = (uint32_t)tid};
	raddr at = end == w->branches.count ? w->end : w->branches.data[end].from;
	int status = attribute(s, at, &sample.module, &sample.address, e);
	s->stack.count = 0;
	for (size_t i = end; !status && i-- > first;) {
		struct profile_branch b = {0};
		status = attribute(s, w->branches.data[i].from, &b.from_module, &b.from, e);
		if (!status)
			status = attribute(s, w->branches.data[i].to, &b.to_module, &b.to, e);
		if (!status && vec_push(&s->stack, b))
			status = err_set(e, ERR_MEMORY, "no memory for branches");
	}
	sample.branch_count = (uint16_t)s->stack.count;
	return status ? status : profile_stream_sample(s->stream, &sample, s->stack.data, e);
}

static int write_window(struct session *s, pid_t tid, struct err *e)
{
	const struct window *w = &s->window;
	struct emulate_result *r = &s->result;
	int status = 0;
	for (size_t first = w->first; !status && first < w->branches.count; first += STACK_MAX)
		status = write_stack(s, tid, first, first + STACK_MAX < w->branches.count ? first + STACK_MAX : w->branches.count, e);
	if (!status && idmap_set(&s->threads, (uint64_t)tid, 1))
		status = err_set(e, ERR_MEMORY, "no memory for threads");
	r->windows++;
	r->instructions += w->instructions;
	r->branches += w->branches.count - w->first;
	return status;
}

static void release_left(struct session *s)
{
	size_t kept = 0;
	for (size_t i = 0; i < s->left.count; i++)
		if (!window_release(&s->left.data[i]))
			s->left.data[kept++] = s->left.data[i];
	s->left.count = kept;
}

static bool is_left(const struct session *s, pid_t tid)
{
	for (size_t i = 0; i < s->left.count; i++)
		if (s->left.data[i].tid == tid)
			return true;
	return false;
}

static int record_one(struct session *s, pid_t tid, struct err *e)
{
	/*
	 * A window begins where the thread happened to be, so where time is spent. What repeats in less than a window (the requests of a server)
	 * shall be met at any place alike: that many instructions are skipped, at random.
	 */
	uint64_t skip = chooser_random(&s->chooser) % s->options->instructions;
	const struct window_limits limits = {skip, s->options->instructions, held_max_ns, blocked_ns};
	struct emulate_result *r = &s->result;
	if (is_left(s, tid)) {
		s->window.held_ns = 0;
		return 0;
	}
	int status = window_record(s->cpu, s->memory, s->options->pid, tid, &limits, &s->window, e);
	if (s->window.left.tid && vec_push(&s->left, s->window.left) && !status)
		status = err_set(e, ERR_MEMORY, "no memory for threads");
	if (status)
		return status;
	r->held_ns += s->window.held_ns;
	r->held_max_ns = s->window.held_max_ns > r->held_max_ns ? s->window.held_max_ns : r->held_max_ns;
	r->wrong += s->window.wrong;
	r->calls += s->window.calls;
	if (s->window.branches.count == s->window.first) {
		r->empty++;
		r->lacks[s->window.lack]++;
		return 0;
	}
	r->ends[s->window.reason]++;
	return write_window(s, tid, e);
}

/* --- the loop --- */

static int report(struct session *s, uint64_t now, struct err *e)
{
	s->result.info.target_cpu_ns = target_cpu_ns(&s->target, s->target_cpu_start + s->result.info.target_cpu_ns) - s->target_cpu_start;
	if (s->options->progress && now - s->reported_ns >= progress_ns) {
		s->reported_ns = now;
		struct emulate_progress p = {now - s->start_ns, s->result.windows, s->result.instructions};
		s->options->progress(s->options->context, &p);
	}
	if (now - s->flushed_ns < flush_ns)
		return 0;
	s->flushed_ns = now;
	return profile_stream_flush(s->stream, e);
}

/* Waits until the thread's share of standing still is kept; true when recording is over. */
static bool is_over(struct session *s, uint64_t end_ns)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	uint64_t pause = (uint64_t)((double)s->window.held_ns * (1 / s->options->share - 1)) + EMPTY_PAUSE_NS;
	struct pollfd fds[2] = {{.fd = s->target.pidfd, .events = POLLIN}, {.fd = s->options->stop_fd, .events = POLLIN}};
	if (now >= end_ns)
		return true;
	if (pause > end_ns - now)
		pause = end_ns - now;
	struct timespec wait = {(time_t)(pause / second_ns), (long)(pause % second_ns)};
	ppoll(fds, 2, &wait, NULL); /* EINTR: just look earlier */
	if (fds[0].revents)
		s->result.target_exited = true;
	return fds[0].revents || fds[1].revents;
}

static int say_lack(const struct session *s, struct err *e)
{
	const uint64_t *lacks = s->result.lacks;
	int pid = (int)s->options->pid;
	if (lacks[WINDOW_STUCK])
		return err_set(e, ERR_BUSY, "process %d does not stop (frozen, or in an uninterruptible call)", pid);
	if (lacks[WINDOW_TRACED])
		return err_set(e, ERR_REFUSED, "process %d is traced by another process", pid);
	if (lacks[WINDOW_FOREIGN])
		return err_set(e, ERR_REFUSED, "process %d executes 32-bit code", pid);
	return err_set(e, ERR_NO, "process %d did not run: nothing to record", pid);
}

static int loop(struct session *s, struct err *e)
{
	uint64_t end = s->options->seconds > 0 ? s->start_ns + (uint64_t)(s->options->seconds * 1e9) : UINT64_MAX;
	int status = 0;
	s->flushed_ns = s->reported_ns = s->start_ns;
	while (!status && !is_over(s, end)) {
		pid_t tid;
		uint64_t now = clock_ns(CLOCK_MONOTONIC);
		release_left(s);
		if (now - s->read_ns > second_ns)
			status = read_space(s, e);
		if (!status)
			status = chooser_next(&s->chooser, &tid, e);
		if (!status && !tid)
			break;
		if (!status)
			status = record_one(s, tid, e);
		if (!status)
			status = report(s, now, e);
	}
	if (status == -ERR_GONE && s->result.windows) {
		s->result.target_exited = true;
		status = 0;
	}
	s->result.info.duration_ns = clock_ns(CLOCK_MONOTONIC) - s->start_ns;
	return status || s->result.windows ? status : say_lack(s, e);
}

static int fill_info(struct session *s, struct err *e)
{
	struct profile_info *info = &s->result.info;
	info->source = PROFILE_BRANCH_STACKS;
	info->event = strdup(EMULATE_EVENT);
	info->kernel = target_kernel();
	info->cpu = target_cpu_model();
	info->command = target_command(&s->target);
	info->period = s->options->instructions;
	info->start_ns = clock_ns(CLOCK_REALTIME);
	if (!info->event || !info->kernel || !info->cpu || !info->command)
		return err_set(e, ERR_MEMORY, "no memory for the profile's description");
	return 0;
}

static int begin(struct session *s, int fd, const char *name, struct err *e)
{
	int status = fill_info(s, e);
	if (!status)
		status = space_new(s->options->pid, &s->space, e);
	if (!status)
		status = memory_new(s->options->pid, PAGES_MAX, &s->memory, e);
	if (!status)
		status = read_space(s, e);
	if (!status)
		status = output_empty(fd, name, e);
	if (!status)
		status = profile_stream_open(fd, name, &s->result.info, &s->stream, e);
	s->chooser = (struct chooser){.pid = s->options->pid, .seed = 1};
	s->start_ns = clock_ns(CLOCK_MONOTONIC);
	s->target_cpu_start = target_cpu_ns(&s->target, 0);
	s->recorder_cpu_start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	prctl(PR_SET_TIMERSLACK, 1000ul); /* waiting for a stop is part of the time that a thread stands still */
	return status;
}

static int finish(struct session *s, struct err *e)
{
	struct profile_stream *stream = s->stream;
	s->stream = NULL;
	s->result.threads = s->threads.count;
	s->result.info.recorder_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - s->recorder_cpu_start;
	return profile_stream_close(stream, &s->result.info, e);
}

static void session_free(struct session *s)
{
	if (s->stream) { /* after an error: what was flushed is readable, the error is already known */
		struct err ignored;
		(void)!profile_stream_close(s->stream, &s->result.info, &ignored);
	}
	window_free(&s->window);
	chooser_free(&s->chooser);
	cpu_free(s->cpu);
	memory_free(s->memory);
	space_free(s->space);
	vec_free(&s->stream_modules);
	vec_free(&s->stack);
	vec_free(&s->left); /* the kernel lets them go when this process ends */
	idmap_free(&s->threads);
	target_close(&s->target);
}

int emulate_run(const struct emulate_options *options, int fd, const char *name, struct emulate_result *ret_result, struct err *e)
{
	struct session s = {.options = options};
	struct stat stat;
	int status = target_open(options->pid, &s.target, e);
	if (status)
		return status;
	status = begin(&s, fd, name, e);
	if (!status)
		status = loop(&s, e);
	if (!status)
		status = finish(&s, e);
	if (!status && !fstat(fd, &stat) && S_ISREG(stat.st_mode))
		s.result.bytes = (uint64_t)stat.st_size;
	session_free(&s);
	if (status)
		emulate_result_free(&s.result);
	else
		*ret_result = s.result;
	return status;
}

void emulate_result_free(struct emulate_result *result)
{
	free(result->info.event);
	free(result->info.kernel);
	free(result->info.cpu);
	free(result->info.command);
	*result = (struct emulate_result){0};
}
