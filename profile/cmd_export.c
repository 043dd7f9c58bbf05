#include "profile/commands.h"
#include "profile/export/export.h"

#include "formats/base/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAP_MAX = 256 };

struct export_maps {
	struct map maps[MAP_MAX];
	size_t count;
};

static int export_fdata_of(const struct cli *cli, const struct profile *p, struct writer *w, struct export_result *result, struct err *e)
{
	const char *elf = cli_string(cli, "elf", NULL);
	struct functions *functions;
	if (!elf)
		return err_set(e, ERR_USAGE, "fdata is of one file and names its functions: which one? --elf FILE");
	int status = functions_read(elf, &functions, e);
	if (status)
		return status;
	status = export_fdata(p, functions, w, result, e);
	functions_free(functions);
	return status;
}

static int export_folded_of(const struct cli *cli, const struct profile *p, struct writer *w, struct export_result *result, struct err *e)
{
	struct export_maps *m = calloc(1, sizeof *m);
	int status = m ? 0 : err_set(e, ERR_MEMORY, "no memory for maps");
	while (!status && cli_string_at(cli, "map", (int)m->count)) {
		if (m->count == MAP_MAX)
			status = err_set(e, ERR_USAGE, "more than %d maps", MAP_MAX);
		else
			status = map_read(cli_string_at(cli, "map", (int)m->count), &m->maps[m->count], e);
		m->count += !status;
	}
	if (!status)
		status = export_folded(p, m->maps, m->count, w, result, e);
	for (size_t i = 0; m && i < m->count; i++)
		map_free(&m->maps[i]);
	free(m);
	return status;
}

static int export_as(const struct cli *cli, const struct profile *p, struct writer *w, struct export_result *result, struct err *e)
{
	const char *format = cli_string(cli, "format", "");
	if (!strcmp(format, "fdata"))
		return export_fdata_of(cli, p, w, result, e);
	if (!strcmp(format, "folded"))
		return export_folded_of(cli, p, w, result, e);
	if (!strcmp(format, "text"))
		return export_text(p, w, result, e);
	return err_set(e, ERR_USAGE, "--format what? Known: fdata, folded, text");
}

static int print_result(const struct cli *cli, const struct export_result *r, FILE *out, struct err *e)
{
	if (!cli_json(cli)) {
		if (out != stdout) /* the text went there */
			return 0;
		fprintf(out, "%" PRIu64 " lines, weight %" PRIu64, r->lines, r->weight);
		fprintf(out, r->outside ? "; %" PRIu64 " in no function left out\n" : "\n", r->outside);
		return 0;
	}
	json_t *root = json_pack("{s:s, s:I, s:I, s:I}", "format", cli_string(cli, "format", ""), "lines", (json_int_t)r->lines, "weight",
				 (json_int_t)r->weight, "outside", (json_int_t)r->outside);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static int run(const struct cli *cli, struct err *e)
{
	const char *output = cli_string(cli, "output", "-");
	struct profile profile;
	struct export_result result;
	struct writer w = {0};
	int status = profile_read(cli_argument(cli, 0), &profile, e);
	if (status)
		return status;
	if (profile.course.steps && !profile.sample_count && !profile.count_count && !profile.edge_count)
		status = err_set(e, ERR_UNSUPPORTED, "%s: holds only a recorded course: repave-analyze flow makes counts of it",
				 cli_argument(cli, 0));
	else
		status = export_as(cli, &profile, &w, &result, e);
	profile_free(&profile);
	if (!status)
		status = file_write(output, w.data, w.size, e);
	writer_free(&w);
	return status ? status : print_result(cli, &result, strcmp(output, "-") ? stdout : stderr, e);
}

static const struct cli_option options[] = {
    {"format", 0, CLI_STRING, "FORMAT", "fdata, folded or text"},
    {"elf", 0, CLI_STRING, "FILE", "fdata: the ELF file that is to be optimised"},
    {"map", 0, CLI_STRING, "MAP", "folded: a map of one of the modules, to name its functions; may be given several times"},
    {"output", 'o', CLI_STRING, "FILE", "where to (default \"-\", stdout)"},
    {0},
};

const struct cli_verb cmd_export = {
    .name = "export",
    .arguments = "FILE --format FORMAT [--elf ELF] [--map MAP]... [-o OUT]",
    .summary = "a profile in the format of another tool",
    .details =
	"fdata   for llvm-bolt -data: branches of one file, functions under the names that llvm-bolt 16 gives them (those of a stripped\n"
	"        file too); from plain samples the no_lbr form. Taken branches only: llvm-bolt infers the fall-throughs.\n"
	"folded  MODULE;FUNCTION WEIGHT, for flame graph tools and sort\n"
	"text    every address and edge with its total, one per line",
    .options = options,
    .minimum = 1,
    .maximum = 1,
    .run = run,
};
