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
	bool is_new;	  /* it was not there before */
};

/*
 * Opens `path` ("-": stdout) for writing. An old file keeps its bytes until the first are written (output_empty), so that a run that is
 * refused destroys nothing. ERR_MISSING (directory), ERR_PERMISSION, ERR_IO; ERR_USAGE for a terminal.
 */
int output_open(const char *path, struct output *ret_output, struct err *e) MUST_CHECK;
/* Cuts a regular file to nothing. ERR_IO. */
int output_empty(int fd, const char *name, struct err *e) MUST_CHECK;
/* Closes, and removes the file if this run made it and wrote nothing to it. */
void output_abandon(struct output *output);
/* Closes a file of which all that was written is worthless: removes it if this run made it, otherwise empties it. */
void output_discard(struct output *output);
/* Closes; ERR_IO when the system only now says that it could not write. */
int output_close(struct output *output, struct err *e) MUST_CHECK;

#endif
