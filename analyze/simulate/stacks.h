/*
 * stacks: replays the branch stacks of a profile: recorded sequences of taken branches, with what was run through between them.
 *
 * Each sample is a true sequence: of 32 branches from hardware, of thousands from emulation; between samples lies time of which nothing is known.
 * Samples follow one another in recorded order and the caches are kept, so where samples are short misses are a guess, often a high one: a working
 * set that stayed in the cache between two samples in truth may have been pushed out here by what the next sample happens to show. Of long samples the
 * first quarter is only to bring it back. Taken branches and exits do not suffer from that.
 */
#ifndef ANALYZE_SIMULATE_STACKS_H
#define ANALYZE_SIMULATE_STACKS_H

#include "analyze/simulate/follow.h"

struct stacks_result {
	uint64_t samples;  /* with branches */
	uint64_t branches; /* replayed */
	uint64_t outside;  /* ends of branches in code that no map has */
};

/* Replays all stacks, again from the start until `instructions` are executed (0: once). */
void stacks_replay(const struct profile *profile, uint64_t instructions, struct follow *f, struct stacks_result *ret_result);

#endif
