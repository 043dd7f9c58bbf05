/*
 * lackey: replays what a program really executed, as valgrind's lackey prints it:
 *
 *   valgrind --tool=lackey -v -v --vex-guest-chase=no --basic-counts=no --trace-superblocks=yes --log-file=TRACE PROGRAM
 *
 * Each line "SB 0401b82a" is an address at which valgrind entered a superblock; without chasing a superblock ends at the next branch, call or
 * return (or after some dozen instructions), so the addresses tell the whole sequence. "-v -v" adds where each file was loaded ("Reading syms from
 * PATH", then "svma A, avma B"). The file is read once from start to end, so that it may be a pipe; memory is bounded whatever its size.
 * Measured against cachegrind, original and relaid by `repave-apply file` (perl, bash, python3.11; 8 KiB 2-way to 64 KiB 8-way): I1 misses per 1000
 * instructions within 3 %, before and after (relaid perl at 64 KiB, 0.5 per 1000: 0.9; there the pages' places matter).
 * Limits: one process (no --trace-children=yes), and threads are not told apart, though valgrind runs one at a time for long.
 */
#ifndef ANALYZE_SIMULATE_LACKEY_H
#define ANALYZE_SIMULATE_LACKEY_H

#include "analyze/simulate/follow.h"

#include <stdio.h>

struct lackey_result {
	uint64_t superblocks; /* lines */
	uint64_t outside;     /* of them, in code that no map has */
	uint32_t modules;     /* maps that were loaded */
};

/* `progress` (may be NULL) is called now and then with the lines so far. */
struct lackey_options {
	uint64_t instructions; /* stop after so many; 0: at the end */
	void (*progress)(void *context, uint64_t superblocks);
	void *context;
};

/*
 * Reads `file` to its end, or as far as wanted. `name` is for messages. ERR_FORMAT: a line that starts like a superblock but has no address (with
 * its number), or no superblock at all; ERR_MISMATCH: none of the maps' files is loaded in it; ERR_IO, ERR_MEMORY.
 */
int lackey_replay(FILE *file, const char *name, const struct lackey_options *options, struct follow *f, struct lackey_result *ret_result,
		  struct err *e) MUST_CHECK;

#endif
