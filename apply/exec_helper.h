/*
 * exec_helper: a process that attaches to its maker before that executes another program, and leaves no trace in it: no child, no descriptor,
 * no pending signal.
 *
 * The helper is a grandchild whose parent has ended, so whoever takes in orphans is its parent. Process 1 of a container takes them in itself; there
 * the helper is a child that sends no signal when it ends, which wait(2) does not see without __WALL, and which exec_entry_reap has waited for.
 */
#ifndef APPLY_EXEC_HELPER_H
#define APPLY_EXEC_HELPER_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct exec_helper_work {
	/* Both run in the helper, which has its own session and the root directory, and of the descriptors stderr and `keep`. */
	int (*attach)(void *context, pid_t program, struct err *e); /* to the maker, which waits */
	void (*work)(void *context);				    /* the maker goes on; the helper ends afterwards */
	void *context;
	int keep; /* -1: none */
};

/* Starts the helper. 0: it is attached; execute the program now. An error: it is not, and is gone; the cause is attach's own, or ERR_ENVIRONMENT. */
int exec_helper_start(const struct exec_helper_work *work, struct err *e) MUST_CHECK;

/* In the helper: is it a child of the program, which has to wait for it? */
bool exec_helper_is_child(pid_t program);

#endif
