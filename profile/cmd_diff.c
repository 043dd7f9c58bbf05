#include "profile/commands.h"
#include "profile/merge/diff.h"
#include "profile/merge/merge.h"

#include "formats/base/escape.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOP_DEFAULT = 20, TEXT_MAX = 256 };

struct view {
	struct profile profiles[2];
	const char *names[2];
	struct map *maps;
	const char **modules;
	struct diff_options options;
	struct diff diff;
	size_t top;
};

static size_t count_values(const struct cli *cli, const char *option)
{
	int count = 0;
	while (cli_string_at(cli, option, count))
		count++;
	return (size_t)count;
}

static int load(const struct cli *cli, struct view *v, struct err *e)
{
	size_t maps = count_values(cli, "map"), modules = count_values(cli, "modules");
	int status = 0;
	v->maps = calloc(maps + 1, sizeof *v->maps);
	v->modules = calloc(modules + 1, sizeof *v->modules);
	if (!v->maps || !v->modules)
		return err_set(e, ERR_MEMORY, "no memory for %zu maps", maps);
	for (int side = 0; side < 2 && !status; side++) {
		v->names[side] = cli_argument(cli, side);
		status = merge_read(v->names[side], &v->profiles[side], e);
	}
	for (size_t i = 0; i < maps && !status; i++) {
		status = map_read(cli_string_at(cli, "map", (int)i), &v->maps[i], e);
		v->options.map_count += !status;
	}
	for (size_t i = 0; i < modules; i++)
		v->modules[i] = cli_string_at(cli, "modules", (int)i);
	v->options.maps = v->maps;
	v->options.names = modules ? v->modules : NULL;
	v->options.name_count = modules;
	return status;
}

static const char *module_text(const struct diff_mover *m, char *buffer, size_t size)
{
	return m->module ? escape(m->module->path, buffer, size) : "(no file)";
}

static const char *place_text(const struct diff_mover *m, char *buffer, size_t size)
{
	if (m->name)
		return escape(m->name, buffer, size);
	snprintf(buffer, size, m->is_function ? "function at 0x%" PRIx64 : "page 0x%" PRIx64, m->address);
	return buffer;
}

static size_t shown(const struct view *v)
{
	return v->diff.mover_count < v->top ? v->diff.mover_count : v->top;
}

static const char *unit(const struct profile *p)
{
	return p->info.source == PROFILE_EXACT ? "instructions" : "samples";
}

static bool comparable(const struct view *v)
{
	return v->options.map_count || (v->profiles[0].info.source == PROFILE_EXACT) == (v->profiles[1].info.source == PROFILE_EXACT);
}

static void print_text(const struct view *v)
{
	const struct diff_part *b = &v->diff.blocks, *edges = &v->diff.edges;
	char text[TEXT_MAX], other[TEXT_MAX];
	printf("overlap %.4f (%zu %s; %" PRIu64 " %s, %" PRIu64 " %s)\n", b->overlap, b->places,
	       v->options.map_count ? "blocks" : "addresses", b->weight[0], unit(&v->profiles[0]), b->weight[1], unit(&v->profiles[1]));
	if (v->diff.has_edges)
		printf("overlap of edges %.4f (%zu edges, taken %" PRIu64 " and %" PRIu64 " times)\n", edges->overlap, edges->places,
		       edges->weight[0], edges->weight[1]);
	if (!comparable(v))
		printf("note: samples and exact counts can only be compared by blocks: give the --map of each module\n");
	if (!shown(v))
		return;
	printf("\n%8s  %8s  %8s  %-40s  %s\n", "moved", "first", "second", v->options.map_count ? "function" : "place (names need --map)",
	       "module");
	for (size_t i = 0; i < shown(v); i++) {
		const struct diff_mover *m = &v->diff.movers[i];
		printf("%7.3f%%  %7.3f%%  %7.3f%%  %-40s  %s\n", 100 * m->moved, 100 * m->share[0], 100 * m->share[1],
		       place_text(m, text, sizeof text), module_text(m, other, sizeof other));
	}
}

static json_t *part_to_json(const struct diff_part *p)
{
	return json_pack("{s:f, s:I, s:I, s:I}", "overlap", p->overlap, "places", (json_int_t)p->places, "weight_first",
			 (json_int_t)p->weight[0], "weight_second", (json_int_t)p->weight[1]);
}

static json_t *mover_to_json(const struct diff_mover *m)
{
	char module[4096], name[4096];
	return json_pack("{s:f, s:f, s:f, s:s, s:I, s:I, s:o}", "moved", m->moved, "share_first", m->share[0], "share_second", m->share[1],
			 "module", module_text(m, module, sizeof module), "address", (json_int_t)m->address, "size", (json_int_t)m->size,
			 "name", m->name ? json_string(escape(m->name, name, sizeof name)) : json_null());
}

static int print_json(const struct view *v, struct err *e)
{
	json_t *movers = json_array();
	for (size_t i = 0; movers && i < shown(v); i++) {
		if (json_array_append_new(movers, mover_to_json(&v->diff.movers[i]))) {
			json_decref(movers);
			movers = NULL;
		}
	}
	json_t *root = json_pack("{s:f, s:o, s:o, s:b, s:s, s:s, s:o}", "overlap", v->diff.blocks.overlap, "blocks",
				 part_to_json(&v->diff.blocks), "edges", v->diff.has_edges ? part_to_json(&v->diff.edges) : json_null(),
				 "comparable", comparable(v), "source_first", profile_source_name(v->profiles[0].info.source),
				 "source_second", profile_source_name(v->profiles[1].info.source), "movers", movers);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(root);
	return 0;
}

/* The answer. With --json the document above has said it all, and the error follows as a second one, as for every verb. */
static int judge(const struct cli *cli, const struct view *v, struct err *e)
{
	double minimum = cli_real(cli, "minimum", 0), minimum_edges = cli_real(cli, "minimum-edges", 0);
	if (v->diff.blocks.overlap < minimum)
		return err_set(e, ERR_NO, "the overlap is %.4f, below %.4f", v->diff.blocks.overlap, minimum);
	if (minimum_edges > 0 && !v->diff.has_edges)
		return err_set(e, ERR_NO, "not both profiles have edges, so none overlap");
	if (minimum_edges > 0 && v->diff.edges.overlap < minimum_edges)
		return err_set(e, ERR_NO, "the overlap of edges is %.4f, below %.4f", v->diff.edges.overlap, minimum_edges);
	return 0;
}

static void view_free(struct view *v)
{
	diff_free(&v->diff);
	for (size_t i = 0; i < v->options.map_count; i++)
		map_free(&v->maps[i]);
	free(v->maps);
	free(v->modules);
	profile_free(&v->profiles[0]);
	profile_free(&v->profiles[1]);
}

static int run(const struct cli *cli, struct err *e)
{
	struct view v = {.top = (size_t)cli_number(cli, "top", TOP_DEFAULT)};
	static const char *const limits[] = {"minimum", "minimum-edges"};
	for (int i = 0; i < 2; i++)
		if (!(cli_real(cli, limits[i], 0) >= 0 && cli_real(cli, limits[i], 0) <= 1))
			return err_set(e, ERR_USAGE, "--%s is a share: from 0 to 1", limits[i]);
	int status = load(cli, &v, e);
	if (!status)
		status = diff_make(v.profiles, v.names, &v.options, &v.diff, e);
	if (!status && cli_json(cli))
		status = print_json(&v, e);
	else if (!status)
		print_text(&v);
	if (!status)
		status = judge(cli, &v, e);
	view_free(&v);
	return status;
}

static const struct cli_option options[] = {
    {"map", 0, CLI_STRING, "MAP", "a map of one of the modules: compare its basic blocks; may be given several times"},
    {"modules", 0, CLI_STRING, "NAME", "only modules of this path or file name; may be given several times"},
    {"minimum", 0, CLI_REAL, "SHARE", "exit status 1 when the overlap is less (0 to 1)"},
    {"minimum-edges", 0, CLI_REAL, "SHARE", "the same for the overlap of edges"},
    {"top", 0, CLI_NUMBER, "N", "how many of the functions that moved (default 20)"},
    {0},
};

const struct cli_verb cmd_diff = {
    .name = "diff",
    .arguments = "FIRST SECOND [--map MAP]... [--modules NAME]... [--minimum SHARE]",
    .summary = "how much two profiles agree, as one number",
    .details = "The overlap is the sum over all basic blocks (addresses where there is no map) of the lesser of both shares: 1 when the\n"
	       "profiles are the same, 0 when they have nothing in common. Samples can be compared with exact counts when maps are given.",
    .options = options,
    .minimum = 2,
    .maximum = 2,
    .run = run,
};
