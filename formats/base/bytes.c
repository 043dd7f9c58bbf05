#include "formats/base/bytes.h"

#include <stdlib.h>
#include <string.h>

struct reader reader_of(const void *data, size_t size)
{
	return (struct reader){.data = data, .size = size};
}

size_t reader_left(const struct reader *r)
{
	return r->failed ? 0 : r->size - r->position;
}

const uint8_t *read_bytes(struct reader *r, size_t size)
{
	if (r->failed || size > r->size - r->position) {
		r->failed = true;
		return NULL;
	}
	const uint8_t *p = r->data + r->position;
	r->position += size;
	return p;
}

uint8_t read_u8(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 1);
	return p ? p[0] : 0;
}

uint16_t read_u16(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 2);
	return p ? (uint16_t)(p[0] | p[1] << 8) : 0;
}

uint32_t read_u32(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 4);
	return p ? load_u32(p) : 0;
}

uint64_t read_u64(struct reader *r)
{
	const uint8_t *p = read_bytes(r, 8);
	return p ? load_u64(p) : 0;
}

uint64_t read_uleb(struct reader *r)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t byte = read_u8(r);
		if (r->failed)
			return 0;
		if (shift == 63 && (byte & 0x7e))
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	r->failed = true;
	return 0;
}

int64_t read_sleb(struct reader *r)
{
	uint64_t value = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t byte = read_u8(r);
		if (r->failed)
			return 0;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		/* The last of ten bytes holds one bit of value; the rest of it must repeat the sign. */
		if (shift == 63 && byte != 0 && byte != 0x7f)
			break;
		if (shift + 7 < 64 && (byte & 0x40))
			value |= ~(uint64_t)0 << (shift + 7);
		return (int64_t)value;
	}
	r->failed = true;
	return 0;
}

void write_bytes(struct writer *w, const void *data, size_t size)
{
	if (w->failed)
		return;
	size_t need;
	if (__builtin_add_overflow(w->size, size, &need)) {
		w->failed = true;
		return;
	}
	if (need > w->capacity) {
		size_t wanted = w->capacity + w->capacity / 2 + 64;
		if (wanted < need)
			wanted = need;
		uint8_t *grown = realloc(w->data, wanted);
		if (!grown) {
			w->failed = true;
			return;
		}
		w->data = grown;
		w->capacity = wanted;
	}
	if (size)
		memcpy(w->data + w->size, data, size);
	w->size = need;
}

void write_u8(struct writer *w, uint8_t value)
{
	write_bytes(w, &value, 1);
}

void write_u16(struct writer *w, uint16_t value)
{
	write_bytes(w, (uint8_t[]){(uint8_t)value, (uint8_t)(value >> 8)}, 2);
}

void write_u32(struct writer *w, uint32_t value)
{
	uint8_t buffer[4];
	store_u32(buffer, value);
	write_bytes(w, buffer, 4);
}

void write_u64(struct writer *w, uint64_t value)
{
	write_u32(w, (uint32_t)value);
	write_u32(w, (uint32_t)(value >> 32));
}

void write_uleb(struct writer *w, uint64_t value)
{
	do {
		uint8_t byte = value & 0x7f;
		value >>= 7;
		write_u8(w, value ? byte | 0x80 : byte);
	} while (value);
}

void write_sleb(struct writer *w, int64_t value)
{
	for (;;) {
		uint8_t byte = value & 0x7f;
		value >>= 7; /* arithmetic: gcc and clang define it so */
		if ((value == 0 && !(byte & 0x40)) || (value == -1 && (byte & 0x40))) {
			write_u8(w, byte);
			return;
		}
		write_u8(w, byte | 0x80);
	}
}

void write_pad(struct writer *w, size_t alignment, uint8_t fill)
{
	while (!w->failed && w->size % alignment)
		write_u8(w, fill);
}

void writer_free(struct writer *w)
{
	free(w->data);
	*w = (struct writer){0};
}
