#include "apply/count.h"
#include "apply/verbs.h"
#include "formats/base/file.h"
#include "formats/base/escape.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define DEFAULT_SECONDS 1.0
#define MAX_SECONDS 60
#define DEFAULT_MAX_PAUSE_MS 100
#define DEFAULT_TRIES 10

/* A reader of our output learns when and where it counts: one line of JSON, at once. */
static void tell_counting(void *context, const struct apply_report *r)
{
	json_t *regions = json_array();
	for (uint32_t i = 0; i < r->module_count; i++) {
		const struct apply_module *m = &r->modules[i];
		if (!m->skipped[0])
			json_array_append_new(regions, json_pack("{s:s, s:I, s:I}", "path", escape_shown(m->path), "address",
								 (json_int_t)m->code.v, "code_bytes", (json_int_t)m->code_size));
	}
	json_t *root = json_pack("{s:s, s:f, s:o}", "state", "counting", "pause_ms", (double)r->pause / 1e6, "modules", regions);
	if (!root)
		return; /* the count goes on; who waits for the line sees the end of the output */
	json_dumpf(root, context, JSON_COMPACT);
	fputc('\n', context);
	fflush(context);
	json_decref(root);
}

static int print_json(FILE *out, pid_t pid, const struct count_result *r, struct err *e)
{
	json_t *root =
	    json_pack("{s:s, s:i, s:i, s:i, s:f, s:i, s:I, s:I, s:i, s:f, s:f, s:b, s:s}", "state", "done", "pid", (int)pid,
		      "children_undone", (int)r->children, "children_left", (int)r->children_left, "seconds", (double)r->counted_ns / 1e9,
		      "counters", (int)r->counters, "readings", (json_int_t)r->readings, "targets_elsewhere", (json_int_t)r->elsewhere,
		      "patches", (int)r->apply.patches[PATCH_WANTED], "apply_pause_ms", (double)r->apply.pause / 1e6, "undo_pause_ms",
		      (double)r->undo.pause / 1e6, "kept", (int)r->undo.kept, "kept_because", r->undo.kept_because);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for the report");
	json_dumpf(root, out, JSON_COMPACT);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static void print_text(FILE *out, pid_t pid, const struct count_result *r)
{
	fprintf(out, "process %d: counted for %.2f s with %u counters, %u patches; paused for %.2f and %.2f ms; taken out again\n", pid,
		(double)r->counted_ns / 1e9, r->counters, r->apply.patches[PATCH_WANTED], (double)r->apply.pause / 1e6,
		(double)r->undo.pause / 1e6);
	if (r->children || r->children_left)
		fprintf(out, "  %u processes forked meanwhile taken out as well; %u could not be: undo them\n", r->children,
			r->children_left);
	if (r->undo.kept)
		fprintf(out, "  the image stays mapped: %s; nothing new enters it, undo again to free it\n", r->undo.kept_because);
}

static int write_profile(const struct profile *p, const char *output, struct err *e)
{
	struct writer w = {0};
	int status = profile_encode(p, &w, e);
	if (!status)
		status = file_write(output, w.data, w.size, e);
	writer_free(&w);
	return status;
}

/* SIGTERM and the like end the count early, through undo; so does the death of whoever started us, when asked for. */
static int open_stop(bool with_parent, struct err *e)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pid_t parent = getppid();
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (with_parent) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			raise(SIGTERM);
	}
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? err_set_errno(e, errno, "signalfd") : fd;
}

static int count_in(const struct cli *cli, struct target *t, const struct plan *plan, struct err *e)
{
	const char *output = cli_string(cli, "output", "counts.rprof");
	FILE *out = strcmp(output, "-") ? stdout : stderr;
	struct count_options options = {
	    .apply = {.max_pause = (uint64_t)(cli_real(cli, "max-pause", DEFAULT_MAX_PAUSE_MS) * 1e6),
		      .tries = (uint32_t)cli_number(cli, "tries", DEFAULT_TRIES)},
	    .seconds = cli_real(cli, "seconds", DEFAULT_SECONDS),
	    .counting = cli_json(cli) ? tell_counting : NULL,
	    .context = out,
	};
	struct count_result result;
	if (!(options.seconds > 0 && options.seconds <= MAX_SECONDS))
		return err_set(e, ERR_USAGE, "--seconds must be above 0 and at most %d", MAX_SECONDS);
	options.stop_fd = open_stop(cli_has(cli, "with-parent"), e);
	if (options.stop_fd < 0)
		return options.stop_fd;
	int status = count_run(t, plan, &options, &result, e);
	close(options.stop_fd);
	if (status)
		return status;
	status = write_profile(&result.profile, output, e);
	if (!status && cli_json(cli))
		status = print_json(out, t->pid, &result, e);
	else if (!status)
		print_text(out, t->pid, &result);
	count_result_free(&result);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct plan plan;
	struct target t;
	int status = apply_read_plan(cli_argument(cli, 0), &plan, e);
	if (status)
		return status;
	status = verb_open_target(cli, &t, e);
	if (!status) {
		status = count_in(cli, &t, &plan, e);
		target_close(&t);
	}
	plan_free(&plan);
	return status;
}

static const struct cli_option options[] = {
    VERB_PID_OPTION,
    {"seconds", 0, CLI_REAL, "S", "count for this long (default 1)"},
    {"output", 'o', CLI_STRING, "FILE", "write the counts here (- for stdout); default counts.rprof"},
    {"max-pause", 0, CLI_REAL, "MS", "give up when stopping all threads takes longer (default 100)"},
    VERB_CUT_OPTION,
    VERB_LIMITS_OPTION,
    {"tries", 0, CLI_NUMBER, "N", "stops to try before giving up (default 10)"},
    {"with-parent", 0, CLI_FLAG, NULL, "stop counting when the process that started this one ends"},
    {0},
};

const struct cli_verb verb_count = {
    .name = "count",
    .arguments = "-p PID PLAN [-o FILE]",
    .summary = "count what a running process executes, by a counting plan",
    .details =
	"The plan comes from repave-analyze plan --counting, or --count-exits. It is applied, runs for a moment, is read and taken out\n"
	"again, also on SIGINT and SIGTERM. The counts are not complete by themselves: repave-analyze complete works out the rest, and\n"
	"repave-analyze exits how often the image was left. repave-profile record --exact does all of the former.",
    .options = options,
    .minimum = 1,
    .maximum = 1,
    .run = run,
};
