#include "apply/apply.h"
#include "apply/verbs.h"
#include "formats/base/escape.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define DEFAULT_MAX_PAUSE_MS 100
#define DEFAULT_TRIES 10

static const char *const patch_states[PATCH_STATE_COUNT] = {
    [PATCH_WANTED] = "made",
    [PATCH_LEFT_OUT] = "function differs in memory",
    [PATCH_CROSSES] = "lies on two pages",
    [PATCH_UNREACHED] = "image out of reach",
    [PATCH_PC_INSIDE] = "a saved PC is inside",
};

int verb_open_target(const struct cli *cli, struct target *ret_target, struct err *e)
{
	if (!cli_has(cli, "pid"))
		return err_set(e, ERR_USAGE, "which process? give -p PID");
	uint64_t pid = cli_number(cli, "pid", 0);
	if (!pid || pid > INT32_MAX)
		return err_set(e, ERR_USAGE, "%" PRIu64 " is not a process number", pid);
	/* On a saturated machine an ordinary process queues behind the very load that the target serves; best effort, since it takes privilege. */
	setpriority(PRIO_PROCESS, 0, -20);
	int status = target_open((pid_t)pid, ret_target, e);
	if (status)
		return status;
	ret_target->cut_calls = cli_has(cli, "cut-calls");
	ret_target->shows_limits = cli_has(cli, "show-limits");
	return 0;
}

void verb_print_cut(uint32_t calls)
{
	if (calls)
		printf("  %u calls returned only a part of what they were to write\n", calls);
}

static void print_module(const struct apply_module *m)
{
	if (m->skipped[0]) {
		printf("  left out: %s\n", m->skipped);
		return;
	}
	printf("  %s: %u functions, %" PRIu64 " KB at 0x%" PRIx64, escape_shown(m->path), m->functions - m->left_out, m->code_size >> 10,
	       m->code.v);
	if (m->left_out)
		printf(", %u functions left out (differ in memory)", m->left_out);
	if (m->bound_slots)
		printf(", %u calls bound", m->bound_slots);
	printf("\n");
}

static void print_text(pid_t pid, const struct apply_report *r, bool dry_run)
{
	if (r->repaired)
		printf("took back what a killed tool had left\n");
	if (dry_run)
		printf("process %d: would make %u patches (dry run, nothing changed)\n", pid, r->patches[PATCH_WANTED]);
	else
		printf("process %d: applied, %u patches, %u threads paused for %.2f ms, prepared in %.1f ms\n", pid,
		       r->patches[PATCH_WANTED], r->threads, (double)r->pause / 1e6, (double)r->stage_time / 1e6);
	for (uint32_t i = 0; i < r->module_count; i++)
		print_module(&r->modules[i]);
	for (unsigned i = 1; i < PATCH_STATE_COUNT; i++)
		if (r->patches[i])
			printf("  %u patches not made: %s\n", r->patches[i], patch_states[i]);
	if (r->moved)
		printf("  %u threads moved into the image\n", r->moved);
	if (r->stacks_cut)
		printf("  %u stacks are deeper than was searched for saved PCs\n", r->stacks_cut);
	verb_print_cut(r->calls_cut);
}

static json_t *module_json(const struct apply_module *m)
{
	if (m->skipped[0])
		return json_pack("{s:s, s:s}", "path", escape_shown(m->path), "skipped", m->skipped);
	return json_pack("{s:s, s:I, s:I, s:I, s:i, s:i, s:i}", "path", escape_shown(m->path), "address", (json_int_t)m->code.v,
			 "code_bytes", (json_int_t)m->code_size, "data_bytes", (json_int_t)m->data_size, "functions",
			 (int)(m->functions - m->left_out), "left_out", (int)m->left_out, "bound_calls", (int)m->bound_slots);
}

static int print_json(pid_t pid, const struct apply_report *r, bool dry_run, struct err *e)
{
	json_t *modules = json_array(), *dropped = json_object();
	for (uint32_t i = 0; i < r->module_count; i++)
		json_array_append_new(modules, module_json(&r->modules[i]));
	for (unsigned i = 1; i < PATCH_STATE_COUNT; i++)
		json_object_set_new(dropped, patch_states[i], json_integer(r->patches[i]));
	json_t *root = json_pack("{s:i, s:b, s:b, s:i, s:f, s:f, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "pid", (int)pid, "dry_run",
				 (int)dry_run, "repaired", (int)r->repaired, "patches", (int)r->patches[PATCH_WANTED], "pause_ms",
				 (double)r->pause / 1e6, "stage_ms", (double)r->stage_time / 1e6, "threads", (int)r->threads,
				 "threads_moved", (int)r->moved, "stops", (int)r->stops, "stacks_cut", (int)r->stacks_cut, "calls_cut",
				 (int)r->calls_cut, "modules", modules, "patches_not_made", dropped);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for the report");
	json_dumpf(root, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(root);
	return 0;
}

static int apply_to(const struct cli *cli, struct target *t, const struct plan *plan, struct err *e)
{
	const struct apply_options options = {
	    .max_pause = (uint64_t)(cli_real(cli, "max-pause", DEFAULT_MAX_PAUSE_MS) * 1e6),
	    .tries = (uint32_t)cli_number(cli, "tries", DEFAULT_TRIES),
	    .dry_run = cli_has(cli, "dry-run"),
	    .no_huge = cli_has(cli, "no-huge"),
	    .without_unwind = cli_has(cli, "without-unwind"),
	};
	struct apply_report report;
	int status = apply_plan(t, plan, &options, &report, e);
	if (status)
		return status;
	if (cli_json(cli))
		status = print_json(t->pid, &report, options.dry_run, e);
	else
		print_text(t->pid, &report, options.dry_run);
	apply_report_free(&report);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct plan plan;
	struct target t;
	int status = apply_read_plan(cli_argument(cli, 0), &plan, e);
	if (status)
		return status;
	if (plan_counts(&plan)) {
		plan_free(&plan);
		return err_set(e, ERR_USAGE, "%s: a counting plan, which makes the process slower: see repave-apply count",
			       cli_argument(cli, 0));
	}
	status = verb_open_target(cli, &t, e);
	if (!status) {
		status = apply_to(cli, &t, &plan, e);
		target_close(&t);
	}
	plan_free(&plan);
	return status;
}

static const struct cli_option options[] = {
    VERB_PID_OPTION,
    {"max-pause", 0, CLI_REAL, "MS", "give up when stopping all threads takes longer (default 100)"},
    VERB_CUT_OPTION,
    VERB_LIMITS_OPTION,
    {"tries", 0, CLI_NUMBER, "N", "stops to try before giving up (default 10)"},
    {"dry-run", 'n', CLI_FLAG, NULL, "check everything, change nothing"},
    {"no-huge", 0, CLI_FLAG, NULL, "do not ask for huge pages"},
    {"without-unwind", 0, CLI_FLAG, NULL, "apply although C++ exceptions could not pass through moved code"},
    {0},
};

const struct cli_verb verb_apply = {
    .name = "apply",
    .arguments = "-p PID PLAN",
    .summary = "redirect the hot functions of a running process to the image of a plan",
    .details = "The process is checked against the plan first; all is prepared while it runs; then it is stopped for some milliseconds.\n"
	       "Whatever is refused leaves it untouched. Modules and functions that are not what the plan was made from are left out.",
    .options = options,
    .minimum = 1,
    .maximum = 1,
    .run = run,
};
