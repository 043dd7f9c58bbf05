/*
 * event: which hardware or software event to sample, and how it is put into a perf_event_attr.
 *
 * Candidates from best to worst: cycles with a branch stack (Intel LBR, AMD LbrExtV2), AMD BRS (Zen 3: taken branches with a fixed period),
 * cycles (precise if possible), cpu-clock. The first one that the kernel opens on the target is taken. Names are encoded by libpfm4.
 */
#ifndef PROFILE_EVENT_H
#define PROFILE_EVENT_H

#include "formats/base/err.h"
#include "formats/profile.h"

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Default rates: primes, so that they beat with no timer of the target. Clock events cost a timer interrupt each. On a busy server in a nested virtual
 * machine 5000 a second were measured at 25 to 34 %, that is 50 to 68 us each, 199 at 2.5 % (0.6 to 3.7) and 97 at 0.7 % (-0.6 to 1.7). Not
 * measured: machines where interrupts are cheaper, and hardware events, which cost about a tenth by the figures of others.
 */
enum { EVENT_RATE_CLOCK = 97, EVENT_RATE_HARDWARE = 1999 };

struct event {
	struct perf_event_attr attr; /* complete: sample type, period, exclusion, inheritance by threads (not by forked children) */
	char name[128];		     /* as written into the profile: "cycles:u" */
	enum profile_source source;
};

struct event_wish {
	const char *name; /* libpfm4 event name, NULL = choose the best */
	uint64_t rate;	  /* samples per second of CPU time; 0 = the default of the event */
	bool kernel;	  /* samples from the kernel too */
};

/*
 * Chooses the event by trying to open each candidate on thread `tid`. `tried` (may be NULL) gets one line per candidate that was refused and
 * why, for people. ERR_USAGE: unknown event name; ERR_PERMISSION: the kernel does not let this user profile that thread; ERR_GONE: no such
 * thread; ERR_ENVIRONMENT: no event can be opened at all.
 */
int event_choose(const struct event_wish *wish, pid_t tid, struct event *ret_event, char *tried, size_t tried_size,
		 struct err *e) MUST_CHECK;

/* perf_event_open(2): a descriptor or -1 with errno. */
int event_open(const struct event *event, pid_t tid, int cpu);

/* ERR_PERMISSION, ERR_GONE, ERR_ENVIRONMENT for an errno of event_open. */
int event_explain(int saved_errno, const char *name, pid_t tid, struct err *e);

#endif
