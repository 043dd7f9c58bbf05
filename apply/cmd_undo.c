#include "apply/undo.h"
#include "apply/verbs.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#define DEFAULT_MAX_PAUSE_MS 100
#define DEFAULT_TRIES 20

static void print_text(pid_t pid, const struct undo_report *r)
{
	printf("process %d: undone, %u patches taken back, %u threads paused for %.2f ms\n", pid, r->patches, r->threads,
	       (double)r->pause / 1e6);
	printf("  %u PCs and %u return addresses moved home\n", r->moved, r->returns);
	if (r->breakpoints)
		printf("  %u breakpoints or uprobes of somebody else stay, with the original code around them\n", r->breakpoints);
	if (r->kept)
		printf("  the image stays mapped: %s; nothing new enters it, undo again to free it\n", r->kept_because);
	else
		printf("  %" PRIu64 " KB unmapped, nothing of ours remains\n", r->freed >> 10);
	if (r->map_removed)
		printf("  its perf map is removed\n");
	if (r->map_left[0])
		printf("  a perf map, if there is one, stays: %s\n", r->map_left);
}

static int print_json(pid_t pid, const struct undo_report *r, struct err *e)
{
	json_t *root =
	    json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:I, s:b, s:s, s:b}", "pid", (int)pid, "patches", (int)r->patches,
		      "threads", (int)r->threads, "moved", (int)r->moved, "returns", (int)r->returns, "stops", (int)r->stops, "breakpoints",
		      (int)r->breakpoints, "pause_ms", (double)r->pause / 1e6, "freed_bytes", (json_int_t)r->freed, "kept", (int)r->kept,
		      "kept_because", r->kept_because, "perf_map_removed", (int)r->map_removed);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for the report");
	json_dumpf(root, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(root);
	return 0;
}

static int run(const struct cli *cli, struct err *e)
{
	struct target t;
	int status = verb_open_target(cli, &t, e);
	if (status)
		return status;
	const struct undo_options options = {
	    .max_pause = (uint64_t)(cli_real(cli, "max-pause", DEFAULT_MAX_PAUSE_MS) * 1e6),
	    .tries = (uint32_t)cli_number(cli, "tries", DEFAULT_TRIES),
	};
	struct undo_report report;
	status = target_check(&t, e);
	if (!status)
		status = undo_process(&t, &options, &report, e);
	if (!status && cli_json(cli))
		status = print_json(t.pid, &report, e);
	else if (!status)
		print_text(t.pid, &report);
	target_close(&t);
	return status;
}

static const struct cli_option options[] = {
    VERB_PID_OPTION,
    {"max-pause", 0, CLI_REAL, "MS", "give up when stopping all threads takes longer (default 100)"},
    {"tries", 0, CLI_NUMBER, "N", "stops to try before giving up or keeping the image (default 20)"},
    {0},
};

const struct cli_verb verb_undo = {
    .name = "undo",
    .arguments = "-p PID",
    .summary = "put the original code back and free the image",
    .details =
	"Needs no plan: what was done is written in the process. Also repairs what a killed repave-apply left, and frees an image that\n"
	"an earlier undo had to keep. A perf map that `symbols` made is removed, if it holds what was written and nothing else.",
    .options = options,
    .minimum = 0,
    .maximum = 0,
    .run = run,
};
