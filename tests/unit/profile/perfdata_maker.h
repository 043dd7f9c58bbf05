/*
 * perfdata_maker: writes perf.data files as perf does, byte by byte, from the documents and not from the reader under test.
 */
#ifndef TESTS_UNIT_PROFILE_PERFDATA_MAKER_H
#define TESTS_UNIT_PROFILE_PERFDATA_MAKER_H

#include "formats/base/bytes.h"

#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum {
	MAKER_PLAIN = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_PERIOD,
	MAKER_BRANCHES = MAKER_PLAIN | PERF_SAMPLE_BRANCH_STACK,
	MAKER_ID = 77,
	MAKER_USER = 2, /* cpumode */
};

enum maker_form { MAKER_FILE, MAKER_PIPE, MAKER_ZSTD, MAKER_ZSTD2, MAKER_ZSTD_PIPE, MAKER_FORM_COUNT };

struct maker_branch {
	uint64_t from, to, flags;
};

static inline size_t maker_begin(struct writer *w, uint32_t type, uint16_t misc)
{
	size_t at = w->size;
	write_u32(w, type);
	write_u16(w, misc);
	write_u16(w, 0);
	return at;
}

static inline void maker_end(struct writer *w, size_t at)
{
	w->data[at + 6] = (uint8_t)(w->size - at);
	w->data[at + 7] = (uint8_t)((w->size - at) >> 8);
}

static inline void maker_text(struct writer *w, const char *text)
{
	size_t length = strlen(text) + 1;
	write_bytes(w, text, length);
	write_pad(w, 8, 0);
}

/* What every record but a sample ends with: tid, time, identifier. */
static inline void maker_trailer(struct writer *w, uint32_t pid, uint64_t time)
{
	write_u32(w, pid);
	write_u32(w, pid);
	write_u64(w, time);
	write_u64(w, MAKER_ID);
}

static inline void maker_map(struct writer *w, uint32_t pid, uint64_t time, const uint64_t range[3], const char *path)
{
	size_t at = maker_begin(w, PERF_RECORD_MMAP, MAKER_USER);
	write_u32(w, pid);
	write_u32(w, pid);
	for (int i = 0; i < 3; i++) /* start, length, offset */
		write_u64(w, range[i]);
	maker_text(w, path);
	maker_trailer(w, pid, time);
	maker_end(w, at);
}

/* MMAP2, with the build-id in the record if there is one. */
static inline void maker_map2(struct writer *w, uint32_t pid, uint64_t time, const uint64_t range[3], const char *path,
			      const uint8_t *build_id)
{
	size_t at = maker_begin(w, PERF_RECORD_MMAP2, MAKER_USER | (build_id ? PERF_RECORD_MISC_MMAP_BUILD_ID : 0));
	write_u32(w, pid);
	write_u32(w, pid);
	for (int i = 0; i < 3; i++)
		write_u64(w, range[i]);
	write_u32(w, build_id ? 20 : 8);
	if (build_id)
		write_bytes(w, build_id, 20);
	for (int i = build_id ? 5 : 0; i < 5; i++)
		write_u32(w, 0);
	write_u32(w, 5); /* r-x */
	write_u32(w, 2);
	maker_text(w, path);
	maker_trailer(w, pid, time);
	maker_end(w, at);
}

static inline void maker_comm(struct writer *w, uint32_t pid, uint64_t time, const char *name, bool exec)
{
	size_t at = maker_begin(w, PERF_RECORD_COMM, exec ? PERF_RECORD_MISC_COMM_EXEC : 0);
	write_u32(w, pid);
	write_u32(w, pid);
	maker_text(w, name);
	maker_trailer(w, pid, time);
	maker_end(w, at);
}

static inline void maker_task(struct writer *w, uint32_t type, uint32_t pid, uint32_t parent, uint64_t time)
{
	size_t at = maker_begin(w, type, 0);
	write_u32(w, pid);
	write_u32(w, parent);
	write_u32(w, pid);
	write_u32(w, parent);
	write_u64(w, time);
	maker_trailer(w, pid, time);
	maker_end(w, at);
}

static inline void maker_lost(struct writer *w, uint64_t count, uint64_t time)
{
	size_t at = maker_begin(w, PERF_RECORD_LOST, 0);
	write_u64(w, MAKER_ID);
	write_u64(w, count);
	maker_trailer(w, 1, time);
	maker_end(w, at);
}

static inline void maker_sample(struct writer *w, uint32_t pid, uint64_t time, uint64_t ip, const struct maker_branch *branches,
				uint64_t count)
{
	size_t at = maker_begin(w, PERF_RECORD_SAMPLE, MAKER_USER);
	write_u64(w, MAKER_ID);
	write_u64(w, ip);
	write_u32(w, pid);
	write_u32(w, pid);
	write_u64(w, time);
	write_u64(w, 1000);
	if (branches) {
		write_u64(w, count);
		for (uint64_t i = 0; i < count; i++) {
			write_u64(w, branches[i].from);
			write_u64(w, branches[i].to);
			write_u64(w, branches[i].flags);
		}
	}
	maker_end(w, at);
}

static inline void maker_attr(struct writer *w, uint32_t type, uint64_t config, uint64_t sample_type)
{
	write_u32(w, type);
	write_u32(w, 96);
	write_u64(w, config);
	write_u64(w, 4000);
	write_u64(w, sample_type);
	write_u64(w, 0);
	write_u64(w, 1u << 18 | 1u << 10); /* sample_id_all, freq */
	for (int i = 0; i < 3; i++)
		write_u64(w, 0);
	write_u64(w, sample_type & PERF_SAMPLE_BRANCH_STACK ? PERF_SAMPLE_BRANCH_ANY | PERF_SAMPLE_BRANCH_USER : 0);
	write_u64(w, 0);
	write_u64(w, 0);
}

/* The records as COMPRESSED or COMPRESSED2 records of `piece` bytes before compression: pieces end in the middle of records. */
static inline struct writer maker_compress(const struct writer *records, size_t piece, bool second)
{
	struct writer out = {0};
	ZSTD_CStream *stream = ZSTD_createCStream();
	ZSTD_initCStream(stream, 1);
	for (size_t done = 0; done < records->size; done += piece) {
		uint8_t buffer[60000];
		ZSTD_inBuffer in = {records->data + done, records->size - done < piece ? records->size - done : piece, 0};
		ZSTD_outBuffer packed = {buffer, sizeof buffer, 0};
		if (ZSTD_isError(ZSTD_compressStream2(stream, &packed, &in, ZSTD_e_flush)))
			abort();
		size_t at = maker_begin(&out, second ? 83 : 81, 0);
		if (second)
			write_u64(&out, packed.pos);
		write_bytes(&out, buffer, packed.pos);
		if (second)
			write_pad(&out, 8, 0);
		maker_end(&out, at);
	}
	ZSTD_freeCStream(stream);
	return out;
}

static inline void maker_feature_text(struct writer *w, const char *text)
{
	uint32_t length = (uint32_t)strlen(text) + 1;
	write_u32(w, length);
	write_bytes(w, text, length);
}

/* An event with one id, the records, and the features OSRELEASE and ARCH, in a file. */
static inline struct writer maker_file(const struct writer *records, uint32_t type, uint64_t config, uint64_t sample_type)
{
	struct writer w = {0}, attr = {0};
	maker_attr(&attr, type, config, sample_type);
	uint64_t ids = 104, attrs = ids + 8, data = attrs + attr.size + 16, features = data + records->size;
	write_bytes(&w, "PERFILE2", 8);
	const uint64_t header[] = {104, attr.size + 16, attrs, attr.size + 16, data, records->size, 0, 0, 1u << 4 | 1u << 6, 0, 0, 0};
	for (size_t i = 0; i < sizeof header / sizeof *header; i++)
		write_u64(&w, header[i]);
	write_u64(&w, MAKER_ID);
	write_bytes(&w, attr.data, attr.size);
	write_u64(&w, ids);
	write_u64(&w, 8);
	write_bytes(&w, records->data, records->size);
	const uint64_t table[] = {features + 32, 4 + 6, features + 32 + 10, 4 + 7};
	for (size_t i = 0; i < 4; i++)
		write_u64(&w, table[i]);
	maker_feature_text(&w, "6.1.0");
	maker_feature_text(&w, "x86_64");
	writer_free(&attr);
	return w;
}

static inline struct writer maker_pipe(const struct writer *records, uint32_t type, uint64_t config, uint64_t sample_type)
{
	struct writer w = {0};
	write_bytes(&w, "PERFILE2", 8);
	write_u64(&w, 16);
	size_t at = maker_begin(&w, 64, 0);
	maker_attr(&w, type, config, sample_type);
	write_u64(&w, MAKER_ID);
	maker_end(&w, at);
	at = maker_begin(&w, 80, 0); /* feature OSRELEASE */
	write_u64(&w, 4);
	maker_feature_text(&w, "6.1.0");
	write_pad(&w, 8, 0);
	maker_end(&w, at);
	write_bytes(&w, records->data, records->size);
	return w;
}

static inline struct writer maker_form(enum maker_form form, const struct writer *records, uint64_t sample_type)
{
	bool packed = form == MAKER_ZSTD || form == MAKER_ZSTD2 || form == MAKER_ZSTD_PIPE;
	bool piped = form == MAKER_PIPE || form == MAKER_ZSTD_PIPE;
	struct writer compressed = packed ? maker_compress(records, 333, form == MAKER_ZSTD2) : (struct writer){0};
	const struct writer *body = packed ? &compressed : records;
	uint32_t type = sample_type & PERF_SAMPLE_BRANCH_STACK ? PERF_TYPE_HARDWARE : PERF_TYPE_SOFTWARE;
	struct writer w = piped ? maker_pipe(body, type, 0, sample_type) : maker_file(body, type, 0, sample_type);
	writer_free(&compressed);
	return w;
}

#endif
