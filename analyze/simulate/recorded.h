/*
 * recorded: replays the recorded course of a profile: what was executed, in order.
 *
 * A step is the address of an instruction that came next; what was executed up to the next step follows from the maps. One machine executes the
 * windows of all threads as they stand in the file, as one core would, with a stack of calls for each of the last RECORDED_THREADS_MAX threads.
 * Before a window with a gap the caches hold what some other part of the program left there: the first quarter of it warms them up and is not
 * counted, and what is missed later may still have been there in truth, so misses are an upper estimate then.
 * The file is walked chunk by chunk: memory is bounded whatever its length.
 *
 * Measured against cachegrind by tests/bench/simulate.
 */
#ifndef ANALYZE_SIMULATE_RECORDED_H
#define ANALYZE_SIMULATE_RECORDED_H

#include "analyze/simulate/follow.h"
#include "formats/base/file.h"

#define RECORDED_THREADS_MAX 64u

struct recorded_options {
	uint64_t instructions;						/* stop after so many; 0: at the end */
	void (*progress)(void *context, uint64_t done, uint64_t whole); /* steps; may be NULL; after each chunk */
	void *context;
};

struct recorded_result {
	uint64_t steps;
	uint64_t outside; /* of them, in code that no map has */
	uint64_t gaps;
};

/*
 * Executes the course of the profile in `file`, of `whole` steps. `name` is for messages. The machine's program must have been made without a profile, so that all
 * blocks are there. ERR_MEMORY, and the errors of profile_walk.
 */
int recorded_replay(const struct file_data *file, const char *name, uint64_t whole, const struct recorded_options *options,
		    struct machine *machine, struct recorded_result *ret_result, struct err *e) MUST_CHECK;

#endif
