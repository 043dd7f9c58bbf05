#include "profile/import/perfdata_parts.h"

#include "profile/import/zstream.h"

#include <inttypes.h>
#include <string.h>

/* Records that perf itself writes, beyond those of the kernel. */
enum {
	USER_HEADER_ATTR = 64,
	USER_TRACING_DATA = 66,
	USER_BUILD_ID = 67,
	USER_AUXTRACE = 71,
	USER_FEATURE = 80,
	USER_COMPRESSED = 81,
	USER_COMPRESSED2 = 83,
};
enum { HEADER_SIZE = 8, RECORD_MAX = UINT16_MAX, CHUNK_SIZE = 1 << 20 };

/* What honest recordings compress to is 3 to 30; a file may not make us allocate without end. */
enum { EXPANSION_MAX = 256, EXPANSION_FREE = 64 << 20 };

/* A kernel's record: remembered if it says something about addresses, else counted. */
static int take_kernel_record(struct perfdata *p, const uint8_t *record, size_t size)
{
	struct perfrecord decoded;
	uint32_t event;
	if (!p->events.count)
		return perfdata_bad(p, p->offset, "a record before the event that writes it is described");
	int status = perfdata_event_of(p, record, size, &event);
	if (!status && event == IDMAP_NONE) {
		p->result.other_samples += load_u32(record) == PERF_RECORD_SAMPLE;
		if (load_u32(record) == PERF_RECORD_SAMPLE)
			return 0;
		event = 0;
	}
	if (!status)
		status = perfrecord_decode(&p->events.data[event].format, record, size, &decoded, &size, p->e);
	if (status)
		return err_prefix(p->e, "%s: offset 0x%" PRIx64, p->input->name, p->offset);
	switch (decoded.type) {
	case PERF_RECORD_LOST:
	case PERF_RECORD_LOST_SAMPLES:
		p->lost += decoded.lost;
		return 0;
	case PERF_RECORD_THROTTLE:
		p->throttled++;
		return 0;
	case PERF_RECORD_SAMPLE:
		p->events.data[event].samples++;
		break;
	case PERF_RECORD_MMAP:
	case PERF_RECORD_MMAP2:
	case PERF_RECORD_COMM:
	case PERF_RECORD_FORK:
		break;
	default:
		return 0;
	}
	if (p->refs.count >= UINT32_MAX)
		return err_set(p->e, ERR_UNSUPPORTED, "%s: more than 2^32 records", p->input->name);
	struct perfdata_ref ref = {.time = decoded.time, .data = record, .event = event, .number = (uint32_t)p->refs.count};
	return vec_push(&p->refs, ref) ? perfdata_no_memory(p) : 0;
}

/* {header, perf_event_attr, ids} */
static int take_event(struct perfdata *p, const uint8_t *record, size_t size)
{
	if (size < HEADER_SIZE + PERF_ATTR_SIZE_VER0)
		return perfdata_bad(p, p->offset, "a description of an event that is cut off");
	size_t attr_size = load_u32(record + HEADER_SIZE + 4);
	if (attr_size < PERF_ATTR_SIZE_VER0 || attr_size > size - HEADER_SIZE)
		return perfdata_bad(p, p->offset, "impossible size of an event");
	int status = perfdata_add_event(p, record + HEADER_SIZE, attr_size, p->offset);
	if (status)
		return status;
	struct reader ids = reader_of(record + HEADER_SIZE + attr_size, size - HEADER_SIZE - attr_size);
	return perfdata_add_ids(p, &ids);
}

static int take_user_record(struct perfdata *p, const uint8_t *record, size_t size)
{
	switch (load_u32(record)) {
	case USER_HEADER_ATTR:
		return p->is_pipe ? take_event(p, record, size) : 0;
	case USER_BUILD_ID:
		return perfdata_build_id(p, record, size, p->offset);
	case USER_FEATURE:
		if (size < HEADER_SIZE + 8)
			return perfdata_bad(p, p->offset, "a feature that is cut off");
		uint64_t feature = load_u64(record + HEADER_SIZE);
		/* In a file the sections are read; in a pipe build-ids come as records of their own. */
		if (!p->is_pipe || feature >= PERFDATA_FEATURE_MAX || feature == PERFDATA_FEATURE_BUILD_ID)
			return 0;
		return perfdata_feature(p, (unsigned)feature, record + HEADER_SIZE + 8, size - HEADER_SIZE - 8, p->offset);
	default:
		return 0;
	}
}

int perfdata_take(struct perfdata *p, const uint8_t *record, size_t size)
{
	p->result.records++;
	return load_u32(record) < USER_HEADER_ATTR ? take_kernel_record(p, record, size) : take_user_record(p, record, size);
}

/* Length of the record at `data`, 0 when not all of it is there. */
static int record_length(const struct perfdata *p, const uint8_t *data, size_t size, size_t *ret_length)
{
	*ret_length = 0;
	if (size < HEADER_SIZE)
		return 0;
	size_t length = (size_t)(data[6] | data[7] << 8);
	if (length < HEADER_SIZE)
		return perfdata_bad(p, p->offset, "a record shorter than its header");
	*ret_length = length <= size ? length : 0;
	return 0;
}

/* Bytes behind the record that belong to it but are no records. */
static int raw_bytes(const struct perfdata *p, const uint8_t *record, size_t size, uint64_t *ret_size)
{
	uint32_t type = load_u32(record);
	*ret_size = 0;
	if (type == USER_AUXTRACE) {
		if (size < HEADER_SIZE + 8)
			return perfdata_bad(p, p->offset, "hardware trace data without their size");
		*ret_size = load_u64(record + HEADER_SIZE);
	} else if (type == USER_TRACING_DATA && p->is_pipe) {
		if (size < HEADER_SIZE + 4)
			return perfdata_bad(p, p->offset, "tracing data without their size");
		*ret_size = ((uint64_t)load_u32(record + HEADER_SIZE) + 7) & ~UINT64_C(7);
	}
	return 0;
}

static int take_compressed(struct perfdata *p, const uint8_t *record, size_t size)
{
	if (load_u32(record) == USER_COMPRESSED)
		return perfdata_decompress(p, record + HEADER_SIZE, size - HEADER_SIZE);
	uint64_t data_size = size >= HEADER_SIZE + 8 ? load_u64(record + HEADER_SIZE) : UINT64_MAX;
	if (data_size > size - HEADER_SIZE - 8)
		return perfdata_bad(p, p->offset, "compressed data that pass the end of their record");
	return perfdata_decompress(p, record + HEADER_SIZE + 8, (size_t)data_size);
}

int perfdata_records(struct perfdata *p, const uint8_t *data, size_t size, uint64_t offset)
{
	for (size_t at = 0, length; at < size; at += length) {
		uint64_t raw;
		p->offset = offset + at;
		int status = record_length(p, data + at, size - at, &length);
		if (!status && !length)
			return perfdata_bad(p, p->offset, "a record passes the end of the data");
		if (!status)
			status = raw_bytes(p, data + at, length, &raw);
		if (status)
			return status;
		if (raw > size - at - length)
			return perfdata_bad(p, p->offset, "trace data pass the end of the file");
		uint32_t type = load_u32(data + at);
		bool packed = type == USER_COMPRESSED || type == USER_COMPRESSED2;
		status = packed ? take_compressed(p, data + at, length) : perfdata_take(p, data + at, length);
		if (status)
			return status;
		length += (size_t)raw;
	}
	struct perfdata_chunk *last = p->chunks.count ? &p->chunks.data[p->chunks.count - 1] : NULL;
	if (last && last->parsed != last->used)
		return perfdata_bad(p, offset + size, "the compressed data end in the middle of a record");
	return 0;
}

/* --- compressed records: one stream of bytes over all pieces; a record may begin in one and end in the next --- */

/* A chunk with room behind what it holds; a record that is only begun moves over. */
static int chunk_with_room(struct perfdata *p, struct perfdata_chunk **ret_chunk)
{
	struct perfdata_chunk *last = p->chunks.count ? &p->chunks.data[p->chunks.count - 1] : NULL;
	if (!last || last->used == CHUNK_SIZE) {
		struct perfdata_chunk new = {.data = malloc(CHUNK_SIZE)};
		if (!new.data || vec_reserve(&p->chunks, 1)) {
			free(new.data);
			return perfdata_no_memory(p);
		}
		last = p->chunks.count ? &p->chunks.data[p->chunks.count - 1] : NULL;
		if (last) {
			new.used = last->used - last->parsed; /* less than RECORD_MAX */
			memcpy(new.data, last->data + last->parsed, new.used);
			last->used = last->parsed;
		}
		p->chunks.data[p->chunks.count++] = new;
		last = &p->chunks.data[p->chunks.count - 1];
	}
	*ret_chunk = last;
	return 0;
}

static int take_from_chunk(struct perfdata *p, struct perfdata_chunk *chunk)
{
	for (;;) {
		size_t length;
		const uint8_t *record = chunk->data + chunk->parsed;
		int status = record_length(p, record, chunk->used - chunk->parsed, &length);
		if (status || !length)
			return status;
		uint32_t type = load_u32(record);
		if (type == USER_COMPRESSED || type == USER_COMPRESSED2 || type == USER_AUXTRACE)
			return perfdata_bad(p, p->offset, "a compressed record inside a compressed record");
		status = perfdata_take(p, record, length);
		if (status)
			return status;
		chunk->parsed += length;
	}
}

int perfdata_decompress(struct perfdata *p, const uint8_t *data, size_t size)
{
	struct zstream_buffers io = {.input = data, .input_size = size};
	p->compressed += size;
	if (!p->stream) {
		int status = zstream_new(&p->stream, p->e);
		if (status)
			return status;
	}
	do {
		struct perfdata_chunk *chunk = NULL;
		int status = chunk_with_room(p, &chunk);
		if (status)
			return status;
		io.output = chunk->data + chunk->used;
		io.output_size = CHUNK_SIZE - chunk->used;
		status = zstream_step(p->stream, &io, p->e);
		if (status)
			return err_prefix(p->e, "%s: offset 0x%" PRIx64, p->input->name, p->offset);
		chunk->used += io.written;
		p->result.decompressed += io.written;
		if (p->result.decompressed > EXPANSION_FREE && p->result.decompressed / EXPANSION_MAX > p->compressed)
			return perfdata_bad(p, p->offset, "compressed data that become more than 256 times larger");
		status = take_from_chunk(p, chunk);
		if (status)
			return status;
	} while (io.written || io.input_size);
	return 0;
}
