#include "formats/map_chunks.h"

#include <string.h>

static int get_head(const struct container *c, struct section *s, struct map *m, struct err *e)
{
	int status = module_decode(&s->r, &m->module, e);
	if (status)
		return e ? err_prefix(e, "%s", c->name) : status;
	m->text_base = read_u64(&s->r);
	m->text_size = read_u64(&s->r);
	m->pie = read_u8(&s->r);
	return 0;
}

static int get_strings(const struct container *c, struct section *s, struct map *m, struct err *e)
{
	size_t size = reader_left(&s->r);
	if (!size || size >= UINT32_MAX)
		return err_set(e, ERR_FORMAT, "%s: strings of %zu bytes, must be 1 to 4 GiB", c->name, size);
	m->strings = section_array(c, s, size, 1, e);
	if (!m->strings)
		return -ERR_MEMORY;
	memcpy(m->strings, read_bytes(&s->r, size), size);
	m->string_size = (uint32_t)size;
	return 0;
}

/* Bytes that one record takes at least: one per column. */
enum { FUNCTION_BYTES = 8, BLOCK_BYTES = 5, CALL_BYTES = 4, IMPORT_BYTES = 3, TABLE_BYTES = 6 };

static int get_functions(const struct container *c, struct section *s, struct map *m, struct err *e)
{
	uint32_t count, end = 0, block = 0;
	int status = section_count(c, s, FUNCTION_BYTES, &count, e);
	if (status)
		return status;
	struct map_function *f = m->functions = section_array(c, s, count, sizeof *f, e);
	if (!f)
		return -ERR_MEMORY;
	m->function_count = count;
	struct reader *r = &s->r;
	for (uint32_t i = 0; i < count; i++)
		f[i].start = column_get_u32(r); /* gap; summed below, when sizes are known */
	for (uint32_t i = 0; i < count; i++) {
		f[i].size = column_get_u32(r);
		uint64_t start = (uint64_t)end + f[i].start;
		if (start + f[i].size > UINT32_MAX)
			return err_set(e, ERR_FORMAT, "%s: function %u ends beyond 4 GiB", c->name, i);
		f[i].start = (uint32_t)start;
		end = f[i].start + f[i].size;
	}
	for (uint32_t i = 0; i < count; i++)
		f[i].parent = column_get_delta(r, i);
	for (uint32_t i = 0; i < count; i++) {
		f[i].first_block = block;
		f[i].block_count = column_get_gap(r, 0);
		if (f[i].block_count > UINT32_MAX - block)
			return err_set(e, ERR_FORMAT, "%s: function %u: too many blocks", c->name, i);
		block += f[i].block_count;
	}
	for (uint32_t i = 0; i < count; i++)
		f[i].name = column_get_u32(r);
	for (uint32_t i = 0; i < count; i++)
		f[i].reasons = column_get_u32(r);
	for (uint32_t i = 0; i < count; i++)
		f[i].grade = read_u8(r);
	for (uint32_t i = 0; i < count; i++)
		f[i].flags = read_u8(r);
	return 0;
}

static void get_block_ends(struct reader *r, struct map_block *b, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint8_t terminator = read_u8(r);
		b[i].terminator = terminator & (uint8_t)~MAP_CHUNK_HAS_NEXT;
		b[i].next = terminator & MAP_CHUNK_HAS_NEXT ? i + 1 : MAP_NONE;
	}
	for (uint32_t i = 0; i < count; i++)
		b[i].flags = read_u8(r);
	for (uint32_t i = 0; i < count; i++) {
		b[i].taken = MAP_NONE;
		if (b[i].terminator != MAP_JUMP && b[i].terminator != MAP_BRANCH)
			continue;
		uint64_t value = column_get(r);
		uint64_t taken = i + unzigzag(value - 1);
		if (value && taken >= UINT32_MAX)
			r->failed = true;
		if (value)
			b[i].taken = (uint32_t)taken;
	}
}

static int get_blocks(const struct container *c, struct section *s, struct map *m, struct err *e)
{
	uint32_t count, end = 0;
	int status = section_count(c, s, BLOCK_BYTES, &count, e);
	if (status)
		return status;
	struct map_block *b = m->blocks = section_array(c, s, count, sizeof *b, e);
	if (!b)
		return -ERR_MEMORY;
	m->block_count = count;
	struct reader *r = &s->r;
	for (uint32_t i = 0; i < count; i++)
		b[i].start = column_get_u32(r);
	for (uint32_t i = 0; i < count; i++) {
		b[i].size = column_get_u32(r);
		uint64_t start = (uint64_t)end + b[i].start;
		if (start + b[i].size > UINT32_MAX)
			return err_set(e, ERR_FORMAT, "%s: block %u ends beyond 4 GiB", c->name, i);
		b[i].start = (uint32_t)start;
		end = b[i].start + b[i].size;
	}
	for (uint32_t i = 0; i < count; i++) {
		uint64_t insns = column_get(r);
		if (insns > UINT16_MAX)
			r->failed = true;
		b[i].insns = (uint16_t)insns;
	}
	get_block_ends(r, b, count);
	return 0;
}

/* Calls and blocks are both sorted, so one pass finds the block of every call. */
static int find_call_blocks(const struct container *c, struct map *m, struct err *e)
{
	uint32_t block = 0;
	for (uint32_t i = 0; i < m->call_count; i++) {
		uint32_t site = m->calls[i].site;
		while (block < m->block_count && m->blocks[block].start + m->blocks[block].size <= site)
			block++;
		if (block == m->block_count || m->blocks[block].start > site)
			return err_set(e, ERR_FORMAT, "%s: call %u at text offset 0x%x is not in any block", c->name, i, site);
		m->calls[i].block = block;
	}
	return 0;
}

static int get_calls(const struct container *c, struct section *s, struct map *m, struct err *e)
{
	uint32_t count, site = 0;
	int status = section_count(c, s, CALL_BYTES, &count, e);
	if (status)
		return status;
	struct map_call *call = m->calls = section_array(c, s, count, sizeof *call, e);
	if (!call)
		return -ERR_MEMORY;
	m->call_count = count;
	struct reader *r = &s->r;
	for (uint32_t i = 0; i < count; i++)
		call[i].site = site = column_get_gap(r, site);
	for (uint32_t i = 0; i < count; i++)
		call[i].size = read_u8(r);
	for (uint32_t i = 0; i < count; i++)
		call[i].kind = read_u8(r);
	for (uint32_t i = 0; i < count; i++)
		call[i].target = column_get_u32(r) - 1; /* 0 stands for MAP_NONE */
	return r->failed ? 0 : find_call_blocks(c, m, e);
}

static int get_imports(const struct container *c, struct section *s, struct map *m, struct err *e)
{
	uint32_t count;
	uint64_t slot = 0;
	int status = section_count(c, s, IMPORT_BYTES, &count, e);
	if (status)
		return status;
	struct map_import *import = m->imports = section_array(c, s, count, sizeof *import, e);
	if (!import)
		return -ERR_MEMORY;
	m->import_count = count;
	for (uint32_t i = 0; i < count; i++)
		import[i].slot = slot += unzigzag(column_get(&s->r));
	for (uint32_t i = 0; i < count; i++)
		import[i].stub = column_get_u32(&s->r) - 1;
	for (uint32_t i = 0; i < count; i++)
		import[i].name = column_get_u32(&s->r);
	return 0;
}

static int get_table_targets(const struct container *c, struct section *s, struct map *m, struct err *e)
{
	uint32_t count, target = 0;
	int status = section_count(c, s, 1, &count, e);
	if (status)
		return status;
	m->table_targets = section_array(c, s, count, sizeof *m->table_targets, e);
	if (!m->table_targets)
		return -ERR_MEMORY;
	m->table_target_count = count;
	for (uint32_t i = 0; i < count; i++)
		m->table_targets[i] = target = column_get_delta(&s->r, target);
	return 0;
}

static int get_tables(const struct container *c, struct section *s, struct map *m, struct err *e)
{
	uint32_t count, block = 0, first = 0;
	uint64_t address = 0;
	int status = section_count(c, s, TABLE_BYTES, &count, e);
	if (status)
		return status;
	struct map_table *t = m->tables = section_array(c, s, count, sizeof *t, e);
	if (!t)
		return -ERR_MEMORY;
	m->table_count = count;
	for (uint32_t i = 0; i < count; i++) {
		t[i].address = address += unzigzag(column_get(&s->r));
		t[i].block = block = column_get_delta(&s->r, block);
		t[i].first = column_get_delta(&s->r, first);
		t[i].count = column_get_gap(&s->r, t[i].first) - t[i].first;
		first = t[i].first + t[i].count;
		t[i].kind = read_u8(&s->r);
		t[i].proven = read_u8(&s->r);
	}
	return get_table_targets(c, s, m, e);
}

static int get_syscalls(const struct container *c, struct section *s, struct map *m, struct err *e)
{
	uint32_t count, previous = 0;
	int status = section_count(c, s, 1, &count, e);
	if (status)
		return status;
	m->syscalls = section_array(c, s, count, sizeof *m->syscalls, e);
	if (!m->syscalls)
		return -ERR_MEMORY;
	m->syscall_count = count;
	for (uint32_t i = 0; i < count; i++)
		m->syscalls[i] = previous = column_get_gap(&s->r, previous);
	return 0;
}

static const struct {
	uint32_t tag;
	int (*get)(const struct container *c, struct section *s, struct map *m, struct err *e);
} chunks[] = {
    {MAP_CHUNK_HEAD, get_head},	    {MAP_CHUNK_STRINGS, get_strings},	{MAP_CHUNK_FUNCTIONS, get_functions},
    {MAP_CHUNK_BLOCKS, get_blocks}, {MAP_CHUNK_CALLS, get_calls},	{MAP_CHUNK_IMPORTS, get_imports},
    {MAP_CHUNK_TABLES, get_tables}, {MAP_CHUNK_SYSCALLS, get_syscalls},
};
#define CHUNK_COUNT (sizeof chunks / sizeof *chunks)

static int decode_chunks(const struct container *c, struct map *m, struct err *e)
{
	struct container_chunk cursor = {0};
	uint32_t known[CHUNK_COUNT];
	for (size_t i = 0; i < CHUNK_COUNT; i++)
		known[i] = chunks[i].tag;
	int status = container_refuse_unknown(c, known, CHUNK_COUNT, e);
	for (size_t i = 0; i < CHUNK_COUNT && !status; i++) {
		struct section s;
		status = section_expect(c, &cursor, chunks[i].tag, &s, e);
		if (status)
			break;
		status = chunks[i].get(c, &s, m, e);
		if (!status)
			status = section_finish(c, &s, e);
		section_free(&s);
	}
	return status ? status : section_expect_end(c, &cursor, e);
}

/* Who made it is for whoever keeps maps; a map is as good without. */
static int get_made(const struct container *c, struct map *m, struct err *e)
{
	struct container_chunk chunk;
	int status = 0;
	for (bool more = container_next(c, NULL, &chunk); more && !status; more = container_next(c, &chunk, &chunk)) {
		struct section s;
		if (chunk.tag != MAP_CHUNK_MADE)
			continue;
		status = section_load(c, &chunk, &s, e);
		if (status)
			break;
		m->mapper = read_u32(&s.r);
		status = section_finish(c, &s, e);
	}
	return status;
}

int map_decode(const void *data, size_t size, const char *name, struct map *ret_map, struct err *e)
{
	struct container c;
	struct map m = {0};
	int status = container_check(data, size, name, CONTAINER_MAP, MAP_MAJOR, &c, e);
	if (!status)
		status = decode_chunks(&c, &m, e);
	if (!status)
		status = get_made(&c, &m, e);
	if (!status)
		status = map_validate(&m, name, e);
	if (status) {
		map_free(&m);
		return status;
	}
	*ret_map = m;
	return 0;
}
