#include "formats/base/hash.h"

#include <xxhash.h>

uint64_t hash_bytes(const void *data, size_t size)
{
	return XXH3_64bits(data, size);
}

struct hash_state *hash_begin(void)
{
	XXH3_state_t *state = XXH3_createState();
	if (state)
		XXH3_64bits_reset(state);
	return (struct hash_state *)state;
}

void hash_add(struct hash_state *state, const void *data, size_t size)
{
	XXH3_64bits_update((XXH3_state_t *)state, data, size);
}

uint64_t hash_end(struct hash_state *state)
{
	uint64_t hash = XXH3_64bits_digest((XXH3_state_t *)state);
	XXH3_freeState((XXH3_state_t *)state);
	return hash;
}
