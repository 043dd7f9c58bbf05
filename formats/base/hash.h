/*
 * hash: XXH3-64, the one checksum of this project: of file chunks, of executable bytes, of functions in live memory.
 */
#ifndef FORMATS_BASE_HASH_H
#define FORMATS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* XXH3-64, seed 0, of `size` bytes. */
uint64_t hash_bytes(const void *data, size_t size);

/* The same over several pieces: equal to hash_bytes of their concatenation. Start with hash_begin; NULL when memory is out. */
struct hash_state;
struct hash_state *hash_begin(void);
void hash_add(struct hash_state *state, const void *data, size_t size);
/* The hash so far; frees the state. */
uint64_t hash_end(struct hash_state *state);

#endif
