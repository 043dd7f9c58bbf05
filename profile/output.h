/*
 * output: the file a verb writes its profile to while it goes.
 *
 * A profile is an append-only stream that is readable when its writer is killed, so it is written in place, not to a temporary file.
 */
#ifndef PROFILE_OUTPUT_H
#define PROFILE_OUTPUT_H

#include "formats/base/err.h"

#include <stdbool.h>

struct output {
	int fd;
	const char *name; /* borrowed: the path, or "stdout" */
	bool is_stdout;	  /* then nothing else may be printed there */
};

/* Opens `path` ("-": stdout) for writing, empty. ERR_MISSING (directory), ERR_PERMISSION, ERR_IO; ERR_USAGE for a terminal. */
int output_open(const char *path, struct output *ret_output, struct err *e) MUST_CHECK;
/* Closes; ERR_IO when the system only now says that it could not write. */
int output_close(struct output *output, struct err *e) MUST_CHECK;

#endif
