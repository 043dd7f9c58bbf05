/*
 * emulate: branch stacks of a live process on machines that have no branch records, not even a PMU.
 *
 * Windows (window.h) of some ten thousand instructions are recorded of one thread after the other, chosen by the CPU time that they use, and
 * written as branch stacks, newest branch first. A window is so long that it does not matter that it begins where time is spent: what is
 * recorded is executions, not time.
 */
#ifndef PROFILE_EMULATE_EMULATE_H
#define PROFILE_EMULATE_EMULATE_H

#include "formats/base/err.h"
#include "formats/profile.h"
#include "profile/emulate/cpu.h"
#include "profile/emulate/window.h"

#include <stdint.h>
#include <sys/types.h>

#define EMULATE_EVENT "emulation"

struct emulate_progress {
	uint64_t elapsed_ns, windows, instructions;
};

struct emulate_options {
	pid_t pid;
	double seconds;	       /* 0: until stopped or the target exits */
	uint64_t instructions; /* of a window */
	double share;	       /* of the time that one thread stands still, 0 to 1 */
	int stop_fd;	       /* readable = stop now; -1 = none */
	/* Called about four times a second; may be NULL. */
	void (*progress)(void *context, const struct emulate_progress *progress);
	void *context;
};

struct emulate_result {
	struct profile_info info;		 /* owned: emulate_result_free */
	uint64_t windows, instructions;		 /* with something in them */
	uint64_t branches, calls;		 /* taken branches; system calls passed */
	uint64_t wrong, empty;			 /* forecasts that were wrong and thrown away; windows without anything */
	uint64_t ends[CPU_ENDS];		 /* why forecasts ended for good */
	uint64_t held_ns, held_max_ns;		 /* a thread stood still: in all, longest in one piece */
	uint64_t threads, modules, unattributed; /* the last: ends of branches in no module */
	uint64_t bytes;				 /* written; 0 for a pipe */
	uint64_t lacks[WINDOW_LACKS];		 /* why the empty ones are */
	bool target_exited;
};

/*
 * Records into `fd` (`name` is for messages). The stream is complete when 0 is returned; after an error it can be read up to there. ERR_GONE,
 * ERR_PERMISSION (ptrace is not allowed), ERR_REFUSED (somebody else traces the process, 32-bit code), ERR_BUSY (it does not stop), ERR_NO (it did not run), ERR_ENVIRONMENT, ERR_MEMORY,
 * ERR_IO.
 */
int emulate_run(const struct emulate_options *options, int fd, const char *name, struct emulate_result *ret_result,
		struct err *e) MUST_CHECK;
void emulate_result_free(struct emulate_result *result);

#endif
