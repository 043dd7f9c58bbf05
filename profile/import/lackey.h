/*
 * lackey: a recorded course from what valgrind's lackey prints:
 *
 *   valgrind --tool=lackey -v -v --vex-guest-chase=no --vex-iropt-unroll-thresh=0 --basic-counts=no --trace-superblocks=yes \
 *            --child-silent-after-fork=yes --log-fd=9 PROGRAM 9>&1 >/dev/null | repave-profile import - -o P.rprof
 *
 * Each line "SB 0401b82a" is an address at which a superblock was entered; without chasing and unrolling one ends at the next branch, call or return
 * (or after some dozen instructions), so the addresses are the steps of a course. "-v -v" adds with which options valgrind runs, and where
 * each file was loaded ("Reading syms from PATH", then "svma A, avma B") or unloaded. With --trace-sched=yes it also says which thread runs ("SCHED[2]: acquired lock"); otherwise all is one thread.
 * The text is read once from start to end and written as it comes, in bounded memory: it is some gigabytes for a minute.
 * Limits: one process: a child that is forked writes into the same log, which is refused as soon as it shows.
 */
#ifndef PROFILE_IMPORT_LACKEY_H
#define PROFILE_IMPORT_LACKEY_H

#include "formats/base/err.h"
#include "formats/profile.h"
#include "profile/import/files.h"
#include "profile/import/input.h"

#include <stdbool.h>
#include <stdint.h>

struct lackey_result {
	uint64_t lines;
	uint64_t steps;	  /* superblocks */
	uint64_t outside; /* of them, in no file that is known */
	uint32_t modules; /* with steps */
	uint32_t threads; /* seen; 1 without --trace-sched */
	uint64_t bytes;	  /* of the profile; 0 where the descriptor cannot say */
};

struct lackey_options {
	void (*progress)(void *context, uint64_t steps); /* may be NULL; every million steps */
	void *context;
};

/* A line of such a log. */
bool lackey_is_line(const struct slice *line);

/*
 * Reads `in` to its end and writes a profile (source PROFILE_EXACT) to `fd`, whose file keeps its old bytes until the first superblock; `name` is
 * for messages. ERR_FORMAT with the line number: a superblock without an address; no superblock; no word of where a file was loaded.
 * ERR_UNSUPPORTED: two processes; superblocks that are chased or unrolled, of which one cannot tell what was executed. ERR_IO, ERR_MEMORY. After an error the file, if begun,
 * looks like that of a killed recorder, and holds part of what was refused.
 */
int lackey_read(struct input *in, struct files *files, int fd, const char *name, const struct lackey_options *options,
		struct lackey_result *ret_result, struct err *e) MUST_CHECK;

#endif
