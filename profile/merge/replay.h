/*
 * replay: a profile in the order in which it was recorded, whole or a window of time, to a sink.
 */
#ifndef PROFILE_MERGE_REPLAY_H
#define PROFILE_MERGE_REPLAY_H

#include "formats/base/err.h"
#include "formats/profile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Nanoseconds since the start of the recording, [from, to). A piece of a course counts as a whole, by the time of its first step. */
struct replay_window {
	uint64_t from_ns, to_ns;
	bool whole; /* no window: everything, also what has no time */
};

/*
 * Each call may be refused: a negated error code ends the replay. Modules come before what names them, each once, numbered from 0. The info
 * is that of what is played: of a window, its start and duration, while what is only known of the whole recording (lost, throttled,
 * CPU times) is 0.
 */
struct replay_sink {
	void *context;
	int (*begin)(void *context, const struct profile_info *info, struct err *e);
	int (*module)(void *context, uint32_t number, const struct module_identity *module, struct err *e);
	/* time_ns counts from the start of the recording, also in a window. `branches` has sample->branch_count entries. */
	int (*sample)(void *context, const struct profile_sample *sample, const struct profile_branch *branches, struct err *e);
	/* A piece of a course, with its steps: step i of it is at places[steps[i]]. first_step is to be ignored. */
	int (*window)(void *context, const struct profile_window *window, const struct profile_place *places, const uint32_t *steps,
		      struct err *e);
	int (*count)(void *context, const struct profile_count *count, struct err *e);
	int (*edge)(void *context, const struct profile_edge *edge, struct err *e);
	/* `complete`: false when the recorder was killed. */
	int (*end)(void *context, const struct profile_info *info, bool complete, struct err *e);
};

/*
 * Plays the profile in `data`. All of it is checked first, so that nothing of a malformed file is played. Errors of profile_walk, of the
 * sink; ERR_UNSUPPORTED: a window of a profile that has only totals.
 */
int replay_run(const void *data, size_t size, const char *name, const struct replay_window *window, const struct replay_sink *sink,
	       struct err *e) MUST_CHECK;

/*
 * A sink that writes what it gets as a profile to `fd` (`name` is for messages): times count from the start of the window. An old file keeps its
 * bytes until the whole input was checked. The caller frees it, after an error too; the file is whole only when replay_run returned 0.
 */
struct replay_writer;
int replay_writer_new(int fd, const char *name, const struct replay_window *window, struct replay_writer **ret_writer,
		      struct replay_sink *ret_sink, struct err *e) MUST_CHECK;
uint64_t replay_writer_samples(const struct replay_writer *writer);
uint64_t replay_writer_steps(const struct replay_writer *writer);
void replay_writer_free(struct replay_writer *writer);

#endif
