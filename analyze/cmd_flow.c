#include "analyze/commands.h"
#include "analyze/elf/image.h"
#include "analyze/layout/course.h"
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
	uint64_t blocks; /* 0: not known */
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

static int infer_maps(const struct cli *cli, struct output *o, struct profile *ret_profile, struct err *e)
{
	int status = 0;
	o->done = calloc(o->profile->module_count + 1, sizeof *o->done);
	if (!o->done)
		status = err_set(e, ERR_MEMORY, "no memory for modules");
	for (int i = 0; !status && i < cli_argument_count(cli); i++)
		status = infer_map(o, cli_argument(cli, i), e);
	free(o->done);
	if (!status)
		status = executions_finish(&o->executions, ret_profile, e);
	return status;
}

/* A course needs no inference: its counts follow from the maps. */
static int count_course(const struct cli *cli, const struct file_data *file, const char *name, struct profile *profile, struct err *e)
{
	size_t count = (size_t)cli_argument_count(cli), n = 0;
	struct map *maps = calloc(count + 1, sizeof *maps);
	const struct map **list = calloc(count + 1, sizeof *list);
	int status = maps && list ? 0 : err_set(e, ERR_MEMORY, "no memory for %zu maps", count);
	for (; n < count && !status; n += !status) {
		status = map_read(cli_argument(cli, (int)n), &maps[n], e);
		list[n] = &maps[n];
	}
	if (!status)
		status = course_count(file->data, file->size, name, list, count, profile, e);
	while (n)
		map_free(&maps[--n]);
	free(maps);
	free(list);
	return status;
}

static int write_profile(const struct profile *inferred, const char *how, const char *path, struct err *e)
{
	struct profile p = *inferred;
	struct writer w = {0};
	char event[160];
	snprintf(event, sizeof event, "%.120s, %s", p.info.event ? p.info.event : "", how);
	p.info.event = event;
	p.info.source = PROFILE_EXACT; /* as far as its form goes: executions, not samples */
	p.samples = NULL;
	p.branches = NULL;
	p.sample_count = p.branch_count = 0;
	p.course = (struct profile_course){0};
	int status = profile_encode(&p, &w, e);
	if (!status)
		status = file_write(path, w.data, w.size, e);
	writer_free(&w);
	return status;
}

static int print(const struct cli *cli, const struct profile *p, uint64_t blocks, const char *path, struct err *e)
{
	FILE *out = strcmp(path, "-") ? stdout : stderr;
	if (!cli_json(cli)) {
		fprintf(out, "%s: ", path);
		if (blocks)
			fprintf(out, "%" PRIu64 " blocks, ", blocks);
		fprintf(out, "%zu instructions, %zu edges\n", p->count_count, p->edge_count);
		return 0;
	}
	json_t *root = json_pack("{s:s, s:I, s:I, s:I}", "file", path, "blocks", (json_int_t)blocks, "instructions",
				 (json_int_t)p->count_count, "edges", (json_int_t)p->edge_count);
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
	struct file_data file;
	const char *input = cli_string(cli, "profile", NULL), *path = cli_string(cli, "output", "flow.rprof");
	if (!input)
		return err_set(e, ERR_USAGE, "which profile? --profile P.rprof is needed");
	int status = file_read(input, &file, e);
	if (status)
		return status;
	status = profile_decode(file.data, file.size, input, &profile, e);
	if (status) {
		file_data_free(&file);
		return status;
	}
	bool counted = course_is_all(&profile);
	struct output o = {.profile = &profile};
	struct profile inferred = profile;
	if (counted)
		status = count_course(cli, &file, input, &profile, e);
	else
		status = infer_maps(cli, &o, &inferred, e);
	if (!status)
		status = write_profile(counted ? &profile : &inferred, counted ? "counted" : "inferred", path, e);
	if (!status)
		status = print(cli, counted ? &profile : &inferred, o.blocks, path, e);
	executions_free(&o.executions);
	profile_free(&profile);
	file_data_free(&file);
	return status;
}

static const struct cli_option options_table[] = {
    {"profile", 0, CLI_STRING, "P.rprof", "samples, branch stacks, counts or a course (- for stdin)"},
    {"output", 'o', CLI_STRING, "FILE", "write the executions here (- for stdout); default flow.rprof"},
    {0},
};

const struct cli_verb cmd_flow = {
    .name = "flow",
    .arguments = "--profile P.rprof MAP... [-o FILE]",
    .summary = "write what plan infers from a profile: executions of every instruction and jump",
    .details = "A recorded course is counted, nothing is inferred. Otherwise counts are comparable within a module only: samples become "
	       "executions in units of their own. To be compared with exact counts\n"
	       "(repave-profile diff) or looked at (repave-profile show).\n",
    .options = options_table,
    .minimum = 1,
    .maximum = -1,
    .run = run,
};
