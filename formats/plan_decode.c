#include "formats/plan_chunks.h"

#include <string.h>

static int refuse(const struct container *c, const struct section *s, const char *what, uint64_t value, struct err *e)
{
	return err_set(e, ERR_FORMAT, "%s: chunk at offset %llu: %s %llu", c->name, (unsigned long long)s->chunk.offset, what,
		       (unsigned long long)value);
}

static int get_module(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	struct reader *r = &s->r;
	uint64_t *fields[PLAN_STATS_COUNT];
	int status = module_decode(r, &m->module, e);
	if (status)
		return e ? err_prefix(e, "%s", c->name) : status;
	m->text_base = read_u64(r);
	m->text_size = read_u64(r);
	m->load_low = read_u64(r);
	m->load_high = read_u64(r);
	m->region_vaddr = read_u64(r);
	uint32_t *numbers[] = {&m->code_size, &m->data_offset,	 &m->data_size, &m->fde_table,	      &m->fde_count,
			       &m->eh_frame,  &m->eh_frame_size, &m->directory, &m->directory_entries};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		*numbers[i] = read_u32(r);
	plan_stats_fields(&m->stats, fields);
	for (size_t i = 0; i < PLAN_STATS_COUNT; i++)
		*fields[i] = read_u64(r);
	return 0;
}

/* Takes all of the chunk, whose length must be what was said before. */
static int get_bytes(const struct container *c, struct section *s, uint32_t size, uint8_t **ret_bytes, struct err *e)
{
	if (reader_left(&s->r) != size)
		return refuse(c, s, "its length is not what the module says:", size, e);
	uint8_t *bytes = section_array(c, s, size, 1, e);
	if (!bytes)
		return -ERR_MEMORY;
	const uint8_t *from = read_bytes(&s->r, size);
	if (size)
		memcpy(bytes, from, size);
	*ret_bytes = bytes;
	return 0;
}

static int get_code(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	return get_bytes(c, s, m->code_size, &m->code, e);
}

static int get_data(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	return get_bytes(c, s, m->data_size, &m->data, e);
}

static int get_strings(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	uint8_t *bytes;
	uint64_t size = reader_left(&s->r);
	if (!size || size >= UINT32_MAX)
		return refuse(c, s, "strings must be 1 byte to 4 GiB, are", size, e);
	int status = get_bytes(c, s, (uint32_t)size, &bytes, e);
	if (status)
		return status;
	m->strings = (char *)bytes;
	m->string_size = (uint32_t)size;
	return 0;
}

/* Bytes that one record takes at least. */
enum { FUNCTION_BYTES = 13, PATCH_BYTES = 8, RUN_BYTES = 5, SLOT_BYTES = 2 };

static int get_relocations(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	uint32_t count, at = 0;
	int status = section_count(c, s, 1, &count, e);
	if (status)
		return status;
	m->relocations = section_array(c, s, count, sizeof *m->relocations, e);
	if (!m->relocations)
		return -ERR_MEMORY;
	m->relocation_count = count;
	for (uint32_t i = 0; i < count; i++)
		m->relocations[i] = at = column_get_gap(&s->r, at);
	return 0;
}

static int get_functions(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	uint32_t count, end = 0, patch = 0;
	int status = section_count(c, s, FUNCTION_BYTES, &count, e);
	if (status)
		return status;
	m->functions = section_array(c, s, count, sizeof *m->functions, e);
	if (!m->functions)
		return -ERR_MEMORY;
	m->function_count = count;
	struct reader *r = &s->r;
	for (uint32_t i = 0; i < count; i++) {
		struct plan_function *f = &m->functions[i];
		f->start = column_get_gap(r, end);
		f->size = column_get_gap(r, f->start) - f->start;
		end = f->start + f->size;
		f->hash = read_u64(r);
		f->entry = column_get_u32(r) - 1; /* 0 stands for PLAN_NONE */
		f->first_patch = patch;
		f->patch_count = column_get_gap(r, patch) - patch;
		patch += f->patch_count;
		f->name = column_get_u32(r);
	}
	return 0;
}

static int get_patches(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	uint32_t count, function = 0;
	int status = section_count(c, s, PATCH_BYTES, &count, e);
	if (status)
		return status;
	m->patches = section_array(c, s, count, sizeof *m->patches, e);
	if (!m->patches)
		return -ERR_MEMORY;
	m->patch_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct plan_patch *p = &m->patches[i];
		while (function < m->function_count && m->functions[function].first_patch + m->functions[function].patch_count <= i)
			function++;
		if (function == m->function_count)
			return refuse(c, s, "no function owns patch", i, e);
		p->function = function;
		p->at = column_get_gap(&s->r, m->functions[function].start);
		p->target = column_get_u32(&s->r);
		const uint8_t *original = read_bytes(&s->r, sizeof p->original);
		if (original)
			memcpy(p->original, original, sizeof p->original);
		p->kind = read_u8(&s->r);
	}
	return 0;
}

static uint16_t get_u16(struct reader *r)
{
	uint64_t value = column_get(r);
	if (value > UINT16_MAX)
		r->failed = true;
	return (uint16_t)value;
}

static int get_runs(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	uint32_t count, image = 0, original = 0;
	int status = section_count(c, s, RUN_BYTES, &count, e);
	if (status)
		return status;
	struct plan_run *runs = m->runs = section_array(c, s, count, sizeof *runs, e);
	if (!runs)
		return -ERR_MEMORY;
	m->run_count = count;
	struct reader *r = &s->r;
	for (uint32_t i = 0; i < count; i++)
		runs[i].image = column_get_u32(r); /* from the end of the one before; summed below, when sizes are known */
	for (uint32_t i = 0; i < count; i++) {
		runs[i].image_size = get_u16(r);
		uint64_t start = image + unzigzag(runs[i].image);
		if (start > UINT32_MAX - runs[i].image_size)
			return refuse(c, s, "image range out of range at run", i, e);
		runs[i].image = (uint32_t)start;
		image = runs[i].image + runs[i].image_size;
	}
	for (uint32_t i = 0; i < count; i++)
		runs[i].original_size = get_u16(r);
	for (uint32_t i = 0; i < count; i++)
		runs[i].kind = read_u8(r);
	for (uint32_t i = 0; i < count; i++) {
		runs[i].original = column_get_delta(r, original);
		original = runs[i].original + runs[i].original_size;
	}
	return 0;
}

static int get_slots(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	uint32_t count, at = 0;
	uint64_t slot = 0;
	int status = section_count(c, s, SLOT_BYTES, &count, e);
	if (status)
		return status;
	m->slots = section_array(c, s, count, sizeof *m->slots, e);
	if (!m->slots)
		return -ERR_MEMORY;
	m->slot_count = count;
	for (uint32_t i = 0; i < count; i++) {
		m->slots[i].at = at = column_get_gap(&s->r, at);
		m->slots[i].slot = slot += unzigzag(column_get(&s->r));
	}
	return 0;
}

#define COUNTER_BYTES 3
static int get_counters(const struct container *c, struct section *s, struct plan_module *m, struct err *e)
{
	uint32_t count, from = 0;
	m->counter_offset = read_u32(&s->r);
	int status = section_count(c, s, COUNTER_BYTES, &count, e);
	if (status)
		return status;
	m->counters = section_array(c, s, count, sizeof *m->counters, e);
	if (!m->counters)
		return -ERR_MEMORY;
	m->counter_count = count;
	for (uint32_t i = 0; i < count; i++)
		m->counters[i].from = from = column_get_delta(&s->r, from);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t value = column_get(&s->r);
		uint64_t to = value ? m->counters[i].from + unzigzag(value - 1) : PLAN_NONE;
		s->r.failed |= to > UINT32_MAX || (value && to == PLAN_NONE);
		m->counters[i].to = (uint32_t)to;
	}
	for (uint32_t i = 0; i < count; i++)
		m->counters[i].kind = read_u8(&s->r);
	return 0;
}

static const struct {
	uint32_t tag;
	int (*get)(const struct container *c, struct section *s, struct plan_module *m, struct err *e);
} chunks[] = {
    {PLAN_CHUNK_MODULE, get_module},	       {PLAN_CHUNK_CODE, get_code},	  {PLAN_CHUNK_DATA, get_data},
    {PLAN_CHUNK_RELOCATIONS, get_relocations}, {PLAN_CHUNK_STRINGS, get_strings}, {PLAN_CHUNK_FUNCTIONS, get_functions},
    {PLAN_CHUNK_PATCHES, get_patches},	       {PLAN_CHUNK_RUNS, get_runs},	  {PLAN_CHUNK_SLOTS, get_slots},
    {PLAN_CHUNK_COUNTERS, get_counters},
};
#define CHUNK_COUNT (sizeof chunks / sizeof *chunks)
#define CHUNK_ALWAYS (CHUNK_COUNT - 1)

static int decode_chunk(const struct container *c, struct container_chunk *cursor, size_t i, struct plan_module *m, struct err *e)
{
	struct section s;
	int status = section_expect(c, cursor, chunks[i].tag, &s, e);
	if (status)
		return status;
	status = chunks[i].get(c, &s, m, e);
	if (!status)
		status = section_finish(c, &s, e);
	section_free(&s);
	return status;
}

static int decode_module(const struct container *c, struct container_chunk *cursor, struct plan_module *m, struct err *e)
{
	int status = 0;
	for (size_t i = 0; i < CHUNK_ALWAYS && !status; i++)
		status = decode_chunk(c, cursor, i, m, e);
	if (!status && section_follows(c, cursor, PLAN_CHUNK_COUNTERS))
		status = decode_chunk(c, cursor, CHUNK_ALWAYS, m, e);
	return status;
}

static int get_head(const struct container *c, struct section *s, struct plan *p, uint32_t *ret_count, struct err *e)
{
	struct reader *r = &s->r;
	p->inputs_hash = read_u64(r);
	uint64_t count = column_get(r), length = column_get(r);
	if (r->failed || count > PLAN_MODULES_MAX)
		return refuse(c, s, "impossible number of modules", count, e);
	if (length > PLAN_OPTIONS_MAX || length != reader_left(r))
		return refuse(c, s, "impossible length of options", length, e);
	const uint8_t *options = read_bytes(r, (size_t)length);
	if (memchr(options, 0, (size_t)length))
		return refuse(c, s, "NUL in the options of length", length, e);
	p->options = strndup((const char *)options, (size_t)length);
	if (!p->options)
		return err_set(e, ERR_MEMORY, "%s: no memory for the options", c->name);
	*ret_count = (uint32_t)count;
	return 0;
}

static int decode_chunks(const struct container *c, struct plan *p, struct err *e)
{
	struct container_chunk cursor = {0};
	uint32_t known[CHUNK_COUNT + 1] = {PLAN_CHUNK_HEAD}, count = 0;
	struct section s;
	for (size_t i = 0; i < CHUNK_COUNT; i++)
		known[i + 1] = chunks[i].tag;
	int status = container_refuse_unknown(c, known, CHUNK_COUNT + 1, e);
	if (!status)
		status = section_expect(c, &cursor, PLAN_CHUNK_HEAD, &s, e);
	if (status)
		return status;
	status = get_head(c, &s, p, &count, e);
	if (!status)
		status = section_finish(c, &s, e);
	section_free(&s);
	if (status)
		return status;
	if (count > c->chunk_count / CHUNK_ALWAYS)
		return err_set(e, ERR_FORMAT, "%s: says %u modules, has chunks for at most %zu", c->name, count,
			       c->chunk_count / CHUNK_ALWAYS);
	p->modules = calloc(count ? count : 1, sizeof *p->modules);
	if (!p->modules)
		return err_set(e, ERR_MEMORY, "%s: no memory for %u modules", c->name, count);
	for (; p->module_count < count && !status; p->module_count++)
		status = decode_module(c, &cursor, &p->modules[p->module_count], e);
	return status ? status : section_expect_end(c, &cursor, e);
}

int plan_decode(const void *data, size_t size, const char *name, struct plan *ret_plan, struct err *e)
{
	struct container c;
	struct plan p = {0};
	int status = container_check(data, size, name, CONTAINER_PLAN, PLAN_MAJOR, &c, e);
	if (!status)
		status = decode_chunks(&c, &p, e);
	if (!status)
		status = plan_validate(&p, name, e);
	if (status) {
		plan_free(&p);
		return status;
	}
	*ret_plan = p;
	return 0;
}
