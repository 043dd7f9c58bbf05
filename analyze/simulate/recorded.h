/*
 * recorded: replays the recorded course of a profile: what was executed, in order.
 *
 * A step is the address of an instruction that came next; what was executed up to the next step follows from the maps. One machine executes the
 * windows of all threads as they stand in the file, as one core would, with a stack of calls for each of the last RECORDED_THREADS_MAX threads.
 * Before a window with a gap the caches hold what the window before left there, not what the program did in between: the first quarter warms them up
 * and is not counted. Windows of 10,000 steps (50,000 instructions), one in a hundred, gave the misses of the whole course within 10 % (perl,
 * cc1plus, bash; 8 KiB 2-way and 32 KiB 8-way); of 2,000 steps within 7 % at 8 KiB, but from -47 to +60 % at 32 KiB, which they do not fill.
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
