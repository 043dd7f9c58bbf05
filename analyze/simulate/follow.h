/*
 * follow: drives a machine along a sequence of nodes and keeps the stack of calls, so that a return goes back to where it was called from: the
 * image or the original.
 *
 * The stack is bounded: of very deep recursion the older half is forgotten.
 */
#ifndef ANALYZE_SIMULATE_FOLLOW_H
#define ANALYZE_SIMULATE_FOLLOW_H

#include "analyze/simulate/machine.h"

#define FOLLOW_DEPTH_MAX 65536u

struct follow_frame {
	uint32_t next;	 /* node to return to */
	bool from_image; /* the call was made there */
};

struct follow {
	struct machine *machine;
	const struct program *program;
	struct follow_frame *frames;
	uint32_t depth;
	uint32_t last; /* node executed last, or PROGRAM_NONE */
};

/* ERR_MEMORY. `machine` is borrowed. */
int follow_init(struct follow *f, struct machine *machine, struct err *e) MUST_CHECK;
void follow_free(struct follow *f);

/* Control is nowhere, and nothing was called. */
void follow_forget(struct follow *f);
/* Executes `node` without connection to the one before. The stack stays. */
void follow_start(struct follow *f, uint32_t node);
/* Executes `node`, where an arc of the last one leads; that one's call is pushed. */
void follow_arc(struct follow *f, uint32_t node);
/* A call of which nothing is known, not even that it was made: executes the node behind it. */
void follow_over(struct follow *f);
/* Returns to the newest caller; false when there is none (nothing is executed). */
bool follow_return(struct follow *f);
/* Executes the node that a record says came next: finds out whether that is a return, looking some frames up (longjmp, exceptions). */
void follow_to(struct follow *f, uint32_t node);
void follow_push(struct follow *f, uint32_t next, bool from_image);

#endif
