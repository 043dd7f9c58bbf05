/*
 * ring: the memory that the kernel shares for the records of one CPU (perf_event_open(2), "MMAP layout").
 */
#ifndef PROFILE_RING_H
#define PROFILE_RING_H

#include "formats/base/bytes.h"
#include "formats/base/err.h"

#include <stddef.h>

struct ring {
	void *memory; /* owned: one control page, then data_size bytes */
	size_t data_size, mapped_size;
};

/*
 * Maps the ring of an event descriptor. Asks for `pages` data pages (a power of two) and for less when the locked-memory limit does not allow
 * them, down to 8. ERR_PERMISSION when even those are refused, ERR_IO.
 */
int ring_map(int fd, size_t pages, struct ring *ret_ring, struct err *e) MUST_CHECK;
void ring_unmap(struct ring *ring);

/* Appends all whole records that are in the ring to `out` and gives their room back to the kernel. *ret_bytes: how many bytes that was. */
int ring_take(struct ring *ring, struct writer *out, size_t *ret_bytes, struct err *e) MUST_CHECK;

#endif
