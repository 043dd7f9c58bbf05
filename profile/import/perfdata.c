#include "profile/import/perfdata_parts.h"

#include "profile/import/zstream.h"

#include <inttypes.h>
#include <string.h>

/*
 * file: "PERFILE2" u64 size = 104, u64 attr_size, 3 x {u64 offset, u64 size} (attrs, data, event types), 256 bits of features; behind the data
 * one {u64 offset, u64 size} per feature bit. pipe: "PERFILE2" u64 size = 16, then records only.
 */
enum { MAGIC_SIZE = 8, HEADER_SIZE = 104, PIPE_HEADER_SIZE = 16, ID_SECTION_SIZE = 16 };

struct section {
	uint64_t offset, size;
};

int perfdata_bad(const struct perfdata *p, uint64_t offset, const char *what)
{
	return err_set(p->e, ERR_FORMAT, "%s: offset 0x%" PRIx64 ": %s", p->input->name, offset, what);
}

int perfdata_no_memory(const struct perfdata *p)
{
	return err_set(p->e, ERR_MEMORY, "%s: no memory", p->input->name);
}

bool perfdata_is(const void *data, size_t size)
{
	return size >= MAGIC_SIZE && (!memcmp(data, "PERFILE2", MAGIC_SIZE) || !memcmp(data, "PERFFILE", MAGIC_SIZE) ||
				      !memcmp(data, "2ELIFREP", MAGIC_SIZE) || !memcmp(data, "ELIFFREP", MAGIC_SIZE));
}

static int check_magic(const struct perfdata *p)
{
	const struct perfdata_input *in = p->input;
	if (!perfdata_is(in->data, in->size))
		return err_set(p->e, ERR_FORMAT, "%s: no perf.data file: it does not begin with PERFILE2", in->name);
	if (!memcmp(in->data, "PERFILE2", MAGIC_SIZE))
		return 0;
	if (!memcmp(in->data, "PERFFILE", MAGIC_SIZE))
		return err_set(p->e, ERR_UNSUPPORTED, "%s: first version of perf.data (before 2009)", in->name);
	return err_set(p->e, ERR_UNSUPPORTED, "%s: recorded on a machine of the other byte order", in->name);
}

static struct section read_section(struct reader *r)
{
	struct section s = {.offset = read_u64(r)};
	s.size = read_u64(r);
	return s;
}

static bool inside(const struct perfdata *p, const struct section *s)
{
	return s->offset <= p->input->size && s->size <= p->input->size - s->offset;
}

static const uint8_t *bytes_at(const struct perfdata *p, uint64_t offset)
{
	return (const uint8_t *)p->input->data + offset;
}

static int read_events(struct perfdata *p, const struct section *attrs, uint64_t entry_size)
{
	if (!inside(p, attrs))
		return perfdata_bad(p, attrs->offset, "the section of events passes the end of the file");
	if (entry_size < PERF_ATTR_SIZE_VER0 + ID_SECTION_SIZE || entry_size > UINT16_MAX)
		return perfdata_bad(p, 16, "impossible size of an event");
	if (!attrs->size || attrs->size % entry_size)
		return perfdata_bad(p, attrs->offset, "the section of events is empty or has half an event");
	for (uint64_t at = attrs->offset; at < attrs->offset + attrs->size; at += entry_size) {
		size_t attr_size = (size_t)entry_size - ID_SECTION_SIZE;
		int status = perfdata_add_event(p, bytes_at(p, at), attr_size, at);
		if (status)
			return status;
		struct reader where = reader_of(bytes_at(p, at + attr_size), ID_SECTION_SIZE);
		struct section section = read_section(&where);
		if (!inside(p, &section) || section.size % 8)
			return perfdata_bad(p, at + attr_size, "the ids of an event pass the end of the file");
		struct reader ids = reader_of(bytes_at(p, section.offset), (size_t)section.size);
		status = perfdata_add_ids(p, &ids);
		if (status)
			return status;
	}
	return 0;
}

static int read_features(struct perfdata *p, const uint8_t *bits, uint64_t offset)
{
	for (unsigned i = 0; i < PERFDATA_FEATURE_MAX; i++) {
		if (!(bits[i / 8] >> i % 8 & 1))
			continue;
		struct section entry = {offset, ID_SECTION_SIZE};
		if (!inside(p, &entry))
			return perfdata_bad(p, offset, "the table of features passes the end of the file");
		struct reader r = reader_of(bytes_at(p, offset), ID_SECTION_SIZE);
		struct section section = read_section(&r);
		if (!inside(p, &section))
			return perfdata_bad(p, offset, "a feature section passes the end of the file");
		int status = perfdata_feature(p, i, bytes_at(p, section.offset), (size_t)section.size, section.offset);
		if (status)
			return status;
		offset += ID_SECTION_SIZE;
	}
	return 0;
}

static int read_file(struct perfdata *p, struct reader *r)
{
	uint64_t attr_size = read_u64(r);
	struct section attrs = read_section(r), data = read_section(r);
	read_section(r); /* event types: long unused */
	const uint8_t *features = read_bytes(r, PERFDATA_FEATURE_MAX / 8);
	if (r->failed)
		return perfdata_bad(p, r->size, "the header is cut off");
	if (!data.size && data.offset <= p->input->size)
		return perfdata_bad(p, 48, "the recording was not finished: perf was killed before it wrote the size of its data");
	if (!inside(p, &data))
		return perfdata_bad(p, data.offset, "the data section passes the end of the file: it is cut off");
	int status = read_events(p, &attrs, attr_size);
	if (!status)
		status = read_features(p, features, data.offset + data.size);
	if (!status)
		status = perfdata_records(p, bytes_at(p, data.offset), (size_t)data.size, data.offset);
	return status;
}

static int read_all(struct perfdata *p)
{
	int status = check_magic(p);
	if (status)
		return status;
	struct reader r = reader_of(p->input->data, p->input->size);
	read_bytes(&r, MAGIC_SIZE);
	uint64_t size = read_u64(&r);
	if (r.failed)
		return perfdata_bad(p, r.size, "the header is cut off");
	p->is_pipe = size == PIPE_HEADER_SIZE;
	if (!p->is_pipe && size != HEADER_SIZE)
		return perfdata_bad(p, MAGIC_SIZE, "a header that is neither of a file (104 bytes) nor of a pipe (16 bytes)");
	if (!p->is_pipe)
		return read_file(p, &r);
	return perfdata_records(p, bytes_at(p, PIPE_HEADER_SIZE), p->input->size - PIPE_HEADER_SIZE, PIPE_HEADER_SIZE);
}

static void perfdata_free(struct perfdata *p)
{
	for (size_t i = 0; i < p->chunks.count; i++)
		free(p->chunks.data[i].data);
	zstream_free(p->stream);
	vec_free(&p->chunks);
	vec_free(&p->events);
	vec_free(&p->refs);
	idmap_free(&p->ids);
	free(p->kernel);
	free(p->cpu);
	free(p->command);
}

int perfdata_read(const struct perfdata_input *input, struct profile *ret_profile, struct perfdata_result *ret_result, struct err *e)
{
	struct err own;
	struct perfdata p = {.input = input, .e = e ? e : &own};
	struct profile profile = {0};
	int status = read_all(&p);
	if (!status)
		status = perfdata_make_profile(&p, &profile);
	if (status) {
		profile_free(&profile);
	} else {
		*ret_profile = profile;
		*ret_result = p.result;
	}
	perfdata_free(&p);
	return status;
}
