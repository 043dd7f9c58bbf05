/*
 * covered: which stack memory the walks of one stop account for, so that nobody need search it for saved PCs.
 *
 * Old return addresses lie on stacks by the hundred; searched, each could be taken for a live one. So what is known to hold none is told
 * exactly, and nothing else:
 *
 *   - the frames that were walked: every return address in them was seen at its slot. Not so a frame of COVERED_FRAME or more: there is room
 *     for another stack in its variables, and that one was not walked. Nor those of a walk that did not come to the bottom: who knows where it
 *     went astray;
 *   - what lies below the innermost frame on a thread's own stack: nobody uses that, as long as the thread is on that stack. It is when its walk
 *     ended in the function that every thread begins in, which calls the program's and then ends the thread, or the process. On a
 *     coroutine's stack a walk ends elsewhere; then the thread's own frames may be anywhere, below too.
 *
 * A thread's own stack is [stack] for the first one. For others it is written in the thread's control block: glibc and musl both keep, next to
 * each other, the address and size of the mapping that they made for stack and control block.
 */
#ifndef APPLY_COVERED_H
#define APPLY_COVERED_H

#include "apply/stack.h"
#include "apply/target.h"

#define COVERED_FRAME 4096u /* no stack is smaller: a frame of a signal alone needs most of it (AVX-512) */
#define COVERED_RED_ZONE 128u

struct covered_range {
	raddr start, end; /* [start, end) */
};

/* A thread and how its walk ended. */
struct covered_thread {
	raddr tcb, end_pc, end_stack;
	uint32_t first, count; /* its frames, in the list; none when it did not come to the bottom */
};

struct covered {
	struct covered_range *list; /* owned; in the order of the walks, later sorted */
	struct covered_thread *threads;
	uint32_t count, thread_count;
	raddr inner; /* lower end of the frame whose upper end is to come; 0 = none */
};

/* ERR_MEMORY. */
int covered_init(struct covered *ret_covered, struct err *e) MUST_CHECK;
void covered_free(struct covered *c);

/*
 * While the target is stopped (nothing is allocated; what there is no room for is not covered, and so searched): covered_begin once, then for
 * each thread covered_frame for each frame, innermost first, and covered_thread_end.
 */
void covered_begin(struct covered *c);
void covered_frame(struct covered *c, const struct stack_frame *frame);
void covered_thread_end(struct covered *c, raddr tcb, const struct stack_result *result);

/* Adds what is below the frames. Requires: target_refresh'ed; running or stopped. */
void covered_finish(struct covered *c, const struct target *t);

/* Is `tcb` the control block of a thread of that stop? */
bool covered_has_thread(const struct covered *c, raddr tcb);

/* The mapping that the C library made for a thread with a control block at `tcb`; false when it does not say. */
bool covered_block(const struct target *t, raddr tcb, struct covered_range *ret_block);

#endif
