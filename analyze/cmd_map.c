#include "analyze/map_batch.h"
#include "analyze/commands.h"
#include "formats/base/escape.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_directory(const char *path)
{
	struct stat s;
	size_t length = strlen(path);
	return (length && path[length - 1] == '/') || (!stat(path, &s) && S_ISDIR(s.st_mode));
}

static const char *state_of(const struct batch_job *job)
{
	return job->status ? "failed" : job->up_to_date ? "up to date" : job->output ? "written" : "mapped";
}

static json_t *tally_json(const struct map_tally *t)
{
	return json_pack("{s:I, s:I}", "functions", (json_int_t)t->functions, "bytes", (json_int_t)t->bytes);
}

static json_t *stats_json(const struct map_stats *s)
{
	json_t *grades = json_object(), *reasons = json_object();
	for (unsigned g = 0; g <= MAP_UNTOUCHABLE; g++)
		json_object_set_new(grades, map_grade_name(g), tally_json(&s->grades[g]));
	for (unsigned r = 0; r < MAP_REASON_COUNT; r++)
		if (s->reasons[r].functions)
			json_object_set_new(reasons, map_reason_name(r), tally_json(&s->reasons[r]));
	return json_pack("{s:o, s:o, s:o, s:f, s:i, s:i, s:i}", "all", tally_json(&s->all), "grades", grades, "reasons", reasons,
			 "movable_percent", map_stats_movable(s), "parts", s->parts, "tables_proven", s->tables_proven,
			 "unknown_jump_functions", s->unknown_jump_functions);
}

static json_t *job_json(const struct batch_job *job)
{
	json_t *o = json_object();
	json_object_set_new(o, "path", json_string(escape_shown(job->path)));
	json_object_set_new(o, "state", json_string(state_of(job)));
	if (job->output)
		json_object_set_new(o, "output", json_string(escape_shown(job->output)));
	if (job->status) {
		json_object_set_new(o, "error", json_string(err_name(job->error.code)));
		json_object_set_new(o, "text", json_string(job->error.text));
		return o;
	}
	if (job->up_to_date)
		return o;
	json_object_set_new(o, "blocks", json_integer(job->blocks));
	json_object_set_new(o, "calls", json_integer(job->calls));
	json_object_set_new(o, "tables", json_integer(job->tables));
	json_object_set_new(o, "seconds", json_real(job->seconds));
	json_object_set_new(o, "stats", stats_json(&job->stats));
	return o;
}

static void print_json(FILE *out, const struct batch *b)
{
	json_t *files = json_array(), *missing = json_array();
	for (size_t i = 0; i < b->count; i++)
		json_array_append_new(files, job_json(&b->jobs[i]));
	for (size_t i = 0; i < b->libraries.missing_count; i++)
		json_array_append_new(missing, json_string(escape_shown(b->libraries.missing[i])));
	json_t *o = json_pack("{s:o, s:o, s:f, s:I}", "files", files, "missing", missing, "seconds", b->seconds, "peak_kib",
			      (json_int_t)b->peak_kib);
	char *text = o ? json_dumps(o, JSON_INDENT(1) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6)) : NULL;
	fprintf(out, "%s\n", text ? text : "{}");
	free(text);
	json_decref(o);
}

static void print_tally(FILE *out, const char *name, const struct map_tally *t, const struct map_tally *all, const char *text)
{
	double share = all->bytes ? 100.0 * (double)t->bytes / (double)all->bytes : 0;
	fprintf(out, "  %-20s %9u functions %11lu bytes %6.2f %%  %s\n", name, t->functions, (unsigned long)t->bytes, share, text);
}

static void print_detail(FILE *out, const struct batch_job *job)
{
	const struct map_stats *s = &job->stats;
	fprintf(out, "%s: %u functions (%u split parts), %u blocks, %u calls, %u jump tables (%u proven), %.3f s\n",
		escape_shown(job->path), s->all.functions, s->parts, job->blocks, job->calls, job->tables, s->tables_proven, job->seconds);
	for (unsigned g = 0; g <= MAP_UNTOUCHABLE; g++)
		print_tally(out, map_grade_name(g), &s->grades[g], &s->all, "");
	for (unsigned r = 0; r < MAP_REASON_COUNT; r++)
		if (s->reasons[r].functions)
			print_tally(out, map_reason_name(r), &s->reasons[r], &s->all, map_reason_text(r));
	fprintf(out, "  %.2f %% of the bytes that unwind information covers can be moved\n", map_stats_movable(s));
}

static void print_line(FILE *out, const struct batch_job *job)
{
	if (job->status)
		fprintf(out, "%-10s %s\n", "failed", job->error.text);
	else if (job->up_to_date)
		fprintf(out, "%-10s %s\n", "up to date", escape_shown(job->path));
	else
		fprintf(out, "%-10s %s: %u functions, %u blocks, %.2f %% movable, %.3f s\n", state_of(job), escape_shown(job->path),
			job->stats.all.functions, job->blocks, map_stats_movable(&job->stats), job->seconds);
}

static void print_text(FILE *out, const struct batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		if (b->count > 1 || b->jobs[i].status || b->jobs[i].up_to_date)
			print_line(out, &b->jobs[i]);
		else
			print_detail(out, &b->jobs[i]);
	}
	for (size_t i = 0; i < b->libraries.missing_count; i++)
		fprintf(out, "%-10s %s\n", "missing", escape_shown(b->libraries.missing[i]));
	fprintf(out, "%zu file%s in %.3f s, peak memory %.1f MiB\n", b->count, b->count == 1 ? "" : "s", b->seconds,
		(double)b->peak_kib / 1024);
}

static int collect(const struct cli *cli, struct batch *b, struct err *e)
{
	int status = 0;
	const char *whitelist = cli_string(cli, "whitelist", NULL);
	for (int i = 0; i < cli_argument_count(cli) && !status; i++)
		status = batch_add(b, cli_argument(cli, i), e);
	if (whitelist && !status)
		status = batch_add_whitelist(b, whitelist, e);
	if (!status && !b->count)
		status = err_set(e, ERR_USAGE, "name an ELF file, or give --whitelist FILE");
	return status;
}

static int set_output(const struct cli *cli, struct batch *b, struct err *e)
{
	const char *output = cli_string(cli, "output", NULL);
	if (!output)
		return cli_has(cli, "whitelist") ? err_set(e, ERR_USAGE, "--whitelist needs -o DIR") : 0;
	if (is_directory(output) || cli_has(cli, "whitelist") || b->count > 1)
		return batch_use_directory(b, output, e);
	b->jobs[0].output = strdup(output);
	return b->jobs[0].output ? 0 : err_set(e, ERR_MEMORY, "no memory");
}

/* The first failure is the verb's; the others stand in the table. */
static int outcome(const struct batch *b, struct err *e)
{
	size_t failed = 0, first = 0;
	for (size_t i = b->count; i--;) {
		if (!b->jobs[i].status)
			continue;
		failed++;
		first = i;
	}
	if (!failed)
		return 0;
	*e = b->jobs[first].error;
	return failed > 1 ? err_prefix(e, "%zu of %zu files failed, the first", failed, b->count) : b->jobs[first].status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct batch b = {.threads = (unsigned)cli_number(cli, "jobs", 0), .force = cli_has(cli, "force")};
	int status = cli_number(cli, "jobs", 0) > 1024 ? err_set(e, ERR_USAGE, "--jobs is at most 1024") : 0;
	if (!status)
		status = collect(cli, &b, e);
	if (!status)
		status = set_output(cli, &b, e);
	if (!status)
		status = batch_run(&b, e);
	if (!status) {
		bool to_stdout = b.jobs[0].output && !strcmp(b.jobs[0].output, "-");
		status = outcome(&b, e);
		if (cli_json(cli) && !to_stdout && !(status && b.count == 1))
			print_json(stdout, &b);
		else if (!(status && b.count == 1))
			print_text(to_stdout ? stderr : stdout, &b);
	}
	batch_free(&b);
	return status;
}

static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, "FILE|DIR", "where to write the map; in a directory it is called NAME-BUILDID.rmap"},
    {"whitelist", 0, CLI_STRING, "FILE", "map every program listed in FILE, one per line, and all libraries they link"},
    {"jobs", 'j', CLI_NUMBER, "N", "threads (default: one per processor); the result does not depend on it"},
    {"force", 0, CLI_FLAG, NULL, "map again what is up to date"},
    {0},
};

const struct cli_verb cmd_map = {
    .name = "map",
    .arguments = "ELF... [-o FILE|DIR]",
    .summary = "find functions, blocks, jump tables and what may be moved",
    .details =
	"Without -o the table is printed and nothing is written. Maps in DIR that are of the same file already are left as they are.",
    .options = options,
    .minimum = 0,
    .maximum = -1,
    .run = run,
};
