/*
 * hidden: saved PCs that no thread's stack walk can find, on stacks of coroutines or in copies of registers.
 *
 * After an undo nothing makes new pointers into an image any more, so the rest of the target's memory can be searched while it runs. Every
 * word is treated as a pointer: a number that only looks like one costs nothing but that the image stays mapped.
 *
 * How it is known that nothing leads into an image that is freed. A saved PC is one of these:
 *
 *   - the PC of a thread, or a return address or signal frame on the stack that it is on: the walk saw it, and it went home (undo.h). No walk to
 *     the bottom, no freeing;
 *   - a return address or a signal frame on a stack that no thread is on (a coroutine's, a copied one's), wherever that stack is: a word of memory
 *     at a multiple of eight. Searched is all that the process has written: every page of private mappings that is its own, whatever its protection
 *     is now, heap, arenas, data of modules and rest of stacks alike, in memory or swapped out; and every page of writable shared mappings that it
 *     has touched, but not those of devices. Left out is what covered.h proves, stacks of threads that have ended, and mappings of our own;
 *   - in a jmp_buf or ucontext, perhaps mangled: functions that call setjmp or getcontext are not moved, so none leads into an image. Where a program has
 *     its own setjmp, or calls getcontext by a jump, the PC stands beside the stack pointer, and is searched for like the others;
 *   - in the kernel: of a call that is made again, which the walk sees; restartable sequences are not moved.
 *
 * A coroutine may go on while the search runs, and then be in the image without a word of memory that says so. Therefore the threads are stopped
 * once more after a search that found nothing, and if one has been in the image meanwhile, all is done again (undo.c).
 *
 * What remains: a shared page that was swapped out is not seen; nor is a PC stored unaligned, or encoded by the program's own means; nor, when a stack was
 * copied in pieces, a return address that is the last one of its piece and the only one in it that leads into the image. No program that
 * does one of these is known.
 */
#ifndef APPLY_HIDDEN_H
#define APPLY_HIDDEN_H

#include "apply/covered.h"
#include "apply/target.h"

/*
 * Old return addresses also get into the heap, in structures that were copied with what their padding held. So each word that is found is
 * shown to its judge: could it be a live return address (or saved PC) at `where`? False only when that is excluded.
 */
struct hidden_judge {
	void *context;
	bool (*may_live)(void *context, raddr where, raddr word);
};

/* What is looked for, and where it need not be. */
struct hidden_search {
	const struct covered_range *images; /* a word that is the end of one may be a return address of it too */
	const struct covered_range *ours;   /* mappings of our own */
	uint32_t image_count, ours_count;
	const struct covered *covered; /* covered_finish'ed */
	struct hidden_judge judge;
};

/*
 * Searches the memory of the target for aligned words that lead into an image. Sets *ret_found to where the first word that may live lies, 0 when there
 * is none. Requires target_refresh. Target running and unchanged. ERR_MEMORY. A mapping that goes away meanwhile is passed over.
 */
int hidden_find(const struct target *t, const struct hidden_search *search, raddr *ret_found, struct err *e) MUST_CHECK;

#endif
