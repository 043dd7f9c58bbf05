#include "profile/commands.h"
#include "profile/import/import.h"
#include "profile/import/input.h"
#include "profile/import/lackey.h"
#include "profile/output.h"

#include "formats/base/escape.h"
#include "formats/base/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ELF_MAX = 256 };

static int write_profile(const struct profile *profile, const char *output, struct err *e)
{
	struct writer w = {0};
	int status = profile_encode(profile, &w, e);
	if (!status)
		status = file_write(output, w.data, w.size, e);
	writer_free(&w);
	return status;
}

/* How much of the weight was found in a file. */
static uint64_t in_no_file(const struct profile *p)
{
	uint64_t count = 0;
	for (size_t i = 0; i < p->sample_count; i++)
		count += p->samples[i].module == PROFILE_NO_MODULE;
	return count;
}

static bool add_numbers(json_t *root, const struct import_result *r)
{
	const struct {
		const char *key;
		uint64_t value;
		enum import_format format;
	} numbers[] = {
	    {"parts", r->callgrind.parts, IMPORT_CALLGRIND},
	    {"instructions", r->callgrind.instructions, IMPORT_CALLGRIND},
	    {"outside", r->callgrind.outside, IMPORT_CALLGRIND},
	    {"anonymous", r->callgrind.anonymous, IMPORT_CALLGRIND},
	    {"records", r->perfdata.records, IMPORT_PERF_DATA},
	    {"other_samples", r->perfdata.other_samples, IMPORT_PERF_DATA},
	    {"branches_ignored", r->perfdata.branches_ignored, IMPORT_PERF_DATA},
	    {"decompressed", r->perfdata.decompressed, IMPORT_PERF_DATA},
	    {"lines", r->perfscript.lines, IMPORT_PERF_SCRIPT},
	    {"mappings", r->perfscript.mappings, IMPORT_PERF_SCRIPT},
	    {"without_address", r->perfscript.without, IMPORT_PERF_SCRIPT},
	    {"lines", r->totals.lines, IMPORT_FDATA},
	    {"unresolved", r->totals.unresolved, IMPORT_FDATA},
	    {"memory", r->totals.memory, IMPORT_FDATA},
	    {"branch_total", r->totals.branches, IMPORT_FDATA},
	    {"sample_total", r->totals.samples, IMPORT_FDATA},
	};
	enum import_format format = r->format == IMPORT_AGGREGATED ? IMPORT_FDATA : r->format;
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (numbers[i].format == format && json_object_set_new(root, numbers[i].key, json_integer((json_int_t)numbers[i].value)))
			return false;
	return true;
}

static int print_json(FILE *out, const struct profile *p, const struct import_result *r, struct err *e)
{
	char event[256];
	size_t modules = r->format == IMPORT_CALLGRIND ? r->callgrind.objects : p->module_count;
	json_t *root =
	    json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "format", import_format_name(r->format), "source",
		      profile_source_name(p->info.source), "event", escape(p->info.event, event, sizeof event), "samples",
		      (json_int_t)p->sample_count, "branches", (json_int_t)p->branch_count, "addresses", (json_int_t)p->count_count,
		      "edges", (json_int_t)p->edge_count, "lost", (json_int_t)p->info.lost, "samples_in_no_file", (json_int_t)in_no_file(p),
		      "modules", (json_int_t)modules, "modules_unknown", (json_int_t)r->modules_unknown);
	if (!root || !add_numbers(root, r)) {
		json_decref(root);
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	}
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static void print_callgrind(FILE *out, const struct profile *p, const struct callgrind_result *r)
{
	fprintf(out, "%" PRIu64 " instructions executed at %zu addresses, %zu jumps and calls, in %u modules (%" PRIu64 " parts)\n",
		r->instructions, p->count_count, p->edge_count, r->objects, r->parts);
	if (r->objects_unknown)
		fprintf(out, "%u modules have no identity: their files cannot be read here (--root DIR)\n", r->objects_unknown);
	if (r->outside)
		fprintf(out, "%" PRIu64 " instructions dropped: outside the code of their module (was its file replaced?)\n", r->outside);
	if (r->anonymous)
		fprintf(out, "%" PRIu64 " instructions in no file\n", r->anonymous);
}

static void print_samples(FILE *out, const struct profile *p, const struct import_result *r)
{
	char text[256], path[512];
	fprintf(out, "%zu samples of %s with %zu branches (%s), in %zu modules; %" PRIu64 " samples in no file, %" PRIu64 " lost\n",
		p->sample_count, escape(p->info.event, text, sizeof text), p->branch_count, profile_source_name(p->info.source),
		p->module_count, in_no_file(p), p->info.lost);
	if (r->modules_unknown)
		fprintf(out,
			"%zu modules whose files cannot be read here, %s first: file offsets stand for their addresses (--root DIR, --elf "
			"FILE)\n",
			r->modules_unknown, escape(r->unknown_path ? r->unknown_path : "", path, sizeof path));
	if (r->perfdata.other_samples)
		fprintf(out, "%" PRIu64 " samples of other events left out (--event NAME)\n", r->perfdata.other_samples);
	if (r->perfdata.branches_ignored)
		fprintf(out, "%" PRIu64 " branch records left out: not recorded with every taken branch (perf record -j any,u)\n",
			r->perfdata.branches_ignored);
	if (r->perfscript.without)
		fprintf(out, "%" PRIu64 " samples without an address left out\n", r->perfscript.without);
}

static void print_totals(FILE *out, const struct profile *p, const struct totals_result *r)
{
	fprintf(out, "%" PRIu64 " branches, %" PRIu64 " samples (%s): %zu edges, %zu addresses, of %" PRIu64 " lines\n", r->branches,
		r->samples, profile_source_name(p->info.source), p->edge_count, p->count_count, r->lines);
	if (r->unresolved)
		fprintf(out, "%" PRIu64 " lines name something that is not in this file\n", r->unresolved);
	if (r->memory)
		fprintf(out, "%" PRIu64 " lines about data left out\n", r->memory);
}

static void print_text(FILE *out, const struct profile *p, const struct import_result *r)
{
	fprintf(out, "format: %s\n", import_format_name(r->format));
	if (r->format == IMPORT_CALLGRIND)
		print_callgrind(out, p, &r->callgrind);
	else if (r->format == IMPORT_FDATA || r->format == IMPORT_AGGREGATED)
		print_totals(out, p, &r->totals);
	else
		print_samples(out, p, r);
}

static int finish(const struct cli *cli, const struct profile *p, const struct import_result *r, struct err *e)
{
	const char *output = cli_string(cli, "output", "import.rprof");
	FILE *out = strcmp(output, "-") ? stdout : stderr;
	int status = write_profile(p, output, e);
	if (status)
		return status;
	if (cli_json(cli))
		return print_json(out, p, r, e);
	print_text(out, p, r);
	return 0;
}

/* --- lackey: as it comes --- */

static void show_steps(void *context, uint64_t steps)
{
	(void)context;
	fprintf(stderr, "\r%" PRIu64 " million superblocks ", steps >> 20);
}

static int print_course(const struct cli *cli, FILE *out, const struct lackey_result *r, const struct files *files, struct err *e)
{
	const char *unknown = files_unknown_path(files);
	char path[512];
	if (cli_json(cli)) {
		json_t *root =
		    json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "format", import_format_name(IMPORT_LACKEY), "source",
			      profile_source_name(PROFILE_EXACT), "steps", (json_int_t)r->steps, "steps_in_no_file", (json_int_t)r->outside,
			      "threads", (json_int_t)r->threads, "modules", (json_int_t)r->modules, "modules_unknown",
			      (json_int_t)files_unknown(files), "lines", (json_int_t)r->lines, "bytes", (json_int_t)r->bytes);
		if (!root)
			return err_set(e, ERR_MEMORY, "no memory for JSON");
		json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		fputc('\n', out);
		json_decref(root);
		return 0;
	}
	fprintf(out, "format: %s\n%" PRIu64 " superblocks in order, by %u threads, in %u modules; %" PRIu64 " in no file\n",
		import_format_name(IMPORT_LACKEY), r->steps, r->threads, r->modules, r->outside);
	if (r->bytes)
		fprintf(out, "%" PRIu64 " bytes, %.3f per superblock\n", r->bytes, (double)r->bytes / (double)r->steps);
	if (unknown)
		fprintf(out, "%zu files that were loaded cannot be read here, %s first (--root DIR, --elf FILE)\n", files_unknown(files),
			escape(unknown, path, sizeof path));
	return 0;
}

static int import_course(const struct cli *cli, struct input *in, const struct import_request *request, struct err *e)
{
	const struct lackey_options options = {.progress = isatty(STDERR_FILENO) ? show_steps : NULL};
	struct lackey_result result;
	struct output output;
	struct files *files;
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, not a silent death */
	int status = files_new(&request->files, &files, e);
	if (status)
		return status;
	status = output_open(cli_string(cli, "output", "import.rprof"), &output, e);
	if (!status) {
		status = lackey_read(in, files, output.fd, output.name, &options, &result, e);
		if (options.progress)
			fputs("\r\033[K", stderr);
		if (status)
			output_discard(&output);
		else
			status = output_close(&output, e);
	}
	if (!status)
		status = print_course(cli, output.is_stdout ? stderr : stdout, &result, files, e);
	files_free(files);
	return status;
}

/* --- which one --- */

static int wanted_format(const struct cli *cli, struct input *in, enum import_format *ret_format, struct err *e)
{
	const void *data;
	size_t size;
	int status = input_peek(in, &data, &size, e);
	if (status)
		return status;
	const char *said = cli_string(cli, "format", cli_string(cli, "from", NULL));
	*ret_format = said ? import_format_of_name(said) : import_detect(data, size);
	if (*ret_format < IMPORT_FORMAT_COUNT)
		return 0;
	char known[200] = "";
	for (int i = 0; i < IMPORT_FORMAT_COUNT; i++)
		snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
			 import_format_name((enum import_format)i));
	if (said)
		return err_set(e, ERR_USAGE, "--format %.40s is not known; known: %s", said, known);
	return err_set(e, ERR_FORMAT, "%s is in no format that is known (%s); --format says which to try", in->name, known);
}

static int import_file(const struct cli *cli, struct input *in, struct import_request *request, enum import_format format, struct err *e)
{
	struct file_data file;
	struct profile profile;
	struct import_result result;
	int status = input_whole(in, &file, e);
	if (status)
		return status;
	request->data = file.data;
	request->size = file.size;
	status = import_read(request, format, &profile, &result, e);
	if (!status) {
		status = finish(cli, &profile, &result, e);
		profile_free(&profile);
		import_result_free(&result);
	}
	file_data_free(&file);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	const char *elfs[ELF_MAX];
	struct input in;
	enum import_format format;
	struct import_request request = {.event = cli_string(cli, "event", NULL)};
	request.files = (struct files_options){.root = cli_string(cli, "root", ""), .given = elfs};
	while (cli_string_at(cli, "elf", (int)request.files.given_count)) {
		if (request.files.given_count == ELF_MAX)
			return err_set(e, ERR_USAGE, "more than %d files by --elf", ELF_MAX);
		elfs[request.files.given_count] = cli_string_at(cli, "elf", (int)request.files.given_count);
		request.files.given_count++;
	}
	int status = input_open(cli_argument(cli, 0), &in, e);
	if (status)
		return status;
	request.name = in.name;
	status = wanted_format(cli, &in, &format, e);
	if (!status)
		status = format == IMPORT_LACKEY ? import_course(cli, &in, &request, e) : import_file(cli, &in, &request, format, e);
	input_close(&in);
	return status;
}

static const struct cli_option options[] = {
    {"format", 0, CLI_STRING, "FORMAT", "do not guess: perf.data, perf-script, callgrind, fdata, pre-aggregated, lackey"},
    {"from", 0, CLI_STRING, "FORMAT", "the same"},
    {"output", 'o', CLI_STRING, "FILE", "the profile, \"-\" for stdout (default import.rprof)"},
    {"elf", 0, CLI_STRING, "FILE", "an ELF file that was profiled; several for perf (by build-id, else by name), one for BOLT's formats"},
    {"root", 0, CLI_STRING, "DIR", "look for the modules' files below this directory"},
    {"event", 0, CLI_STRING, "NAME", "perf.data: which event (default: with branch stacks, else the first that samples time)"},
    {0},
};

const struct cli_verb cmd_import = {
    .name = "import",
    .arguments = "FILE [--elf ELF]... [-o OUT]",
    .summary = "make a profile of what another tool measured",
    .details =
	"FILE (\"-\": stdin) is recognised by its content:\n"
	"  perf.data       perf record -e cycles:u -j any,u (with branch stacks: best), or any clock or hardware event; file or pipe, -z "
	"too\n"
	"  perf-script     perf script --show-mmap-events --show-task-events -F pid,tid,time,event,ip,brstack\n"
	"  callgrind       valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes PROGRAM: exact, needs no hardware counters\n"
	"  fdata           llvm-bolt, perf2bolt; needs --elf\n"
	"  pre-aggregated  perf2bolt -pa: lines B, F, f, r, T, R, S, E; needs --elf\n"
	"  lackey          valgrind --tool=lackey -v -v --vex-guest-chase=no --vex-iropt-unroll-thresh=0 --basic-counts=no \\\n"
	"                  --trace-superblocks=yes --child-silent-after-fork=yes [--trace-sched=yes] --log-fd=9 PROGRAM \\\n"
	"                  9>&1 >/dev/null | repave-profile import -: what was executed, in order; gigabytes that are never stored\n"
	"Addresses become those of the ELF files, through their segment tables. A file that is not here, or is another one by its "
	"build-id,\n"
	"cannot be asked: offsets in the file then stand for its addresses, and the result says so.",
    .options = options,
    .minimum = 1,
    .maximum = 1,
    .run = run,
};
