/*
 * slowdown: how much slower a process is while it counts, from samples of where it is.
 *
 * An instruction that counts shows as samples at it or, since a sample falls on the instruction that waits for it, at the one behind it. Their
 * share s of all samples is time that would not be spent otherwise: the process is 1 / (1 - s) times slower. What the wider code costs in
 * caches is not in it.
 */
#ifndef PROFILE_EXACT_SLOWDOWN_H
#define PROFILE_EXACT_SLOWDOWN_H

#include "formats/plan.h"
#include "profile/space.h"

#include <stdint.h>

struct slowdown_region {
	const struct plan_module *plan; /* borrowed */
	raddr code;
};

struct slowdown {
	struct slowdown_region *regions; /* borrowed */
	uint32_t region_count;
	uint64_t counting, image; /* samples at counters; in the image at all */
};

/* A space_translator: notes the sample and gives the original address. `context` is a struct slowdown. */
bool slowdown_translate(void *context, raddr address, raddr *ret_original);
/* Of `samples` in all. 1 = not slower. */
double slowdown_factor(const struct slowdown *s, uint64_t samples);

#endif
