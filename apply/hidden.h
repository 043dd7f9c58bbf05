/*
 * hidden: saved PCs that no thread's stack walk can find, on stacks of coroutines or in copies of registers.
 *
 * After an undo nothing makes new pointers into an image any more, so the rest of the target's memory can be searched while it runs. Every
 * word is treated as a pointer: a number that only looks like one costs nothing but that the image stays mapped.
 */
#ifndef APPLY_HIDDEN_H
#define APPLY_HIDDEN_H

#include "apply/target.h"

struct hidden_range {
	raddr start, end; /* [start, end) */
};

/* A thread at the stop: its stack pointer, and its thread control block (fs base). */
struct hidden_thread {
	raddr stack, tcb;
};

/*
 * Old return addresses also get into the heap, in structures that were copied with what their padding held. So each word that is found is
 * shown to its judge: could it be a live return address (or saved PC) at `where`? False only when that is excluded.
 */
struct hidden_judge {
	void *context;
	bool (*may_live)(void *context, raddr where, raddr word);
};

/*
 * Searches all private writable memory of the target for aligned words that lead into one of `images`. Two kinds of mappings are passed over,
 * since old return addresses lie there by the hundred: stacks that a thread was on (they were walked exactly), and stacks of threads
 * that have ended, which the C library keeps for the next ones (they end with a control block that no thread uses). A stack that
 * a thread has left for a coroutine's is searched. Sets *ret_found to where the first word that may live lies, 0 when there is none. Requires
 * target_refresh. Target running and unchanged. ERR_MEMORY. A mapping that goes away meanwhile is passed over.
 */
int hidden_find(const struct target *t, const struct hidden_range *images, uint32_t image_count, const struct hidden_thread *threads,
		uint32_t thread_count, const struct hidden_judge *judge, raddr *ret_found, struct err *e) MUST_CHECK;

#endif
