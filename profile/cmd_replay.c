#include "profile/commands.h"
#include "profile/merge/replay.h"
#include "profile/output.h"

#include "formats/base/escape.h"
#include "formats/base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_SIZE = 1 << 16, TEXT_MAX = 4096 * 4 + 4 };

/* --- JSON lines. Numbers by hand, for speed; texts by jansson. --- */

static int check_output(struct err *e)
{
	return ferror(stdout) ? err_set_errno(e, errno, "stdout") : 0;
}

/* ,"name":"text" */
static int put_text(const char *name, const char *text, struct err *e)
{
	char clean[TEXT_MAX];
	json_t *string = json_string(escape(text, clean, sizeof clean));
	char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
	json_decref(string);
	if (!quoted)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	printf(",\"%s\":%s", name, quoted);
	free(quoted);
	return 0;
}

static int show_begin(void *context, const struct profile_info *info, struct err *e)
{
	(void)context;
	printf("{\"type\":\"start\",\"source\":\"%s\"", profile_source_name(info->source));
	int status = put_text("event", info->event, e);
	if (!status)
		status = put_text("kernel", info->kernel, e);
	if (!status)
		status = put_text("cpu", info->cpu, e);
	if (!status)
		status = put_text("command", info->command, e);
	if (status)
		return status;
	printf(",\"period\":%" PRIu64 ",\"frequency\":%" PRIu64 ",\"start_ns\":%" PRIu64 "}\n", info->period, info->frequency,
	       info->start_ns);
	return check_output(e);
}

static int show_module(void *context, uint32_t number, const struct module_identity *module, struct err *e)
{
	char hex[MODULE_HEX_SIZE];
	(void)context;
	module_build_id_hex(module, hex);
	printf("{\"type\":\"module\",\"module\":%u,\"build_id\":\"%s\",\"file_size\":%" PRIu64 ",\"text_hash\":%" PRIu64, number, hex,
	       module->file_size, module->text_hash);
	int status = put_text("path", module->path, e);
	puts("}");
	return status ? status : check_output(e);
}

/* "module" is left out for a place in none. */
static void put_place(const char *module_name, uint32_t module, const char *name, uint64_t address)
{
	if (module != PROFILE_NO_MODULE)
		printf("\"%s\":%u,", module_name, module);
	printf("\"%s\":%" PRIu64, name, address);
}

static int show_sample(void *context, const struct profile_sample *s, const struct profile_branch *branches, struct err *e)
{
	(void)context;
	printf("{\"type\":\"sample\",\"time_ns\":%" PRIu64 ",\"thread\":%u,", s->time_ns, s->thread);
	put_place("module", s->module, "address", s->address);
	for (uint32_t i = 0; i < s->branch_count; i++) {
		fputs(i ? ",{" : ",\"branches\":[{", stdout);
		put_place("from_module", branches[i].from_module, "from", branches[i].from);
		putchar(',');
		put_place("to_module", branches[i].to_module, "to", branches[i].to);
		fputs(branches[i].mispredicted ? ",\"mispredicted\":true}" : "}", stdout);
	}
	puts(s->branch_count ? "]}" : "}");
	return check_output(e);
}

static int show_window(void *context, const struct profile_window *w, const struct profile_place *places, const uint32_t *steps,
		       struct err *e)
{
	(void)context;
	printf("{\"type\":\"window\",\"time_ns\":%" PRIu64 ",\"thread\":%u,\"gap\":%s,\"steps\":%u}\n", w->time_ns, w->thread,
	       w->gap ? "true" : "false", w->step_count);
	for (uint32_t i = 0; i < w->step_count; i++) {
		fputs("{\"type\":\"step\",", stdout);
		put_place("module", places[steps[i]].module, "address", places[steps[i]].address);
		puts("}");
	}
	return check_output(e);
}

static int show_count(void *context, const struct profile_count *c, struct err *e)
{
	(void)context;
	fputs("{\"type\":\"count\",", stdout);
	put_place("module", c->module, "address", c->address);
	printf(",\"count\":%" PRIu64 "}\n", c->count);
	return check_output(e);
}

static int show_edge(void *context, const struct profile_edge *edge, struct err *e)
{
	static const char *const kinds[] = {"jump", "call", "return", "run"};
	(void)context;
	printf("{\"type\":\"edge\",\"kind\":\"%s\",", kinds[edge->kind]);
	put_place("from_module", edge->from_module, "from", edge->from);
	putchar(',');
	put_place("to_module", edge->to_module, "to", edge->to);
	printf(",\"count\":%" PRIu64 ",\"mispredicted\":%" PRIu64 "}\n", edge->count, edge->mispredicted);
	return check_output(e);
}

static int show_end(void *context, const struct profile_info *info, bool complete, struct err *e)
{
	(void)context;
	if (info->lost || info->throttled)
		printf("{\"type\":\"lost\",\"samples\":%" PRIu64 ",\"throttled\":%" PRIu64 "}\n", info->lost, info->throttled);
	printf("{\"type\":\"end\",\"complete\":%s,\"duration_ns\":%" PRIu64 ",\"target_cpu_ns\":%" PRIu64 ",\"recorder_cpu_ns\":%" PRIu64
	       "}\n",
	       complete ? "true" : "false", info->duration_ns, info->target_cpu_ns, info->recorder_cpu_ns);
	fflush(stdout);
	return check_output(e);
}

static const struct replay_sink lines = {NULL, show_begin, show_module, show_sample, show_window, show_count, show_edge, show_end};

/* --- as a profile --- */

static int report(const struct cli *cli, const struct output *output, uint64_t samples, uint64_t steps, struct err *e)
{
	FILE *out = output->is_stdout ? stderr : stdout;
	char name[TEXT_MAX];
	if (!cli_json(cli)) {
		fprintf(out, "%s: %" PRIu64 " samples", output->name, samples);
		fprintf(out, steps ? ", %" PRIu64 " steps of a course\n" : "\n", steps);
		return 0;
	}
	json_t *root = json_pack("{s:s, s:I, s:I}", "file", escape(output->name, name, sizeof name), "samples", (json_int_t)samples,
				 "steps", (json_int_t)steps);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static int replay_to_profile(const struct cli *cli, const struct file_data *file, const char *name, const struct replay_window *window,
			     struct err *e)
{
	struct replay_writer *writer = NULL;
	struct replay_sink sink;
	struct output output;
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, not a silent death */
	int status = output_open(cli_string(cli, "output", "-"), &output, e);
	if (status)
		return status;
	status = replay_writer_new(output.fd, output.name, window, &writer, &sink, e);
	if (!status)
		status = replay_run(file->data, file->size, name, window, &sink, e);
	if (status)
		output_abandon(&output);
	else
		status = output_close(&output, e);
	if (!status)
		status = report(cli, &output, replay_writer_samples(writer), replay_writer_steps(writer), e);
	replay_writer_free(writer);
	return status;
}

static int read_window(const struct cli *cli, struct replay_window *ret_window, struct err *e)
{
	double from = cli_real(cli, "from", 0), to = cli_real(cli, "to", 1e9);
	if (!(from >= 0 && from <= 1e9 && to >= 0 && to <= 1e9))
		return err_set(e, ERR_USAGE, "--from and --to are seconds: from 0 to 1e9");
	if (from >= to)
		return err_set(e, ERR_USAGE, "--from %g --to %g: an empty window", from, to);
	*ret_window = (struct replay_window){
	    .from_ns = (uint64_t)(from * 1e9 + 0.5),
	    .to_ns = cli_has(cli, "to") ? (uint64_t)(to * 1e9 + 0.5) : UINT64_MAX,
	    .whole = !cli_has(cli, "from") && !cli_has(cli, "to"),
	};
	return 0;
}

static int run(const struct cli *cli, struct err *e)
{
	const char *path = cli_argument(cli, 0), *name = strcmp(path, "-") ? path : "stdin";
	struct replay_window window;
	struct file_data file;
	int status = read_window(cli, &window, e);
	if (!status)
		status = file_read(path, &file, e);
	if (status)
		return status;
	if (cli_has(cli, "output")) {
		status = replay_to_profile(cli, &file, name, &window, e);
	} else {
		setvbuf(stdout, NULL, _IOFBF, BUFFER_SIZE);
		status = replay_run(file.data, file.size, name, &window, &lines, e);
	}
	file_data_free(&file);
	return status;
}

static const struct cli_option options[] = {
    {"from", 0, CLI_REAL, "SECONDS", "only what was recorded from so long after the start"},
    {"to", 0, CLI_REAL, "SECONDS", "and before so long after the start"},
    {"output", 'o', CLI_STRING, "FILE", "a profile of that instead of text, \"-\" for stdout"},
    {0},
};

const struct cli_verb cmd_replay = {
    .name = "replay",
    .arguments = "FILE [--from SECONDS] [--to SECONDS] [-o FILE|-]",
    .summary = "play a profile in the order in which it was recorded",
    .details = "One JSON object per line: start, module, sample (with its branches, newest first), window (of a recorded course, with its\n"
	       "steps), step, count, edge, lost, end. With -o it is a\n"
	       "profile again, e.g. of a window: repave-profile replay P --from 1 --to 2 -o - | repave-analyze plan --profile - MAP...\n"
	       "Totals (counts, edges, lost samples, CPU times) belong to no window and are left out of one.",
    .options = options,
    .minimum = 1,
    .maximum = 1,
    .run = run,
};
