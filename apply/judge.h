/*
 * judge: could a word of memory be a saved PC that leads into an image?
 *
 * A return address follows a call: where code of an image pushes an address by other means it is one of original code. It stands right below the frame
 * that it returns to. Its unwind row says where that frame's own return address lies; were the word
 * alive, that one would lead into code. A frame that nobody called has none: the first of a coroutine that was made by hand, or one
 * whose row says that it is the outermost. Whatever cannot be told speaks for the word.
 *
 * A PC may also stand beside the stack pointer that it was saved with. Then the frame is there.
 *
 * The PC in a signal frame need not follow a call. It is told by where it stands: in the registers that the kernel saved, or copied from there.
 */
#ifndef APPLY_JUDGE_H
#define APPLY_JUDGE_H

#include "apply/journal.h"
#include "apply/stack.h"

struct judge {
	const struct target *target;
	const struct journal *journals; /* all of them: the frame above may be in another image */
	uint32_t journal_count;
	struct stack_unwinder *unwinder;
};

/* May `word`, found at `where`, be a saved PC? Requires: it leads into an image, or is the end of one. */
bool judge_may_live(const struct judge *judge, raddr where, raddr word);

#define JUDGE_CALL_SIZE 8u
/* Can a call end behind these bytes? By its form alone: e8 rel32, or ff /2. */
bool judge_follows_call(const uint8_t before[JUDGE_CALL_SIZE]);

#endif
