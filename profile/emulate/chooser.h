/*
 * chooser: which thread of a process to look at next, by the CPU time that each one used since the last look.
 */
#ifndef PROFILE_EMULATE_CHOOSER_H
#define PROFILE_EMULATE_CHOOSER_H

#include "formats/base/err.h"
#include "formats/base/vec.h"

#include <stdint.h>
#include <sys/types.h>

struct chooser_thread {
	pid_t tid;
	uint64_t ran_ns, credit_ns; /* CPU time in all; not answered for by a choice yet */
};

/* {.pid = PID, .seed = 1} at first. */
struct chooser {
	pid_t pid;
	uint64_t seed;
	VEC(struct chooser_thread) threads; /* in the order of /proc */
};

/*
 * A thread, at random, weighted by the CPU time it used (equal weights when the kernel keeps no account). Threads that are running now come
 * first. *ret_tid 0: there is none any more. ERR_MEMORY.
 */
int chooser_next(struct chooser *c, pid_t *ret_tid, struct err *e) MUST_CHECK;
/* 64 random bits of the same sequence. */
uint64_t chooser_random(struct chooser *c);
void chooser_free(struct chooser *c);

#endif
