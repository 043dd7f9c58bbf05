/*
 * core: the core file of a process, read as the process would be. It is a target that cannot be changed.
 *
 * Of the kernel or of a debugger; images and journals are private anonymous memory, which both write by default (core(5), coredump_filter).
 */
#ifndef APPLY_CORE_H
#define APPLY_CORE_H

#include "apply/target.h"

struct core;

/*
 * Opens the core file at `path`: `maps` and whatever reads memory work on the result. To be closed by target_close. ERR_MISSING, ERR_PERMISSION;
 * ERR_FORMAT, ERR_UNSUPPORTED: no core file of an x86-64 process; ERR_MEMORY.
 */
int core_open(const char *path, struct target *ret_target, struct err *e) MUST_CHECK;
void core_close(struct core *core);

/* As pread(2) of /proc/PID/mem: up to `size` bytes; -1 and EIO where the file has none. */
ssize_t core_read(const struct core *core, void *buffer, size_t size, raddr address);

#endif
