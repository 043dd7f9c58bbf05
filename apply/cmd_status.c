#include "apply/journal.h"
#include "apply/pagemap.h"
#include "apply/verbs.h"
#include "formats/base/escape.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *answer(const struct journal *j)
{
	switch (j->state) {
	case JOURNAL_STAGING:
		return "half applied, nothing redirected yet";
	case JOURNAL_PATCHING:
		return "half applied";
	case JOURNAL_APPLIED:
		return "applied";
	case JOURNAL_UNDOING:
		return "being undone";
	case JOURNAL_UNMAPPING:
		return "being undone, image not freed yet";
	default:
		return strcmp(j->kept_because, JOURNAL_FREEING) ? "undone, image kept" : "being undone, image not freed yet";
	}
}

static uint32_t made(const struct journal *j)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < j->patch_count; i++)
		count += j->patches[i].state == PATCH_WANTED;
	return count;
}

static void print_journal(const struct target *t, const struct journal *j)
{
	char when[64] = "?";
	time_t seconds = (time_t)j->applied_at;
	struct tm tm;
	if (localtime_r(&seconds, &tm))
		strftime(when, sizeof when, "%F %T", &tm);
	printf("process %d: %s, since %s, by repave-apply %s%s\n", t->pid, answer(j), when, escape_shown(j->version),
	       j->start_time == t->start_time ? "" : ", inherited by fork");
	if (j->state == JOURNAL_UNDOING && j->kept_because[0])
		printf("  the image stays mapped because: %s\n  what unwinders ask stays redirected to it; undo again to finish\n",
		       escape_shown(j->kept_because));
	else if (j->state != JOURNAL_APPLIED && j->state != JOURNAL_REVERTED)
		printf("  a tool was killed while %s; the process runs correctly; undo takes it back\n", journal_state_text(j->state));
	if (j->state == JOURNAL_REVERTED)
		printf("  the image stays mapped because: %s\n", escape_shown(j->kept_because));
	printf("  %u patches%s, plan %016" PRIx64 "\n", made(j),
	       j->state == JOURNAL_REVERTED || j->state == JOURNAL_UNMAPPING ? " (taken back)" : "", j->plan_hash);
	for (unsigned i = 1; i < PATCH_STATE_COUNT; i++)
		if (j->dropped[i])
			printf("  %u patches not made (reason %u)\n", j->dropped[i], i);
	for (uint32_t i = 0; i < j->region_count; i++) {
		const struct journal_region *r = &j->regions[i];
		uint64_t huge;
		if (r->counters_mapped)
			printf("  it counts what runs, which makes the process slower; undo takes it out\n");
		printf("  %s: %u functions, %u left out, %" PRIu64 " KB at 0x%" PRIx64, escape_shown(r->module.path),
		       r->functions - r->left_out, r->left_out, r->code_size >> 10, r->code.v);
		if (pagemap_huge_bytes(t->task, r->code, r->code_mapped, &huge))
			printf(", %" PRIu64 " KB in huge pages", huge >> 10);
		printf("\n");
	}
}

static json_t *journal_json(const struct target *t, const struct journal *j)
{
	json_t *regions = json_array();
	for (uint32_t i = 0; i < j->region_count; i++) {
		const struct journal_region *r = &j->regions[i];
		uint64_t huge;
		bool told = pagemap_huge_bytes(t->task, r->code, r->code_mapped, &huge);
		json_array_append_new(regions, json_pack("{s:s, s:I, s:I, s:i, s:i, s:b, s:o}", "path", escape_shown(r->module.path),
							 "address", (json_int_t)r->code.v, "code_bytes", (json_int_t)r->code_size,
							 "functions", (int)(r->functions - r->left_out), "left_out", (int)r->left_out,
							 "counting", (int)(r->counters_mapped != 0), "huge_bytes",
							 told ? json_integer((json_int_t)huge) : json_null()));
	}
	return json_pack("{s:s, s:s, s:s, s:I, s:b, s:i, s:s, s:o}", "state", journal_state_text(j->state), "answer", answer(j), "version",
			 escape_shown(j->version), "applied_at", (json_int_t)j->applied_at, "inherited",
			 (int)(j->start_time != t->start_time), "patches", (int)made(j), "kept_because", escape_shown(j->kept_because),
			 "modules", regions);
}

static int print_all(const struct cli *cli, const struct target *t, const struct journal *list, uint32_t count, struct err *e)
{
	if (!cli_json(cli)) {
		if (!count)
			printf("process %d: not applied\n", t->pid);
		for (uint32_t i = count; i-- > 0;)
			print_journal(t, &list[i]);
		return 0;
	}
	json_t *plans = json_array();
	for (uint32_t i = count; i-- > 0;)
		json_array_append_new(plans, journal_json(t, &list[i]));
	json_t *root = json_pack("{s:i, s:b, s:o}", "pid", (int)t->pid, "applied",
				 (int)(journals_live((struct journal *)(uintptr_t)list, count) != NULL), "plans", plans);
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
	struct journal *list;
	uint32_t count;
	int status = verb_open_target(cli, &t, e);
	if (status)
		return status;
	status = journals_load(&t, &list, &count, e);
	if (!status) {
		status = print_all(cli, &t, list, count, e);
		journals_free(list, count);
	}
	target_close(&t);
	return status;
}

static const struct cli_option options[] = {VERB_PID_OPTION, {0}};

const struct cli_verb verb_status = {
    .name = "status",
    .arguments = "-p PID",
    .summary = "what is applied to a process",
    .details =
	"Read from the journal in the process itself. Exit status 0 whether or not something is applied. The process is not stopped.",
    .options = options,
    .minimum = 0,
    .maximum = 0,
    .run = run,
};
