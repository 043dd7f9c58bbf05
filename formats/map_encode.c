/* Arrays are written column by column, most columns as differences: neighbours are alike, which LZ4 can use, and the map gets small. */
#include "formats/map_chunks.h"

static void put_head(const struct map *m, struct writer *w)
{
	module_encode(w, &m->module);
	write_u64(w, m->text_base);
	write_u64(w, m->text_size);
	write_u8(w, m->pie);
}

static void put_functions(const struct map *m, struct writer *w)
{
	const struct map_function *f = m->functions;
	uint32_t count = m->function_count, end = 0;
	column_put(w, count);
	for (uint32_t i = 0; i < count; i++) {
		column_put(w, f[i].start - end);
		end = f[i].start + f[i].size;
	}
	for (uint32_t i = 0; i < count; i++)
		column_put(w, f[i].size);
	for (uint32_t i = 0; i < count; i++)
		column_put(w, zigzag((uint64_t)f[i].parent - i));
	for (uint32_t i = 0; i < count; i++)
		column_put(w, f[i].block_count);
	for (uint32_t i = 0; i < count; i++)
		column_put(w, f[i].name);
	for (uint32_t i = 0; i < count; i++)
		column_put(w, f[i].reasons);
	for (uint32_t i = 0; i < count; i++)
		write_u8(w, f[i].grade);
	for (uint32_t i = 0; i < count; i++)
		write_u8(w, f[i].flags);
}

static void put_blocks(const struct map *m, struct writer *w)
{
	const struct map_block *b = m->blocks;
	uint32_t count = m->block_count, end = 0;
	column_put(w, count);
	for (uint32_t i = 0; i < count; i++) {
		column_put(w, b[i].start - end);
		end = b[i].start + b[i].size;
	}
	for (uint32_t i = 0; i < count; i++)
		column_put(w, b[i].size);
	for (uint32_t i = 0; i < count; i++)
		column_put(w, b[i].insns);
	for (uint32_t i = 0; i < count; i++)
		write_u8(w, (uint8_t)(b[i].terminator | (b[i].next != MAP_NONE ? MAP_CHUNK_HAS_NEXT : 0)));
	for (uint32_t i = 0; i < count; i++)
		write_u8(w, b[i].flags);
	for (uint32_t i = 0; i < count; i++)
		if (b[i].terminator == MAP_JUMP || b[i].terminator == MAP_BRANCH)
			column_put(w, b[i].taken == MAP_NONE ? 0 : zigzag((uint64_t)b[i].taken - i) + 1);
}

/* The block of a call follows from its site and is not stored. */
static void put_calls(const struct map *m, struct writer *w)
{
	const struct map_call *call = m->calls;
	uint32_t count = m->call_count, site = 0;
	column_put(w, count);
	for (uint32_t i = 0; i < count; i++) {
		column_put(w, call[i].site - site);
		site = call[i].site;
	}
	for (uint32_t i = 0; i < count; i++)
		write_u8(w, call[i].size);
	for (uint32_t i = 0; i < count; i++)
		write_u8(w, call[i].kind);
	for (uint32_t i = 0; i < count; i++)
		column_put(w, call[i].target == MAP_NONE ? 0 : (uint64_t)call[i].target + 1);
}

static void put_imports(const struct map *m, struct writer *w)
{
	const struct map_import *import = m->imports;
	uint64_t slot = 0;
	column_put(w, m->import_count);
	for (uint32_t i = 0; i < m->import_count; i++) {
		column_put(w, zigzag(import[i].slot - slot));
		slot = import[i].slot;
	}
	for (uint32_t i = 0; i < m->import_count; i++)
		column_put(w, import[i].stub == MAP_NONE ? 0 : (uint64_t)import[i].stub + 1);
	for (uint32_t i = 0; i < m->import_count; i++)
		column_put(w, import[i].name);
}

static void put_tables(const struct map *m, struct writer *w)
{
	const struct map_table *t = m->tables;
	uint64_t address = 0;
	uint32_t block = 0, first = 0, target = 0;
	column_put(w, m->table_count);
	for (uint32_t i = 0; i < m->table_count; i++) {
		column_put(w, zigzag(t[i].address - address));
		address = t[i].address;
		column_put(w, zigzag((uint64_t)t[i].block - block));
		block = t[i].block;
		column_put(w, zigzag((uint64_t)t[i].first - first));
		first = t[i].first + t[i].count;
		column_put(w, t[i].count);
		write_u8(w, t[i].kind);
		write_u8(w, t[i].proven);
	}
	column_put(w, m->table_target_count);
	for (uint32_t i = 0; i < m->table_target_count; i++) {
		column_put(w, zigzag((uint64_t)m->table_targets[i] - target));
		target = m->table_targets[i];
	}
}

static void put_syscalls(const struct map *m, struct writer *w)
{
	uint32_t previous = 0;
	column_put(w, m->syscall_count);
	for (uint32_t i = 0; i < m->syscall_count; i++) {
		column_put(w, m->syscalls[i] - previous);
		previous = m->syscalls[i];
	}
}

static void put_strings(const struct map *m, struct writer *w)
{
	if (m->string_size)
		write_bytes(w, m->strings, m->string_size);
	else
		write_u8(w, 0);
}

int map_encode(const struct map *m, struct writer *w, struct err *e)
{
	static const struct {
		uint32_t tag;
		void (*put)(const struct map *m, struct writer *w);
	} chunks[] = {
	    {MAP_CHUNK_HEAD, put_head},	    {MAP_CHUNK_STRINGS, put_strings},	{MAP_CHUNK_FUNCTIONS, put_functions},
	    {MAP_CHUNK_BLOCKS, put_blocks}, {MAP_CHUNK_CALLS, put_calls},	{MAP_CHUNK_IMPORTS, put_imports},
	    {MAP_CHUNK_TABLES, put_tables}, {MAP_CHUNK_SYSCALLS, put_syscalls},
	};
	int status = map_validate(m, m->module.path ? m->module.path : "map", e);
	if (status)
		return status;
	struct container_writer cw;
	struct writer raw = {0};
	container_put_header(&cw, w, CONTAINER_MAP, MAP_MAJOR, MAP_MINOR);
	for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
		raw.size = 0;
		chunks[i].put(m, &raw);
		w->failed |= raw.failed;
		container_put_chunk(&cw, w, chunks[i].tag, CONTAINER_REQUIRED, raw.data, raw.size);
	}
	if (m->mapper) {
		raw.size = 0;
		write_u32(&raw, m->mapper);
		w->failed |= raw.failed;
		container_put_chunk(&cw, w, MAP_CHUNK_MADE, 0, raw.data, raw.size);
	}
	container_put_end(&cw, w);
	writer_free(&raw);
	return w->failed ? err_set(e, ERR_MEMORY, "map: no memory to encode it") : 0;
}
