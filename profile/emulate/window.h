/*
 * window: a stretch of what one thread executes, of some ten thousand instructions, recorded without hardware and without changing the process.
 *
 * The thread is stopped and what it will execute up to its next system call is worked out on a copy of its memory (cpu.h). Then it runs
 * there by itself, at full speed; its registers at the call must be those that were forecast, else the forecast is thrown away. After the call the
 * window goes on, until it is long enough. The thread loses the time of emulation, some ten to a hundred times that of execution; all others run.
 *
 * Nothing of the thread is changed but what hides the stop from a system call (formats/base/restart.h). A killed recorder leaves it running.
 */
#ifndef PROFILE_EMULATE_WINDOW_H
#define PROFILE_EMULATE_WINDOW_H

#include "formats/base/err.h"
#include "profile/emulate/cpu.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Why there is nothing in a window. */
enum window_lack {
	WINDOW_IDLE,	/* the thread waits, or ended */
	WINDOW_TRACED,	/* by somebody else */
	WINDOW_FOREIGN, /* 32-bit code */
	WINDOW_STUCK,	/* it does not stop: see `left` */
	WINDOW_LACKS,
};

/* A thread that could not be let go. */
struct window_left {
	pid_t tid; /* 0 = none */
	bool
	    in_call; /* it waits in a call that a stop would cut short (restart.h), so it was not asked to stop, and does when the call is over */
};

struct window_limits {
	uint64_t skip;	       /* instructions that go before and are not part of it, when it gets beyond them */
	uint64_t instructions; /* of one window */
	uint64_t held_ns;      /* the thread never stands still for longer in one piece, about: the window ends */
	uint64_t blocked_ns;   /* a system call that takes longer ends the window */
};

struct window {
	cpu_branches branches;	       /* confirmed ones, oldest first; owned */
	size_t first;		       /* of the branches: those before were skipped */
	uint64_t instructions;	       /* confirmed, or forecast last; without those skipped */
	raddr end;		       /* PC of the first instruction that is not part */
	uint64_t held_ns, held_max_ns; /* the thread stood still: in all, longest in one piece */
	uint32_t calls;		       /* system calls passed */
	uint32_t wrong;		       /* 1: the last forecast was not what happened */
	enum window_lack lack;
	struct window_left left; /* it did not stop (uninterruptible sleep), or waits in such a call: window_release */
	enum cpu_end reason;	 /* of the last forecast */
};

/*
 * Records a window of thread `tid` of process `pid` into *window, whose memory is used again (zeroed at first; window_free). A thread that
 * cannot be had just now (it ended, somebody else traces it, it is stopped by job control, or waits in a call that a stop would cut short) gives an empty window. Errors: ERR_PERMISSION,
 * ERR_MEMORY, ERR_ENVIRONMENT. The thread runs as before in any case.
 */
int window_record(struct cpu *cpu, struct memory *memory, pid_t pid, pid_t tid, const struct window_limits *limits, struct window *window,
		  struct err *e) MUST_CHECK;
void window_free(struct window *window);

/* Lets go of a thread that was `left`, if it stopped meanwhile; until then it stands still when it does. true: it is gone or runs. */
bool window_release(const struct window_left *left);

#endif
