/*
 * tracee: stopping every thread of a process and letting it go again, such that the program cannot tell.
 *
 * A write that a stop ends with a part of its bytes transferred is finished when the threads run on (finish.h), for ten seconds at most. One that does not
 * get on at all is better not stopped: it is waited for, two seconds per transaction, and then all is refused as busy, or with target.cut_calls the call
 * returns its part after all.
 *
 * Threads are attached with PTRACE_SEIZE (no signal is sent) and stopped with PTRACE_INTERRUPT. A stop makes some blocking calls return EINTR
 * to the program although no signal came; each stop is hidden from them at once (formats/base/restart.h), but for target.shows_limits. EXITKILL is
 * never set: when this process dies the kernel lets every thread run on.
 *
 * The thread target.held is attached and stopped already, by whoever asks for all this; it takes part in every stop, and stays stopped after it.
 *
 * All memory is taken by tracees_init: between stop and resume nothing is allocated and no file is opened (but for tests: witness.h).
 */
#ifndef APPLY_TRACEE_H
#define APPLY_TRACEE_H

#include "apply/sharers.h"
#include "apply/target.h"
#include "formats/base/err.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/user.h>

#define TRACEES_MAX 16384

enum tracee_state {
	TRACEE_SEIZED,	/* attached and running */
	TRACEE_PENDING, /* told to stop */
	TRACEE_STOPPED, /* stopped; `registers` are valid */
	TRACEE_GONE,	/* exited, or detached again */
};

struct tracee {
	pid_t tid;
	uint8_t state;	     /* enum tracee_state */
	bool changed;	     /* registers are to be written back before it runs */
	bool cut;	     /* a call of it was cut short, and is finished when it runs on (finish.h) */
	bool held;	     /* target.held: stopped before and after */
	bool shows_limits;   /* target.shows_limits */
	int signal;	     /* delivery of this signal was interrupted; handed back when it runs on. 0 = none */
	uint64_t moved_from; /* the PC before moves_out_of_patches changed it; 0 = it did not */
	struct user_regs_struct registers;
};

struct tracees {
	struct target *target; /* borrowed */
	struct tracee *list;   /* owned, room for TRACEES_MAX */
	uint32_t count;
	uint32_t ending; /* threads of the latest listing that are exiting, or have exited (a zombie leader): nobody can attach to them */
	struct sharers sharers;
	int status_fd;	     /* /proc/PID/status */
	uint64_t stop_begin; /* monotonic nanoseconds of the first PTRACE_INTERRUPT; 0 = not stopped */
	uint64_t pause;	     /* nanoseconds from there to the last thread let go, of the latest stop */
};

/* ERR_MEMORY, ERR_GONE, ERR_IO. */
int tracees_init(struct target *t, struct tracees *ret_tracees, struct err *e) MUST_CHECK;
/* Lets go of everything that is still attached. A thread that cannot be reached (uninterruptible sleep) is let go by the kernel on exit. */
void tracees_fini(struct tracees *s);

/*
 * Stops all threads, also those born meanwhile. Requires: running. ERR_BUSY when a call would be cut short, a thread did not stop within `limit` nanoseconds (all others run
 * again) or other processes share the memory for a moment (vfork), ERR_REFUSED when a thread is traced by somebody else, another process
 * goes on sharing the memory or it was frozen, ERR_GONE when the process ended or executed another program.
 * On failure the target runs as before.
 */
int tracees_stop(struct tracees *s, uint64_t limit, struct err *e) MUST_CHECK;
/* Writes changed registers back and lets all threads run, and has calls finished. Registers that cannot be written belong to a thread that was killed. */
void tracees_resume(struct tracees *s);

/* Waits until no call is stuck that a stop would cut short, as above. Requires: running. ERR_BUSY names thread and call. */
int tracee_wait_calls(struct target *t, struct err *e) MUST_CHECK;

/* Attaches and stops one thread. ERR_GONE, ERR_BUSY, ERR_REFUSED as above. */
int tracee_attach(const struct target *t, pid_t tid, uint64_t limit, struct tracee *ret_tracee, struct err *e) MUST_CHECK;
/*
 * From any stop to that of PTRACE_INTERRUPT, from which an interrupted call is restarted by the kernel. The signal whose delivery was interrupted
 * is handed back first, so a handler may begin; otherwise no instruction is executed. ERR_GONE, ERR_BUSY.
 */
int tracee_settle(struct tracee *tracee, uint64_t limit, struct err *e) MUST_CHECK;
/* Lets one stopped thread run, unless it is held: it only gets its registers back then. */
void tracee_detach(struct tracee *tracee);
/* Waits for the next stop of one thread until monotonic time `deadline`. -ERR_BUSY: none came. */
int tracee_wait(struct tracee *tracee, uint64_t deadline, int *ret_status, struct err *e) MUST_CHECK;

/* The tids of the process, at most `room`; how many. */
uint32_t tracee_list(const struct target *t, pid_t *tids, uint32_t room);

/* ptrace(2) behind a fault step. -1 with errno. */
long tracee_request(int request, pid_t tid, uintptr_t address, uintptr_t data);

uint64_t monotonic_now(void); /* nanoseconds */
void monotonic_pause(uint64_t nanoseconds);

#endif
