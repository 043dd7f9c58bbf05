/*
 * exact: live counting, from start to end: IP samples find the hot functions, a counting image of them runs in the process for a moment and is
 * taken out again, and what it counted is completed to executions of every instruction, jump and call.
 *
 * Needs no PMU. The work is done by repave-analyze and repave-apply through files in a private directory. The process is slower meanwhile:
 * if the estimate (slowdown.h) passes the limit, counting ends at once, and so it does when this program dies; when repave-apply is killed
 * this program undoes what it left.
 */
#ifndef PROFILE_EXACT_EXACT_H
#define PROFILE_EXACT_EXACT_H

#include "formats/base/err.h"
#include "profile/record.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct exact_options {
	pid_t pid;
	double sample_seconds;			       /* of the samples that find what is hot */
	uint64_t rate;				       /* of samples, per second of CPU time */
	double max_seconds;			       /* of counting, all rounds together */
	double max_slowdown;			       /* above it counting ends */
	bool cut_calls;				       /* also where a write in progress then returns the part that is done */
	bool show_limits;			       /* waits with a time limit that would begin anew return EINTR instead */
	unsigned rounds;			       /* each counts what the one before found to be called as well */
	const char *cache;			       /* directory of maps */
	int stop_fd;				       /* readable = stop; -1 = none */
	void (*step)(void *context, const char *what); /* what begins now; may be NULL */
	void *context;
};

struct exact_result {
	double counted_seconds, slowdown; /* of the last round */
	double apply_pause_ms, undo_pause_ms;
	uint64_t samples, counters, blocks, executions, guessed;
	unsigned rounds;
	bool cut_short;	     /* the limit was passed */
	bool kept;	     /* the image could not be unmapped yet: undo again */
	char why_ended[256]; /* why no further round could be made: the process stayed busy; "" */
	uint64_t bytes;
	char event[64]; /* of the samples */
};

/*
 * Writes the profile to `output` ("-": stdout). ERR_ENVIRONMENT and others of record_run when there are no samples; ERR_MISSING when a tool
 * is not there; ERR_REFUSED when the process cannot be worked on; errors of the tools. On failure the process is as it was, but for
 * ERR_INCONSISTENT.
 */
int exact_record(const struct exact_options *options, const char *output, struct exact_result *ret_result, struct err *e) MUST_CHECK;

/* The directory of maps: $REPAVE_CACHE, /var/cache/repave for root, else in the user's cache; made if it is not there. ERR_ENVIRONMENT. */
int exact_cache(char *path, size_t size, struct err *e) MUST_CHECK;

#endif
