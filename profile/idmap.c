#include "profile/idmap.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>

/* Keys come from files too: with a random seed none can be made to fall on one slot. */
static uint64_t seed(void)
{
	static uint64_t value;
	if (!value && getrandom(&value, sizeof value, GRND_NONBLOCK) != sizeof value)
		value = (uintptr_t)&value;
	return value | 1;
}

static size_t home_of(const struct idmap *map, uint64_t key)
{
	uint64_t z = key + seed();
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (size_t)(z ^ z >> 31) & (map->capacity - 1);
}

/* Slot of `key`, or the free slot where it belongs. There always is a free one. */
static size_t find(const struct idmap *map, uint64_t key)
{
	size_t i = home_of(map, key);
	while (map->slots[i].key && map->slots[i].key != key)
		i = (i + 1) & (map->capacity - 1);
	return i;
}

uint32_t idmap_get(const struct idmap *map, uint64_t key)
{
	if (!map->capacity || !key)
		return IDMAP_NONE;
	size_t i = find(map, key);
	return map->slots[i].key ? map->slots[i].value : IDMAP_NONE;
}

static int grow(struct idmap *map)
{
	struct idmap bigger = {.capacity = map->capacity ? map->capacity * 2 : 64, .count = map->count};
	bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
	if (!bigger.slots)
		return -1;
	for (size_t i = 0; i < map->capacity; i++)
		if (map->slots[i].key)
			bigger.slots[find(&bigger, map->slots[i].key)] = map->slots[i];
	free(map->slots);
	*map = bigger;
	return 0;
}

int idmap_set(struct idmap *map, uint64_t key, uint32_t value)
{
	if ((map->count + 1) * 2 > map->capacity && grow(map))
		return -1;
	size_t i = find(map, key);
	map->count += !map->slots[i].key;
	map->slots[i] = (struct idmap_slot){key, value};
	return 0;
}

/* Linear probing without tombstones: later members of the same run move back into the hole. */
void idmap_remove(struct idmap *map, uint64_t key)
{
	if (!map->capacity || !key)
		return;
	size_t hole = find(map, key), mask = map->capacity - 1;
	if (!map->slots[hole].key)
		return;
	for (size_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
		size_t home = home_of(map, map->slots[i].key);
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		map->slots[hole] = map->slots[i];
		hole = i;
	}
	map->slots[hole].key = 0;
	map->count--;
}

void idmap_free(struct idmap *map)
{
	free(map->slots);
	*map = (struct idmap){0};
}
