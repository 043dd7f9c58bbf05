#include "analyze/code/build.h"
#include "analyze/code/map_build.h"
#include "analyze/code/special.h"

#include <stdlib.h>
#include <string.h>

struct joiner {
	struct builder *b;
	struct map *m;
	VEC(char) strings;
	struct err *e;
};

static void count_all(const struct builder *b, struct map *m)
{
	for (uint32_t i = 0; i < b->draft_count; i++) {
		const struct draft *d = &b->drafts[i];
		m->block_count += d->block_count;
		m->call_count += d->call_count;
		m->table_count += d->table_count;
		m->table_target_count += d->target_count;
		m->syscall_count += d->syscall_count;
	}
	m->function_count = b->draft_count;
	m->import_count = (uint32_t)b->image->import_count;
}

static int allocate(struct map *m, struct err *e)
{
	m->functions = calloc(m->function_count + 1, sizeof *m->functions);
	m->blocks = calloc(m->block_count + 1, sizeof *m->blocks);
	m->calls = calloc(m->call_count + 1, sizeof *m->calls);
	m->imports = calloc(m->import_count + 1, sizeof *m->imports);
	m->tables = calloc(m->table_count + 1, sizeof *m->tables);
	m->table_targets = calloc(m->table_target_count + 1, sizeof *m->table_targets);
	m->syscalls = calloc(m->syscall_count + 1, sizeof *m->syscalls);
	if (!m->functions || !m->blocks || !m->calls || !m->imports || !m->tables || !m->table_targets || !m->syscalls)
		return err_set(e, ERR_MEMORY, "no memory for a map of %u blocks", m->block_count);
	return 0;
}

/* Moves one draft's arrays to the end of the map's; the counts of `m` grow along. */
static void join(struct map *m, struct draft *d, uint32_t index)
{
	uint32_t first = m->block_count;
	m->functions[index] = (struct map_function){.start = d->start,
						    .size = d->size,
						    .parent = index,
						    .first_block = first,
						    .block_count = d->block_count,
						    .reasons = d->reasons};
	for (uint32_t i = 0; i < d->block_count; i++) {
		struct map_block *to = &m->blocks[first + i];
		*to = d->blocks[i];
		if (to->next != MAP_NONE)
			to->next = first + i + 1;
	}
	for (uint32_t i = 0; i < d->call_count; i++) {
		m->calls[m->call_count + i] = d->calls[i];
		m->calls[m->call_count + i].block += first;
	}
	for (uint32_t i = 0; i < d->table_count; i++) {
		m->tables[m->table_count + i] = d->tables[i];
		m->tables[m->table_count + i].block += first;
		m->tables[m->table_count + i].first += m->table_target_count;
	}
	if (d->target_count)
		memcpy(m->table_targets + m->table_target_count, d->targets, d->target_count * sizeof *d->targets);
	if (d->syscall_count)
		memcpy(m->syscalls + m->syscall_count, d->syscalls, d->syscall_count * sizeof *d->syscalls);
	m->block_count += d->block_count;
	m->call_count += d->call_count;
	m->table_count += d->table_count;
	m->table_target_count += d->target_count;
	m->syscall_count += d->syscall_count;
}

static void join_all(struct builder *b, struct map *m)
{
	m->block_count = m->call_count = m->table_count = m->table_target_count = m->syscall_count = 0;
	for (uint32_t i = 0; i < b->draft_count; i++) {
		struct draft *d = &b->drafts[i];
		struct walk_reference *references = d->references;
		join(m, d, i);
		d->references = NULL; /* still needed to tell the split parts */
		draft_free(d);
		d->references = references;
	}
}

/* Index of the block that starts at a text offset and may be led to, or MAP_NONE. */
static uint32_t block_starting(const struct builder *b, const struct map *m, uint32_t offset)
{
	uint32_t i = offset == MAP_NONE ? MAP_NONE : builder_draft_at(b, offset);
	if (i == MAP_NONE)
		return MAP_NONE;
	const struct map_function *f = &m->functions[i];
	uint32_t low = f->first_block, high = f->first_block + f->block_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (m->blocks[middle].start < offset)
			low = middle + 1;
		else
			high = middle;
	}
	bool found = low < f->first_block + f->block_count && m->blocks[low].start == offset && m->blocks[low].flags & MAP_BLOCK_TARGET;
	return found ? low : MAP_NONE;
}

struct resolving {
	const struct builder *b;
	struct map *m;
};

static void resolve_function(void *context, uint32_t i, unsigned slot)
{
	struct resolving *r = context;
	const struct map_function *f = &r->m->functions[i];
	(void)slot;
	for (uint32_t n = f->first_block; n < f->first_block + f->block_count; n++)
		r->m->blocks[n].taken = block_starting(r->b, r->m, r->m->blocks[n].taken);
}

/* Table targets that turned out to be no blocks (guesses) are dropped, tables without any left too. */
static void resolve_tables(const struct builder *b, struct map *m)
{
	uint32_t kept = 0, tables = 0;
	for (uint32_t i = 0; i < m->table_count; i++) {
		struct map_table t = m->tables[i];
		uint32_t first = kept;
		for (uint32_t n = t.first; n < t.first + t.count; n++) {
			uint32_t block = block_starting(b, m, m->table_targets[n]);
			if (block != MAP_NONE)
				m->table_targets[kept++] = block;
			else
				t.proven = 0;
		}
		t.first = first;
		t.count = kept - first;
		if (t.count)
			m->tables[tables++] = t;
	}
	m->table_count = tables;
	m->table_target_count = kept;
}

static int add_string(struct joiner *j, const char *name, uint32_t *ret_offset)
{
	*ret_offset = 0;
	if (!name || !*name)
		return 0;
	size_t size = strlen(name) + 1;
	if (j->strings.count + size >= UINT32_MAX || vec_reserve(&j->strings, size))
		return err_set(j->e, ERR_MEMORY, "no memory for names");
	memcpy(j->strings.data + j->strings.count, name, size);
	*ret_offset = (uint32_t)j->strings.count;
	j->strings.count += size;
	return 0;
}

static int add_names(struct joiner *j)
{
	struct map *m = j->m;
	const struct image *image = j->b->image;
	int status = vec_push(&j->strings, 0) ? err_set(j->e, ERR_MEMORY, "no memory for names") : 0;
	for (uint32_t i = 0; i < m->function_count && !status; i++) {
		const struct image_symbol *s = image_symbol_at(image, map_vaddr(m, m->functions[i].start));
		status = add_string(j, s ? s->name : NULL, &m->functions[i].name);
	}
	for (uint32_t i = 0; i < m->import_count && !status; i++) {
		m->imports[i].slot = image->imports[i].slot;
		m->imports[i].stub = MAP_NONE;
		status = add_string(j, image->imports[i].name, &m->imports[i].name);
	}
	m->strings = j->strings.data;
	m->string_size = (uint32_t)j->strings.count;
	return status;
}

/* The stub of an import is the lowest that stands in a small executable section; see note_noreturn_stubs. */
static void find_stubs(const struct builder *b, struct map *m)
{
	for (size_t i = 0; i < b->image->code_range_count; i++) {
		const struct image_range *r = &b->image->code_ranges[i];
		for (uint64_t at = r->start; r->size <= (uint64_t)1 << 20 && at < r->start + r->size; at += 8) {
			uint32_t import = builder_stub(b->image, at);
			if (import != MAP_NONE && m->imports[import].stub == MAP_NONE)
				m->imports[import].stub = map_offset(m, (vaddr){at});
		}
	}
}

/*
 * A split part (.cold) is never called and nobody holds its address; one function alone branches into it, and it is more than a tail-called
 * neighbour: entered in the middle, by a conditional branch, by an exception or a jump table, or it branches back into the middle of it.
 */
struct part_evidence {
	uint32_t from; /* the one function that leads into it; MAP_NONE: none yet */
	bool several, split;
};

static void note_evidence(const struct builder *b, struct part_evidence *parts, uint32_t from, const struct walk_reference *r)
{
	uint32_t to = builder_draft_of(b, r->target);
	if (to == MAP_NONE || r->kind == WALK_POINTER || r->kind == WALK_POINTER_GUESS || r->kind == WALK_TABLE_GUESS)
		return;
	bool start = b->image->text_base + b->drafts[to].start == r->target;
	struct part_evidence *p = &parts[to];
	p->several |= p->from != MAP_NONE && p->from != from;
	p->from = from;
	if (r->kind == WALK_CALL)
		p->several = true;
	if (!start || r->kind != WALK_BRANCH)
		p->split = true;
	/* Back into the middle: `from` is a part of `to`, or the other way round; being led into at its start decides below. */
	if (!start && r->kind != WALK_CALL)
		parts[from].split = true;
}

/* Called, pointed to, or exported: a function in its own right, whatever else leads into it. */
static bool stands_alone(const struct builder *b, const struct draft *d)
{
	const struct image_symbol *symbol = image_symbol_at(b->image, (vaddr){b->image->text_base + d->start});
	return d->called || d->pointed || (symbol && symbol->is_global);
}

static int find_parts(const struct builder *b, struct map *m, struct err *e)
{
	struct part_evidence *parts = calloc(b->draft_count + 1, sizeof *parts);
	if (!parts)
		return err_set(e, ERR_MEMORY, "no memory for split parts");
	for (uint32_t i = 0; i < b->draft_count; i++)
		parts[i].from = MAP_NONE;
	for (uint32_t i = 0; i < b->draft_count; i++)
		for (uint32_t n = 0; n < b->drafts[i].reference_count; n++)
			note_evidence(b, parts, i, &b->drafts[i].references[n]);
	for (uint32_t i = 0; i < b->draft_count; i++) {
		const struct part_evidence *p = &parts[i];
		const struct draft *d = &b->drafts[i];
		if (p->from == MAP_NONE || p->several || !p->split || stands_alone(b, d))
			continue;
		/* The parent is not only a part of this one. */
		if (!stands_alone(b, &b->drafts[p->from]) && parts[p->from].from == i)
			continue;
		m->functions[i].parent = p->from;
		m->functions[i].flags |= MAP_FUNCTION_PART;
	}
	free(parts);
	return 0;
}

static void set_flags(const struct builder *b, struct map *m)
{
	static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};
	for (uint32_t i = 0; i < m->function_count; i++) {
		struct map_function *f = &m->functions[i];
		const struct draft *d = &b->drafts[i];
		const uint8_t *bytes = f->size >= 4 ? image_bytes(b->image, map_vaddr(m, f->start), 4) : NULL;
		if (bytes && !memcmp(bytes, endbr64, 4))
			f->flags |= MAP_FUNCTION_ENDBR;
		if (b->image->fdes[d->fde].lsda)
			f->flags |= MAP_FUNCTION_LSDA;
		if (d->unknown_jump)
			f->flags |= MAP_FUNCTION_UNKNOWN_JUMP;
		if (d->pointed && f->block_count && m->blocks[f->first_block].start == f->start)
			m->blocks[f->first_block].flags |= MAP_BLOCK_POINTED;
	}
}

int builder_finish(struct builder *b, struct map *ret_map, struct err *e)
{
	const struct image *image = b->image;
	struct map m = {.mapper = MAP_BUILD_REVISION, .text_base = image->text_base, .text_size = image->text_size, .pie = image->pie};
	struct joiner j = {.b = b, .m = &m, .e = e};
	int status = module_copy(&image->identity, &m.module, e);
	if (status)
		return status;
	count_all(b, &m);
	status = allocate(&m, e);
	if (!status) {
		struct resolving r = {b, &m};
		join_all(b, &m);
		status = builder_parallel(b, m.function_count, resolve_function, &r) ? err_set(e, ERR_MEMORY, "no memory for threads") : 0;
	}
	if (!status) {
		resolve_tables(b, &m);
		status = add_names(&j);
	}
	if (!status)
		status = find_parts(b, &m, e);
	if (status) {
		map_free(&m);
		return status;
	}
	find_stubs(b, &m);
	set_flags(b, &m);
	builder_grade(b, &m);
	*ret_map = m;
	return 0;
}
