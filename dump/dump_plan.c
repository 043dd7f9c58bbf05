#include "dump/dump.h"

static void dump_stats(struct out *o, const struct plan_stats *s)
{
	out_open_object(o, "stats");
	out_number(o, "functions", s->functions);
	out_number(o, "blocks", s->blocks);
	out_number(o, "hot_bytes", s->hot_bytes);
	out_number(o, "code_bytes", s->code_bytes);
	out_number(o, "weight_total", s->weight_total);
	out_number(o, "weight_covered", s->weight_covered);
	out_number(o, "taken_before", s->taken_before);
	out_number(o, "taken_after", s->taken_after);
	out_number(o, "executed_branches", s->executed_branches);
	out_number(o, "pages_before", s->pages_before);
	out_number(o, "pages_after", s->pages_after);
	out_number(o, "lines_before", s->lines_before);
	out_number(o, "lines_after", s->lines_after);
	out_number(o, "exits", s->exits);
	out_close(o);
}

static void dump_functions(struct out *o, const struct plan_module *m)
{
	out_open_array(o, "functions");
	for (uint32_t i = 0; i < m->function_count; i++) {
		const struct plan_function *f = &m->functions[i];
		out_open_object(o, NULL);
		out_hex(o, "start", m->text_base + f->start);
		out_number(o, "size", f->size);
		out_hex(o, "hash", f->hash);
		if (f->entry != PLAN_NONE)
			out_hex(o, "entry", f->entry);
		out_number(o, "patches", f->patch_count);
		if (f->name)
			out_text(o, "name", m->strings + f->name);
		out_close(o);
	}
	out_close(o);
	out_open_array(o, "patches");
	for (uint32_t i = 0; i < m->patch_count; i++) {
		const struct plan_patch *p = &m->patches[i];
		out_open_object(o, NULL);
		out_hex(o, "at", m->text_base + p->at);
		out_hex(o, "target", p->target);
		out_number(o, "function", p->function);
		out_text(o, "kind", p->kind == PLAN_PATCH_ENTRY ? "entry" : "reentry");
		out_bytes(o, "original", p->original, sizeof p->original);
		out_close(o);
	}
	out_close(o);
}

static void dump_runs(struct out *o, const struct plan_module *m)
{
	static const char *const kinds[] = {"copy", "rewritten", "inserted", "deleted", "stub", "counter"};
	out_open_array(o, "runs");
	for (uint32_t i = 0; i < m->run_count; i++) {
		const struct plan_run *r = &m->runs[i];
		out_open_object(o, NULL);
		out_hex(o, "image", r->image);
		out_number(o, "image_size", r->image_size);
		out_hex(o, "original", m->text_base + r->original);
		out_number(o, "original_size", r->original_size);
		out_text(o, "kind", kinds[r->kind]);
		out_close(o);
	}
	out_close(o);
	out_open_array(o, "slots");
	for (uint32_t i = 0; i < m->slot_count; i++) {
		out_open_object(o, NULL);
		out_hex(o, "at", m->slots[i].at);
		out_hex(o, "slot", m->slots[i].slot);
		out_close(o);
	}
	out_close(o);
	out_open_array(o, "relocations");
	for (uint32_t i = 0; i < m->relocation_count; i++)
		out_hex(o, NULL, m->relocations[i]);
	out_close(o);
}

static void dump_counters(struct out *o, const struct plan_module *m)
{
	static const char *const kinds[] = {"block", "edge", "seen", "target"};
	out_open_array(o, "counters");
	for (uint32_t i = 0; i < m->counter_count; i++) {
		const struct plan_counter *c = &m->counters[i];
		out_open_object(o, NULL);
		out_text(o, "kind", kinds[c->kind]);
		out_hex(o, "from", m->text_base + c->from);
		if (c->to != PLAN_NONE)
			out_hex(o, "to", m->text_base + c->to);
		out_close(o);
	}
	out_close(o);
}

static void dump_plan_module(struct out *o, const struct plan_module *m, bool all)
{
	dump_module(o, "module", &m->module);
	out_hex(o, "text_base", m->text_base);
	out_hex(o, "text_size", m->text_size);
	out_hex(o, "load_low", m->load_low);
	out_hex(o, "load_high", m->load_high);
	out_hex(o, "region_vaddr", m->region_vaddr);
	out_number(o, "code_size", m->code_size);
	out_number(o, "data_offset", m->data_offset);
	out_number(o, "data_size", m->data_size);
	out_number(o, "counter_count", m->counter_count);
	out_number(o, "function_count", m->function_count);
	out_number(o, "patch_count", m->patch_count);
	out_number(o, "run_count", m->run_count);
	out_number(o, "slot_count", m->slot_count);
	out_number(o, "relocation_count", m->relocation_count);
	out_number(o, "fde_count", m->fde_count);
	out_number(o, "eh_frame_size", m->eh_frame_size);
	out_number(o, "directory_entries", m->directory_entries);
	dump_stats(o, &m->stats);
	if (!all)
		return;
	dump_functions(o, m);
	dump_runs(o, m);
	if (m->counter_count)
		dump_counters(o, m);
	out_bytes(o, "code", m->code, m->code_size);
	out_bytes(o, "data", m->data, m->data_size);
}

/* Modules are objects with names of their own, not records on one line: each has much to say. */
void dump_plan(struct out *o, const struct plan *p, bool all)
{
	out_hex(o, "inputs_hash", p->inputs_hash);
	out_text(o, "options", p->options);
	out_number(o, "module_count", p->module_count);
	out_open_object(o, "modules");
	for (uint32_t i = 0; i < p->module_count; i++) {
		char name[16];
		snprintf(name, sizeof name, "%u", i);
		out_open_object(o, name);
		dump_plan_module(o, &p->modules[i], all);
		out_close(o);
	}
	out_close(o);
}
