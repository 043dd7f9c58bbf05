/*
 * lru: the two caches of the model, both with least-recently-used replacement.
 *
 *   cache   set associative, of lines: an instruction cache. One way with LRU is what cachegrind simulates, so that misses can be compared.
 *   table   fully associative, of keys: a TLB, a branch target buffer
 *
 * Memory is allocated once, in *_init; a look-up allocates nothing and cannot fail.
 */
#ifndef ANALYZE_SIMULATE_LRU_H
#define ANALYZE_SIMULATE_LRU_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define LRU_CACHE_BYTES_MAX (64u << 20)
#define LRU_CACHE_WAYS_MAX 64u
#define LRU_TABLE_ENTRIES_MAX (1u << 20)
#define LRU_NO_KEY UINT64_MAX

struct lru_cache {
	uint64_t *tags;	   /* [sets][ways] line numbers, most recent first; LRU_NO_KEY: empty */
	uint32_t set_mask; /* sets - 1 */
	uint32_t ways, line_shift;
	bool prefetch; /* a miss fetches the next line too, without counting it */
	uint64_t misses, last_line;
};

/* `size` and `line` in bytes. ERR_USAGE when they are no powers of 2 or make no whole sets, ERR_MEMORY. */
int lru_cache_init(struct lru_cache *c, uint64_t size, uint64_t ways, uint64_t line, struct err *e) MUST_CHECK;
void lru_cache_free(struct lru_cache *c);
void lru_cache_line(struct lru_cache *c, uint64_t line);

/* Instruction bytes [address, address + size), size > 0, are fetched in order. */
static inline void lru_cache_fetch(struct lru_cache *c, uint64_t address, uint32_t size)
{
	uint64_t line = address >> c->line_shift, last = (address + size - 1) >> c->line_shift;
	for (line += line == c->last_line; line <= last; line++)
		lru_cache_line(c, line);
}

struct lru_entry {
	uint64_t key;
	uint32_t newer, older, chain;
};

struct lru_table {
	struct lru_entry *entries;
	uint32_t *buckets; /* [bucket_mask + 1] first entry of each chain */
	uint32_t capacity, used, bucket_mask, newest, oldest;
	uint64_t misses;
};

/* ERR_USAGE when `capacity` is 0 or above LRU_TABLE_ENTRIES_MAX, ERR_MEMORY. */
int lru_table_init(struct lru_table *t, uint64_t capacity, struct err *e) MUST_CHECK;
void lru_table_free(struct lru_table *t);
void lru_table_find(struct lru_table *t, uint64_t key);

/* Looks up `key`, which becomes the newest; counts a miss where it was not there. */
static inline void lru_table_touch(struct lru_table *t, uint64_t key)
{
	if (!t->used || t->entries[t->newest].key != key)
		lru_table_find(t, key);
}

#endif
