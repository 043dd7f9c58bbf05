/*
 * placement: an address for new memory, within reach of a module and out of the way of everything that grows.
 */
#ifndef APPLY_PLACEMENT_H
#define APPLY_PLACEMENT_H

#include "formats/base/addr.h"
#include "formats/base/err.h"
#include "formats/base/procmaps.h"

#include <stddef.h>
#include <stdint.h>

struct placement_range {
	raddr start;
	uint64_t size;
};

struct placement_want {
	raddr load_low,
	    load_high;	    /* [low, high): every byte of the new range must reach every byte of this with a signed 32-bit distance */
	uint64_t size;	    /* bytes, rounded up to pages by the caller */
	uint64_t alignment; /* of the address; a power of two, at least a page */
};

/*
 * An aligned address of a free range in `maps`, not touching anything in `taken`, with at least a page free on both sides. Nearest
 * below the module, else nearest above; for a module in the first 4 GiB (non-PIE: its heap grows right behind it) the highest in reach below
 * numbers that programs use as flags; where there is such a place, not where pointers lead that a string was written over (placement.c). Never next to a
 * stack. ERR_REFUSED when nothing fits.
 */
int placement_find(const struct procmaps *maps, const struct placement_range *taken, size_t taken_count, const struct placement_want *want,
		   raddr *ret_address, struct err *e) MUST_CHECK;

#endif
