#include "dump/dump.h"

static void dump_info(struct out *o, const struct profile *p)
{
	const struct profile_info *i = &p->info;
	out_bool(o, "complete", p->complete);
	out_text(o, "source", profile_source_name(i->source));
	out_text(o, "event", i->event);
	out_text(o, "kernel", i->kernel);
	out_text(o, "cpu", i->cpu);
	out_text(o, "command", i->command);
	out_number(o, "period", i->period);
	out_number(o, "frequency", i->frequency);
	out_number(o, "start_ns", i->start_ns);
	out_number(o, "duration_ns", i->duration_ns);
	out_number(o, "lost", i->lost);
	out_number(o, "throttled", i->throttled);
	out_number(o, "target_cpu_ns", i->target_cpu_ns);
	out_number(o, "recorder_cpu_ns", i->recorder_cpu_ns);
	out_number(o, "samples", p->sample_count);
	out_number(o, "branches", p->branch_count);
	out_number(o, "counts", p->count_count);
	out_number(o, "edges", p->edge_count);
	out_number(o, "course_steps", p->course.steps);
	out_number(o, "course_windows", p->course.windows);
	out_number(o, "course_gaps", p->course.gaps);
}

/* One pass per module: there are a hundred at most in practice, and no memory is needed. */
static void dump_modules(struct out *o, const struct profile *p)
{
	out_open_array(o, "modules");
	for (size_t m = 0; m < p->module_count; m++) {
		char hex[MODULE_HEX_SIZE];
		uint64_t samples = 0;
		for (size_t i = 0; i < p->sample_count; i++)
			samples += p->samples[i].module == m;
		module_build_id_hex(&p->modules[m], hex);
		out_open_object(o, NULL);
		out_number(o, "samples", samples);
		out_text(o, "build_id", hex);
		out_number(o, "file_size", p->modules[m].file_size);
		out_hex(o, "text_hash", p->modules[m].text_hash);
		out_text(o, "path", p->modules[m].path);
		out_close(o);
	}
	out_close(o);
}

static void dump_place(struct out *o, const char *module_name, uint32_t module, const char *name, uint64_t address)
{
	if (module != PROFILE_NO_MODULE)
		out_number(o, module_name, module);
	out_hex(o, name, address);
}

static void dump_samples(struct out *o, const struct profile *p)
{
	out_open_array(o, "sample_list");
	for (size_t i = 0; i < p->sample_count; i++) {
		const struct profile_sample *s = &p->samples[i];
		out_open_object(o, NULL);
		out_number(o, "time_ns", s->time_ns);
		out_number(o, "thread", s->thread);
		dump_place(o, "module", s->module, "address", s->address);
		out_number(o, "first_branch", s->first_branch);
		out_number(o, "branches", s->branch_count);
		out_close(o);
	}
	out_close(o);
	out_open_array(o, "branch_list");
	for (size_t i = 0; i < p->branch_count; i++) {
		const struct profile_branch *b = &p->branches[i];
		out_open_object(o, NULL);
		dump_place(o, "from_module", b->from_module, "from", b->from);
		dump_place(o, "to_module", b->to_module, "to", b->to);
		out_bool(o, "mispredicted", b->mispredicted);
		out_close(o);
	}
	out_close(o);
}

static void dump_counts(struct out *o, const struct profile *p)
{
	static const char *const kinds[] = {"jump", "call", "return", "run"};
	out_open_array(o, "count_list");
	for (size_t i = 0; i < p->count_count; i++) {
		out_open_object(o, NULL);
		dump_place(o, "module", p->counts[i].module, "address", p->counts[i].address);
		out_number(o, "count", p->counts[i].count);
		out_close(o);
	}
	out_close(o);
	out_open_array(o, "edge_list");
	for (size_t i = 0; i < p->edge_count; i++) {
		const struct profile_edge *edge = &p->edges[i];
		out_open_object(o, NULL);
		out_text(o, "kind", kinds[edge->kind]);
		dump_place(o, "from_module", edge->from_module, "from", edge->from);
		dump_place(o, "to_module", edge->to_module, "to", edge->to);
		out_number(o, "count", edge->count);
		out_number(o, "mispredicted", edge->mispredicted);
		out_close(o);
	}
	out_close(o);
}

static int dump_windows(void *context, const struct profile *part, struct err *e)
{
	struct out *o = context;
	uint64_t before = part->course.steps - part->step_count;
	(void)e;
	for (size_t i = 0; i < part->window_count; i++) {
		const struct profile_window *w = &part->windows[i];
		out_open_object(o, NULL);
		out_number(o, "time_ns", w->time_ns);
		out_number(o, "thread", w->thread);
		out_bool(o, "gap", w->gap);
		out_number(o, "first_step", before + w->first_step);
		out_number(o, "steps", w->step_count);
		out_close(o);
	}
	return 0;
}

static int dump_steps(void *context, const struct profile *part, struct err *e)
{
	struct out *o = context;
	(void)e;
	for (size_t i = 0; i < part->step_count; i++) {
		const struct profile_place *place = &part->places[part->steps[i]];
		out_open_object(o, NULL);
		dump_place(o, "module", place->module, "address", place->address);
		out_close(o);
	}
	return 0;
}

int dump_course(struct out *o, const struct container *c, struct err *e)
{
	static const struct {
		const char *name;
		profile_visitor *visit;
	} lists[] = {{"window_list", dump_windows}, {"step_list", dump_steps}};
	int status = 0;
	for (size_t i = 0; i < sizeof lists / sizeof *lists && !status; i++) {
		struct profile rest;
		out_open_array(o, lists[i].name);
		status = profile_walk(c->data, c->size, c->name, lists[i].visit, o, &rest, e);
		out_close(o);
		if (!status)
			profile_free(&rest);
	}
	return status;
}

void dump_profile(struct out *o, const struct profile *p, bool all)
{
	dump_info(o, p);
	dump_modules(o, p);
	if (!all)
		return;
	dump_samples(o, p);
	dump_counts(o, p);
}
