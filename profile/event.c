#include "profile/event.h"

#include <errno.h>
#include <perfmon/pfmlib_perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* AMD BRS needs a fixed period of the taken-branch event; at about 10^9 taken branches a second this gives the wished rate. */
enum { BRS_EVENT = 0xc4, BRS_BRANCHES_PER_SECOND = 1000000000 };

static const uint64_t plain_fields = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ID;

int event_open(const struct event *event, pid_t tid, int cpu)
{
	return (int)syscall(SYS_perf_event_open, &event->attr, tid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static uint64_t rate_of(const struct event *event, const struct event_wish *wish)
{
	if (wish->rate)
		return wish->rate;
	return event->source == PROFILE_CLOCK ? EVENT_RATE_CLOCK : EVENT_RATE_HARDWARE;
}

/*
 * What all events share. Wake-ups are not used (the recorder looks at the rings by the clock), so the watermark is never reached. Time is
 * CLOCK_MONOTONIC, so that records of different CPUs sort and compare with the recorder's own clock.
 */
static void fill_attr(struct event *event, const struct event_wish *wish)
{
	struct perf_event_attr *a = &event->attr;
	a->size = sizeof *a;
	a->freq = 1;
	a->sample_freq = rate_of(event, wish);
	a->sample_type = plain_fields;
	a->sample_id_all = 1;
	a->exclude_kernel = !wish->kernel;
	a->exclude_hv = 1;
	a->exclude_guest = 0;
	a->mmap = a->mmap2 = 1;
	a->comm = a->comm_exec = 1;
	a->task = 1;
	a->watermark = 1;
	a->wakeup_watermark = UINT32_MAX;
	a->use_clockid = 1;
	a->clockid = CLOCK_MONOTONIC;
	a->inherit = 1;
	a->inherit_thread = 1; /* threads, not forked children */
}

static void set_name(struct event *event, const struct event_wish *wish, const char *name)
{
	bool has_modifier = strchr(name, ':') != NULL;
	snprintf(event->name, sizeof event->name, "%s%s", name, wish->kernel || has_modifier ? "" : ":u");
}

static void add_branch_stack(struct event *event)
{
	event->attr.sample_type |= PERF_SAMPLE_BRANCH_STACK;
	event->attr.branch_sample_type = PERF_SAMPLE_BRANCH_USER | PERF_SAMPLE_BRANCH_ANY;
	event->source = PROFILE_BRANCH_STACKS;
}

static int encode_name(struct event *event, const char *name, struct err *e)
{
	int status = pfm_initialize();
	if (status != PFM_SUCCESS)
		return err_set(e, ERR_ENVIRONMENT, "libpfm4: %s", pfm_strerror(status));
	pfm_perf_encode_arg_t encoding = {.attr = &event->attr, .size = sizeof encoding};
	event->attr.size = sizeof event->attr;
	status = pfm_get_os_event_encoding(name, PFM_PLM3, PFM_OS_PERF_EVENT_EXT, &encoding);
	if (status != PFM_SUCCESS)
		return err_set(e, ERR_USAGE, "event '%s': %s (libpfm4)", name, pfm_strerror(status));
	return 0;
}

enum candidate { CYCLES_BRANCHES, TAKEN_BRS, CYCLES_PRECISE, CYCLES, CPU_CLOCK, CANDIDATES };

static const char *const candidate_texts[CANDIDATES] = {
    [CYCLES_BRANCHES] = "cycles with branch stacks",
    [TAKEN_BRS] = "taken branches with branch stacks (AMD BRS)",
    [CYCLES_PRECISE] = "precise cycles",
    [CYCLES] = "cycles",
    [CPU_CLOCK] = "cpu-clock",
};

static struct event make_candidate(enum candidate candidate, const struct event_wish *wish)
{
	struct event event = {.source = candidate == CPU_CLOCK ? PROFILE_CLOCK : PROFILE_CYCLES};
	fill_attr(&event, wish);
	event.attr.type = PERF_TYPE_HARDWARE;
	event.attr.config = PERF_COUNT_HW_CPU_CYCLES;
	set_name(&event, wish, "cycles");
	switch (candidate) {
	case CYCLES_BRANCHES:
		add_branch_stack(&event);
		break;
	case TAKEN_BRS:
		event.attr.type = PERF_TYPE_RAW;
		event.attr.config = BRS_EVENT;
		event.attr.freq = 0;
		event.attr.sample_period = BRS_BRANCHES_PER_SECOND / rate_of(&event, wish) | 1;
		set_name(&event, wish, "ex_ret_brn_tkn");
		add_branch_stack(&event);
		break;
	case CYCLES_PRECISE:
		event.attr.precise_ip = 2;
		set_name(&event, wish, wish->kernel ? "cycles:pp" : "cycles:upp");
		break;
	case CPU_CLOCK:
		event.attr.type = PERF_TYPE_SOFTWARE;
		event.attr.config = PERF_COUNT_SW_CPU_CLOCK;
		set_name(&event, wish, "cpu-clock");
		break;
	default:
		break;
	}
	return event;
}

/* Opens and closes the event once. Kernels before 5.13 do not know inherit_thread; children then are left out by their pid. 0 or errno. */
static int probe(struct event *event, pid_t tid)
{
	int fd = event_open(event, tid, -1);
	if (fd < 0 && errno == EINVAL && event->attr.inherit_thread) {
		event->attr.inherit_thread = 0;
		fd = event_open(event, tid, -1);
	}
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

int event_explain(int saved_errno, const char *name, pid_t tid, struct err *e)
{
	if (saved_errno == ESRCH)
		return err_set(e, ERR_GONE, "thread %d does not exist", (int)tid);
	if (saved_errno == EACCES || saved_errno == EPERM)
		return err_set(
		    e, ERR_PERMISSION,
		    "event %s on thread %d is not permitted: needs the same user, or CAP_PERFMON, or a lower kernel.perf_event_paranoid",
		    name, (int)tid);
	return err_set(e, ERR_ENVIRONMENT, "event %s on thread %d: %s", name, (int)tid, strerror(saved_errno));
}

static int choose_named(const struct event_wish *wish, pid_t tid, struct event *ret_event, struct err *e)
{
	struct event event = {.source = PROFILE_CYCLES};
	int status = encode_name(&event, wish->name, e);
	if (status)
		return status;
	if (event.attr.type == PERF_TYPE_SOFTWARE)
		event.source = PROFILE_CLOCK;
	uint64_t period = event.attr.freq ? 0 : event.attr.sample_period; /* "name:period=N" */
	fill_attr(&event, wish);
	if (period) {
		event.attr.freq = 0;
		event.attr.sample_period = period;
	}
	set_name(&event, wish, wish->name);
	int failure = -1;
	if (event.attr.type != PERF_TYPE_SOFTWARE) {
		struct event with_branches = event;
		add_branch_stack(&with_branches);
		failure = probe(&with_branches, tid);
		if (!failure)
			event = with_branches;
	}
	if (failure)
		failure = probe(&event, tid);
	if (failure)
		return event_explain(failure, event.name, tid, e);
	*ret_event = event;
	return 0;
}

static void note_refusal(char *tried, size_t size, enum candidate candidate, int failure)
{
	size_t used = tried ? strlen(tried) : 0;
	if (used < size)
		snprintf(tried + used, size - used, "%s: %s\n", candidate_texts[candidate],
			 failure == ENOENT || failure == EOPNOTSUPP || failure == ENODEV ? "this machine has none" : strerror(failure));
}

int event_choose(const struct event_wish *wish, pid_t tid, struct event *ret_event, char *tried, size_t tried_size, struct err *e)
{
	int failure = 0;
	struct event event = {.name = "cpu-clock"};
	if (tried && tried_size)
		*tried = 0;
	if (wish->name)
		return choose_named(wish, tid, ret_event, e);
	for (int i = 0; i < CANDIDATES; i++) {
		event = make_candidate(i, wish);
		failure = probe(&event, tid);
		if (!failure) {
			*ret_event = event;
			return 0;
		}
		note_refusal(tried, tried ? tried_size : 0, i, failure);
	}
	return event_explain(failure, event.name, tid, e);
}
