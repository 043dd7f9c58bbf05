/*
 * zstream: one zstd stream that arrives in pieces. The only user of libzstd.
 */
#ifndef PROFILE_IMPORT_ZSTREAM_H
#define PROFILE_IMPORT_ZSTREAM_H

#include "formats/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct zstream;

struct zstream_buffers {
	const uint8_t *input;
	size_t input_size; /* left */
	uint8_t *output;
	size_t output_size;
	size_t written; /* by the last step */
};

int zstream_new(struct zstream **ret_stream, struct err *e) MUST_CHECK;
void zstream_free(struct zstream *stream);

/*
 * Takes some of the input (`input` and `input_size` move on) and fills some of the output. Nothing written and nothing left: more input is
 * needed. ERR_FORMAT when the bytes are no zstd stream.
 */
int zstream_step(struct zstream *stream, struct zstream_buffers *buffers, struct err *e) MUST_CHECK;

#endif
