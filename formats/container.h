/*
 * container: the envelope of every file that repave's tools exchange. Spec: formats/container.md.
 *
 *   header  magic[8] kind:u16 major:u16 minor:u16 header_length:u16 header_checksum:u64
 *   chunk   tag[4] flags:u32 stored_length:u64 raw_length:u64 checksum:u64 (XXH3-64 of the stored bytes) header_checksum:u64, then the stored bytes
 *   ...
 *   END     a chunk with tag "END ", no bytes: count of chunks before it (as raw_length), hash of all their header checksums (as checksum)
 *
 * Chunks follow one another with their headers in line, not in a table at the front, so that one reader serves whole files (map, plan: END
 * required) and append-only streams (profile: a killed recorder leaves no END; the reader says so and loses at most the last chunk), and
 * so that a file can be written to a pipe. Chunks are stored raw or as one LZ4 block, whichever is smaller.
 *
 * Validation is container_check: one pass over untrusted bytes before anything is allocated.
 */
#ifndef FORMATS_CONTAINER_H
#define FORMATS_CONTAINER_H

#include "formats/base/bytes.h"
#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum container_kind { CONTAINER_MAP = 1, CONTAINER_PROFILE = 2, CONTAINER_PLAN = 3 };

enum container_flag {
	CONTAINER_LZ4 = 1u << 0,      /* the stored bytes are one LZ4 block of raw_length bytes */
	CONTAINER_REQUIRED = 1u << 1, /* a reader that does not know the tag must refuse the file */
};

#define CONTAINER_TAG(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define CONTAINER_RAW_MAX ((uint64_t)1 << 32) /* of one chunk; also raw_length <= 256 * stored_length + 64 for LZ4 */

struct container_chunk {
	uint32_t tag, flags;
	uint64_t offset; /* of the stored bytes in the file */
	uint64_t stored_length, raw_length, checksum;
};

struct container {
	const uint8_t *data; /* borrowed: the whole file */
	size_t size;
	const char *name; /* borrowed: for messages */
	uint16_t kind, major, minor;
	uint32_t chunk_count; /* without END */
	bool complete;	      /* END was seen and right; never false for maps and plans (those are refused) */
	uint64_t good_size;   /* bytes up to the end of the last whole chunk: where an appender would continue */
};

/*
 * Checks every header and checksum of the file and fills `ret_container`. `kind` is what the caller expects, `major` the newest major it
 * reads. A profile whose tail is cut is accepted with complete = false; everything else that is not right is ERR_FORMAT with its offset,
 * ERR_UNSUPPORTED for another kind, a newer major version.
 */
int container_check(const void *data, size_t size, const char *name, enum container_kind kind, uint16_t major,
		    struct container *ret_container, struct err *e) MUST_CHECK;

/* The four characters of a tag, those that are not printable ASCII as '?' (tags come from untrusted files). Returns `text`. */
const char *container_tag_text(uint32_t tag, char text[5]);

/* Kind of a file by its header alone (0 when it is none of ours). */
enum container_kind container_sniff(const void *data, size_t size);

/* The chunk after `previous` (NULL: the first); false at the end. The container must have passed container_check. */
bool container_next(const struct container *c, const struct container_chunk *previous, struct container_chunk *ret_chunk);

/* ERR_UNSUPPORTED naming the tag if a required chunk is not among the `known` tags. */
int container_refuse_unknown(const struct container *c, const uint32_t *known, size_t known_count, struct err *e) MUST_CHECK;

/* The raw bytes of a chunk: *ret_bytes is malloc'ed (free it) and holds raw_length bytes. */
int container_load(const struct container *c, const struct container_chunk *chunk, uint8_t **ret_bytes, struct err *e) MUST_CHECK;

/* Writing: header, chunks, END, appended to `w`. State between the calls is in container_writer (start it with {0}). */
struct container_writer {
	uint64_t chunk_count, checksums; /* each chunk's header checksum is hashed with the hash so far as the seed */
};
void container_put_header(struct container_writer *cw, struct writer *w, enum container_kind kind, uint16_t major, uint16_t minor);
void container_put_chunk(struct container_writer *cw, struct writer *w, uint32_t tag, uint32_t flags, const void *data, size_t size);
/* The same, but stored as it is where LZ4 would make less than `minimum` bytes of it: for kinds that bound records by stored bytes. */
void container_put_sparse_chunk(struct container_writer *cw, struct writer *w, uint32_t tag, uint32_t flags, const void *data, size_t size,
				size_t minimum);
void container_put_end(struct container_writer *cw, struct writer *w);

#endif
