#include "analyze/commands.h"
#include "analyze/simulate/drawn.h"
#include "analyze/simulate/recorded.h"
#include "analyze/simulate/stacks.h"
#include "formats/base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What is replayed, best first. */
enum source { SOURCE_COURSE, SOURCE_STACKS, SOURCE_COUNTS };

/* Everything that one simulation needs; what is not there is zero. */
struct simulation {
	struct file_data file; /* of the profile */
	const char *name;
	struct profile profile;
	struct plan plan;
	struct map *maps;
	uint32_t map_count;
	bool has_profile, has_plan;
	struct program program;
	struct place place;
	struct machine machine;
	struct follow follow;
	enum source source;
	struct recorded_result recorded;
	struct stacks_result stacks;
	struct drawn_result drawn;
	uint64_t seed;
	double seconds;
};

struct progress {
	double start, shown;
};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Only for people who wait: on a terminal, after a second, some times a second. */
static bool shows_progress(struct progress *p)
{
	double t = now();
	if (t - p->start < 1 || t - p->shown < 0.3 || !isatty(STDERR_FILENO))
		return false;
	p->shown = t;
	return true;
}

static void show_share(void *context, uint64_t done, uint64_t whole)
{
	if (shows_progress(context))
		fprintf(stderr, "\rsimulated %3.0f %%%s", 100.0 * (double)done / (double)whole, done == whole ? "\n" : "");
}

/* --- input --- */

static int read_numbers(const char *option, const char *text, uint64_t *values, int count, struct err *e)
{
	const char *s = text;
	for (int i = 0; i < count; i++) {
		char *end;
		errno = 0;
		values[i] = strtoull(s, &end, 0);
		if (errno || end == s || *s == '-' || *end != (i + 1 < count ? ',' : 0))
			return err_set(e, ERR_USAGE, "--%s takes %d numbers with commas between them, not '%.100s'", option, count, text);
		s = end + 1;
	}
	return 0;
}

static int read_machine_options(const struct cli *cli, struct machine_options *o, struct err *e)
{
	*o = machine_options_default();
	const char *cache = cli_string(cli, "l1i", NULL);
	uint64_t values[3];
	o->tlb = cli_number(cli, "itlb", o->tlb);
	o->tlb_huge = cli_number(cli, "itlb-huge", o->tlb_huge);
	o->btb = cli_number(cli, "btb", o->btb);
	o->prefetch = cli_has(cli, "prefetch");
	if (!cache)
		return 0;
	int status = read_numbers("l1i", cache, values, 3, e);
	if (status)
		return status;
	o->cache_size = values[0];
	o->cache_ways = values[1];
	o->cache_line = values[2];
	return 0;
}

static int read_maps(const struct cli *cli, struct simulation *s, struct err *e)
{
	uint32_t count = (uint32_t)cli_argument_count(cli);
	if (count > UINT16_MAX)
		return err_set(e, ERR_USAGE, "more than %u maps", UINT16_MAX);
	s->maps = calloc(count, sizeof *s->maps);
	int status = s->maps ? 0 : err_set(e, ERR_MEMORY, "simulate: no memory for %u maps", count);
	for (; s->map_count < count && !status; s->map_count += !status)
		status = map_read(cli_argument(cli, (int)s->map_count), &s->maps[s->map_count], e);
	return status;
}

/* The bytes are kept: a course is read from them while it is executed. */
static int read_profile(const char *path, struct simulation *s, struct err *e)
{
	s->name = strcmp(path, "-") ? path : "stdin";
	int status = file_read(path, &s->file, e);
	if (!status)
		status = profile_decode(s->file.data, s->file.size, s->name, &s->profile, e);
	s->has_profile = !status;
	s->source = s->profile.course.steps ? SOURCE_COURSE : s->profile.branch_count ? SOURCE_STACKS : SOURCE_COUNTS;
	return status;
}

static int read_inputs(const struct cli *cli, struct simulation *s, struct err *e)
{
	const char *profile = cli_string(cli, "profile", NULL), *plan = cli_string(cli, "plan", NULL);
	s->seed = cli_number(cli, "seed", 1);
	if (!profile)
		return err_set(e, ERR_USAGE, "what was executed? --profile P.rprof is needed");
	int status = read_profile(profile, s, e);
	if (!status && plan)
		status = plan_read(plan, &s->plan, e);
	s->has_plan = plan && !status;
	return status ? status : read_maps(cli, s, e);
}

static void simulation_free(struct simulation *s)
{
	follow_free(&s->follow);
	machine_free(&s->machine);
	place_free(&s->place);
	program_free(&s->program);
	for (uint32_t i = 0; i < s->map_count; i++)
		map_free(&s->maps[i]);
	free(s->maps);
	if (s->has_plan)
		plan_free(&s->plan);
	if (s->has_profile)
		profile_free(&s->profile);
	file_data_free(&s->file);
}

static int prepare(const struct cli *cli, struct simulation *s, struct err *e)
{
	struct machine_options options;
	int status = read_machine_options(cli, &options, e);
	if (!status)
		status = read_inputs(cli, s, e);
	if (!status)
		status = program_init(&s->program, s->source == SOURCE_COURSE ? NULL : &s->profile, s->maps, s->map_count, e);
	if (!status)
		status = place_init(&s->place, &s->program, &s->plan, e);
	if (!status)
		status = machine_init(&s->machine, &s->program, &s->place, &options, e);
	return status ? status : follow_init(&s->follow, &s->machine, e);
}

/* --- the three ways --- */

static int replay_course(const struct cli *cli, struct simulation *s, struct progress *progress, struct err *e)
{
	struct recorded_options options = {cli_number(cli, "instructions", 0), show_share, progress};
	return recorded_replay(&s->file, s->name, s->profile.course.steps, &options, &s->machine, &s->recorded, e);
}

static int draw_course(const struct cli *cli, struct simulation *s, struct progress *progress, struct err *e)
{
	struct drawn_options options = drawn_options_default();
	options.seed = s->seed;
	options.instructions = cli_number(cli, "instructions", options.instructions);
	options.progress = show_share;
	options.context = progress;
	if (!options.instructions || options.instructions > UINT64_C(1) << 44)
		return err_set(e, ERR_USAGE, "--instructions must be at least 1 and at most 2^44");
	return drawn_run(&options, &s->follow, &s->drawn, e);
}

static int execute(const struct cli *cli, struct simulation *s, struct err *e)
{
	struct progress progress = {.start = now()};
	int status = 0;
	if (s->source == SOURCE_COURSE)
		status = replay_course(cli, s, &progress, e);
	else if (s->source == SOURCE_COUNTS)
		status = draw_course(cli, s, &progress, e);
	else
		stacks_replay(&s->profile, cli_number(cli, "instructions", 0), &s->follow, &s->stacks);
	s->seconds = now() - progress.start;
	if (!status && machine_instructions(&s->machine) < 1)
		status = err_set(e, ERR_NO, "nothing of what was recorded lies in the code of these maps");
	return status ? status : machine_finish(&s->machine, e);
}

/* --- output --- */

/* X(key, text, value, is a rate per 1000 instructions) */
#define ROWS(X)                                                                                                                            \
	X("l1i_misses", "I1 misses", cache_misses, true)                                                                                   \
	X("itlb_misses", "iTLB misses, 4 KiB pages", tlb_misses, true)                                                                     \
	X("itlb_huge_misses", "iTLB misses, 2 MiB pages", tlb_huge_misses, true)                                                           \
	X("taken_branches", "taken branches", taken, true)                                                                                 \
	X("btb_misses", "BTB misses", btb_misses, true)                                                                                    \
	X("exits", "exits from the image", exits, true)                                                                                    \
	X("taken_sites", "branches ever taken", taken_sites, false)                                                                        \
	X("bytes", "bytes executed", bytes, false)                                                                                         \
	X("lines", "cache lines touched", lines, false)                                                                                    \
	X("pages", "pages touched", pages, false)

static const char *source_name(enum source source)
{
	static const char *const names[] = {"course", "branch stacks", "counts"};
	return names[source];
}

static void print_row(const char *text, uint64_t before, uint64_t after, double scale, bool has_plan)
{
	double change = before ? 100.0 * ((double)after / (double)before - 1) : 0;
	int digits = scale == 1 ? 0 : 3;
	printf("%-26s %12.*f", text, digits, (double)before * scale);
	if (has_plan)
		printf(" %12.*f", digits, (double)after * scale);
	if (has_plan && before)
		printf(" %+8.1f %%", change);
	putchar('\n');
}

static void print_source(const struct simulation *s, double instructions)
{
	printf("%.0f instructions from %s, %.1f million a second\n", instructions, source_name(s->source),
	       (double)s->machine.insns / PROGRAM_INSN_UNIT / (s->seconds > 0 ? s->seconds : 1) / 1e6);
	if (s->source == SOURCE_COURSE)
		printf("%" PRIu64 " steps in recorded order, %.2f %% of them in no map\n", s->recorded.steps,
		       100.0 * (double)s->recorded.outside / (double)s->recorded.steps);
	if (s->source == SOURCE_COURSE && s->recorded.gaps)
		printf("%" PRIu64 " gaps, %.0f steps from one to the next: what the caches held after one is a guess\n", s->recorded.gaps,
		       (double)s->recorded.steps / (double)s->recorded.gaps);
	if (s->source == SOURCE_STACKS)
		printf("%" PRIu64 " samples, %" PRIu64 " branches; what the caches held between samples is a guess\n", s->stacks.samples,
		       s->stacks.branches);
	if (s->source == SOURCE_COUNTS)
		printf("drawn in %" PRIu64 " episodes (seed %" PRIu64
		       "), %.2f %% of the profile is in these maps, %.1f %% of the course lies elsewhere than "
		       "the profile says\n",
		       s->drawn.episodes, s->seed,
		       s->program.weight_total ? 100.0 * (double)s->program.weight_inside / (double)s->program.weight_total : 0,
		       100 * s->drawn.deviation);
}

static void print_text(const struct simulation *s)
{
	double instructions = machine_instructions(&s->machine), rate = 1000 / instructions;
	const struct machine_counts *before = &s->machine.before.counts, *after = &s->machine.after.counts;
	print_source(s, instructions);
	printf("%-26s %12s%s\n", "per 1000 instructions", "before", s->has_plan ? "        after" : "");
#define X(key, text, field, is_rate)                                                                                                       \
	if (is_rate)                                                                                                                       \
		print_row(text, before->field, after->field, rate, s->has_plan);
	ROWS(X)
#undef X
	puts("in all");
#define X(key, text, field, is_rate)                                                                                                       \
	if (!is_rate)                                                                                                                      \
		print_row(text, before->field, after->field, 1, s->has_plan);
	ROWS(X)
#undef X
	if (s->has_plan)
		printf("executed in the image      %25.2f %%\n", 100.0 * (double)after->image_insns / PROGRAM_INSN_UNIT / instructions);
}

static json_t *counts_json(const struct machine_counts *c, double instructions)
{
	json_t *object = json_object();
#define X(key, text, field, is_rate)                                                                                                       \
	json_object_set_new(object, key,                                                                                                   \
			    is_rate ? json_real(1000.0 * (double)c->field / instructions) : json_integer((json_int_t)c->field));
	ROWS(X)
#undef X
	json_object_set_new(object, "in_image", json_real((double)c->image_insns / PROGRAM_INSN_UNIT / instructions));
	return object;
}

static void source_json(const struct simulation *s, json_t *root)
{
	if (s->source == SOURCE_COURSE) {
		json_object_set_new(root, "steps", json_integer((json_int_t)s->recorded.steps));
		json_object_set_new(root, "steps_outside", json_integer((json_int_t)s->recorded.outside));
		json_object_set_new(root, "gaps", json_integer((json_int_t)s->recorded.gaps));
	} else if (s->source == SOURCE_STACKS) {
		json_object_set_new(root, "samples", json_integer((json_int_t)s->stacks.samples));
		json_object_set_new(root, "branches", json_integer((json_int_t)s->stacks.branches));
		json_object_set_new(root, "branches_outside", json_integer((json_int_t)s->stacks.outside));
	} else {
		json_object_set_new(root, "seed", json_integer((json_int_t)s->seed));
		json_object_set_new(root, "episodes", json_integer((json_int_t)s->drawn.episodes));
		json_object_set_new(root, "deviation", json_real(s->drawn.deviation));
		json_object_set_new(root, "weight_total", json_integer((json_int_t)s->program.weight_total));
		json_object_set_new(root, "weight_inside", json_integer((json_int_t)s->program.weight_inside));
	}
}

static int print_json(const struct simulation *s, struct err *e)
{
	double instructions = machine_instructions(&s->machine);
	json_t *root = json_pack("{s:s, s:f, s:s, s:o}", "source", source_name(s->source), "instructions", instructions, "rates",
				 "per 1000 instructions", "before", counts_json(&s->machine.before.counts, instructions));
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	if (s->has_plan)
		json_object_set_new(root, "after", counts_json(&s->machine.after.counts, instructions));
	source_json(s, root);
	json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(root);
	return 0;
}

static int run(const struct cli *cli, struct err *e)
{
	struct simulation s = {0};
	int status = prepare(cli, &s, e);
	if (!status)
		status = execute(cli, &s, e);
	if (!status && cli_json(cli))
		status = print_json(&s, e);
	else if (!status)
		print_text(&s);
	simulation_free(&s);
	return status;
}

static const struct cli_option options_table[] = {
    {"profile", 0, CLI_STRING, "P.rprof", "what was executed (- for stdin)"},
    {"plan", 0, CLI_STRING, "PLAN", "the new layout; without it only the original is simulated"},
    {"seed", 0, CLI_NUMBER, "N", "of the course that is drawn from counts; default 1"},
    {"instructions", 0, CLI_NUMBER, "N", "to execute; default 100m drawn, or all that was recorded"},
    {"l1i", 0, CLI_STRING, "SIZE,WAYS,LINE", "instruction cache; default 32768,8,64"},
    {"itlb", 0, CLI_NUMBER, "N", "entries for 4 KiB pages, default 256"},
    {"itlb-huge", 0, CLI_NUMBER, "N", "entries for 2 MiB pages, default 8"},
    {"btb", 0, CLI_NUMBER, "N", "entries of the branch target buffer, default 4096"},
    {"prefetch", 0, CLI_FLAG, NULL, "an I1 miss fetches the next line too (cachegrind does not)"},
    {0},
};

const struct cli_verb cmd_simulate = {
    .name = "simulate",
    .arguments = "--profile P.rprof [--plan PLAN] MAP...",
    .summary = "say what a plan does to caches, TLBs and branches, without hardware counters",
    .details =
	"Executes the same sequence of blocks in the original layout and in the plan's. The sequence is the best that the profile has:\n"
	"  course         what was executed, in order (repave-profile import of valgrind's lackey): misses are those of cachegrind to a "
	"few\n"
	"                 percent; where the course has gaps, they are an upper estimate\n"
	"  branch stacks  short pieces of it: misses are an upper estimate\n"
	"  counts         a walk is drawn from them: branches and exits are right; misses show the direction, not the size\n"
	"All rates are per 1000 instructions of the original program.\n",
    .options = options_table,
    .minimum = 1,
    .maximum = -1,
    .run = run,
};
