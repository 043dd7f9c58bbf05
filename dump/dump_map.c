#include "dump/dump.h"

static const char *const terminators[] = {"falls", "jump", "branch", "jump-indirect", "return", "call-noreturn", "stop"};
static const char *const calls[] = {"direct", "import", "indirect", "tail-import"};
static const char *const tables[] = {"relative32", "absolute64", "absolute32"};

static void dump_grades(struct out *o, const struct map *m)
{
	uint64_t count[MAP_UNTOUCHABLE + 1] = {0}, bytes[MAP_UNTOUCHABLE + 1] = {0};
	for (uint32_t i = 0; i < m->function_count; i++) {
		count[m->functions[i].grade]++;
		bytes[m->functions[i].grade] += m->functions[i].size;
	}
	out_open_array(o, "grades");
	for (unsigned g = 0; g <= MAP_UNTOUCHABLE; g++) {
		out_open_object(o, NULL);
		out_text(o, "grade", map_grade_name(g));
		out_number(o, "functions", count[g]);
		out_number(o, "bytes", bytes[g]);
		out_close(o);
	}
	out_close(o);
}

static void dump_reasons(struct out *o, const struct map *m)
{
	out_open_array(o, "reasons");
	for (unsigned r = 0; r < MAP_REASON_COUNT; r++) {
		uint64_t count = 0, bytes = 0;
		for (uint32_t i = 0; i < m->function_count; i++) {
			if (!(m->functions[i].reasons & 1u << r))
				continue;
			count++;
			bytes += m->functions[i].size;
		}
		if (!count)
			continue;
		out_open_object(o, NULL);
		out_text(o, "reason", map_reason_name(r));
		out_number(o, "functions", count);
		out_number(o, "bytes", bytes);
		out_text(o, "text", map_reason_text(r));
		out_close(o);
	}
	out_close(o);
}

static void dump_functions(struct out *o, const struct map *m)
{
	out_open_array(o, "functions");
	for (uint32_t i = 0; i < m->function_count; i++) {
		const struct map_function *f = &m->functions[i];
		out_open_object(o, NULL);
		out_hex(o, "start", map_vaddr(m, f->start).v);
		out_number(o, "size", f->size);
		out_text(o, "grade", map_grade_name(f->grade));
		out_text(o, "name", map_function_name(m, i));
		if (f->parent != i)
			out_number(o, "parent", f->parent);
		out_number(o, "first_block", f->first_block);
		out_number(o, "blocks", f->block_count);
		out_hex(o, "flags", f->flags);
		out_hex(o, "reasons", f->reasons);
		out_close(o);
	}
	out_close(o);
}

static void dump_blocks(struct out *o, const struct map *m)
{
	out_open_array(o, "blocks");
	for (uint32_t i = 0; i < m->block_count; i++) {
		const struct map_block *b = &m->blocks[i];
		out_open_object(o, NULL);
		out_hex(o, "start", map_vaddr(m, b->start).v);
		out_number(o, "size", b->size);
		out_number(o, "insns", b->insns);
		out_text(o, "ends", terminators[b->terminator]);
		if (b->taken != MAP_NONE)
			out_number(o, "taken", b->taken);
		if (b->next != MAP_NONE)
			out_number(o, "next", b->next);
		out_hex(o, "flags", b->flags);
		out_close(o);
	}
	out_close(o);
}

static void dump_calls(struct out *o, const struct map *m)
{
	out_open_array(o, "calls");
	for (uint32_t i = 0; i < m->call_count; i++) {
		const struct map_call *c = &m->calls[i];
		out_open_object(o, NULL);
		out_hex(o, "site", map_vaddr(m, c->site).v);
		out_number(o, "size", c->size);
		out_number(o, "block", c->block);
		out_text(o, "kind", calls[c->kind]);
		if (c->kind == MAP_CALL_DIRECT && c->target != MAP_NONE)
			out_hex(o, "target", map_vaddr(m, c->target).v);
		else if (c->target != MAP_NONE)
			out_number(o, "import", c->target);
		out_close(o);
	}
	out_close(o);
	out_open_array(o, "imports");
	for (uint32_t i = 0; i < m->import_count; i++) {
		out_open_object(o, NULL);
		out_hex(o, "slot", m->imports[i].slot);
		if (m->imports[i].stub != MAP_NONE)
			out_hex(o, "stub", map_vaddr(m, m->imports[i].stub).v);
		if (m->imports[i].name)
			out_text(o, "name", m->strings + m->imports[i].name);
		out_close(o);
	}
	out_close(o);
}

static void dump_tables(struct out *o, const struct map *m)
{
	out_open_array(o, "tables");
	for (uint32_t i = 0; i < m->table_count; i++) {
		const struct map_table *t = &m->tables[i];
		out_open_object(o, NULL);
		out_hex(o, "address", t->address);
		out_number(o, "block", t->block);
		out_text(o, "kind", tables[t->kind]);
		out_bool(o, "proven", t->proven);
		out_number(o, "first", t->first);
		out_number(o, "count", t->count);
		out_close(o);
	}
	out_close(o);
	out_open_array(o, "table_targets");
	for (uint32_t i = 0; i < m->table_target_count; i++)
		out_number(o, NULL, m->table_targets[i]);
	out_close(o);
	out_open_array(o, "syscalls");
	for (uint32_t i = 0; i < m->syscall_count; i++)
		out_hex(o, NULL, map_vaddr(m, m->syscalls[i]).v);
	out_close(o);
}

void dump_map(struct out *o, const struct map *m, bool all)
{
	dump_module(o, "module", &m->module);
	out_hex(o, "text_base", m->text_base);
	out_hex(o, "text_size", m->text_size);
	out_bool(o, "pie", m->pie);
	out_open_object(o, "counts");
	out_number(o, "functions", m->function_count);
	out_number(o, "blocks", m->block_count);
	out_number(o, "calls", m->call_count);
	out_number(o, "imports", m->import_count);
	out_number(o, "tables", m->table_count);
	out_number(o, "table_targets", m->table_target_count);
	out_number(o, "syscalls", m->syscall_count);
	out_close(o);
	dump_grades(o, m);
	dump_reasons(o, m);
	if (!all)
		return;
	dump_functions(o, m);
	dump_blocks(o, m);
	dump_calls(o, m);
	dump_tables(o, m);
}
