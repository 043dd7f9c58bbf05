#include "analyze/simulate/lru.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

static bool is_power(uint64_t n)
{
	return n && !(n & (n - 1));
}

int lru_cache_init(struct lru_cache *c, uint64_t size, uint64_t ways, uint64_t line, struct err *e)
{
	*c = (struct lru_cache){.last_line = LRU_NO_KEY};
	if (!is_power(line) || line < 16 || line > 4096)
		return err_set(e, ERR_USAGE, "a cache line of %" PRIu64 " bytes: a power of 2 from 16 to 4096 is needed", line);
	if (!ways || ways > LRU_CACHE_WAYS_MAX || !size || size > LRU_CACHE_BYTES_MAX || size % (ways * line) ||
	    !is_power(size / (ways * line)))
		return err_set(e, ERR_USAGE,
			       "a cache of %" PRIu64 " bytes in %" PRIu64 " ways of %" PRIu64
			       "-byte lines: the number of sets must be a power of 2",
			       size, ways, line);
	size_t sets = size / (ways * line);
	c->tags = malloc(sets * ways * sizeof *c->tags);
	if (!c->tags)
		return err_set(e, ERR_MEMORY, "no memory for a cache of %" PRIu64 " bytes", size);
	memset(c->tags, 0xff, sets * ways * sizeof *c->tags);
	c->set_mask = (uint32_t)sets - 1;
	c->ways = (uint32_t)ways;
	c->line_shift = (uint32_t)__builtin_ctzll(line);
	return 0;
}

void lru_cache_free(struct lru_cache *c)
{
	free(c->tags);
	*c = (struct lru_cache){0};
}

/* Moves the line to the front of its set; false when it was not there. */
static bool to_front(struct lru_cache *c, uint64_t line)
{
	uint64_t *set = c->tags + (line & c->set_mask) * c->ways, carried = set[0];
	if (carried == line)
		return true;
	for (uint32_t way = 1; way < c->ways; way++) {
		uint64_t here = set[way];
		set[way] = carried;
		if (here == line) {
			set[0] = line;
			return true;
		}
		carried = here;
	}
	set[0] = line;
	return false;
}

void lru_cache_line(struct lru_cache *c, uint64_t line)
{
	c->last_line = line;
	if (to_front(c, line))
		return;
	c->misses++;
	if (c->prefetch) {
		to_front(c, line + 1);
		to_front(c, line); /* matters only where both are in one set */
	}
}

int lru_table_init(struct lru_table *t, uint64_t capacity, struct err *e)
{
	*t = (struct lru_table){0};
	if (!capacity || capacity > LRU_TABLE_ENTRIES_MAX)
		return err_set(e, ERR_USAGE, "a table of %" PRIu64 " entries: 1 to %u", capacity, LRU_TABLE_ENTRIES_MAX);
	uint32_t buckets = 4;
	while (buckets < 2 * capacity)
		buckets *= 2;
	t->entries = malloc(capacity * sizeof *t->entries);
	t->buckets = malloc(buckets * sizeof *t->buckets);
	if (!t->entries || !t->buckets) {
		lru_table_free(t);
		return err_set(e, ERR_MEMORY, "no memory for a table of %" PRIu64 " entries", capacity);
	}
	memset(t->buckets, 0xff, buckets * sizeof *t->buckets);
	t->capacity = (uint32_t)capacity;
	t->bucket_mask = buckets - 1;
	t->newest = t->oldest = NONE;
	return 0;
}

void lru_table_free(struct lru_table *t)
{
	free(t->entries);
	free(t->buckets);
	*t = (struct lru_table){0};
}

static uint32_t bucket_of(const struct lru_table *t, uint64_t key)
{
	return (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 40) & t->bucket_mask;
}

static void unlink_entry(struct lru_table *t, uint32_t i)
{
	struct lru_entry *x = &t->entries[i];
	if (x->newer == NONE)
		t->newest = x->older;
	else
		t->entries[x->newer].older = x->older;
	if (x->older == NONE)
		t->oldest = x->newer;
	else
		t->entries[x->older].newer = x->newer;
}

static void make_newest(struct lru_table *t, uint32_t i)
{
	t->entries[i].newer = NONE;
	t->entries[i].older = t->newest;
	if (t->newest == NONE)
		t->oldest = i;
	else
		t->entries[t->newest].newer = i;
	t->newest = i;
}

/* Takes the oldest out of the table. */
static uint32_t evict(struct lru_table *t)
{
	uint32_t i = t->oldest, *link = &t->buckets[bucket_of(t, t->entries[i].key)];
	while (*link != i)
		link = &t->entries[*link].chain;
	*link = t->entries[i].chain;
	unlink_entry(t, i);
	return i;
}

void lru_table_find(struct lru_table *t, uint64_t key)
{
	uint32_t bucket = bucket_of(t, key), i = t->buckets[bucket];
	while (i != NONE && t->entries[i].key != key)
		i = t->entries[i].chain;
	if (i != NONE) {
		unlink_entry(t, i);
		make_newest(t, i);
		return;
	}
	t->misses++;
	i = t->used < t->capacity ? t->used++ : evict(t);
	t->entries[i].key = key;
	t->entries[i].chain = t->buckets[bucket];
	t->buckets[bucket] = i;
	make_newest(t, i);
}
