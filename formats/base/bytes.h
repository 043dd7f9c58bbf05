/*
 * bytes: little-endian reading and writing, field by field.
 *
 * A reader has a sticky error: once a read would pass the end, `failed` is set, every later read gives 0, and the position stays. So a
 * decoder reads a whole record and checks `failed` once. A writer grows; it also fails stickily (memory), checked once at the end.
 */
#ifndef FORMATS_BASE_BYTES_H
#define FORMATS_BASE_BYTES_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct reader {
	const uint8_t *data; /* borrowed */
	size_t size, position;
	bool failed;
};

struct reader reader_of(const void *data, size_t size);
size_t reader_left(const struct reader *r);
uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
/* At most 10 bytes, value must fit in 64 bits; otherwise the reader fails. */
uint64_t read_uleb(struct reader *r);
int64_t read_sleb(struct reader *r);
/* Pointer to the next `size` bytes inside the buffer (borrowed), or NULL and failed. */
const uint8_t *read_bytes(struct reader *r, size_t size);

struct writer {
	uint8_t *data; /* owned; writer_free */
	size_t size, capacity;
	bool failed; /* memory ran out; the contents are not to be used */
};

void write_u8(struct writer *w, uint8_t value);
void write_u16(struct writer *w, uint16_t value);
void write_u32(struct writer *w, uint32_t value);
void write_u64(struct writer *w, uint64_t value);
void write_uleb(struct writer *w, uint64_t value);
void write_sleb(struct writer *w, int64_t value);
void write_bytes(struct writer *w, const void *data, size_t size);
void write_pad(struct writer *w, size_t alignment, uint8_t fill);
void writer_free(struct writer *w);

/* Unaligned little-endian access to code bytes. */
static inline uint32_t load_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t load_u64(const uint8_t *p)
{
	return load_u32(p) | (uint64_t)load_u32(p + 4) << 32;
}

static inline void store_u32(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
	p[2] = (uint8_t)(value >> 16);
	p[3] = (uint8_t)(value >> 24);
}

#endif
