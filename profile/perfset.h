/*
 * perfset: one event on all threads of a process, now and later, and its records in the order of time.
 *
 * Two ways. By threads: the kernel refuses an inherited event that is mapped and follows its thread over all CPUs, so each thread gets one
 * event per CPU; all events of a CPU write into one ring. New threads inherit the events of the thread that made them; children by fork do
 * not (their pid differs on kernels without inherit_thread, and they are dropped by it). By CPUs: each CPU is watched whole, which needs
 * privileges, and the records of other processes are dropped.
 *
 * A clock event of a thread starts and stops a timer at every context switch, which can cost more than the samples (measured in a virtual
 * machine: 32 to 59 % of the CPU time of a server at 1999 Hz, against 5 % by CPUs). So clock events go by CPUs where permitted. Counters of
 * the PMU go by threads, unless that takes more descriptors than may be opened.
 *
 * A thread that starts while events are being opened may have both inherited and own events: each sample names its event, the
 * thread keeps the first opener it was seen with, samples from others are dropped. A CPU that comes online later is not watched.
 */
#ifndef PROFILE_PERFSET_H
#define PROFILE_PERFSET_H

#include "formats/base/err.h"
#include "profile/event.h"
#include "profile/perfrecord.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct perfset;

enum perfset_way { PERFSET_AUTO, PERFSET_THREADS, PERFSET_CPUS };

struct perfset_shape {
	size_t threads, cpus, events; /* threads found at the start; CPUs watched; descriptors in use */
	bool whole_cpus;
};

/*
 * Opens and starts. ERR_PERMISSION, ERR_GONE, ERR_ENVIRONMENT (also: too many descriptors would be needed and whole CPUs are not permitted),
 * ERR_MEMORY.
 */
int perfset_open(const struct event *event, pid_t pid, enum perfset_way way, struct perfset **ret_set, struct err *e) MUST_CHECK;
void perfset_shape(const struct perfset *set, struct perfset_shape *ret_shape);
void perfset_close(struct perfset *set);

/* Gets each record of the process (samples, mappings, lost, throttle, ...). Not 0 ends the drain with that code. */
typedef int perfset_handler(void *context, const struct perfrecord *record, struct err *e);

/*
 * Takes what the rings hold and hands out, oldest first, all records older than the start of this call; the rest waits for the next call, since
 * an older record of another CPU might still come. `last` hands out all. *ret_fill (may be NULL): how full the fullest ring was, 0..1.
 */
int perfset_drain(struct perfset *set, bool last, perfset_handler *handler, void *context, double *ret_fill, struct err *e) MUST_CHECK;

#endif
