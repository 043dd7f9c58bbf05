/*
 * sibling: other programs of this suite, run for what their files say. Tools meet only through files; this one starts them.
 *
 * A sibling stands beside the running program, or in PATH. It is run with --json; its standard error is ours.
 */
#ifndef PROFILE_EXACT_SIBLING_H
#define PROFILE_EXACT_SIBLING_H

#include "formats/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/* Path of `name` ("repave-apply") into `path`. ERR_MISSING. */
int sibling_find(const char *name, char *path, size_t size, struct err *e) MUST_CHECK;

struct sibling {
	const char *name; /* borrowed */
	pid_t pid;
	FILE *output;  /* what it prints */
	json_t *error; /* the error that it printed, NULL so far; owned */
};

/* Starts `arguments` (NULL-terminated; arguments[0] is a name as above). ERR_MISSING, ERR_IO. */
int sibling_start(const char *const *arguments, struct sibling *ret_sibling, struct err *e) MUST_CHECK;
/* The next line that it prints as JSON, NULL at the end or when it is none. The caller owns it. */
json_t *sibling_line(struct sibling *s);
/*
 * Waits for its end. 0, or the error that it ended with (its code and text). ERR_INTERNAL when a signal killed it: *ret_killed (may be NULL)
 * says so.
 */
int sibling_wait(struct sibling *s, bool *ret_killed, struct err *e) MUST_CHECK;
/* Start to end, output of success into *ret_json (may be NULL; the caller owns it). */
int sibling_run(const char *const *arguments, json_t **ret_json, struct err *e) MUST_CHECK;

#endif
