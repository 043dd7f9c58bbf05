/*
 * readers: modules that may read unwind tables on their own account.
 *
 * A word on a stack that leads into our tables is left from an unwinder that is at work, or from anything else that ever was at this address, and
 * may lie there as long as the thread sleeps. Only who asks where tables are gets to read them, and to ask it must name one of the functions
 * that tell: libgcc_s, which has one, and modules with an unwinder linked in. Where no frame of a thread is in one of those, nobody reads.
 * libc and the loader, which every thread is in, only tell.
 */
#ifndef APPLY_READERS_H
#define APPLY_READERS_H

#include "apply/target.h"

#include <stdbool.h>
#include <stdint.h>

struct readers_range {
	raddr start, end; /* [start, end) */
};

struct readers {
	struct readers_range *list; /* owned */
	uint32_t count;
};

/* Reads what is mapped of files that have code. A zeroed *readers is a valid start; what it had is freed. Requires: target_refresh'ed. ERR_MEMORY. */
int readers_find(const struct target *t, struct readers *readers, struct err *e) MUST_CHECK;
void readers_free(struct readers *readers);
bool readers_hold(const struct readers *readers, raddr address);

/* Does [start, start + size) of the target hold this name, as string tables do? What cannot be read does not. ERR_MEMORY. */
int readers_named(const struct target *t, raddr start, size_t size, const char *name, bool *ret_named, struct err *e) MUST_CHECK;

#endif
