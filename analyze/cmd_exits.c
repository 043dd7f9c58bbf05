#include "analyze/commands.h"
#include "analyze/layout/exits.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTERS_EVENT "counters" /* what repave-apply count writes */
#define TOP_DEFAULT 20

/* One module of the plan, with its map. */
struct input {
	struct map map;
	struct image image;
	struct complete complete;
	bool has_image, has_complete;
};

struct report {
	struct profile profile;
	struct plan plan;
	struct input *inputs;
	struct exits_subject *subjects; /* [input_count] borrow from inputs */
	uint32_t input_count;
	struct exits exits;
	struct exits_module total;
	uint64_t top;
	double seconds;
};

/* --- input --- */

static const struct plan_module *plan_of(const struct plan *plan, const struct module_identity *module)
{
	for (uint32_t i = 0; i < plan->module_count; i++)
		if (module_same(&plan->modules[i].module, module) && plan->modules[i].counter_count)
			return &plan->modules[i];
	return NULL;
}

static bool has_map(const struct report *r, const struct module_identity *module)
{
	for (uint32_t i = 0; i < r->input_count; i++)
		if (module_same(&r->inputs[i].map.module, module))
			return true;
	return false;
}

static int open_module(struct input *in, const char *path, struct err *e)
{
	int status = image_open(path, &in->image, e);
	if (status)
		return status;
	in->has_image = true;
	if (module_same(&in->image.identity, &in->map.module))
		return 0;
	return err_set(e, ERR_MISMATCH, "%s is not the file that was mapped: map it again", path);
}

/* A map of what was not counted, or of a module that is there already, is let go. */
static int read_map(struct report *r, const char *path, struct err *e)
{
	struct input *in = &r->inputs[r->input_count];
	int status = map_read(path, &in->map, e);
	if (status)
		return status;
	const struct plan_module *plan = plan_of(&r->plan, &in->map.module);
	uint32_t number = profile_find_module(&r->profile, &in->map.module);
	if (!plan || number == PROFILE_NO_MODULE || has_map(r, &in->map.module)) {
		map_free(&in->map);
		return 0;
	}
	r->input_count++;
	status = open_module(in, in->map.module.path, e);
	if (!status)
		status = complete_counts(&in->map, plan, &r->profile, number, &in->complete, e);
	in->has_complete = !status;
	r->subjects[r->input_count - 1] = (struct exits_subject){&in->map, &in->image, plan, &in->complete, number};
	return status;
}

static void add_sum(struct exits_sum *sum, const struct exits_sum *s)
{
	sum->count += s->count;
	sum->back += s->back;
	sum->nowhere += s->nowhere;
	sum->places += s->places;
}

static void add_up(struct report *r)
{
	for (uint32_t i = 0; i < r->input_count; i++) {
		const struct exits_module *m = &r->exits.modules[i];
		struct exits_module *t = &r->total;
		for (unsigned k = 0; k < EXITS_KIND_COUNT; k++)
			add_sum(&t->sums[k], &m->sums[k]);
		t->instructions += m->instructions;
		t->entered += m->entered;
		t->reentered += m->reentered;
		t->made_direct += m->made_direct;
		t->ways += m->ways;
		t->unsure += m->unsure;
		t->unsure_most += m->unsure_most;
	}
}

static int read_inputs(const struct cli *cli, struct report *r, struct err *e)
{
	const char *profile = cli_string(cli, "profile", NULL), *plan = cli_string(cli, "plan", NULL);
	if (!profile || !plan)
		return err_set(e, ERR_USAGE, "--profile COUNTS.rprof and --plan PLAN.rplan are needed");
	int count = cli_argument_count(cli), status = plan_read(plan, &r->plan, e);
	if (!status)
		status = profile_read(profile, &r->profile, e);
	if (status)
		return status;
	if (!plan_counts(&r->plan))
		return err_set(e, ERR_USAGE, "%s: has no counters; make it with repave-analyze plan --count-exits", plan);
	if (r->profile.info.source != PROFILE_EXACT || strcmp(r->profile.info.event, COUNTERS_EVENT))
		return err_set(e, ERR_USAGE, "%s: not made by repave-apply count", profile);
	r->inputs = calloc((size_t)count + 1, sizeof *r->inputs);
	r->subjects = calloc((size_t)count + 1, sizeof *r->subjects);
	if (!r->inputs || !r->subjects)
		return err_set(e, ERR_MEMORY, "no memory for %d maps", count);
	for (int i = 0; i < count && !status; i++)
		status = read_map(r, cli_argument(cli, i), e);
	return status;
}

static void report_free(struct report *r)
{
	for (uint32_t i = 0; i < r->input_count; i++) {
		struct input *in = &r->inputs[i];
		if (in->has_complete)
			complete_free(&in->complete);
		if (in->has_image)
			image_close(&in->image);
		map_free(&in->map);
	}
	free(r->inputs);
	free(r->subjects);
	exits_free(&r->exits);
	plan_free(&r->plan);
	profile_free(&r->profile);
}

/* --- output --- */

static struct exits_sum all_kinds(const struct exits_module *m)
{
	struct exits_sum all = {0};
	for (unsigned k = 0; k < EXITS_KIND_COUNT; k++)
		add_sum(&all, &m->sums[k]);
	return all;
}

/* Per 1000 instructions that were executed in the image. */
static double rate(uint64_t count, const struct exits_module *m)
{
	return m->instructions ? 1000.0 * (double)count / (double)m->instructions : 0;
}

static double per_second(const struct report *r, uint64_t count)
{
	return r->seconds > 0 ? (double)count / r->seconds : 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static void print_name(const char *name)
{
	for (; *name; name++)
		putchar(*name >= ' ' && *name < 127 ? *name : '?');
}

/* Name of the function that holds the address, NULL: it has none, or there is no such function. */
static const char *function_name(const struct map *map, uint64_t address)
{
	uint32_t offset = map_offset(map, (vaddr){address}), f = offset == MAP_NONE ? MAP_NONE : map_function_at(map, offset);
	return f == MAP_NONE ? NULL : map_function_name(map, map->functions[f].parent);
}

static void print_place(const struct report *r, uint32_t subject, uint64_t address)
{
	const char *name = function_name(r->subjects[subject].map, address);
	printf(" 0x%" PRIx64, address);
	if (name) {
		putchar(' ');
		print_name(name);
	}
}

static void print_row(const struct report *r, const char *text, struct exits_sum sum)
{
	printf("%-52s %10.3f %10.3f %10.3f %13.0f %7u\n", text, rate(sum.count, &r->total), rate(sum.back, &r->total),
	       rate(sum.nowhere, &r->total), per_second(r, sum.count), sum.places);
}

static void print_kinds(const struct report *r)
{
	const struct exits_module *t = &r->total;
	printf("%-52s %32s\n", "", "per 1000 instructions");
	printf("%-52s %10s %10s %10s %13s %7s\n", "", "exits", "back", "to ?", "per second", "places");
	for (unsigned k = 0; k < EXITS_KIND_COUNT; k++)
		print_row(r, exits_kind_text(k), t->sums[k]);
	print_row(r, "all", all_kinds(t));
	printf("back: led to a patch, and so at once back into the image; to ?: it is not known where they led\n");
	printf("no exits, because they were made direct: calls and jumps through slots, %.3f per 1000\n", rate(t->made_direct, t));
	printf("came in from code outside (estimated): %.3f per 1000; again through patches inside functions: %.3f\n", rate(t->entered, t),
	       rate(t->reentered, t));
	printf("of %u executed branches out of the image %u could not be counted: at most %.3f per 1000\n", t->ways, t->unsure,
	       rate(t->unsure_most, t));
}

static void print_modules(const struct report *r)
{
	for (uint32_t i = 0; i < r->input_count && r->input_count > 1; i++) {
		const struct exits_module *m = &r->exits.modules[i];
		struct exits_sum all = all_kinds(m);
		print_name(base_name(r->inputs[i].map.module.path));
		printf(": %.1f %% of the instructions, %.3f exits per 1000 of its own, %.3f of them back\n",
		       r->total.instructions ? 100.0 * (double)m->instructions / (double)r->total.instructions : 0, rate(all.count, m),
		       rate(all.back, m));
	}
	for (uint32_t i = 0; i < r->plan.module_count; i++) {
		const struct module_identity *module = &r->plan.modules[i].module;
		if (!r->plan.modules[i].counter_count || has_map(r, module))
			continue;
		print_name(base_name(module->path));
		puts(profile_find_module(&r->profile, module) == PROFILE_NO_MODULE ? ": was not counted"
										   : ": not in this, its map is not given");
	}
}

static void print_top(const struct report *r)
{
	size_t count = r->exits.places.count < r->top ? r->exits.places.count : r->top;
	if (count)
		printf("%10s %10s  %-8s from -> to\n", "exits", "back", "kind");
	for (size_t i = 0; i < count; i++) {
		const struct exits_place *p = &r->exits.places.data[i];
		printf("%10.3f %10.3f  %-8s", rate(p->count, &r->total), rate(p->back, &r->total), exits_kind_key(p->kind));
		print_place(r, p->subject, p->from);
		if (r->input_count > 1) {
			fputs(" in ", stdout);
			print_name(base_name(r->inputs[p->subject].map.module.path));
		}
		if (p->to && p->to_subject != r->input_count) {
			fputs(" ->", stdout);
			print_place(r, p->to_subject, p->to);
		}
		putchar('\n');
	}
}

static void print_text(const struct report *r)
{
	printf("%.1f million instructions in the image, %.1f million a second, for %.2f s\n", (double)r->total.instructions / 1e6,
	       per_second(r, r->total.instructions) / 1e6, r->seconds);
	print_modules(r);
	print_kinds(r);
	print_top(r);
}

static json_t *sum_json(const struct report *r, const struct exits_module *m, struct exits_sum sum)
{
	return json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:i}", "count", (json_int_t)sum.count, "back", (json_int_t)sum.back, "nowhere",
			 (json_int_t)sum.nowhere, "per_1000", rate(sum.count, m), "back_per_1000", rate(sum.back, m), "per_second",
			 per_second(r, sum.count), "places", (int)sum.places);
}

static void module_json(const struct report *r, const struct exits_module *m, json_t *object)
{
	json_t *kinds = json_object();
	for (unsigned k = 0; k < EXITS_KIND_COUNT; k++)
		json_object_set_new(kinds, exits_kind_key(k), sum_json(r, m, m->sums[k]));
	json_object_set_new(object, "instructions", json_integer((json_int_t)m->instructions));
	json_object_set_new(object, "exits", sum_json(r, m, all_kinds(m)));
	json_object_set_new(object, "kinds", kinds);
	json_object_set_new(object, "entered", json_integer((json_int_t)m->entered));
	json_object_set_new(object, "reentered", json_integer((json_int_t)m->reentered));
	json_object_set_new(object, "made_direct", json_integer((json_int_t)m->made_direct));
	json_object_set_new(object, "branches_out", json_integer(m->ways));
	json_object_set_new(object, "uncounted", json_integer(m->unsure));
	json_object_set_new(object, "uncounted_at_most_per_1000", json_real(rate(m->unsure_most, m)));
}

static json_t *modules_json(const struct report *r)
{
	json_t *array = json_array();
	for (uint32_t i = 0; i < r->input_count; i++) {
		json_t *object = json_object(), *path = json_string(r->inputs[i].map.module.path); /* NULL when it is no UTF-8 */
		json_object_set_new(object, "path", path ? path : json_null());
		module_json(r, &r->exits.modules[i], object);
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *name_json(const struct report *r, uint32_t subject, uint64_t address)
{
	const char *name = subject == r->input_count ? NULL : function_name(r->subjects[subject].map, address);
	json_t *text = name ? json_string(name) : NULL;
	return text ? text : json_null();
}

static json_t *places_json(const struct report *r)
{
	json_t *array = json_array();
	for (size_t i = 0; i < r->exits.places.count && i < r->top; i++) {
		const struct exits_place *p = &r->exits.places.data[i];
		bool known = p->to && p->to_subject != r->input_count;
		json_array_append_new(array, json_pack("{s:s, s:I, s:I, s:f, s:i, s:I, s:o, s:o, s:o, s:o}", "kind",
						       exits_kind_key(p->kind), "count", (json_int_t)p->count, "back", (json_int_t)p->back,
						       "per_1000", rate(p->count, &r->total), "module", (int)p->subject, "from",
						       (json_int_t)p->from, "function", name_json(r, p->subject, p->from), "to",
						       known ? json_integer((json_int_t)p->to) : json_null(), "to_module",
						       known ? json_integer(p->to_subject) : json_null(), "to_function",
						       known ? name_json(r, p->to_subject, p->to) : json_null()));
	}
	return array;
}

static int print_json(const struct report *r, struct err *e)
{
	json_t *root = json_pack("{s:f, s:s}", "seconds", r->seconds, "rates", "per 1000 instructions executed in the image");
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	module_json(r, &r->total, root);
	json_object_set_new(root, "modules", modules_json(r));
	json_object_set_new(root, "top", places_json(r));
	json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(root);
	return 0;
}

static int run(const struct cli *cli, struct err *e)
{
	struct report r = {.top = cli_number(cli, "top", TOP_DEFAULT)};
	int status = read_inputs(cli, &r, e);
	if (!status && !r.input_count)
		status = err_set(e, ERR_NO, "none of these maps is of a module that was counted");
	if (!status)
		status = exits_find(r.subjects, r.input_count, &r.profile, &r.exits, e);
	if (!status) {
		r.seconds = (double)r.profile.info.duration_ns / 1e9;
		add_up(&r);
		if (cli_json(cli))
			status = print_json(&r, e);
		else
			print_text(&r);
	}
	report_free(&r);
	return status;
}

static const struct cli_option options_table[] = {
    {"profile", 0, CLI_STRING, "COUNTS.rprof", "what repave-apply count wrote (- for stdin)"},
    {"plan", 0, CLI_STRING, "PLAN.rplan", "the plan that counted, from plan --count-exits"},
    {"top", 0, CLI_NUMBER, "N", "show the N worst exits; default 20"},
    {0},
};

const struct cli_verb cmd_exits = {
    .name = "exits",
    .arguments = "--profile COUNTS.rprof --plan PLAN.rplan MAP...",
    .summary = "say how often the image of a plan was left at run time, how and where",
    .details =
	"Rates are per 1000 instructions that were executed in the image: few exits mean that the profile behind the plan was good. What\n"
	"is an exit, and which numbers are estimates: formats/plan.md. The plan is made and run like this:\n"
	"  repave-analyze plan --count-exits --profile P.rprof -o EXITS.rplan MAP...\n"
	"  repave-apply count -p PID EXITS.rplan -o COUNTS.rprof\n",
    .options = options_table,
    .minimum = 1,
    .maximum = -1,
    .run = run,
};
