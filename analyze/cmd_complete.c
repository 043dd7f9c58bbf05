#include "analyze/commands.h"
#include "analyze/elf/image.h"
#include "analyze/layout/complete.h"
#include "analyze/layout/executions.h"
#include "analyze/layout/flow.h"
#include "analyze/layout/infer.h"
#include "formats/base/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTERS_EVENT "counters"	    /* what repave-apply count writes */
#define COMPLETE_EVENT "counters, complete" /* what this writes */

#define SAMPLES_LEAST 4
#define CALLS_LEAST 64

/* One module, with its map. */
struct subject {
	struct map map;
	struct image image;
	const struct plan_module *plan; /* NULL: it is not counted */
	struct complete complete;	/* when it is */
	struct flow flow;		/* of the samples, when there are any */
	uint32_t number;		/* in the output */
	bool has_image, has_complete, has_flow;
};

struct output {
	const struct profile *raw, *samples; /* samples may be NULL */
	struct subject *subjects;
	size_t subject_count;
	struct module_identity *modules; /* borrowed identities: those of raw, then those only in the samples */
	uint32_t module_count;
	struct executions executions;
	uint64_t total, negative, sampled;
	uint32_t blocks, guessed;
};

/* The readings of where an indirect call went say how its executions are spread. */
static void add_indirect_calls(struct output *o, const struct map *map, uint32_t module, const struct complete *c)
{
	const struct profile *raw = o->raw;
	for (size_t i = 0, end; i < raw->edge_count; i = end) {
		const struct profile_edge *first = &raw->edges[i];
		double sum = 0;
		for (end = i;
		     end < raw->edge_count && raw->edges[end].from == first->from && raw->edges[end].from_module == first->from_module;
		     end++)
			sum += raw->edges[end].kind == PROFILE_EDGE_CALL ? (double)raw->edges[end].count : 0;
		uint32_t offset = map_offset(map, (vaddr){first->from}), block = offset == MAP_NONE ? MAP_NONE : map_block_at(map, offset);
		if (first->from_module != module || block == MAP_NONE || sum <= 0)
			continue;
		for (size_t k = i; k < end; k++) {
			struct profile_edge edge = raw->edges[k];
			if (edge.kind != PROFILE_EDGE_CALL || edge.to_module == PROFILE_NO_MODULE)
				continue;
			edge.count = (uint64_t)((double)c->block[block] * ((double)edge.count / sum) + 0.5);
			executions_add_edge(&o->executions, edge);
		}
	}
}

static const struct plan_module *plan_of(const struct plan *plan, const struct module_identity *module)
{
	for (uint32_t i = 0; i < plan->module_count; i++)
		if (module_same(&plan->modules[i].module, module) && plan->modules[i].counter_count)
			return &plan->modules[i];
	return NULL;
}

/* The number of the module in the output; PROFILE_NO_MODULE when neither profile knows it. */
static uint32_t number_of(struct output *o, const struct module_identity *module)
{
	uint32_t number = profile_find_module(o->raw, module);
	if (number != PROFILE_NO_MODULE || !o->samples)
		return number;
	uint32_t sampled = profile_find_module(o->samples, module);
	if (sampled == PROFILE_NO_MODULE)
		return sampled;
	o->modules[o->module_count] = o->samples->modules[sampled];
	return o->module_count++;
}

static bool known(const struct output *o, const struct module_identity *module)
{
	for (size_t i = 0; i < o->subject_count; i++)
		if (module_same(&o->subjects[i].map.module, module))
			return true;
	return false;
}

/* Reads one map; one of a module that is there already, or in no profile, is let go. */
static int read_subject(struct output *o, const struct plan *plan, const char *path, struct err *e)
{
	struct subject *s = &o->subjects[o->subject_count];
	int status = map_read(path, &s->map, e);
	if (status)
		return status;
	s->number = known(o, &s->map.module) ? PROFILE_NO_MODULE : number_of(o, &s->map.module);
	if (s->number == PROFILE_NO_MODULE) {
		map_free(&s->map);
		return 0;
	}
	o->subject_count++;
	s->plan = plan_of(plan, &s->map.module);
	status = image_open(s->map.module.path, &s->image, e);
	s->has_image = !status;
	if (!status && !module_same(&s->image.identity, &s->map.module))
		return err_set(e, ERR_MISMATCH, "%s is not the file that was mapped: map it again", s->map.module.path);
	return status;
}

static int complete_subject(struct output *o, struct subject *s, struct err *e)
{
	uint32_t raw = profile_find_module(o->raw, &s->map.module);
	uint32_t sampled = o->samples ? profile_find_module(o->samples, &s->map.module) : PROFILE_NO_MODULE;
	int status = 0;
	if (s->plan && raw != PROFILE_NO_MODULE) {
		status = complete_counts(&s->map, s->plan, o->raw, raw, &s->complete, e);
		s->has_complete = !status;
	}
	if (!status && sampled != PROFILE_NO_MODULE) {
		status = flow_infer(&s->map, o->samples, sampled, &s->flow, e);
		s->has_flow = !status;
	}
	if (status || !s->has_complete)
		return status;
	const struct complete *c = &s->complete;
	executions_add(&o->executions, &(struct executions_source){&s->map, &s->image, c->block, c->taken, c->table, s->number});
	add_indirect_calls(o, &s->map, s->number, c);
	o->total += c->total;
	o->negative += c->negative;
	o->blocks += c->blocks;
	o->guessed += c->guessed;
	return 0;
}

/* Executed instructions for one sample, from what was both counted and sampled. 0 when nothing was. */
static double instructions_per_sample(const struct output *o)
{
	double instructions = 0, samples = 0;
	for (size_t i = 0; i < o->subject_count; i++) {
		const struct subject *s = &o->subjects[i];
		for (uint32_t f = 0; s->has_complete && s->has_flow && f < s->map.function_count; f++) {
			const struct map_function *function = &s->map.functions[f];
			for (uint32_t b = function->first_block;
			     s->complete.counted[function->parent] && b < function->first_block + function->block_count; b++) {
				instructions += (double)s->complete.block[b] * s->map.blocks[b].insns;
				samples += (double)s->flow.sampled[b];
			}
		}
	}
	return samples > 0 ? instructions / samples : 0;
}

/* The samples of each group that was not counted, 0 where they are too few to mean something. The caller frees them. NULL: no memory. */
static uint64_t *uncounted_samples(const struct subject *s)
{
	const struct map *m = &s->map;
	uint64_t *samples = calloc((size_t)m->function_count + 1, sizeof *samples);
	for (uint32_t f = 0; samples && f < m->function_count; f++)
		for (uint32_t k = 0; k < m->functions[f].block_count; k++)
			samples[m->functions[f].parent] += s->flow.sampled[m->functions[f].first_block + k];
	for (uint32_t f = 0; samples && f < m->function_count; f++)
		if (samples[f] < SAMPLES_LEAST || (s->has_complete && s->complete.counted[f]))
			samples[f] = 0;
	return samples;
}

/* How often each function was entered by calls and jumps that were counted. The caller frees it. NULL: no memory. */
static uint64_t *counted_entries(const struct output *o, const struct subject *s)
{
	uint64_t *entries = calloc((size_t)s->map.function_count + 1, sizeof *entries);
	for (size_t i = 0; entries && i < o->executions.edges.count; i++) {
		const struct profile_edge *edge = &o->executions.edges.data[i];
		uint32_t to = edge->to_module == s->number ? map_offset(&s->map, (vaddr){edge->to}) : MAP_NONE;
		uint32_t function = to == MAP_NONE ? MAP_NONE : map_function_at(&s->map, to);
		if (function != MAP_NONE && s->map.functions[function].start == to)
			entries[function] += edge->count;
	}
	return entries;
}

/*
 * Samples measure time, which is not the same for each instruction: where it is known how often a function was entered, its samples only say
 * what happened inside. Unless the calls are far fewer than the samples want: then most callers are unknown. Far: code that waits for memory or
 * behind a lock takes up to some thirty times as long as other code (measured: one of mariadbd, not copied since it has an xbegin, 31 times).
 */
static double scale_of(const struct subject *s, uint32_t group, uint64_t entries, double scale)
{
	uint64_t inferred = s->map.functions[group].block_count ? s->flow.block[s->map.functions[group].first_block] : 0;
	double by_calls = inferred ? (double)entries / (double)inferred : 0;
	return by_calls > scale / CALLS_LEAST ? by_calls : scale;
}

static uint64_t scaled(uint64_t flow, double scale)
{
	return (uint64_t)((double)flow * scale);
}

/* What could not be counted, or not moved at all, is in the profile with what its samples say, in the same units. */
static int add_sampled(struct output *o, const struct subject *s, double scale, struct err *e)
{
	const struct map *m = &s->map;
	size_t blocks = (size_t)m->block_count + 1;
	uint64_t *block = calloc(2 * blocks + m->table_target_count, sizeof *block), *taken = block + blocks, *table = taken + blocks;
	uint64_t *wanted = uncounted_samples(s), *entries = counted_entries(o, s);
	if (!block || !wanted || !entries) {
		free(block);
		free(entries);
		free(wanted);
		return err_set(e, ERR_MEMORY, "no memory for the samples");
	}
	for (uint32_t f = 0; f < m->function_count; f++) {
		const struct map_function *function = &m->functions[f];
		double own = scale_of(s, function->parent, entries[function->parent], scale);
		for (uint32_t b = function->first_block; wanted[function->parent] && b < function->first_block + function->block_count;
		     b++) {
			block[b] = scaled(s->flow.block[b], own);
			taken[b] = scaled(s->flow.taken[b], own);
			o->sampled += block[b];
		}
	}
	for (uint32_t t = 0; t < m->table_count; t++)
		for (uint32_t k = 0; block[m->tables[t].block] && k < m->tables[t].count; k++)
			table[m->tables[t].first + k] = scaled(s->flow.table[m->tables[t].first + k], scale);
	executions_add(&o->executions, &(struct executions_source){m, &s->image, block, taken, table, s->number});
	free(block);
	free(wanted);
	free(entries);
	return 0;
}

static int complete_all(struct output *o, struct err *e)
{
	int status = 0;
	for (size_t i = 0; !status && i < o->subject_count; i++)
		status = complete_subject(o, &o->subjects[i], e);
	double scale = status ? 0 : instructions_per_sample(o) / INFER_UNIT;
	for (size_t i = 0; !status && scale > 0 && i < o->subject_count; i++)
		if (o->subjects[i].has_flow)
			status = add_sampled(o, &o->subjects[i], scale, e);
	return status;
}

static void output_free(struct output *o)
{
	for (size_t i = 0; i < o->subject_count; i++) {
		struct subject *s = &o->subjects[i];
		if (s->has_image)
			image_close(&s->image);
		if (s->has_complete)
			complete_free(&s->complete);
		if (s->has_flow)
			flow_free(&s->flow);
		map_free(&s->map);
	}
	free(o->subjects);
	free(o->modules);
	executions_free(&o->executions);
}

static int write_profile(struct output *o, const char *path, struct err *e)
{
	struct profile p = *o->raw;
	struct writer w = {0};
	char event[] = COMPLETE_EVENT;
	p.info.event = event;
	p.modules = o->modules;
	p.module_count = o->module_count;
	int status = executions_finish(&o->executions, &p, e);
	if (!status)
		status = profile_encode(&p, &w, e);
	if (!status)
		status = file_write(path, w.data, w.size, e);
	writer_free(&w);
	return status;
}

static int print(const struct cli *cli, const struct output *o, const char *path, struct err *e)
{
	FILE *out = strcmp(path, "-") ? stdout : stderr;
	if (!cli_json(cli)) {
		fprintf(out,
			"%u blocks ran, counted %" PRIu64
			" times; %u edges do not follow from the counters; lost increments made up for: %.4f %%\n",
			o->blocks, o->total, o->guessed, o->total ? 100.0 * (double)o->negative / (double)o->total : 0.0);
		if (o->samples)
			fprintf(out, "by samples alone, where nothing could be counted: %" PRIu64 " block executions\n", o->sampled);
		fprintf(out, "%s: %zu instructions, %zu edges\n", path, o->executions.counts.count, o->executions.edges.count);
		return 0;
	}
	json_t *root = json_pack("{s:s, s:i, s:I, s:I, s:i, s:I, s:I, s:I}", "file", path, "blocks", (int)o->blocks, "executions",
				 (json_int_t)o->total, "sampled", (json_int_t)o->sampled, "guessed", (int)o->guessed, "negative",
				 (json_int_t)o->negative, "instructions", (json_int_t)o->executions.counts.count, "edges",
				 (json_int_t)o->executions.edges.count);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static int output_init(struct output *o, int maps, struct err *e)
{
	size_t modules = o->raw->module_count + (o->samples ? o->samples->module_count : 0);
	o->subjects = calloc((size_t)maps + 1, sizeof *o->subjects);
	o->modules = calloc(modules + 1, sizeof *o->modules);
	if (!o->subjects || !o->modules)
		return err_set(e, ERR_MEMORY, "no memory to complete the counts");
	o->module_count = (uint32_t)o->raw->module_count;
	if (o->module_count)
		memcpy(o->modules, o->raw->modules, o->module_count * sizeof *o->modules);
	return 0;
}

static int complete_maps(const struct cli *cli, struct output *o, const struct plan *plan, struct err *e)
{
	const char *path = cli_string(cli, "output", "profile.rprof");
	if (o->raw->info.source != PROFILE_EXACT || strcmp(o->raw->info.event, COUNTERS_EVENT))
		return err_set(e, ERR_USAGE, "%s: not made by repave-apply count", cli_string(cli, "profile", "?"));
	int status = output_init(o, cli_argument_count(cli), e);
	for (int i = 0; !status && i < cli_argument_count(cli); i++)
		status = read_subject(o, plan, cli_argument(cli, i), e);
	if (!status)
		status = complete_all(o, e);
	if (!status)
		status = write_profile(o, path, e);
	return status ? status : print(cli, o, path, e);
}

static int run(const struct cli *cli, struct err *e)
{
	struct profile raw = {0}, samples = {0};
	struct plan plan = {0};
	struct output o = {.raw = &raw};
	const char *profile_path = cli_string(cli, "profile", NULL), *plan_path = cli_string(cli, "plan", NULL);
	const char *samples_path = cli_string(cli, "samples", NULL);
	if (!profile_path || !plan_path)
		return err_set(e, ERR_USAGE, "--profile COUNTS.rprof and --plan PLAN.rplan are needed");
	int status = profile_read(profile_path, &raw, e);
	if (!status && samples_path) {
		status = profile_read(samples_path, &samples, e);
		o.samples = &samples;
	}
	if (!status)
		status = plan_read(plan_path, &plan, e);
	if (!status)
		status = complete_maps(cli, &o, &plan, e);
	output_free(&o);
	plan_free(&plan);
	profile_free(&samples);
	profile_free(&raw);
	return status;
}

static const struct cli_option options_table[] = {
    {"profile", 0, CLI_STRING, "COUNTS.rprof", "what repave-apply count wrote (- for stdin)"},
    {"plan", 0, CLI_STRING, "PLAN.rplan", "the counting plan"},
    {"samples", 0, CLI_STRING, "P.rprof", "IP samples of the same work: for functions that could not be counted"},
    {"output", 'o', CLI_STRING, "FILE", "write the profile here (- for stdout); default profile.rprof"},
    {0},
};

const struct cli_verb cmd_complete = {
    .name = "complete",
    .arguments = "--profile COUNTS.rprof --plan PLAN.rplan MAP... [-o FILE]",
    .summary = "work out all executions from the counters of a counting plan",
    .details =
	"The result holds how often each instruction ran, each jump was taken and each call was made, like an import from callgrind.\n",
    .options = options_table,
    .minimum = 1,
    .maximum = -1,
    .run = run,
};
