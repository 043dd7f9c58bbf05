/*
 * section: what the column encoders of map, profile and plan share beside bytes.h: zigzag, a fast path for one-byte numbers (most are), and a
 * reader over one loaded chunk.
 */
#ifndef FORMATS_SECTION_H
#define FORMATS_SECTION_H

#include "formats/base/bytes.h"
#include "formats/container.h"

#include <stdlib.h>

/* Signed difference -> small unsigned number for small magnitudes; wraps modulo 2^64, so any two values work. */
static inline uint64_t zigzag(uint64_t difference)
{
	return difference << 1 ^ (uint64_t)((int64_t)difference >> 63);
}

static inline uint64_t unzigzag(uint64_t value)
{
	return value >> 1 ^ (~(value & 1) + 1);
}

static inline uint64_t column_get(struct reader *r)
{
	if (!r->failed && r->position < r->size && r->data[r->position] < 0x80)
		return r->data[r->position++];
	return read_uleb(r);
}

static inline void column_put(struct writer *w, uint64_t value)
{
	if (value < 0x80 && w->size < w->capacity && !w->failed)
		w->data[w->size++] = (uint8_t)value;
	else
		write_uleb(w, value);
}

/* A number that must fit 32 bits; otherwise the reader fails. */
static inline uint32_t column_get_u32(struct reader *r)
{
	uint64_t value = column_get(r);
	if (value > UINT32_MAX)
		r->failed = true;
	return (uint32_t)value;
}

/* previous + unzigzag, or previous + value, with the result in 32 bits; otherwise the reader fails. */
static inline uint32_t column_get_delta(struct reader *r, uint32_t previous)
{
	uint64_t value = previous + unzigzag(column_get(r));
	if (value > UINT32_MAX)
		r->failed = true;
	return (uint32_t)value;
}

static inline uint32_t column_get_gap(struct reader *r, uint32_t previous)
{
	uint64_t gap = column_get(r);
	if (gap > UINT32_MAX - previous)
		r->failed = true;
	return previous + (uint32_t)gap;
}

/* One chunk while it is decoded. section_finish frees it and refuses what was cut off or left over. */
struct section {
	struct container_chunk chunk;
	uint8_t *bytes; /* owned */
	struct reader r;
};

int section_load(const struct container *c, const struct container_chunk *chunk, struct section *ret_section, struct err *e) MUST_CHECK;
/*
 * The next chunk must have this tag: for kinds whose required chunks have a fixed order. Chunks that are not required are passed over.
 * `cursor` is the chunk before (start with {0}) and moves on. ERR_FORMAT names what stands there instead.
 */
int section_expect(const struct container *c, struct container_chunk *cursor, uint32_t tag, struct section *ret_section,
		   struct err *e) MUST_CHECK;
/* Is the next required chunk one with this tag? `cursor` stays. */
bool section_follows(const struct container *c, const struct container_chunk *cursor, uint32_t tag);
/* No required chunk may follow. */
int section_expect_end(const struct container *c, struct container_chunk *cursor, struct err *e) MUST_CHECK;
/* 0, or ERR_FORMAT when a read failed or bytes are left. Frees the bytes. */
int section_finish(const struct container *c, struct section *s, struct err *e) MUST_CHECK;
void section_free(struct section *s);
/* Reads a record count and refuses one that cannot fit in what is left, given that a record takes at least `minimum` bytes. */
int section_count(const struct container *c, struct section *s, unsigned minimum, uint32_t *ret_count, struct err *e) MUST_CHECK;
/* calloc of count records (at least one byte); NULL and ERR_MEMORY otherwise. */
void *section_array(const struct container *c, const struct section *s, uint64_t count, size_t size, struct err *e);

#endif
