#include "analyze/commands.h"
#include "analyze/emit/plan_make.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define COUNTING_REENTRIES 4096 /* jump tables lead to original code: each of their targets is a way back in */
#define TORTURE_REENTRIES 1024

struct total {
	struct plan_stats stats;
	double seconds[PLAN_STAGE_COUNT];
	uint32_t patches, slots, runs;
	size_t dropped;
};

struct outcome {
	const struct plan_make_result *result;
	const char *output;
	size_t bytes;	 /* of the plan file */
	double wall;	 /* seconds */
	uint64_t memory; /* peak KiB */
};

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void add_stats(struct plan_stats *sum, const struct plan_stats *s)
{
	sum->functions += s->functions;
	sum->blocks += s->blocks;
	sum->hot_bytes += s->hot_bytes;
	sum->code_bytes += s->code_bytes;
	sum->weight_total += s->weight_total;
	sum->weight_covered += s->weight_covered;
	sum->taken_before += s->taken_before;
	sum->taken_after += s->taken_after;
	sum->executed_branches += s->executed_branches;
	sum->pages_before += s->pages_before;
	sum->pages_after += s->pages_after;
	sum->lines_before += s->lines_before;
	sum->lines_after += s->lines_after;
	sum->exits += s->exits;
}

static struct total total_of(const struct plan_make_result *r)
{
	struct total t = {0};
	for (uint32_t i = 0; i < r->plan.module_count; i++) {
		const struct plan_module *m = &r->plan.modules[i];
		add_stats(&t.stats, &m->stats);
		t.patches += m->patch_count;
		t.slots += m->slot_count;
		t.runs += m->run_count;
	}
	for (size_t i = 0; i < r->module_count; i++) {
		t.dropped += r->modules[i].report.dropped_count;
		for (unsigned k = 0; k < PLAN_STAGE_COUNT; k++)
			t.seconds[k] += r->modules[i].seconds[k];
	}
	return t;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* Names come from the target: nothing but printable characters reaches a terminal. */
static void print_name(FILE *out, const char *name, int width)
{
	int n = 0;
	for (; *name && n < width; name++, n++)
		fputc(*name >= ' ' && *name < 127 ? *name : '?', out);
	fprintf(out, "%*s", width - n, "");
}

static void print_row(FILE *out, const char *name, double share, const struct plan_stats *s, uint32_t patches, size_t dropped)
{
	print_name(out, name, 24);
	fprintf(
	    out,
	    " %6.2f%% %6" PRIu64 " %8.1f %7.2f%% %6.2f%% %5.1f%% %6.2f%% %7" PRIu64 " %6" PRIu64 " %6" PRIu64 " %6" PRIu64 " %7u %5zu\n",
	    100 * share, s->functions, (double)s->code_bytes / 1024, percent(s->weight_covered, s->weight_total),
	    percent(s->taken_before, s->executed_branches), percent(s->taken_after, s->executed_branches),
	    percent(s->exits, s->executed_branches), s->lines_before, s->lines_after, s->pages_before, s->pages_after, patches, dropped);
}

static void print_modules(FILE *out, const struct plan_make_result *r)
{
	uint32_t next = 0;
	fprintf(out, "%-24s %7s %6s %8s %8s %7s %6s %7s %14s %13s %7s %5s\n", "module", "weight", "funcs", "code KiB", "covered", "taken",
		"-> ", "exits", "lines before -> ", "pages -> ", "patches", "left");
	for (size_t i = 0; i < r->module_count; i++) {
		const struct plan_make_module *m = &r->modules[i];
		if (!m->planned)
			continue;
		const struct plan_module *p = &r->plan.modules[next++];
		print_row(out, base_name(m->map.module.path), m->share, &p->stats, p->patch_count, m->report.dropped_count);
	}
}

static void print_left_out(FILE *out, const struct plan_make_result *r)
{
	for (size_t i = 0; i < r->module_count; i++) {
		const struct plan_make_module *m = &r->modules[i];
		if (m->planned || (!m->weight && r->weight_total))
			continue;
		fputs("left out: ", out);
		print_name(out, base_name(m->map.module.path), 24);
		fprintf(out, " %6.2f%%  ", 100 * m->share);
		print_name(out, m->reason, (int)strlen(m->reason));
		fputc('\n', out);
	}
	if (r->weight_total)
		fprintf(out, "without a map, or outside any file: %.2f%% of the profile\n", percent(r->weight_unmapped, r->weight_total));
}

static void print_dropped(FILE *out, const struct plan_make_result *r)
{
	for (size_t i = 0; i < r->module_count; i++) {
		const struct plan_make_module *m = &r->modules[i];
		for (size_t k = 0; k < m->report.dropped_count; k++) {
			const struct emit_dropped *d = &m->report.dropped[k];
			fputs("not moved: ", out);
			print_name(out, base_name(m->map.module.path), 24);
			fprintf(out, " 0x%" PRIx64 ": %s (at 0x%" PRIx64 ")\n", map_vaddr(&m->map, m->map.functions[d->function].start).v,
				emit_drop_text(d->reason), map_vaddr(&m->map, d->at).v);
		}
	}
}

static void print_text(FILE *out, const struct outcome *o)
{
	struct total t = total_of(o->result);
	print_modules(out, o->result);
	print_row(out, "total", o->result->weight_total ? (double)t.stats.weight_total / (double)o->result->weight_total : 0, &t.stats,
		  t.patches, t.dropped);
	print_left_out(out, o->result);
	print_dropped(out, o->result);
	fprintf(out, "time:");
	for (unsigned k = 0; k < PLAN_STAGE_COUNT; k++)
		fprintf(out, " %s %.2f s,", plan_make_stage_name(k), t.seconds[k]);
	fprintf(out, " wall %.2f s; peak memory %.1f MiB\n", o->wall, (double)o->memory / 1024);
	fprintf(out, "%s: %zu bytes, proven\n", o->output, o->bytes);
}

static json_t *stats_json(const struct plan_stats *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "functions", (json_int_t)s->functions,
			 "blocks", (json_int_t)s->blocks, "hot_bytes", (json_int_t)s->hot_bytes, "code_bytes", (json_int_t)s->code_bytes,
			 "weight_total", (json_int_t)s->weight_total, "weight_covered", (json_int_t)s->weight_covered, "taken_before",
			 (json_int_t)s->taken_before, "taken_after", (json_int_t)s->taken_after, "executed_branches",
			 (json_int_t)s->executed_branches, "pages_before", (json_int_t)s->pages_before, "pages_after",
			 (json_int_t)s->pages_after, "lines_before", (json_int_t)s->lines_before, "lines_after", (json_int_t)s->lines_after,
			 "exits", (json_int_t)s->exits);
}

static json_t *seconds_json(const double *seconds)
{
	json_t *object = json_object();
	for (unsigned k = 0; k < PLAN_STAGE_COUNT; k++)
		json_object_set_new(object, plan_make_stage_name(k), json_real(seconds[k]));
	return object;
}

static json_t *dropped_json(const struct plan_make_module *m)
{
	json_t *array = json_array();
	for (size_t k = 0; k < m->report.dropped_count; k++) {
		const struct emit_dropped *d = &m->report.dropped[k];
		json_array_append_new(array, json_pack("{s:I, s:I, s:s}", "function",
						       (json_int_t)map_vaddr(&m->map, m->map.functions[d->function].start).v, "at",
						       (json_int_t)map_vaddr(&m->map, d->at).v, "reason", emit_drop_text(d->reason)));
	}
	return array;
}

static json_t *modules_json(const struct plan_make_result *r)
{
	json_t *array = json_array();
	uint32_t next = 0;
	for (size_t i = 0; i < r->module_count; i++) {
		const struct plan_make_module *m = &r->modules[i];
		char id[MODULE_HEX_SIZE];
		module_build_id_hex(&m->map.module, id);
		json_t *path = json_string(m->map.module.path); /* NULL when it is no UTF-8 */
		json_t *object = json_pack("{s:o, s:s, s:I, s:f, s:b}", "path", path ? path : json_null(), "build_id", id, "weight",
					   (json_int_t)m->weight, "share", m->share, "planned", m->planned);
		json_array_append_new(array, object);
		json_object_set_new(object, "not_moved", dropped_json(m));
		json_object_set_new(object, "seconds", seconds_json(m->seconds));
		if (!m->planned) {
			json_t *reason = json_string(m->reason);
			json_object_set_new(object, "reason", reason ? reason : json_string("(not printable)"));
			continue;
		}
		const struct plan_module *p = &r->plan.modules[next++];
		json_object_set_new(object, "stats", stats_json(&p->stats));
		json_object_set_new(object, "patches", json_integer(p->patch_count));
		json_object_set_new(object, "slots", json_integer(p->slot_count));
		json_object_set_new(object, "runs", json_integer(p->run_count));
		json_object_set_new(object, "frames", json_integer(p->fde_count));
	}
	return array;
}

static int print_json(FILE *out, const struct outcome *o, struct err *e)
{
	struct total t = total_of(o->result);
	json_t *root = json_pack("{s:s, s:I, s:o, s:o, s:I, s:I, s:o, s:f, s:I}", "file", o->output, "bytes", (json_int_t)o->bytes,
				 "modules", modules_json(o->result), "total", stats_json(&t.stats), "weight_total",
				 (json_int_t)o->result->weight_total, "weight_unmapped", (json_int_t)o->result->weight_unmapped, "seconds",
				 seconds_json(t.seconds), "wall_seconds", o->wall, "peak_kib", (json_int_t)o->memory);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --modules takes a number (the heaviest so many), or names, comma separated; `names` has room for as many as there are commas + 2. */
static void read_modules(char *text, struct plan_make_options *options, const char **names)
{
	char *end, *save = NULL;
	unsigned long number = strtoul(text, &end, 10);
	if (end != text && !*end && number <= UINT32_MAX) {
		options->module_maximum = (uint32_t)number;
		return;
	}
	size_t count = 0;
	for (char *name = strtok_r(text, ",", &save); name; name = strtok_r(NULL, ",", &save))
		names[count++] = name;
	names[count] = NULL;
	options->names = names;
}

/* --functions FIRST-LAST */
static int read_functions(const struct cli *cli, struct layout_options *layout, struct err *e)
{
	const char *text = cli_string(cli, "functions", NULL);
	char *end;
	if (!text)
		return 0;
	layout->torture_first.v = strtoull(text, &end, 16);
	if (end == text || *end != '-')
		return err_set(e, ERR_USAGE, "--functions %s: FIRST-LAST in hexadecimal is needed", text);
	const char *last = end + 1;
	layout->torture_last.v = strtoull(last, &end, 16);
	if (end == last || *end || layout->torture_last.v < layout->torture_first.v || !layout->torture_last.v)
		return err_set(e, ERR_USAGE, "--functions %s: FIRST-LAST in hexadecimal is needed", text);
	return layout->torture_seed ? 0 : err_set(e, ERR_USAGE, "--functions needs --torture");
}

static int read_options(const struct cli *cli, struct plan_make_options *options, struct err *e)
{
	*options = plan_make_options_default();
	options->layout.coverage = cli_real(cli, "coverage", options->layout.coverage);
	options->layout.torture_seed = cli_number(cli, "torture", 0);
	options->minimum_share = cli_real(cli, "minimum-share", options->minimum_share);
	options->emit.reentry_seed = options->layout.torture_seed;
	options->emit.reentry_everywhere = options->layout.torture_seed != 0;
	if (options->layout.torture_seed)
		options->emit.reentry_maximum = TORTURE_REENTRIES;
	options->emit.counting = options->layout.whole = cli_has(cli, "counting");
	options->emit.count_exits = cli_has(cli, "count-exits");
	uint64_t threads = cli_number(cli, "jobs", 0), reentries = cli_number(cli, "reentries", options->emit.reentry_maximum);
	uint64_t alignment = cli_number(cli, "align", 0);
	if (!(options->layout.coverage > 0 && options->layout.coverage <= 1))
		return err_set(e, ERR_USAGE, "--coverage must be above 0 and at most 1");
	if (!(options->minimum_share >= 0 && options->minimum_share <= 1))
		return err_set(e, ERR_USAGE, "--minimum-share must be between 0 and 1");
	if (alignment > 64 || (alignment & (alignment - 1)))
		return err_set(e, ERR_USAGE, "--align must be a power of 2, at most 64");
	if (options->emit.counting && options->emit.count_exits)
		return err_set(e, ERR_USAGE, "--counting makes an image of its own, --count-exits counts in the plan's: only one of them");
	if (threads > 1024 || reentries > 1024)
		return err_set(e, ERR_USAGE, "--jobs and --reentries are at most 1024");
	options->threads = (unsigned)threads;
	options->emit.reentry_maximum = options->emit.counting ? COUNTING_REENTRIES : (uint32_t)reentries;
	options->emit.function_alignment = (uint32_t)alignment;
	if (!cli_string(cli, "profile", NULL) && !options->layout.torture_seed)
		return err_set(e, ERR_USAGE, "which profile? --profile P.rprof is needed");
	return read_functions(cli, &options->layout, e);
}

static int write_plan(const struct plan *plan, const char *output, size_t *ret_bytes, struct err *e)
{
	struct writer w = {0};
	int status = plan_encode(plan, &w, e);
	if (!status)
		status = file_write(output, w.data, w.size, e);
	*ret_bytes = w.size;
	writer_free(&w);
	return status;
}

static int plan_and_write(const struct cli *cli, const struct plan_make_options *options, const char *const *maps, struct err *e)
{
	struct plan_make_result result;
	struct outcome o = {.result = &result, .output = cli_string(cli, "output", "repave.rplan")};
	double start = now();
	int status = plan_make(cli_string(cli, "profile", NULL), maps, (size_t)cli_argument_count(cli), options, &result, e);
	if (status)
		return status;
	status = write_plan(&result.plan, o.output, &o.bytes, e);
	if (!status) {
		struct rusage usage;
		getrusage(RUSAGE_SELF, &usage);
		o.memory = (uint64_t)usage.ru_maxrss;
		o.wall = now() - start;
		FILE *out = strcmp(o.output, "-") ? stdout : stderr;
		if (cli_json(cli))
			status = print_json(out, &o, e);
		else
			print_text(out, &o);
	}
	plan_make_result_free(&result);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct plan_make_options options;
	int count = cli_argument_count(cli), status = read_options(cli, &options, e);
	if (status)
		return status;
	const char *wanted = cli_string(cli, "modules", NULL);
	char *text = strdup(wanted ? wanted : "");
	const char **maps = calloc((size_t)count + 1, sizeof *maps), **names = calloc(strlen(wanted ? wanted : "") + 2, sizeof *names);
	if (text && maps && names) {
		for (int i = 0; i < count; i++)
			maps[i] = cli_argument(cli, i);
		if (wanted)
			read_modules(text, &options, names);
		status = plan_and_write(cli, &options, maps, e);
	} else {
		status = err_set(e, ERR_MEMORY, "plan: no memory");
	}
	free(text);
	free(maps);
	free(names);
	return status;
}

static const struct cli_option options_table[] = {
    {"profile", 0, CLI_STRING, "P.rprof", "what was executed how often (- for stdin)"},
    {"output", 'o', CLI_STRING, "FILE", "write the plan here (- for stdout); default repave.rplan"},
    {"coverage", 0, CLI_REAL, "SHARE", "share of the executed weight to move; default 0.999"},
    {"modules", 0, CLI_STRING, "N|NAME,...", "only the N heaviest modules, or those with these file names or paths"},
    {"minimum-share", 0, CLI_REAL, "SHARE", "leave out modules with less of the profile; default 0.002"},
    {"jobs", 'j', CLI_NUMBER, "N", "modules worked on at the same time; default: CPUs"},
    {"reentries", 0, CLI_NUMBER, "N", "patches per function besides its entry; default 4"},
    {"align", 0, CLI_NUMBER, "BYTES", "align function entries in the image; default 1"},
    {"counting", 0, CLI_FLAG, NULL, "count: an image of whole functions that tells what ran how often (repave-apply count)"},
    {"count-exits", 0, CLI_FLAG, NULL, "the same plan with counters: how often, where and why its image is left (repave-apply count)"},
    {"torture", 0, CLI_NUMBER, "SEED", "for tests: all movable functions, blocks in random order, exits and patches at random places"},
    {"functions", 0, CLI_STRING, "FIRST-LAST", "with --torture: only the functions that start at these addresses (hexadecimal)"},
    {0},
};

const struct cli_verb cmd_plan = {
    .name = "plan",
    .arguments = "--profile P.rprof MAP... [-o PLAN]",
    .summary = "make new code for what a profile found hot",
    .details =
	"The plan depends only on the ELF files, the maps, the profile and the options, not on the order of the maps or the number of\n"
	"threads. It is proven equivalent to the original code before it is written.\n",
    .options = options_table,
    .minimum = 1,
    .maximum = -1,
    .run = run,
};
