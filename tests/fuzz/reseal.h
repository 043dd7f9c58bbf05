/*
 * reseal: makes every checksum of a container right, so that what is tested is what stands behind the checksums. Written apart from
 * formats/container.c, from the spec. The lengths in chunk headers are cut to what is there; nothing else is changed.
 */
#ifndef TESTS_FUZZ_RESEAL_H
#define TESTS_FUZZ_RESEAL_H

#include "formats/base/bytes.h"
#include "formats/container.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static inline void reseal_u64(uint8_t *p, uint64_t value)
{
	store_u32(p, (uint32_t)value);
	store_u32(p + 4, (uint32_t)(value >> 32));
}

static inline void reseal(uint8_t *data, size_t size)
{
	if (size < 24)
		return;
	memcpy(data, "\x89RPAVE\r\n", 8);
	data[14] = 24;
	data[15] = 0;
	reseal_u64(data + 16, XXH3_64bits_withSeed(data + 24, 0, XXH3_64bits(data, 16)));
	uint64_t chain = 0, count = 0;
	for (size_t at = 24; size - at >= 40;) {
		uint8_t *h = data + at;
		size_t left = size - at - 40;
		bool end = !memcmp(h, "END ", 4);
		if (end) {
			memset(h + 4, 0, 12);
			reseal_u64(h + 16, count);
			reseal_u64(h + 24, chain);
		} else {
			h[4] &= CONTAINER_LZ4 | CONTAINER_REQUIRED;
			memset(h + 5, 0, 3);
			if (load_u64(h + 8) > left)
				reseal_u64(h + 8, left);
			if (!(h[4] & CONTAINER_LZ4))
				memcpy(h + 16, h + 8, 8);
			reseal_u64(h + 24, XXH3_64bits(h + 40, (size_t)load_u64(h + 8)));
		}
		uint64_t header = XXH3_64bits(h, 32);
		reseal_u64(h + 32, header);
		if (end)
			return;
		uint8_t bytes[8];
		reseal_u64(bytes, header);
		chain = XXH3_64bits_withSeed(bytes, 8, chain);
		count++;
		at += 40 + (size_t)load_u64(h + 8);
	}
}

/* The same file with every chunk stored as it is: mutations then hit numbers, not the compression. `w` is appended to. */
static inline int reseal_unpack(const struct container *c, struct writer *w, struct err *e)
{
	struct container_chunk k = {0};
	struct container_writer cw;
	container_put_header(&cw, w, (enum container_kind)c->kind, c->major, c->minor);
	for (bool more = container_next(c, NULL, &k); more; more = container_next(c, &k, &k)) {
		uint8_t *bytes;
		int status = container_load(c, &k, &bytes, e);
		if (status)
			return status;
		container_put_sparse_chunk(&cw, w, k.tag, k.flags, bytes, (size_t)k.raw_length, SIZE_MAX);
		free(bytes);
	}
	container_put_end(&cw, w);
	return 0;
}

#endif
