/*
 * perf_map: /tmp/perf-PID.map of a process, where perf looks for the names of code that belongs to no file.
 *
 * PID and /tmp are those of the process: its own number, in its PID namespace; its own root directory. All work on the file is done by a child that
 * has become the user of the process, so nothing can be made or removed that the process could not make or remove itself, whatever it did
 * with its directories; nor does a file system of its own keep us waiting for more than some seconds. The file is that user's, mode 0600, as the
 * map of a JIT compiler is. A file that is there is never opened for writing, and no link at its name is followed.
 *
 * A map is ours when it holds what we would write: then it is removed at undo. Nothing else says so, neither its owner nor its inode, since a JIT
 * compiler that starts later truncates the file and goes on in it.
 */
#ifndef APPLY_PERF_MAP_H
#define APPLY_PERF_MAP_H

#include "apply/target.h"
#include "formats/base/bytes.h"

#include <stdbool.h>

#define PERF_MAP_PATH_SIZE 48

/* /tmp/perf-PID.map as the process itself sees it. ERR_GONE, ERR_ENVIRONMENT. */
int perf_map_path(const struct target *t, char path[PERF_MAP_PATH_SIZE], struct err *e) MUST_CHECK;

/*
 * Makes the map. One of ours is replaced. ERR_REFUSED: there is one already that is not ours (untouched). ERR_PERMISSION, ERR_IO, ERR_MISSING (no /tmp).
 * On failure nothing remains.
 */
int perf_map_write(const struct target *t, const struct writer *contents, struct err *e) MUST_CHECK;

/*
 * Removes the map if it is ours: a regular file that is `contents`, or begins it with one line or more (a tool was killed while it wrote; or an image came
 * later). *ret_removed: it was. No map, or not ours: no error. ERR_PERMISSION, ERR_IO.
 */
int perf_map_remove(const struct target *t, const struct writer *contents, bool *ret_removed, struct err *e) MUST_CHECK;

#endif
