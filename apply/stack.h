/*
 * stack: exact unwinding of stopped threads of another process, by the CFI that stands in its memory.
 *
 * Used when a plan is undone: return addresses that point into the image are found at the exact slots where calls left them and can be
 * rewritten to their originals (legal by state identity). Nothing is guessed: where there is no CFI the walk says so and the caller keeps
 * the image.
 *
 * stack_open reads the unwind tables of every module (target running or stopped; allocates). stack_walk runs while the target is stopped:
 * it allocates nothing and opens nothing, it only reads the target's stack with process_vm_readv.
 *
 * DWARF 4, section 6.4; Linux Standard Base 5.0, ".eh_frame" and ".eh_frame_hdr".
 */
#ifndef APPLY_STACK_H
#define APPLY_STACK_H

#include "formats/base/err.h"
#include "formats/base/procmaps.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct stack_unwinder;

/*
 * Reads .eh_frame_hdr and what follows it in its segment for each ELF file mapped in `maps` (the vdso too). Modules without a usable
 * table are skipped: walks through them end with STACK_NO_CFI. `pid`: a thread that has the memory. ERR_MEMORY; ERR_BUSY when that thread has ended
 * meanwhile; ERR_GONE when the memory cannot be read any more.
 */
int stack_open(pid_t pid, const struct procmaps *maps, struct stack_unwinder **ret_unwinder, struct err *e) MUST_CHECK;
void stack_close(struct stack_unwinder *unwinder);

enum stack_end {
	STACK_BOTTOM,	  /* the outermost frame was reached: every return address was seen */
	STACK_NO_CFI,	  /* no unwind row for a PC */
	STACK_UNREADABLE, /* a stack slot could not be read */
	STACK_LOOP,	  /* the frame address did not grow: corrupt or a stack we do not understand */
	STACK_TOO_DEEP,	  /* more than STACK_FRAMES_MAX frames */
	STACK_STOPPED,	  /* a callback asked to stop */
};

#define STACK_FRAMES_MAX 100000u

struct stack_frame {
	raddr pc;	/* where the frame executes, as found (perhaps in an image) */
	raddr slot;	/* where that PC is stored: a return address or the PC of a signal frame; 0 for the innermost frame */
	raddr stack;	/* its stack pointer: what is below belongs to the frames inside of it, or to nobody */
	bool is_return; /* it is a return address: the call is the instruction before it; false for the innermost and interrupted frames */
};

struct stack_visitor {
	void *context;
	/* Called for every frame, innermost first. False ends the walk (STACK_STOPPED). May write the slot; must not unwind. */
	bool (*frame)(void *context, const struct stack_frame *frame);
	/* PC whose CFI describes this frame: for a PC inside an image its original, otherwise frame->pc. */
	raddr (*original)(void *context, const struct stack_frame *frame);
};

struct stack_result {
	enum stack_end end;
	raddr pc; /* of the last frame */
	uint32_t frames;
	bool unwinds; /* one of them is a function of GCC's unwinder that will leave by way of a handler */
};

/* Requires: the thread of `regs` is stopped. Target unchanged (apart from what the visitor does). */
struct stack_result stack_walk(struct stack_unwinder *unwinder, const struct user_regs_struct *regs, const struct stack_visitor *visitor);

/* Short text of an end, for status and messages. */
const char *stack_end_text(enum stack_end end);

#endif
