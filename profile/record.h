/*
 * record: samples a live process into a profile stream.
 *
 * Owns the whole run: event choice, rings, address space, stream. Prints nothing and installs no signal handler: the caller passes a
 * descriptor that becomes readable when it is time to stop. The target is only observed: nothing is attached to it and nothing in it changes.
 */
#ifndef PROFILE_RECORD_H
#define PROFILE_RECORD_H

#include "formats/base/err.h"
#include "formats/profile.h"
#include "profile/event.h"
#include "profile/perfset.h"
#include "profile/space.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct record_progress {
	uint64_t elapsed_ns, samples, lost;
};

struct record_options {
	pid_t pid;
	struct event_wish event;
	double seconds;				   /* 0: until stopped or the target exits */
	enum perfset_way way;			   /* see perfset.h */
	int stop_fd;				   /* readable = stop now; -1 = none */
	const struct space_translator *translator; /* may be NULL */
	/* Called about four times a second while recording; may be NULL. */
	void (*progress)(void *context, const struct record_progress *progress);
	void *context;
};

struct record_result {
	struct profile_info info; /* owned by the result: record_result_free */
	struct perfset_shape shape;
	uint64_t samples, unattributed; /* of all samples, those in no module */
	uint64_t branches;
	uint64_t modules, threads; /* that have samples */
	uint64_t bytes;		   /* written; 0 for a pipe */
	uint64_t pause_max_ns;	   /* longest time between two looks at the rings */
	bool target_exited;
	char tried[512]; /* what was better but not to be had, and why: lines */
};

/*
 * Records until one of the ends. The stream goes to `fd` (`name` is for messages) and is complete when 0 is returned; after an error it
 * is readable up to the last chunk. ERR_GONE: no such process or it is a zombie; ERR_PERMISSION; ERR_ENVIRONMENT: no event can be had;
 * ERR_USAGE: unknown event name; ERR_IO: cannot write.
 */
int record_run(const struct record_options *options, int fd, const char *name, struct record_result *ret_result, struct err *e) MUST_CHECK;
void record_result_free(struct record_result *result);

#endif
