#include "formats/container.h"

#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEADER_SIZE 24u
#define HEADER_SIZE_MAX 4096u
#define HEADER_CHECKSUM_AT 16u
#define CHUNK_HEADER_SIZE 40u
#define CHUNK_CHECKSUMMED 32u /* bytes of a chunk header before its own checksum */
#define TAG_END CONTAINER_TAG('E', 'N', 'D', ' ')
#define FLAGS_KNOWN (CONTAINER_LZ4 | CONTAINER_REQUIRED)

/* Not text, not ASCII in the first byte, and broken by a transfer that changes line ends. */
static const uint8_t magic[8] = {0x89, 'R', 'P', 'A', 'V', 'E', '\r', '\n'};

static const char *const kind_names[] = {"file", "map", "profile", "plan"};

static const char *kind_name(unsigned kind)
{
	return kind < sizeof kind_names / sizeof *kind_names ? kind_names[kind] : "file of an unknown kind";
}

const char *container_tag_text(uint32_t tag, char text[5])
{
	for (unsigned i = 0; i < 4; i++) {
		uint8_t c = (uint8_t)(tag >> (8 * i));
		text[i] = c > 0x20 && c < 0x7f ? (char)c : c == ' ' ? ' ' : '?';
	}
	text[4] = 0;
	return text;
}

/* XXH3-64 of the header without its checksum field. */
static uint64_t header_checksum(const uint8_t *header, size_t length)
{
	uint64_t first = XXH3_64bits(header, HEADER_CHECKSUM_AT);
	return XXH3_64bits_withSeed(header + HEADER_SIZE, length - HEADER_SIZE, first);
}

static uint64_t chain_checksum(uint64_t chain, uint64_t chunk_header_checksum)
{
	uint8_t bytes[8];
	store_u32(bytes, (uint32_t)chunk_header_checksum);
	store_u32(bytes + 4, (uint32_t)(chunk_header_checksum >> 32));
	return XXH3_64bits_withSeed(bytes, sizeof bytes, chain);
}

static int check_header(struct container *c, enum container_kind kind, uint16_t major, struct err *e)
{
	if (c->size < HEADER_SIZE || memcmp(c->data, magic, sizeof magic))
		return err_set(e, ERR_FORMAT, "%s: not a file of repave", c->name);
	struct reader r = reader_of(c->data, HEADER_SIZE);
	read_bytes(&r, sizeof magic);
	c->kind = read_u16(&r);
	c->major = read_u16(&r);
	c->minor = read_u16(&r);
	uint16_t length = read_u16(&r);
	uint64_t checksum = read_u64(&r);
	if (length < HEADER_SIZE || length > HEADER_SIZE_MAX)
		return err_set(e, ERR_FORMAT, "%s: header of %u bytes, must be %u to %u", c->name, length, HEADER_SIZE, HEADER_SIZE_MAX);
	if (length > c->size)
		return err_set(e, ERR_FORMAT, "%s: cut off in the header, which has %u bytes", c->name, length);
	if (checksum != header_checksum(c->data, length))
		return err_set(e, ERR_FORMAT, "%s: wrong checksum of the header", c->name);
	if (c->kind != kind)
		return err_set(e, ERR_UNSUPPORTED, "%s: is a %s, not a %s", c->name, kind_name(c->kind), kind_name(kind));
	if (c->major != major)
		return err_set(e, ERR_UNSUPPORTED, "%s: %s version %u.%u, this program reads version %u", c->name, kind_name(kind),
			       c->major, c->minor, major);
	c->good_size = length;
	return 0;
}

struct chunk_header {
	struct container_chunk chunk;
	uint64_t header_checksum;
};

/* The chunk header at `offset`; the caller knows that CHUNK_HEADER_SIZE bytes are there. */
static struct chunk_header chunk_header_at(const struct container *c, uint64_t offset)
{
	struct reader r = reader_of(c->data + offset, CHUNK_HEADER_SIZE);
	struct chunk_header h = {0};
	h.chunk.tag = read_u32(&r);
	h.chunk.flags = read_u32(&r);
	h.chunk.stored_length = read_u64(&r);
	h.chunk.raw_length = read_u64(&r);
	h.chunk.checksum = read_u64(&r);
	h.header_checksum = read_u64(&r);
	h.chunk.offset = offset + CHUNK_HEADER_SIZE;
	return h;
}

static int check_lengths(const struct container *c, const struct container_chunk *k, struct err *e)
{
	char tag[5];
	unsigned long long at = k->offset, stored = k->stored_length, raw = k->raw_length;
	container_tag_text(k->tag, tag);
	if (k->flags & ~FLAGS_KNOWN)
		return err_set(e, ERR_UNSUPPORTED, "%s: chunk '%s' at offset %llu has unknown flags 0x%x", c->name, tag, at, k->flags);
	if (raw > CONTAINER_RAW_MAX)
		return err_set(e, ERR_FORMAT, "%s: chunk '%s' at offset %llu claims %llu bytes, more than 4 GiB", c->name, tag, at, raw);
	if (!(k->flags & CONTAINER_LZ4)) {
		if (stored != raw)
			return err_set(e, ERR_FORMAT, "%s: uncompressed chunk '%s' at offset %llu stores %llu bytes but claims %llu",
				       c->name, tag, at, stored, raw);
		return 0;
	}
	if (raw > LZ4_MAX_INPUT_SIZE || stored >= raw)
		return err_set(e, ERR_FORMAT, "%s: compressed chunk '%s' at offset %llu: %llu bytes cannot hold %llu", c->name, tag, at,
			       stored, raw);
	if (raw > 256 * stored + 64)
		return err_set(e, ERR_FORMAT, "%s: compressed chunk '%s' at offset %llu claims %llu bytes from %llu, more than LZ4 can",
			       c->name, tag, at, raw, stored);
	return 0;
}

static int check_end(struct container *c, const struct chunk_header *h, uint64_t chain, struct err *e)
{
	unsigned long long at = h->chunk.offset - CHUNK_HEADER_SIZE;
	if (h->chunk.flags || h->chunk.stored_length)
		return err_set(e, ERR_FORMAT, "%s: END at offset %llu has flags or bytes", c->name, at);
	if (h->chunk.raw_length != c->chunk_count)
		return err_set(e, ERR_FORMAT, "%s: END at offset %llu counts %llu chunks, there are %u", c->name, at,
			       (unsigned long long)h->chunk.raw_length, c->chunk_count);
	if (h->chunk.checksum != chain)
		return err_set(e, ERR_FORMAT, "%s: wrong checksum over all chunks in END at offset %llu", c->name, at);
	if (h->chunk.offset != c->size)
		return err_set(e, ERR_FORMAT, "%s: %llu bytes after END at offset %llu", c->name,
			       (unsigned long long)(c->size - h->chunk.offset), at);
	c->complete = true;
	return 0;
}

static int check_truncation(const struct container *c, struct err *e)
{
	if (c->kind == CONTAINER_PROFILE)
		return 0;
	return err_set(e, ERR_FORMAT, "%s: cut off: no END after offset %llu", c->name, (unsigned long long)c->good_size);
}

int container_check(const void *data, size_t size, const char *name, enum container_kind kind, uint16_t major,
		    struct container *ret_container, struct err *e)
{
	struct container c = {.data = data, .size = size, .name = name};
	int status = check_header(&c, kind, major, e);
	if (status)
		return status;
	uint64_t chain = 0;
	while (!c.complete) {
		if (c.size - c.good_size < CHUNK_HEADER_SIZE) {
			status = check_truncation(&c, e);
			break;
		}
		struct chunk_header h = chunk_header_at(&c, c.good_size);
		const struct container_chunk *k = &h.chunk;
		char tag[5];
		if (h.header_checksum != XXH3_64bits(c.data + c.good_size, CHUNK_CHECKSUMMED))
			return err_set(e, ERR_FORMAT, "%s: wrong checksum of the chunk header at offset %llu", name,
				       (unsigned long long)c.good_size);
		if (k->tag == TAG_END) {
			status = check_end(&c, &h, chain, e);
			break;
		}
		status = check_lengths(&c, k, e);
		if (status)
			return status;
		if (k->stored_length > c.size - k->offset) {
			status = check_truncation(&c, e);
			break;
		}
		if (k->checksum != XXH3_64bits(c.data + k->offset, (size_t)k->stored_length))
			return err_set(e, ERR_FORMAT, "%s: wrong checksum of chunk '%s' at offset %llu", name,
				       container_tag_text(k->tag, tag), (unsigned long long)k->offset);
		chain = chain_checksum(chain, h.header_checksum);
		c.chunk_count++;
		c.good_size = k->offset + k->stored_length;
	}
	if (status)
		return status;
	*ret_container = c;
	return 0;
}

enum container_kind container_sniff(const void *data, size_t size)
{
	if (size < HEADER_SIZE || memcmp(data, magic, sizeof magic))
		return 0;
	const uint8_t *p = data;
	unsigned kind = p[8] | p[9] << 8;
	return kind >= CONTAINER_MAP && kind <= CONTAINER_PLAN ? (enum container_kind)kind : 0;
}

bool container_next(const struct container *c, const struct container_chunk *previous, struct container_chunk *ret_chunk)
{
	uint64_t at = previous ? previous->offset + previous->stored_length : (uint64_t)(c->data[14] | c->data[15] << 8);
	if (at >= c->good_size)
		return false;
	*ret_chunk = chunk_header_at(c, at).chunk;
	return true;
}

int container_refuse_unknown(const struct container *c, const uint32_t *known, size_t known_count, struct err *e)
{
	struct container_chunk k = {0};
	for (bool more = container_next(c, NULL, &k); more; more = container_next(c, &k, &k)) {
		char tag[5];
		size_t i = 0;
		while (i < known_count && known[i] != k.tag)
			i++;
		if (i == known_count && (k.flags & CONTAINER_REQUIRED))
			return err_set(e, ERR_UNSUPPORTED, "%s: needs '%s' (offset %llu), which this program does not know", c->name,
				       container_tag_text(k.tag, tag), (unsigned long long)k.offset);
	}
	return 0;
}

int container_load(const struct container *c, const struct container_chunk *chunk, uint8_t **ret_bytes, struct err *e)
{
	char tag[5];
	const uint8_t *stored = c->data + chunk->offset;
	uint8_t *bytes = malloc(chunk->raw_length ? (size_t)chunk->raw_length : 1);
	if (!bytes)
		return err_set(e, ERR_MEMORY, "%s: no memory for the %llu bytes of chunk '%s'", c->name,
			       (unsigned long long)chunk->raw_length, container_tag_text(chunk->tag, tag));
	if (!(chunk->flags & CONTAINER_LZ4)) {
		if (chunk->raw_length)
			memcpy(bytes, stored, (size_t)chunk->raw_length);
	} else {
		int got = LZ4_decompress_safe((const char *)stored, (char *)bytes, (int)chunk->stored_length, (int)chunk->raw_length);
		if (got < 0 || (uint64_t)got != chunk->raw_length) {
			free(bytes);
			return err_set(e, ERR_FORMAT, "%s: chunk '%s' at offset %llu does not decompress to %llu bytes", c->name,
				       container_tag_text(chunk->tag, tag), (unsigned long long)chunk->offset,
				       (unsigned long long)chunk->raw_length);
		}
	}
	*ret_bytes = bytes;
	return 0;
}

void container_put_header(struct container_writer *cw, struct writer *w, enum container_kind kind, uint16_t major, uint16_t minor)
{
	size_t at = w->size;
	*cw = (struct container_writer){0};
	write_bytes(w, magic, sizeof magic);
	write_u16(w, (uint16_t)kind);
	write_u16(w, major);
	write_u16(w, minor);
	write_u16(w, HEADER_SIZE);
	write_u64(w, 0);
	if (w->failed)
		return;
	uint64_t checksum = header_checksum(w->data + at, HEADER_SIZE);
	store_u32(w->data + at + HEADER_CHECKSUM_AT, (uint32_t)checksum);
	store_u32(w->data + at + HEADER_CHECKSUM_AT + 4, (uint32_t)(checksum >> 32));
}

static void put_chunk_header(struct writer *w, uint32_t tag, uint32_t flags, uint64_t stored, uint64_t raw, uint64_t checksum,
			     uint64_t *ret_header_checksum)
{
	size_t at = w->size;
	write_u32(w, tag);
	write_u32(w, flags);
	write_u64(w, stored);
	write_u64(w, raw);
	write_u64(w, checksum);
	if (w->failed)
		return;
	*ret_header_checksum = XXH3_64bits(w->data + at, CHUNK_CHECKSUMMED);
	write_u64(w, *ret_header_checksum);
}

/* Compresses into a malloc'ed buffer of at most size - 1 bytes. 0 when that does not make it smaller. */
static size_t compress_chunk(struct writer *w, const void *data, size_t size, char **ret_packed)
{
	if (size < 16 || size > LZ4_MAX_INPUT_SIZE)
		return 0;
	char *packed = malloc(size - 1);
	if (!packed) {
		w->failed = true; /* storing it instead would make the bytes depend on the memory that is left */
		return 0;
	}
	int got = LZ4_compress_default(data, packed, (int)size, (int)size - 1);
	if (got <= 0) {
		free(packed);
		return 0;
	}
	*ret_packed = packed;
	return (size_t)got;
}

void container_put_sparse_chunk(struct container_writer *cw, struct writer *w, uint32_t tag, uint32_t flags, const void *data, size_t size,
				size_t minimum)
{
	if (size > CONTAINER_RAW_MAX)
		w->failed = true;
	if (w->failed)
		return;
	char *packed = NULL;
	size_t stored = compress_chunk(w, data, size, &packed);
	flags &= ~(uint32_t)CONTAINER_LZ4;
	if (stored && stored >= minimum) {
		flags |= CONTAINER_LZ4;
		data = packed;
	} else {
		stored = size;
	}
	uint64_t checksum = XXH3_64bits(data, stored), header = 0;
	put_chunk_header(w, tag, flags, stored, size, checksum, &header);
	write_bytes(w, data, stored);
	free(packed);
	cw->chunk_count++;
	cw->checksums = chain_checksum(cw->checksums, header);
}

void container_put_chunk(struct container_writer *cw, struct writer *w, uint32_t tag, uint32_t flags, const void *data, size_t size)
{
	container_put_sparse_chunk(cw, w, tag, flags, data, size, 0);
}

void container_put_end(struct container_writer *cw, struct writer *w)
{
	uint64_t header = 0;
	put_chunk_header(w, TAG_END, 0, 0, cw->chunk_count, cw->checksums, &header);
}
