#include "profile/import/zstream.h"

#include <zstd.h>

enum { WINDOW_LOG_MAX = 27 }; /* 128 MiB, what zstd itself allows by default: said here so that no file can ask for more memory */

int zstream_new(struct zstream **ret_stream, struct err *e)
{
	ZSTD_DStream *stream = ZSTD_createDStream();
	if (!stream || ZSTD_isError(ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, WINDOW_LOG_MAX))) {
		ZSTD_freeDStream(stream);
		return err_set(e, ERR_MEMORY, "no memory to decompress");
	}
	*ret_stream = (struct zstream *)stream;
	return 0;
}

void zstream_free(struct zstream *stream)
{
	ZSTD_freeDStream((ZSTD_DStream *)stream);
}

int zstream_step(struct zstream *stream, struct zstream_buffers *b, struct err *e)
{
	ZSTD_inBuffer in = {.src = b->input, .size = b->input_size};
	ZSTD_outBuffer out = {.dst = b->output, .size = b->output_size};
	size_t result = ZSTD_decompressStream((ZSTD_DStream *)stream, &out, &in);
	if (ZSTD_isError(result))
		return err_set(e, ERR_FORMAT, "zstd: %s", ZSTD_getErrorName(result));
	b->input += in.pos;
	b->input_size -= in.pos;
	b->written = out.pos;
	return 0;
}
