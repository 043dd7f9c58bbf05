/*
 * cgroup: what the control groups of a process say about it (cgroups(7), both versions, where they are usually mounted). Where nothing can be read nothing
 * is known.
 */
#ifndef APPLY_CGROUP_H
#define APPLY_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Frozen, or about to be: it cannot run what is injected, and of version 1 does not answer a tracer either. */
bool cgroup_frozen(pid_t pid);

/*
 * How many bytes the process may use before a limit of its group or of one above is reached, UINT64_MAX where none is known. What is there only as a copy
 * of files counts as free: the kernel makes room of it. Beyond that the kernel kills somebody in the group.
 */
uint64_t cgroup_memory_left(pid_t pid);

#endif
