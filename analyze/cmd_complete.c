#include "analyze/commands.h"
#include "analyze/elf/image.h"
#include "analyze/layout/complete.h"
#include "analyze/layout/executions.h"
#include "formats/base/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTERS_EVENT "counters"	    /* what repave-apply count writes */
#define COMPLETE_EVENT "counters, complete" /* what this writes */

struct output {
	const struct profile *raw;
	bool *done; /* [raw->module_count] a second map of the same module says nothing new */
	struct executions executions;
	uint64_t total, negative;
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
			if (edge.kind != PROFILE_EDGE_CALL)
				continue;
			edge.count = (uint64_t)((double)c->block[block] * ((double)edge.count / sum) + 0.5);
			executions_add_edge(&o->executions, edge);
		}
	}
}

static int complete_module(struct output *o, const struct map *map, const struct plan_module *plan, uint32_t module, struct err *e)
{
	struct image image;
	struct complete c;
	int status = image_open(map->module.path, &image, e);
	if (!status && !module_same(&image.identity, &map->module)) {
		image_close(&image);
		return err_set(e, ERR_MISMATCH, "%s is not the file that was mapped: map it again", map->module.path);
	}
	if (status)
		return status;
	status = complete_counts(map, plan, o->raw, module, &c, e);
	if (!status) {
		executions_add(&o->executions, &(struct executions_source){map, &image, c.block, c.taken, c.table, module});
		add_indirect_calls(o, map, module, &c);
		o->total += c.total;
		o->negative += c.negative;
		o->blocks += c.blocks;
		o->guessed += c.guessed;
		complete_free(&c);
	}
	image_close(&image);
	return status;
}

static const struct plan_module *plan_of(const struct plan *plan, const struct module_identity *module)
{
	for (uint32_t i = 0; i < plan->module_count; i++)
		if (module_same(&plan->modules[i].module, module))
			return &plan->modules[i];
	return NULL;
}

static int complete_map(struct output *o, const struct plan *plan, const char *path, struct err *e)
{
	struct map map;
	int status = map_read(path, &map, e);
	if (status)
		return status;
	const struct plan_module *module = plan_of(plan, &map.module);
	uint32_t index = profile_find_module(o->raw, &map.module);
	if (module && index != PROFILE_NO_MODULE && module->counter_count && !o->done[index]) {
		o->done[index] = true;
		status = complete_module(o, &map, module, index, e);
	}
	map_free(&map);
	return status;
}

static int write_profile(struct output *o, const char *path, struct err *e)
{
	struct profile p = *o->raw;
	struct writer w = {0};
	char event[] = COMPLETE_EVENT;
	p.info.event = event;
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
			"%u blocks ran, %" PRIu64
			" times; %u edges do not follow from the counters; lost increments made up for: %.4f %%\n",
			o->blocks, o->total, o->guessed, o->total ? 100.0 * (double)o->negative / (double)o->total : 0.0);
		fprintf(out, "%s: %zu instructions, %zu edges\n", path, o->executions.counts.count, o->executions.edges.count);
		return 0;
	}
	json_t *root = json_pack("{s:s, s:i, s:I, s:i, s:I, s:I, s:I}", "file", path, "blocks", (int)o->blocks, "executions",
				 (json_int_t)o->total, "guessed", (int)o->guessed, "negative", (json_int_t)o->negative, "instructions",
				 (json_int_t)o->executions.counts.count, "edges", (json_int_t)o->executions.edges.count);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static int complete_maps(const struct cli *cli, const struct profile *raw, const struct plan *plan, struct err *e)
{
	struct output o = {.raw = raw, .done = calloc(raw->module_count + 1, sizeof *o.done)};
	const char *path = cli_string(cli, "output", "profile.rprof");
	int status = o.done ? 0 : err_set(e, ERR_MEMORY, "no memory to complete the counts");
	if (raw->info.source != PROFILE_EXACT || strcmp(raw->info.event, COUNTERS_EVENT))
		status = err_set(e, ERR_USAGE, "%s: not made by repave-apply count", cli_string(cli, "profile", "?"));
	for (int i = 0; !status && i < cli_argument_count(cli); i++)
		status = complete_map(&o, plan, cli_argument(cli, i), e);
	if (!status)
		status = write_profile(&o, path, e);
	if (!status)
		status = print(cli, &o, path, e);
	free(o.done);
	executions_free(&o.executions);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct profile raw;
	struct plan plan;
	const char *profile_path = cli_string(cli, "profile", NULL), *plan_path = cli_string(cli, "plan", NULL);
	if (!profile_path || !plan_path)
		return err_set(e, ERR_USAGE, "--profile COUNTS.rprof and --plan PLAN.rplan are needed");
	int status = profile_read(profile_path, &raw, e);
	if (status)
		return status;
	status = plan_read(plan_path, &plan, e);
	if (!status) {
		status = complete_maps(cli, &raw, &plan, e);
		plan_free(&plan);
	}
	profile_free(&raw);
	return status;
}

static const struct cli_option options_table[] = {
    {"profile", 0, CLI_STRING, "COUNTS.rprof", "what repave-apply count wrote (- for stdin)"},
    {"plan", 0, CLI_STRING, "PLAN.rplan", "the counting plan"},
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
