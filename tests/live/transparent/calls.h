/*
 * calls: what the parts of the victim share: one entry per call that blocks, how to make it block and what wakes it.
 */
#ifndef CALLS_H
#define CALLS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#define ERRNO_BEFORE 4242
#define HOUR 3600

struct call {
	const char *name;
	long (*block)(struct call *);
	void (*release)(struct call *);
	long result; /* when released; -errno, for calls that end only by a signal -EINTR */
	pthread_t thread;
	struct timespec begin;
	atomic_int tid, early, done;
	long got;
	int fd, other, word; /* whatever the call waits on and what wakes it */
	pid_t child;
};

extern struct call descriptor_calls[], other_calls[];
extern const unsigned descriptor_call_count, other_call_count;

extern const struct timespec an_hour; /* read-only: the kernel cannot write back what is left */

/* Ends the victim when it is not. */
void must(bool is, const char *what);

/* Before and after: directories, queues, children. Children are made while there is only one thread. */
void prepare_descriptors(void);
void prepare_others(void);
void clean_descriptors(void);
void clean_others(void);

#endif
