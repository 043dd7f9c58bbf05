/*
 * exec_follow: waits for programs to be executed, applies plans to those that they are for, and lets them go.
 *
 * One process is attached to while it waits to execute its program. A program that a plan is for is stopped at its entry point (exec_entry.h), patched
 * by apply.h and detached. Another one, if asked for, stays attached together with what it starts, until that executes a program that a plan
 * is for. Nothing is injected into it and no call of it is traced. When this process dies all run on.
 */
#ifndef APPLY_EXEC_FOLLOW_H
#define APPLY_EXEC_FOLLOW_H

#include "apply/apply.h"
#include "apply/exec_plans.h"

enum exec_outcome {
	EXEC_APPLIED,
	EXEC_UNCHANGED, /* it runs without; `why` says why */
	EXEC_REFUSED,	/* it was ended without having begun (strict); `why` */
	EXEC_FOLLOWED,	/* no plan is for it; for what it starts, perhaps */
	EXEC_ENDED,	/* the first process is gone */
};

struct exec_event {
	pid_t pid;
	enum exec_outcome outcome;
	const struct err *why;
	const struct apply_report *report; /* EXEC_APPLIED only */
	uint64_t held;			   /* nanoseconds from its execve until it was let go, its loader's work included */
};

struct exec_follow_options {
	const struct exec_plans *plans; /* borrowed */
	struct apply_options apply;
	bool children; /* follow programs that no plan is for */
	bool always;   /* and programs that a plan was applied to, or for which it could not be applied */
	bool strict;   /* the first program must take its plan: otherwise it ends with the exit status of the error */
	void (*tell)(void *context, const struct exec_event *event); /* before the process is let go */
	void *context;
};

struct exec_follow;

/* Attaches to the process, which keeps running. ERR_PERMISSION, ERR_GONE, ERR_MEMORY. */
int exec_follow_attach(pid_t pid, const struct exec_follow_options *options, struct exec_follow **ret_follow, struct err *e) MUST_CHECK;

/* Until nothing is attached any more; frees `follow`. */
void exec_follow_run(struct exec_follow *follow);

#endif
