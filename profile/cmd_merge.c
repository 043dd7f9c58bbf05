#include "profile/commands.h"
#include "profile/merge/merge.h"

#include "formats/base/bytes.h"
#include "formats/base/escape.h"
#include "formats/base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SHOWN_MAX = 20 }; /* of the refusals of skipped files */

struct job {
	struct merge *merge;
	bool skip_bad, progress;
	uint64_t skipped, shown_ns;
	json_t *refusals; /* texts of the first ones skipped */
};

static void show_progress(struct job *job)
{
	struct merge_totals t;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (ns - job->shown_ns < 250000000)
		return;
	job->shown_ns = ns;
	merge_totals_of(job->merge, &t);
	fprintf(stderr, "\r%" PRIu64 " profiles  %zu addresses  %zu edges ", t.files, t.addresses, t.edges);
}

/* May the merge go on without this file? Not when the set of files makes no sense or memory is out. */
static bool is_bad_file(int status)
{
	return status == -ERR_FORMAT || status == -ERR_UNSUPPORTED || status == -ERR_MISSING || status == -ERR_PERMISSION ||
	       status == -ERR_IO;
}

static int add_file(struct job *job, const char *path, uint64_t weight, struct err *e)
{
	struct err own = {0};
	struct file_data file;
	int status = file_read(path, &file, &own);
	if (!status) {
		status = merge_add(job->merge, file.data, file.size, strcmp(path, "-") ? path : "stdin", weight, &own);
		file_data_free(&file);
	}
	if (job->progress)
		show_progress(job);
	if (status && job->skip_bad && is_bad_file(status)) {
		char text[sizeof own.text];
		if (job->skipped++ < SHOWN_MAX)
			json_array_append_new(job->refusals, json_string(escape(own.text, text, sizeof text)));
		return 0;
	}
	if (status && e)
		*e = own;
	return status;
}

/* "3:FILE" */
static int add_weighted(struct job *job, const char *text, struct err *e)
{
	char *end;
	errno = 0;
	unsigned long long weight = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != ':' || !end[1] || !weight || errno)
		return err_set(e, ERR_USAGE, "--weight %s: expected N:FILE, N from 1", text);
	return add_file(job, end + 1, weight, e);
}

static int add_listed(struct job *job, FILE *list, const char *name, struct err *e)
{
	char *line = NULL;
	size_t capacity = 0;
	int status = 0;
	for (ssize_t length; !status && (length = getline(&line, &capacity, list)) > 0;) {
		if (line[length - 1] == '\n')
			line[--length] = 0;
		if (memchr(line, 0, (size_t)length))
			status = err_set(e, ERR_FORMAT, "%s: NUL in a name", name);
		else if (length)
			status = add_file(job, line, 1, e);
	}
	if (!status && !feof(list)) /* also for want of memory */
		status = err_set_errno(e, errno, "%s", name);
	free(line);
	return status;
}

static int add_list(struct job *job, const char *path, struct err *e)
{
	if (!strcmp(path, "-"))
		return add_listed(job, stdin, "stdin", e);
	FILE *list = fopen(path, "re");
	if (!list)
		return err_set_errno(e, errno, "%s", path);
	int status = add_listed(job, list, path, e);
	fclose(list);
	return status;
}

static int add_all(struct job *job, const struct cli *cli, struct err *e)
{
	int status = 0;
	for (int i = 0; i < cli_argument_count(cli) && !status; i++)
		status = add_file(job, cli_argument(cli, i), 1, e);
	for (int i = 0; cli_string_at(cli, "weight", i) && !status; i++)
		status = add_weighted(job, cli_string_at(cli, "weight", i), e);
	for (int i = 0; cli_string_at(cli, "list", i) && !status; i++)
		status = add_list(job, cli_string_at(cli, "list", i), e);
	return status;
}

static int write_profile(const struct profile *profile, const char *output, size_t *ret_bytes, struct err *e)
{
	struct writer w = {0};
	int status = profile_encode(profile, &w, e);
	if (!status)
		status = file_write(output, w.data, w.size, e);
	*ret_bytes = w.size;
	writer_free(&w);
	return status;
}

static int report(const struct cli *cli, const struct job *job, const struct merge_totals *t, const struct profile *p, size_t bytes,
		  struct err *e)
{
	const char *output = cli_string(cli, "output", "merged.rprof");
	FILE *out = strcmp(output, "-") ? stdout : stderr;
	const char *refusal;
	size_t i;
	json_t *item;
	if (cli_json(cli)) {
		char name[4096];
		json_t *root = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:I}", "file",
					 escape(output, name, sizeof name), "source", profile_source_name(p->info.source), "profiles",
					 (json_int_t)t->files, "incomplete", (json_int_t)t->incomplete, "weight", (json_int_t)t->weight,
					 "samples_left_out", (json_int_t)t->left_out, "steps_left_out", (json_int_t)t->steps, "addresses",
					 (json_int_t)t->addresses, "edges", (json_int_t)t->edges, "modules", (json_int_t)t->modules,
					 "skipped", (json_int_t)job->skipped, "refusals", job->refusals, "bytes", (json_int_t)bytes);
		if (!root)
			return err_set(e, ERR_MEMORY, "no memory for JSON");
		json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		fputc('\n', out);
		json_decref(root);
		return 0;
	}
	fprintf(out, "%" PRIu64 " profiles (%s): %" PRIu64 " %s; %zu addresses, %zu edges in %zu modules; %zu bytes\n", t->files,
		profile_source_name(p->info.source), t->weight, p->info.source == PROFILE_EXACT ? "instructions executed" : "samples",
		t->addresses, t->edges, t->modules, bytes);
	if (t->incomplete)
		fprintf(out, "%" PRIu64 " of them are incomplete: their recorder was killed\n", t->incomplete);
	if (t->left_out)
		fprintf(out, "%" PRIu64 " samples of exact profiles left out: counts say more\n", t->left_out);
	if (t->steps)
		fprintf(out, "%" PRIu64 " steps of recorded courses left out: an order has no sum\n", t->steps);
	json_array_foreach(job->refusals, i, item)
	{
		refusal = json_string_value(item);
		fprintf(out, "skipped: %s\n", refusal ? refusal : "?");
	}
	if (job->skipped > SHOWN_MAX)
		fprintf(out, "skipped: %" PRIu64 " more\n", job->skipped - SHOWN_MAX);
	return 0;
}

static int finish(struct job *job, const struct cli *cli, struct err *e)
{
	const char *output = cli_string(cli, "output", "merged.rprof");
	struct merge_totals totals;
	struct profile p;
	size_t bytes = 0;
	merge_totals_of(job->merge, &totals);
	if (!totals.files)
		return err_set(e, ERR_FORMAT, "none of %" PRIu64 " files can be read as a profile; the first: %s", job->skipped,
			       job->skipped ? json_string_value(json_array_get(job->refusals, 0)) : "there is none");
	int status = merge_finish(job->merge, &p, e);
	if (status)
		return status;
	status = write_profile(&p, output, &bytes, e);
	if (!status)
		status = report(cli, job, &totals, &p, bytes, e);
	profile_free(&p);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct job job = {.skip_bad = cli_has(cli, "skip-bad"), .progress = isatty(STDERR_FILENO)};
	if (!cli_argument_count(cli) && !cli_has(cli, "list") && !cli_has(cli, "weight"))
		return err_set(e, ERR_USAGE, "which profiles? FILE..., --weight N:FILE or --list FILE");
	if (!strcmp(cli_string(cli, "output", ""), "-") && isatty(STDOUT_FILENO))
		return err_set(e, ERR_USAGE, "stdout is a terminal: a profile is not text (use -o FILE)");
	int status = merge_new(&job.merge, e);
	if (status)
		return status;
	job.refusals = json_array();
	status = job.refusals ? add_all(&job, cli, e) : err_set(e, ERR_MEMORY, "no memory for JSON");
	if (job.progress)
		fputs("\r\033[K", stderr);
	if (!status)
		status = finish(&job, cli, e);
	json_decref(job.refusals);
	merge_free(job.merge);
	return status;
}

static const struct cli_option options[] = {
    {"output", 'o', CLI_STRING, "FILE", "the merged profile, \"-\" for stdout (default merged.rprof)"},
    {"weight", 'w', CLI_STRING, "N:FILE", "this one too, N times; may be given several times"},
    {"list", 0, CLI_STRING, "FILE", "and those whose names stand in FILE, one per line; \"-\" for stdin"},
    {"skip-bad", 0, CLI_FLAG, NULL, "leave out and report files that cannot be read, instead of giving up"},
    {0},
};

const struct cli_verb cmd_merge = {
    .name = "merge",
    .arguments = "FILE... [-w N:FILE]... [--list FILE|-] [-o FILE|-]",
    .summary = "add up any number of profiles",
    .details =
	"The result has the same bytes for any order and any grouping of the same profiles, and makes the same plan as all of them.\n"
	"Samples become counts per address, branch records become edges; times and threads are gone. Modules are matched by\n"
	"identity. Profiles of different kinds (exact counts, samples, branch stacks) are not added to each other. A recorded course\n"
	"is left out, and a profile that is nothing else refused: repave-analyze flow makes counts of it.",
    .options = options,
    .minimum = 0,
    .maximum = -1,
    .run = run,
};
