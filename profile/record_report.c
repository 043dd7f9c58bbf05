#include "profile/record_report.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* Own CPU time as a share of the target's. The kernel's part of sampling is charged to the target itself and not in it. */
static double overhead_percent(const struct profile_info *info)
{
	return info->target_cpu_ns ? 100.0 * (double)info->recorder_cpu_ns / (double)info->target_cpu_ns : 0;
}

void report_samples(FILE *out, const struct record_result *r, const char *name)
{
	const struct profile_info *i = &r->info;
	fprintf(out, "source: %s, %s", profile_source_name(i->source), i->event);
	if (i->frequency)
		fprintf(out, ", %" PRIu64 " per second of CPU time\n", i->frequency);
	else
		fprintf(out, ", one in %" PRIu64 "\n", i->period);
	char tried[sizeof r->tried], *save = NULL;
	memcpy(tried, r->tried, sizeof tried);
	for (char *line = strtok_r(tried, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		fprintf(out, "  not available: %s\n", line);
	fprintf(out, "%" PRIu64 " samples", r->samples);
	if (r->branches)
		fprintf(out, " with %" PRIu64 " branches", r->branches);
	fprintf(out,
		" of %" PRIu64 " threads in %" PRIu64 " modules (%" PRIu64 " outside any) in %.2f s; %" PRIu64 " lost, throttled %" PRIu64
		" times\n",
		r->threads, r->modules, r->unattributed, (double)i->duration_ns / 1e9, i->lost, i->throttled);
	if (r->shape.whole_cpus)
		fprintf(out, "watched: %zu whole CPUs, of which what is the target's was kept\n", r->shape.cpus);
	else
		fprintf(out, "watched: %zu threads and those born later, on %zu CPUs, by %zu events\n", r->shape.threads, r->shape.cpus,
			r->shape.events);
	if (i->source == PROFILE_CLOCK && !r->shape.whole_cpus)
		fprintf(out,
			"note: clock events per thread slow down threads that switch often; with CAP_PERFMON whole CPUs are watched\n");
	fprintf(out, "CPU time: target %.3f s, recorder %.3f s (%.2f %%)\n", (double)i->target_cpu_ns / 1e9,
		(double)i->recorder_cpu_ns / 1e9, overhead_percent(i));
	if (r->target_exited)
		fprintf(out, "the target exited while it was recorded\n");
	if (r->bytes)
		fprintf(out, "%s: %" PRIu64 " bytes (%.2f per sample)\n", name, r->bytes,
			r->samples ? (double)r->bytes / (double)r->samples : 0);
}

int report_samples_json(FILE *out, const struct record_result *r, const char *name, struct err *e)
{
	const struct profile_info *i = &r->info;
	json_t *root = json_pack(
	    "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:b, s:b, s:I, s:I}", "file", name,
	    "source", profile_source_name(i->source), "event", i->event, "frequency", (json_int_t)i->frequency, "period",
	    (json_int_t)i->period, "samples", (json_int_t)r->samples, "branches", (json_int_t)r->branches, "unattributed",
	    (json_int_t)r->unattributed, "threads", (json_int_t)r->threads, "modules", (json_int_t)r->modules, "seconds",
	    (double)i->duration_ns / 1e9, "lost", (json_int_t)i->lost, "throttled", (json_int_t)i->throttled, "target_cpu_ns",
	    (json_int_t)i->target_cpu_ns, "recorder_cpu_ns", (json_int_t)i->recorder_cpu_ns, "overhead_percent", overhead_percent(i),
	    "events", (json_int_t)r->shape.events, "threads_at_start", (json_int_t)r->shape.threads, "whole_cpus", r->shape.whole_cpus,
	    "target_exited", r->target_exited, "bytes", (json_int_t)r->bytes, "longest_look_ns", (json_int_t)r->pause_max_ns);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

void report_exact(FILE *out, const struct exact_result *r, const char *name)
{
	fprintf(out, "source: live counting in %u rounds, found by %" PRIu64 " samples of %s\n", r->rounds, r->samples, r->event);
	fprintf(out, "%" PRIu64 " blocks ran %" PRIu64 " times; %" PRIu64 " counters for %.2f s%s\n", r->blocks, r->executions, r->counters,
		r->counted_seconds, r->cut_short ? ", cut short: it became too slow" : "");
	if (r->slowdown > 0)
		fprintf(out, "slowdown meanwhile: about %.2f times; ", r->slowdown);
	fprintf(out, "paused for %.2f and %.2f ms to begin and end\n", r->apply_pause_ms, r->undo_pause_ms);
	if (r->why_ended[0])
		fprintf(out, "no further round: %s\n", r->why_ended);
	if (r->kept)
		fprintf(out, "the counting image is still mapped, nothing runs in it: repave-apply undo frees it later\n");
	fprintf(out, "%s: %" PRIu64 " bytes\n", name, r->bytes);
}

int report_exact_json(FILE *out, const struct exact_result *r, const char *name, struct err *e)
{
	json_t *root =
	    json_pack("{s:s, s:s, s:i, s:I, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:b, s:s*, s:b, s:I}", "file", name, "source",
		      "exact", "rounds", (int)r->rounds, "samples", (json_int_t)r->samples, "samples_event", r->event, "blocks",
		      (json_int_t)r->blocks, "executions", (json_int_t)r->executions, "counters", (json_int_t)r->counters, "guessed_edges",
		      (json_int_t)r->guessed, "seconds", r->counted_seconds, "slowdown", r->slowdown, "apply_pause_ms", r->apply_pause_ms,
		      "undo_pause_ms", r->undo_pause_ms, "cut_short", (int)r->cut_short, "no_further_round",
		      r->why_ended[0] ? r->why_ended : NULL, "kept", (int)r->kept, "bytes", (json_int_t)r->bytes);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

void report_emulated(FILE *out, const struct emulate_result *r, const char *name)
{
	fprintf(out, "source: emulation, %" PRIu64 " windows of up to %" PRIu64 " instructions in %.2f s\n", r->windows, r->info.period,
		(double)r->info.duration_ns / 1e9);
	fprintf(out,
		"%" PRIu64 " instructions, %" PRIu64 " taken branches, %" PRIu64 " system calls of %" PRIu64 " threads in %" PRIu64
		" modules\n",
		r->instructions, r->branches, r->calls, r->threads, r->modules);
	fprintf(out, "a thread at a time stood still, for %.1f ms at most and %.2f s in all\n", (double)r->held_max_ns / 1e6,
		(double)r->held_ns / 1e9);
	fprintf(out, "ends of windows:");
	for (int i = 0; i < CPU_ENDS; i++)
		if (r->ends[i])
			fprintf(out, " %" PRIu64 " %s,", r->ends[i], cpu_end_name(i));
	fprintf(out, " %" PRIu64 " with a wrong forecast, thrown away; %" PRIu64 " empty\n", r->wrong, r->empty);
	if (r->target_exited)
		fprintf(out, "the target exited while it was recorded\n");
	if (r->bytes)
		fprintf(out, "%s: %" PRIu64 " bytes (%.2f per branch)\n", name, r->bytes,
			r->branches ? (double)r->bytes / (double)r->branches : 0);
}

int report_emulated_json(FILE *out, const struct emulate_result *r, const char *name, struct err *e)
{
	json_t *ends = json_object();
	for (int i = 0; i < CPU_ENDS; i++)
		json_object_set_new(ends, cpu_end_name(i), json_integer((json_int_t)r->ends[i]));
	json_t *root = json_pack(
	    "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:b, s:I, s:o}", "file", name, "source",
	    profile_source_name(r->info.source), "event", r->info.event, "windows", (json_int_t)r->windows, "instructions",
	    (json_int_t)r->instructions, "branches", (json_int_t)r->branches, "calls", (json_int_t)r->calls, "wrong", (json_int_t)r->wrong,
	    "empty", (json_int_t)r->empty, "threads", (json_int_t)r->threads, "modules", (json_int_t)r->modules, "unattributed",
	    (json_int_t)r->unattributed, "held_ns", (json_int_t)r->held_ns, "held_max_ns", (json_int_t)r->held_max_ns, "seconds",
	    (double)r->info.duration_ns / 1e9, "target_exited", (int)r->target_exited, "bytes", (json_int_t)r->bytes, "ends", ends);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}
