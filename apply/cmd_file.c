#include "apply/apply.h"
#include "apply/file/elf_sink.h"
#include "apply/file/output.h"
#include "apply/verbs.h"
#include "formats/base/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct outcome {
	const char *input, *output;
	const struct stat *from;
	size_t size_before;
	struct elf_sink_result result;
};

static const char *report_note(const struct outcome *o)
{
	return output_drops(o->from) ? "set-user-id and set-group-id bits dropped" : NULL;
}

static void print_text(FILE *out, const struct outcome *o)
{
	const struct elf_sink_result *r = &o->result;
	fprintf(out, "%s: %u functions, %u KB at 0x%" PRIx64 ", %u entries and %u re-entries patched, %zu -> %zu bytes\n", o->output,
		r->module->function_count, r->module->code_size >> 10, r->code.v, r->entries, r->reentries, o->size_before, r->size);
	if (report_note(o))
		fprintf(out, "  %s\n", report_note(o));
	if (r->overlay)
		fprintf(out, "  %" PRIu64 " bytes behind the old file's contents kept, and repeated at the end\n", r->overlay);
	if (!r->has_sections)
		fprintf(out, "  no sections added: the file has none that could be extended\n");
}

static int print_json(FILE *out, const struct outcome *o, struct err *e)
{
	const struct elf_sink_result *r = &o->result;
	const char *note = report_note(o);
	json_t *input = json_string(o->input), *output = json_string(o->output); /* NULL when they are no UTF-8 */
	json_t *root =
	    json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:I, s:b, s:b}", "input", input ? input : json_null(), "output",
		      output ? output : json_null(), "size_before", (json_int_t)o->size_before, "size", (json_int_t)r->size, "address",
		      (json_int_t)r->code.v, "code_bytes", (json_int_t)r->module->code_size, "functions", (int)r->module->function_count,
		      "entries", (int)r->entries, "reentries", (int)r->reentries, "frames", (int)r->frames, "overlay_bytes",
		      (json_int_t)r->overlay, "sections", (int)r->has_sections, "mode_bits_dropped", note != NULL);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for the report");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static int write_and_report(const struct cli *cli, const struct outcome *o, struct err *e)
{
	int status = output_write(o->output, o->from, o->result.data, o->result.size, e);
	if (status)
		return status;
	FILE *out = strcmp(o->output, "-") ? stdout : stderr;
	if (cli_json(cli))
		return print_json(out, o, e);
	print_text(out, o);
	return 0;
}

static int lay(const struct cli *cli, const struct plan *plan, struct err *e)
{
	struct file_data file;
	struct elf_file in;
	struct outcome o = {.input = cli_argument(cli, 0), .output = cli_string(cli, "output", NULL), .from = &file.stat};
	int status = file_read(o.input, &file, e);
	if (status)
		return status;
	o.size_before = file.size;
	status = elf_file_open(file.data, file.size, strcmp(o.input, "-") ? o.input : "stdin", &in, e);
	if (!status) {
		status = elf_sink_build(&in, plan, &o.result, e);
		elf_file_close(&in);
	}
	if (!status)
		status = write_and_report(cli, &o, e);
	elf_sink_result_free(&o.result);
	file_data_free(&file);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct plan plan;
	const char *path = cli_argument(cli, 1);
	if (!cli_has(cli, "output"))
		return err_set(e, ERR_USAGE, "where to? give -o NEW");
	if (!strcmp(cli_argument(cli, 0), "-") && !strcmp(path, "-"))
		return err_set(e, ERR_USAGE, "the file and the plan cannot both come from stdin");
	int status = apply_read_plan(path, &plan, e);
	if (status)
		return status;
	status = lay(cli, &plan, e);
	plan_free(&plan);
	return status;
}

static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, "NEW", "the file to write (- for stdout); the input itself is refused"},
    {0},
};

const struct cli_verb verb_file = {
    .name = "file",
    .arguments = "ELF PLAN -o NEW",
    .summary = "write the image of a plan into a copy of an executable or shared library",
    .details =
	"The copy does what the original does, and its hot functions run in the image. All bytes that are replaced are compared first;\n"
	"whatever does not fit is refused and nothing is written. Undo is the original file.",
    .options = options,
    .minimum = 2,
    .maximum = 2,
    .run = run,
};
