#include "analyze/code/insn.h"
#include "analyze/commands.h"
#include "analyze/elf/image.h"
#include "analyze/layout/complete.h"
#include "formats/base/file.h"
#include "formats/base/vec.h"

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
	VEC(struct profile_count) counts;
	VEC(struct profile_edge) edges;
	uint64_t total, negative;
	uint32_t blocks, guessed;
	bool failed;
};

static void add_edge(struct output *o, struct profile_edge edge)
{
	if (edge.count)
		o->failed |= vec_push(&o->edges, edge) != 0;
}

/* Executions of each instruction of a block, and the jump at its end. */
static void add_block(struct output *o, const struct map *map, const struct image *image, uint32_t module, uint32_t block,
		      const struct complete *c)
{
	const struct map_block *b = &map->blocks[block];
	const uint8_t *bytes = image_bytes(image, map_vaddr(map, b->start), b->size);
	uint64_t last = 0;
	for (uint32_t at = 0; bytes && at < b->size;) {
		struct insn i;
		last = map_vaddr(map, b->start + at).v;
		if (insn_decode(bytes + at, b->size - at, (vaddr){last}, &i))
			break;
		o->failed |= vec_push(&o->counts, (struct profile_count){last, c->block[block], module}) != 0;
		at += i.length;
	}
	if ((b->terminator == MAP_BRANCH || b->terminator == MAP_JUMP) && b->taken != MAP_NONE)
		add_edge(o, (struct profile_edge){.from = last,
						  .to = map_vaddr(map, map->blocks[b->taken].start).v,
						  .count = c->taken[block],
						  .from_module = module,
						  .to_module = module,
						  .kind = PROFILE_EDGE_JUMP});
}

static void add_tables(struct output *o, const struct map *map, const struct image *image, uint32_t module, const struct complete *c)
{
	for (uint32_t t = 0; t < map->table_count; t++) {
		const struct map_table *table = &map->tables[t];
		const struct map_block *b = &map->blocks[table->block];
		const uint8_t *bytes = image_bytes(image, map_vaddr(map, b->start), b->size);
		uint32_t at = 0, last = 0;
		for (struct insn i; bytes && at < b->size && !insn_decode(bytes + at, b->size - at, (vaddr){0}, &i); at += i.length)
			last = at;
		for (uint32_t k = 0; k < table->count; k++)
			add_edge(o, (struct profile_edge){.from = map_vaddr(map, b->start + last).v,
							  .to = map_vaddr(map, map->blocks[map->table_targets[table->first + k]].start).v,
							  .count = c->table[table->first + k],
							  .from_module = module,
							  .to_module = module,
							  .kind = PROFILE_EDGE_JUMP});
	}
}

static void add_direct_calls(struct output *o, const struct map *map, uint32_t module, const struct complete *c)
{
	for (uint32_t i = 0; i < map->call_count; i++) {
		const struct map_call *call = &map->calls[i];
		if (call->kind == MAP_CALL_DIRECT && call->target != MAP_NONE)
			add_edge(o, (struct profile_edge){.from = map_vaddr(map, call->site).v,
							  .to = map_vaddr(map, call->target).v,
							  .count = c->block[call->block],
							  .from_module = module,
							  .to_module = module,
							  .kind = PROFILE_EDGE_CALL});
	}
}

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
			add_edge(o, edge);
		}
	}
}

static int compare_counts(const void *va, const void *vb)
{
	const struct profile_count *a = va, *b = vb;
	if (a->module != b->module)
		return a->module < b->module ? -1 : 1;
	return a->address < b->address ? -1 : a->address > b->address;
}

static int compare_edges(const void *va, const void *vb)
{
	const struct profile_edge *a = va, *b = vb;
	if (a->from_module != b->from_module)
		return a->from_module < b->from_module ? -1 : 1;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	if (a->to_module != b->to_module)
		return a->to_module < b->to_module ? -1 : 1;
	if (a->to != b->to)
		return a->to < b->to ? -1 : 1;
	return (a->kind > b->kind) - (a->kind < b->kind);
}

static void merge_equal_edges(struct output *o)
{
	size_t kept = 0;
	for (size_t i = 1; i < o->edges.count; i++) {
		if (!compare_edges(&o->edges.data[kept], &o->edges.data[i]))
			o->edges.data[kept].count += o->edges.data[i].count;
		else
			o->edges.data[++kept] = o->edges.data[i];
	}
	o->edges.count = o->edges.count ? kept + 1 : 0;
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
		for (uint32_t b = 0; b < map->block_count; b++)
			if (c.block[b])
				add_block(o, map, &image, module, b, &c);
		add_tables(o, map, &image, module, &c);
		add_direct_calls(o, map, module, &c);
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
	if (o->counts.count)
		qsort(o->counts.data, o->counts.count, sizeof *o->counts.data, compare_counts);
	if (o->edges.count)
		qsort(o->edges.data, o->edges.count, sizeof *o->edges.data, compare_edges);
	merge_equal_edges(o);
	p.info.event = event;
	p.counts = o->counts.data;
	p.count_count = o->counts.count;
	p.edges = o->edges.data;
	p.edge_count = o->edges.count;
	int status = o->failed ? err_set(e, ERR_MEMORY, "no memory to complete the counts") : profile_encode(&p, &w, e);
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
		fprintf(out, "%s: %zu instructions, %zu edges\n", path, o->counts.count, o->edges.count);
		return 0;
	}
	json_t *root = json_pack("{s:s, s:i, s:I, s:i, s:I, s:I, s:I}", "file", path, "blocks", (int)o->blocks, "executions",
				 (json_int_t)o->total, "guessed", (int)o->guessed, "negative", (json_int_t)o->negative, "instructions",
				 (json_int_t)o->counts.count, "edges", (json_int_t)o->edges.count);
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
	vec_free(&o.counts);
	vec_free(&o.edges);
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
