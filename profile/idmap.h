/*
 * idmap: a hash table from nonzero 64-bit numbers (event ids, thread ids) to 32-bit ones. Start with {0}; idmap_free.
 */
#ifndef PROFILE_IDMAP_H
#define PROFILE_IDMAP_H

#include "formats/base/err.h"

#include <stddef.h>
#include <stdint.h>

#define IDMAP_NONE UINT32_MAX

struct idmap_slot {
	uint64_t key; /* 0 = free */
	uint32_t value;
};

struct idmap {
	struct idmap_slot *slots; /* owned; capacity is a power of two */
	size_t count, capacity;
};

/* Value of `key`, or IDMAP_NONE. */
uint32_t idmap_get(const struct idmap *map, uint64_t key);
/* Sets the value of `key` (not 0). 0, or -1 when memory is out: the table is unchanged. */
int idmap_set(struct idmap *map, uint64_t key, uint32_t value) MUST_CHECK;
void idmap_remove(struct idmap *map, uint64_t key);
void idmap_free(struct idmap *map);

#endif
