/*
 * What a map must be, beyond its encoding. Runs on every map that is read and on every map that is written, so that nothing is written that
 * could not be read, and so that readers may index without checking.
 */
#include "formats/map.h"

static const uint8_t reason_grades[] = {
#define X(name, grade, text) grade,
    MAP_REASONS(X)
#undef X
};

static int validate_span(const struct map *m, const char *name, struct err *e)
{
	unsigned long long base = m->text_base, size = m->text_size;
	if (size >= UINT32_MAX)
		return err_set(e, ERR_FORMAT, "%s: text of %llu bytes, must be below 4 GiB", name, size);
	if (m->text_base + m->text_size < m->text_base)
		return err_set(e, ERR_FORMAT, "%s: text at 0x%llx with 0x%llx bytes wraps", name, base, size);
	if (m->pie > 1)
		return err_set(e, ERR_FORMAT, "%s: pie is %u, must be 0 or 1", name, m->pie);
	if (m->string_size && (m->strings[0] || m->strings[m->string_size - 1]))
		return err_set(e, ERR_FORMAT, "%s: strings do not start and end with NUL", name);
	return 0;
}

static bool name_valid(const struct map *m, uint32_t at)
{
	return !at || at < m->string_size;
}

/* The grade may not be better than any of its known reasons says, and only a movable function needs none. */
static bool grade_explained(const struct map_function *f)
{
	for (unsigned i = 0; i < MAP_REASON_COUNT; i++)
		if ((f->reasons & 1u << i) && f->grade < reason_grades[i])
			return false;
	return f->grade == MAP_MOVABLE || f->reasons;
}

static int validate_functions(const struct map *m, const char *name, struct err *e)
{
	uint64_t end = 0, block = 0;
	for (uint32_t i = 0; i < m->function_count; i++) {
		const struct map_function *f = &m->functions[i];
		if (f->start < end || !f->size)
			return err_set(e, ERR_FORMAT, "%s: function %u at text offset 0x%x: %s", name, i, f->start,
				       f->size ? "starts before the end of the one before" : "has no bytes");
		end = (uint64_t)f->start + f->size;
		if (end > m->text_size)
			return err_set(e, ERR_FORMAT, "%s: function %u at text offset 0x%x ends outside the text", name, i, f->start);
		if (f->parent >= m->function_count)
			return err_set(e, ERR_FORMAT, "%s: function %u: parent %u does not exist", name, i, f->parent);
		if (f->block_count && f->first_block != block)
			return err_set(e, ERR_FORMAT, "%s: function %u: first block is %u, must be %llu", name, i, f->first_block,
				       (unsigned long long)block);
		block += f->block_count;
		if (block > m->block_count)
			return err_set(e, ERR_FORMAT, "%s: function %u: %u blocks are more than there are", name, i, f->block_count);
		if (!name_valid(m, f->name))
			return err_set(e, ERR_FORMAT, "%s: function %u: name at %u is outside the strings", name, i, f->name);
		if (f->grade > MAP_UNTOUCHABLE)
			return err_set(e, ERR_FORMAT, "%s: function %u: unknown grade %u", name, i, f->grade);
		if (!grade_explained(f))
			return err_set(e, ERR_FORMAT, "%s: function %u: grade %s does not follow from reasons 0x%x", name, i,
				       map_grade_name(f->grade), f->reasons);
	}
	if (block != m->block_count)
		return err_set(e, ERR_FORMAT, "%s: %llu blocks belong to functions, there are %u", name, (unsigned long long)block,
			       m->block_count);
	return 0;
}

static int validate_edges(const struct map *m, const char *name, uint32_t i, struct err *e)
{
	const struct map_block *b = &m->blocks[i];
	bool jumps = b->terminator == MAP_JUMP || b->terminator == MAP_BRANCH;
	bool falls = b->terminator == MAP_FALLS || b->terminator == MAP_BRANCH;
	if (b->taken != MAP_NONE && !jumps)
		return err_set(e, ERR_FORMAT, "%s: block %u does not jump but has a taken edge", name, i);
	if (b->taken != MAP_NONE && b->taken >= m->block_count)
		return err_set(e, ERR_FORMAT, "%s: block %u: taken edge to block %u, which does not exist", name, i, b->taken);
	if (b->taken != MAP_NONE && !(m->blocks[b->taken].flags & MAP_BLOCK_TARGET))
		return err_set(e, ERR_FORMAT, "%s: block %u: taken edge to block %u, which is not marked as a target", name, i, b->taken);
	if (b->next == MAP_NONE)
		return 0;
	if (!falls)
		return err_set(e, ERR_FORMAT, "%s: block %u does not fall through but has a next edge", name, i);
	if (b->next != i + 1 || b->next >= m->block_count || b[1].start != b->start + b->size)
		return err_set(e, ERR_FORMAT, "%s: block %u: next edge to block %u, which does not start at its end", name, i, b->next);
	return 0;
}

static int validate_block(const struct map *m, const char *name, uint32_t i, const struct map_function *f, struct err *e)
{
	const struct map_block *b = &m->blocks[i];
	if (!b->size || !b->insns)
		return err_set(e, ERR_FORMAT, "%s: block %u has no %s", name, i, b->size ? "instructions" : "bytes");
	if (i && b->start < b[-1].start + b[-1].size)
		return err_set(e, ERR_FORMAT, "%s: block %u starts before the end of the one before", name, i);
	if (b->start < f->start || (uint64_t)b->start + b->size > (uint64_t)f->start + f->size)
		return err_set(e, ERR_FORMAT, "%s: block %u at text offset 0x%x is not inside its function", name, i, b->start);
	if (b->terminator > MAP_STOP)
		return err_set(e, ERR_FORMAT, "%s: block %u: unknown terminator %u", name, i, b->terminator);
	if (b->flags && !(b->flags & MAP_BLOCK_TARGET))
		return err_set(e, ERR_FORMAT, "%s: block %u has flags 0x%x but is not marked as a target", name, i, b->flags);
	if ((b->flags & MAP_BLOCK_ENTRY) && b->start != f->start)
		return err_set(e, ERR_FORMAT, "%s: block %u is marked as an entry but is not at its function's start", name, i);
	return validate_edges(m, name, i, e);
}

static int validate_blocks(const struct map *m, const char *name, struct err *e)
{
	int status = 0;
	uint32_t block = 0;
	for (uint32_t i = 0; i < m->function_count; i++)
		for (uint32_t n = m->functions[i].block_count; n && !status; n--)
			status = validate_block(m, name, block++, &m->functions[i], e);
	return status;
}

static int validate_calls(const struct map *m, const char *name, struct err *e)
{
	for (uint32_t i = 0; i < m->call_count; i++) {
		const struct map_call *call = &m->calls[i];
		if (i && call->site <= call[-1].site)
			return err_set(e, ERR_FORMAT, "%s: call %u is not after the one before", name, i);
		if (call->block >= m->block_count)
			return err_set(e, ERR_FORMAT, "%s: call %u: block %u does not exist", name, i, call->block);
		const struct map_block *b = &m->blocks[call->block];
		if (!call->size || call->site < b->start || (uint64_t)call->site + call->size > (uint64_t)b->start + b->size)
			return err_set(e, ERR_FORMAT, "%s: call %u at text offset 0x%x is not inside block %u", name, i, call->site,
				       call->block);
		if (call->kind > MAP_TAIL_IMPORT)
			return err_set(e, ERR_FORMAT, "%s: call %u: unknown kind %u", name, i, call->kind);
		if (call->kind == MAP_CALL_INDIRECT && call->target != MAP_NONE)
			return err_set(e, ERR_FORMAT, "%s: call %u is indirect but has a target", name, i);
		if (call->kind == MAP_CALL_DIRECT && call->target != MAP_NONE && call->target >= m->text_size)
			return err_set(e, ERR_FORMAT, "%s: call %u: target 0x%x is outside the text", name, i, call->target);
		if ((call->kind == MAP_CALL_IMPORT || call->kind == MAP_TAIL_IMPORT) && call->target >= m->import_count)
			return err_set(e, ERR_FORMAT, "%s: call %u: import %u does not exist", name, i, call->target);
	}
	return 0;
}

static int validate_imports(const struct map *m, const char *name, struct err *e)
{
	for (uint32_t i = 0; i < m->import_count; i++) {
		const struct map_import *import = &m->imports[i];
		if (import->stub != MAP_NONE && import->stub >= m->text_size)
			return err_set(e, ERR_FORMAT, "%s: import %u: stub 0x%x is outside the text", name, i, import->stub);
		if (!name_valid(m, import->name))
			return err_set(e, ERR_FORMAT, "%s: import %u: name at %u is outside the strings", name, i, import->name);
	}
	return 0;
}

static int validate_tables(const struct map *m, const char *name, struct err *e)
{
	for (uint32_t i = 0; i < m->table_count; i++) {
		const struct map_table *t = &m->tables[i];
		if (t->block >= m->block_count || m->blocks[t->block].terminator != MAP_JUMP_INDIRECT)
			return err_set(e, ERR_FORMAT, "%s: table %u: block %u does not end with an indirect jump", name, i, t->block);
		if ((uint64_t)t->first + t->count > m->table_target_count)
			return err_set(e, ERR_FORMAT, "%s: table %u: targets %u + %u are more than there are", name, i, t->first, t->count);
		if (t->kind > MAP_TABLE_ABSOLUTE32)
			return err_set(e, ERR_FORMAT, "%s: table %u: unknown kind %u", name, i, t->kind);
		if (t->proven > 1)
			return err_set(e, ERR_FORMAT, "%s: table %u: proven is %u, must be 0 or 1", name, i, t->proven);
	}
	for (uint32_t i = 0; i < m->table_target_count; i++)
		if (m->table_targets[i] >= m->block_count || !(m->blocks[m->table_targets[i]].flags & MAP_BLOCK_TARGET))
			return err_set(e, ERR_FORMAT, "%s: table target %u: block %u does not exist or is not marked as a target", name, i,
				       m->table_targets[i]);
	for (uint32_t i = 0; i < m->syscall_count; i++)
		if (m->syscalls[i] >= m->text_size || (i && m->syscalls[i] <= m->syscalls[i - 1]))
			return err_set(e, ERR_FORMAT, "%s: system call site %u at text offset 0x%x is out of order or outside the text",
				       name, i, m->syscalls[i]);
	return 0;
}

int map_validate(const struct map *m, const char *name, struct err *e)
{
	int status = validate_span(m, name, e);
	if (!status)
		status = validate_functions(m, name, e);
	if (!status)
		status = validate_blocks(m, name, e);
	if (!status)
		status = validate_calls(m, name, e);
	if (!status)
		status = validate_imports(m, name, e);
	if (!status)
		status = validate_tables(m, name, e);
	return status;
}
