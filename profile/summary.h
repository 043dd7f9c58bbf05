/*
 * summary: how the weight of a profile spreads over modules, functions and threads.
 *
 * Weight is samples, or executed instructions where the profile is exact. A function is a range of the module's map (split parts count
 * for their parent); where no map of the module is at hand, a 4 KiB page of the module stands for it.
 */
#ifndef PROFILE_SUMMARY_H
#define PROFILE_SUMMARY_H

#include "formats/base/err.h"
#include "formats/map.h"
#include "formats/profile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SUMMARY_PAGE = 4096 };

struct summary_item {
	uint64_t weight;
	uint64_t address; /* modules, threads: 0; functions and pages: vaddr of the start */
	uint64_t size;	  /* bytes; 0 for modules and threads */
	uint32_t module;  /* number in the profile, PROFILE_NO_MODULE = none */
	uint32_t thread;  /* threads only */
	const char *name; /* borrowed from the map; NULL = none */
	bool is_function;
};

/* Heaviest first; equal ones by module, address, thread. */
struct summary {
	uint64_t weight;				 /* of everything */
	struct summary_item *modules, *places, *threads; /* owned */
	size_t module_count, place_count, thread_count;
};

/*
 * Gives a profile that has a course and no other weight the number of steps at each place as counts, so that it can be summed up. `data` is what it
 * was decoded from. Errors of profile_walk.
 */
int summary_count_steps(const void *data, size_t size, const char *name, struct profile *profile, struct err *e) MUST_CHECK;
/* `maps` are matched to modules by identity. ERR_MEMORY. */
int summary_make(const struct profile *profile, const struct map *maps, size_t map_count, struct summary *ret_summary,
		 struct err *e) MUST_CHECK;
/* The function or page that `address` of a module lies in, with this weight. `map` is the module's, NULL if there is none. */
struct summary_item summary_place(const struct map *map, uint32_t module, uint64_t address, uint64_t weight);
void summary_free(struct summary *summary);

#endif
