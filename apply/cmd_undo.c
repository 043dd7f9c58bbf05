#include "apply/journal.h"
#include "apply/undo.h"
#include "apply/verbs.h"
#include "formats/base/escape.h"

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
	verb_print_cut(r->calls_cut);
	if (r->breakpoints)
		printf("  %u breakpoints or uprobes of somebody else stay, with the original code around them\n", r->breakpoints);
	if (r->kept)
		printf("  the image stays mapped: %s; nothing new enters it, undo again to free it%s\n", r->kept_because,
		       r->hooked ? " (what unwinders ask stays redirected until then, or until another plan is applied)" : "");
	else
		printf("  %" PRIu64 " KB unmapped, nothing of ours remains\n", r->freed >> 10);
	if (r->map_removed)
		printf("  its perf map is removed\n");
	if (r->map_left[0])
		printf("  a perf map, if there is one, stays: %s\n", r->map_left);
}

static int print_json(pid_t pid, const struct undo_report *r, struct err *e)
{
	json_t *root = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:I, s:b, s:b, s:s, s:b, s:i}", "pid", (int)pid, "patches",
				 (int)r->patches, "threads", (int)r->threads, "moved", (int)r->moved, "returns", (int)r->returns, "stops",
				 (int)r->stops, "breakpoints", (int)r->breakpoints, "pause_ms", (double)r->pause / 1e6, "freed_bytes",
				 (json_int_t)r->freed, "kept", (int)r->kept, "hooked", (int)r->hooked, "kept_because", r->kept_because,
				 "perf_map_removed", (int)r->map_removed, "calls_cut", (int)r->calls_cut);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for the report");
	json_dumpf(root, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(root);
	return 0;
}

static uint64_t mapped_bytes(const struct journal *j)
{
	uint64_t bytes = j->mapped;
	for (uint32_t i = 0; i < j->region_count; i++)
		bytes += j->regions[i].code_mapped + j->regions[i].data_mapped + j->regions[i].counters_mapped;
	return bytes;
}

/* What was not reaped, and why; what is applied is not meant. */
static int print_reaped(const struct cli *cli, const struct target *t, const struct undo_report *r, const struct journal *list,
			uint32_t count, uint32_t *ret_left)
{
	json_t *kept = json_array();
	bool applied = false;
	if (!cli_json(cli))
		printf("process %d: %" PRIu64 " KB unmapped\n", t->pid, r->freed >> 10);
	*ret_left = 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct journal *j = &list[i];
		if (journal_is_live(j)) {
			applied = true;
			continue;
		}
		++*ret_left;
		json_array_append_new(kept, json_pack("{s:I, s:I, s:s}", "address", (json_int_t)j->address.v, "bytes",
						      (json_int_t)mapped_bytes(j), "kept_because", escape_shown(j->kept_because)));
		if (!cli_json(cli))
			printf("  %" PRIu64 " KB stay, with their journal at 0x%" PRIx64 ": %s\n", mapped_bytes(j) >> 10, j->address.v,
			       escape_shown(j->kept_because));
	}
	json_t *root = json_pack("{s:i, s:I, s:f, s:b, s:o}", "pid", (int)t->pid, "freed_bytes", (json_int_t)r->freed, "pause_ms",
				 (double)r->pause / 1e6, "applied", (int)applied, "kept", kept);
	if (root && cli_json(cli)) {
		json_dumpf(root, stdout, JSON_INDENT(2));
		printf("\n");
	}
	json_decref(root);
	return root ? 0 : -ERR_MEMORY;
}

static int report_reaped(const struct cli *cli, struct target *t, const struct undo_report *r, struct err *e)
{
	struct journal *list;
	uint32_t count, left;
	int status = target_refresh(t, e);
	if (!status)
		status = journals_load(t, &list, &count, e);
	if (status)
		return status;
	status = print_reaped(cli, t, r, list, count, &left);
	journals_free(list, count);
	if (status)
		return err_set(e, ERR_MEMORY, "no memory for the report");
	return left ? err_set(e, ERR_BUSY, "process %d: %u of them cannot be freed yet", t->pid, left) : 0;
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
	    .reap = cli_has(cli, "reap"),
	};
	struct undo_report report;
	status = target_check(&t, e);
	if (!status)
		status = undo_process(&t, &options, &report, e);
	if (!status && options.reap)
		status = report_reaped(cli, &t, &report, e);
	else if (!status && cli_json(cli))
		status = print_json(t.pid, &report, e);
	else if (!status)
		print_text(t.pid, &report);
	target_close(&t);
	return status;
}

static const struct cli_option options[] = {
    VERB_PID_OPTION,
    {"reap", 0, CLI_FLAG, NULL, "only free what earlier undos kept and killed tools left; what is applied stays"},
    {"max-pause", 0, CLI_REAL, "MS", "give up when stopping all threads takes longer (default 100)"},
    VERB_CUT_OPTION,
    VERB_LIMITS_OPTION,
    {"tries", 0, CLI_NUMBER, "N", "stops to try before giving up or keeping the image (default 20)"},
    {0},
};

const struct cli_verb verb_undo = {
    .name = "undo",
    .arguments = "-p PID",
    .summary = "put the original code back and free the image",
    .details =
	"Needs no plan: what was done is written in the process. Also repairs what a killed repave-apply left, and frees an image that\n"
	"an earlier undo had to keep. A perf map that `symbols` made is removed, if it holds what was written and nothing else.\n"
	"With --reap it only frees what was kept: exit status 0 when nothing of that is left, 75 when something stays, which is said with\n"
	"the reason.",
    .options = options,
    .minimum = 0,
    .maximum = 0,
    .run = run,
};
