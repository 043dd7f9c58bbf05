#include "analyze/commands.h"
#include "analyze/elf/image.h"
#include "analyze/layout/executions.h"
#include "analyze/layout/flow.h"
#include "formats/base/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct output {
	const struct profile *profile;
	bool *done; /* [profile->module_count] */
	struct executions executions;
	uint64_t blocks;
};

static int infer_module(struct output *o, const struct map *map, uint32_t module, struct err *e)
{
	struct image image;
	struct flow flow;
	int status = image_open(map->module.path, &image, e);
	if (status)
		return status;
	if (!module_same(&image.identity, &map->module))
		status = err_set(e, ERR_MISMATCH, "%s is not the file that was mapped: map it again", map->module.path);
	if (!status)
		status = flow_infer(map, o->profile, module, &flow, e);
	if (!status) {
		executions_add(&o->executions, &(struct executions_source){map, &image, flow.block, flow.taken, flow.table, module});
		for (uint32_t b = 0; b < map->block_count; b++)
			o->blocks += flow.block[b] != 0;
		flow_free(&flow);
	}
	image_close(&image);
	return status;
}

static int infer_map(struct output *o, const char *path, struct err *e)
{
	struct map map;
	int status = map_read(path, &map, e);
	if (status)
		return status;
	uint32_t module = profile_find_module(o->profile, &map.module);
	if (module != PROFILE_NO_MODULE && !o->done[module]) {
		o->done[module] = true;
		status = infer_module(o, &map, module, e);
	}
	map_free(&map);
	return status;
}

static int write_profile(struct output *o, const char *path, struct err *e)
{
	struct profile p = *o->profile;
	struct writer w = {0};
	char event[160];
	snprintf(event, sizeof event, "%.120s, inferred", o->profile->info.event ? o->profile->info.event : "");
	p.info.event = event;
	p.info.source = PROFILE_EXACT; /* as far as its form goes: executions, not samples */
	p.samples = NULL;
	p.branches = NULL;
	p.sample_count = p.branch_count = 0;
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
		fprintf(out, "%s: %" PRIu64 " blocks, %zu instructions, %zu edges\n", path, o->blocks, o->executions.counts.count,
			o->executions.edges.count);
		return 0;
	}
	json_t *root = json_pack("{s:s, s:I, s:I, s:I}", "file", path, "blocks", (json_int_t)o->blocks, "instructions",
				 (json_int_t)o->executions.counts.count, "edges", (json_int_t)o->executions.edges.count);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static int run(const struct cli *cli, struct err *e)
{
	struct profile profile;
	const char *input = cli_string(cli, "profile", NULL), *path = cli_string(cli, "output", "flow.rprof");
	if (!input)
		return err_set(e, ERR_USAGE, "which profile? --profile P.rprof is needed");
	int status = profile_read(input, &profile, e);
	if (status)
		return status;
	struct output o = {.profile = &profile, .done = calloc(profile.module_count + 1, sizeof *o.done)};
	if (!o.done)
		status = err_set(e, ERR_MEMORY, "no memory for modules");
	for (int i = 0; !status && i < cli_argument_count(cli); i++)
		status = infer_map(&o, cli_argument(cli, i), e);
	if (!status)
		status = write_profile(&o, path, e);
	if (!status)
		status = print(cli, &o, path, e);
	free(o.done);
	executions_free(&o.executions);
	profile_free(&profile);
	return status;
}

static const struct cli_option options_table[] = {
    {"profile", 0, CLI_STRING, "P.rprof", "samples, branch stacks or counts (- for stdin)"},
    {"output", 'o', CLI_STRING, "FILE", "write the executions here (- for stdout); default flow.rprof"},
    {0},
};

const struct cli_verb cmd_flow = {
    .name = "flow",
    .arguments = "--profile P.rprof MAP... [-o FILE]",
    .summary = "write what plan infers from a profile: executions of every instruction and jump",
    .details =
	"Counts are comparable within a module only: samples become executions in units of their own. To be compared with exact counts\n"
	"(repave-profile diff) or looked at (repave-profile show).\n",
    .options = options_table,
    .minimum = 1,
    .maximum = -1,
    .run = run,
};
