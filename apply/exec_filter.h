/*
 * exec_filter: do system call filters (seccomp) that a program has inherited let through what an apply injects?
 *
 * Filters are only ever added. A program that was started by this process and has as many as this process has the same ones, so what they
 * let this process do they let it do. In a container that has a filter this is the only way: who is filtered may not suspend filters.
 */
#ifndef APPLY_EXEC_FILTER_H
#define APPLY_EXEC_FILTER_H

#include <stdbool.h>
#include <sys/types.h>

/* Has process `pid`, a descendant, the filters of this process, and do they pass? Tried in a child. False where no filter is. */
bool exec_filter_passes(pid_t pid);

#endif
