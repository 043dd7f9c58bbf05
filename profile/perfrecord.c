#include "profile/perfrecord.h"

#include "formats/base/bytes.h"

#include <string.h>

/* Fields of PERF_RECORD_SAMPLE after the branch stack are not needed and not read; all before it can be stepped over. */
enum { HEADER_SIZE = 8 };

static void skip_words(struct reader *r, uint64_t count, uint64_t size)
{
	if (count > r->size / size)
		r->failed = true;
	else
		read_bytes(r, (size_t)(count * size));
}

static void skip_read_values(struct reader *r, uint64_t read_format)
{
	uint64_t times = !!(read_format & PERF_FORMAT_TOTAL_TIME_ENABLED) + !!(read_format & PERF_FORMAT_TOTAL_TIME_RUNNING);
	uint64_t values = 1 + !!(read_format & PERF_FORMAT_ID) + !!(read_format & (1u << 4) /* PERF_FORMAT_LOST */);
	uint64_t count = read_format & PERF_FORMAT_GROUP ? read_u64(r) : 1;
	skip_words(r, times, 8);
	skip_words(r, count, 8 * values);
}

static void parse_branches(struct reader *r, const struct perfrecord_format *format, struct perfrecord *record)
{
	uint64_t count = read_u64(r);
	if (count && (format->branch_sample_type & PERF_SAMPLE_BRANCH_HW_INDEX)) /* without a stack the kernel leaves it out */
		read_u64(r);
	if (count > r->size / PERFRECORD_BRANCH_SIZE) {
		r->failed = true;
		return;
	}
	record->branches = read_bytes(r, (size_t)count * PERFRECORD_BRANCH_SIZE);
	record->branch_count = r->failed ? 0 : count;
}

static void parse_sample(struct reader *r, const struct perfrecord_format *format, struct perfrecord *record)
{
	uint64_t type = format->sample_type;
	if (type & PERF_SAMPLE_IDENTIFIER)
		record->id = read_u64(r);
	if (type & PERF_SAMPLE_IP)
		record->address = read_u64(r);
	if (type & PERF_SAMPLE_TID) {
		record->pid = read_u32(r);
		record->tid = read_u32(r);
	}
	if (type & PERF_SAMPLE_TIME)
		record->time = read_u64(r);
	if (type & PERF_SAMPLE_ADDR)
		read_u64(r);
	if (type & PERF_SAMPLE_ID)
		record->id = read_u64(r);
	if (type & PERF_SAMPLE_STREAM_ID)
		read_u64(r);
	if (type & PERF_SAMPLE_CPU)
		read_u64(r);
	if (type & PERF_SAMPLE_PERIOD)
		record->period = read_u64(r);
	if (type & PERF_SAMPLE_READ)
		skip_read_values(r, format->read_format);
	if (type & PERF_SAMPLE_CALLCHAIN)
		skip_words(r, read_u64(r), 8);
	if (type & PERF_SAMPLE_RAW)
		skip_words(r, read_u32(r), 1);
	if (type & PERF_SAMPLE_BRANCH_STACK)
		parse_branches(r, format, record);
}

/* The trailer of every other record: fixed size, so it is found from the end. Takes it off the reader. */
static void parse_identity(struct reader *r, const struct perfrecord_format *format, struct perfrecord *record)
{
	uint64_t type = format->sample_type;
	uint64_t have =
	    type & (PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ID | PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_CPU | PERF_SAMPLE_IDENTIFIER);
	size_t size = 8 * (size_t)__builtin_popcountll(have);
	if (!format->sample_id_all || !size)
		return;
	if (size > reader_left(r)) {
		r->failed = true;
		return;
	}
	struct reader tail = reader_of(r->data + r->size - size, size);
	r->size -= size;
	if (type & PERF_SAMPLE_TID) {
		record->pid = read_u32(&tail);
		record->tid = read_u32(&tail);
	}
	if (type & PERF_SAMPLE_TIME)
		record->time = read_u64(&tail);
	if (type & PERF_SAMPLE_ID)
		record->id = read_u64(&tail);
	if (type & PERF_SAMPLE_STREAM_ID)
		read_u64(&tail);
	if (type & PERF_SAMPLE_CPU)
		read_u64(&tail);
	if (type & PERF_SAMPLE_IDENTIFIER)
		record->id = read_u64(&tail);
}

/* The rest of the record is a NUL-terminated, padded string. */
static void parse_text(struct reader *r, struct perfrecord *record)
{
	size_t left = reader_left(r);
	const uint8_t *text = read_bytes(r, left);
	if (!text || !memchr(text, 0, left))
		r->failed = true;
	else
		record->text = (const char *)text;
}

static void parse_map(struct reader *r, struct perfrecord *record)
{
	record->pid = read_u32(r);
	record->tid = read_u32(r);
	record->map_start = read_u64(r);
	record->map_length = read_u64(r);
	record->map_offset = read_u64(r);
	if (record->type == PERF_RECORD_MMAP2) {
		if (record->misc & PERF_RECORD_MISC_MMAP_BUILD_ID) {
			record->build_id_size = read_u8(r);
			read_bytes(r, 3);
			record->build_id = read_bytes(r, PERFRECORD_BUILD_ID_MAX);
			if (record->build_id_size > PERFRECORD_BUILD_ID_MAX)
				r->failed = true;
		} else {
			record->map_device_major = read_u32(r);
			record->map_device_minor = read_u32(r);
			record->map_inode = read_u64(r);
			read_u64(r); /* inode generation */
		}
		record->map_protection = read_u32(r);
		read_u32(r); /* flags */
	} else {
		record->map_protection = record->misc & PERF_RECORD_MISC_MMAP_DATA ? 0 : 4 /* PROT_EXEC */;
	}
	parse_text(r, record);
}

static void parse_task(struct reader *r, struct perfrecord *record)
{
	record->pid = read_u32(r);
	record->parent_pid = read_u32(r);
	record->tid = read_u32(r);
	record->parent_tid = read_u32(r);
	record->time = read_u64(r);
}

static void parse_other(struct reader *r, const struct perfrecord_format *format, struct perfrecord *record)
{
	parse_identity(r, format, record);
	switch (record->type) {
	case PERF_RECORD_MMAP:
	case PERF_RECORD_MMAP2:
		parse_map(r, record);
		break;
	case PERF_RECORD_COMM:
		record->pid = read_u32(r);
		record->tid = read_u32(r);
		parse_text(r, record);
		break;
	case PERF_RECORD_FORK:
	case PERF_RECORD_EXIT:
		parse_task(r, record);
		break;
	case PERF_RECORD_LOST:
		read_u64(r); /* id */
		record->lost = read_u64(r);
		break;
	case PERF_RECORD_LOST_SAMPLES:
		record->lost = read_u64(r);
		break;
	default:
		break;
	}
}

int perfrecord_decode(const struct perfrecord_format *format, const void *data, size_t size, struct perfrecord *ret_record,
		      size_t *ret_size, struct err *e)
{
	struct reader header = reader_of(data, size);
	struct perfrecord record = {0};
	record.type = read_u32(&header);
	record.misc = read_u16(&header);
	size_t length = read_u16(&header);
	if (header.failed)
		return err_set(e, ERR_FORMAT, "perf record: %zu bytes are no record header", size);
	if (length < HEADER_SIZE || length % 8 || length > size)
		return err_set(e, ERR_FORMAT, "perf record of type %u: length %zu, %zu bytes there", record.type, length, size);
	struct reader r = reader_of(data, length);
	read_bytes(&r, HEADER_SIZE);
	if (record.type == PERF_RECORD_SAMPLE)
		parse_sample(&r, format, &record);
	else if (record.type < PERF_RECORD_MAX)
		parse_other(&r, format, &record);
	if (r.failed)
		return err_set(e, ERR_FORMAT, "perf record of type %u: its fields pass its %zu bytes", record.type, length);
	*ret_record = record;
	*ret_size = length;
	return 0;
}

struct perfrecord_branch perfrecord_branch_at(const struct perfrecord *record, uint64_t index)
{
	const uint8_t *p = record->branches + index * PERFRECORD_BRANCH_SIZE;
	return (struct perfrecord_branch){.from = load_u64(p), .to = load_u64(p + 8), .mispredicted = p[16] & 1};
}
