#include "profile/commands.h"
#include "profile/summary.h"

#include "formats/base/escape.h"
#include "formats/base/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOP_DEFAULT = 20, TEXT_MAX = 256 };

struct view {
	struct profile profile;
	struct map *maps;
	size_t map_count;
	struct summary summary;
	size_t top;
	bool by_steps; /* weight is steps of the course: there is nothing else */
};

static int load_maps(const struct cli *cli, struct view *v, struct err *e)
{
	size_t count = 0;
	while (cli_string_at(cli, "map", (int)count))
		count++;
	v->maps = calloc(count + 1, sizeof *v->maps);
	if (!v->maps)
		return err_set(e, ERR_MEMORY, "no memory for %zu maps", count);
	for (; v->map_count < count; v->map_count++) {
		int status = map_read(cli_string_at(cli, "map", (int)v->map_count), &v->maps[v->map_count], e);
		if (status)
			return status;
	}
	return 0;
}

static const char *module_text(const struct view *v, uint32_t module, char *buffer, size_t size)
{
	return module == PROFILE_NO_MODULE ? "(no file)" : escape(v->profile.modules[module].path, buffer, size);
}

static const char *place_text(const struct summary_item *item, char *buffer, size_t size)
{
	if (item->name)
		return escape(item->name, buffer, size);
	snprintf(buffer, size, item->is_function ? "function at 0x%" PRIx64 : "page 0x%" PRIx64, item->address);
	return buffer;
}

static double percent(const struct view *v, uint64_t weight)
{
	return v->summary.weight ? 100.0 * (double)weight / (double)v->summary.weight : 0;
}

static double overhead_percent(const struct profile_info *i)
{
	return i->target_cpu_ns ? 100.0 * (double)i->recorder_cpu_ns / (double)i->target_cpu_ns : 0;
}

static size_t shown(const struct view *v, size_t count)
{
	return count < v->top ? count : v->top;
}

static void print_info(const struct view *v)
{
	const struct profile *p = &v->profile;
	const struct profile_info *i = &p->info;
	char text[TEXT_MAX];
	printf("source: %s, %s", profile_source_name(i->source), escape(i->event, text, sizeof text));
	if (i->frequency)
		printf(", %" PRIu64 " per second of CPU time", i->frequency);
	else if (i->period)
		printf(", one in %" PRIu64, i->period);
	printf("\ncommand: %s\n", escape(i->command, text, sizeof text));
	if (*i->kernel || *i->cpu) {
		printf("host: kernel %s, ", escape(i->kernel, text, sizeof text));
		printf("%s\n", escape(i->cpu, text, sizeof text));
	}
	if (p->sample_count || i->duration_ns)
		printf("%zu samples, %zu branches in %.2f s; %" PRIu64 " lost, throttled %" PRIu64 " times\n", p->sample_count,
		       p->branch_count, (double)i->duration_ns / 1e9, i->lost, i->throttled);
	if (p->course.steps)
		printf("%" PRIu64 " steps of a recorded course in %" PRIu64 " pieces, %" PRIu64 " gaps\n", p->course.steps,
		       p->course.windows, p->course.gaps);
	if (p->count_count && !v->by_steps)
		printf("%" PRIu64 " %s at %zu addresses, %zu edges\n", v->summary.weight,
		       i->source == PROFILE_EXACT ? "instructions executed" : "samples, merged,", p->count_count, p->edge_count);
	if (i->target_cpu_ns)
		printf("CPU time: target %.3f s, recorder %.3f s (%.2f %%)\n", (double)i->target_cpu_ns / 1e9,
		       (double)i->recorder_cpu_ns / 1e9, overhead_percent(i));
	if (!p->complete)
		printf("incomplete: the recorder was killed; duration and totals at its end are missing\n");
}

static void print_lists(const struct view *v)
{
	char text[TEXT_MAX], other[TEXT_MAX], id[MODULE_HEX_SIZE];
	printf("\n%7s  %-40s  %s\n", v->by_steps ? "steps" : "weight", "build-id", "module");
	for (size_t i = 0; i < shown(v, v->summary.module_count); i++) {
		const struct summary_item *m = &v->summary.modules[i];
		strcpy(id, "-");
		if (m->module != PROFILE_NO_MODULE)
			module_build_id_hex(&v->profile.modules[m->module], id);
		printf("%6.2f%%  %-40s  %s\n", percent(v, m->weight), id, module_text(v, m->module, text, sizeof text));
	}
	printf("\n%7s  %-40s  %s\n", "weight", v->map_count ? "function" : "place (names need --map)", "module");
	for (size_t i = 0; i < shown(v, v->summary.place_count); i++) {
		const struct summary_item *f = &v->summary.places[i];
		printf("%6.2f%%  %-40s  %s\n", percent(v, f->weight), place_text(f, text, sizeof text),
		       module_text(v, f->module, other, sizeof other));
	}
	if (v->summary.thread_count)
		printf("\n%7s  thread (%zu in all)\n", "weight", v->summary.thread_count);
	for (size_t i = 0; i < shown(v, v->summary.thread_count); i++)
		printf("%6.2f%%  %u\n", percent(v, v->summary.threads[i].weight), v->summary.threads[i].thread);
}

/* Appends one item to a JSON array; false when memory is out. */
static bool add_item(json_t *array, const struct view *v, const struct summary_item *item, bool is_place)
{
	char module[4096], text[4096], id[MODULE_HEX_SIZE] = "-";
	if (item->module != PROFILE_NO_MODULE)
		module_build_id_hex(&v->profile.modules[item->module], id);
	json_t *object = json_pack("{s:I, s:f, s:s, s:s}", "weight", (json_int_t)item->weight, "percent", percent(v, item->weight),
				   "module", module_text(v, item->module, module, sizeof module), "build_id", id);
	if (!object)
		return false;
	if (is_place &&
	    (json_object_set_new(object, "address", json_integer((json_int_t)item->address)) ||
	     json_object_set_new(object, "size", json_integer((json_int_t)item->size)) ||
	     json_object_set_new(object, "name", item->name ? json_string(escape(item->name, text, sizeof text)) : json_null()))) {
		json_decref(object);
		return false;
	}
	return !json_array_append_new(array, object);
}

static json_t *items_to_json(const struct view *v, const struct summary_item *items, size_t count, bool is_place)
{
	json_t *array = json_array();
	for (size_t i = 0; array && i < shown(v, count); i++)
		if (!add_item(array, v, &items[i], is_place)) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *threads_to_json(const struct view *v)
{
	json_t *array = json_array();
	for (size_t i = 0; array && i < shown(v, v->summary.thread_count); i++) {
		const struct summary_item *t = &v->summary.threads[i];
		json_array_append_new(array, json_pack("{s:I, s:I}", "thread", (json_int_t)t->thread, "weight", (json_int_t)t->weight));
	}
	return array;
}

static int print_json(const struct view *v, struct err *e)
{
	const struct profile *p = &v->profile;
	const struct profile_info *i = &p->info;
	char event[TEXT_MAX], command[4096], kernel[TEXT_MAX], cpu[TEXT_MAX];
	json_t *root = json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:o, s:o, s:o}",
	    "source", profile_source_name(i->source), "event", escape(i->event, event, sizeof event), "command",
	    escape(i->command, command, sizeof command), "kernel", escape(i->kernel, kernel, sizeof kernel), "cpu",
	    escape(i->cpu, cpu, sizeof cpu), "complete", p->complete, "frequency", (json_int_t)i->frequency, "period",
	    (json_int_t)i->period, "seconds", (double)i->duration_ns / 1e9, "samples", (json_int_t)p->sample_count, "branches",
	    (json_int_t)p->branch_count, "counts", (json_int_t)(v->by_steps ? 0 : p->count_count), "edges", (json_int_t)p->edge_count,
	    "course_steps", (json_int_t)p->course.steps, "course_windows", (json_int_t)p->course.windows, "course_gaps",
	    (json_int_t)p->course.gaps, "lost", (json_int_t)i->lost, "throttled", (json_int_t)i->throttled, "target_cpu_ns",
	    (json_int_t)i->target_cpu_ns, "recorder_cpu_ns", (json_int_t)i->recorder_cpu_ns, "overhead_percent", overhead_percent(i),
	    "weight", (json_int_t)v->summary.weight, "modules", items_to_json(v, v->summary.modules, v->summary.module_count, false),
	    "places", items_to_json(v, v->summary.places, v->summary.place_count, true), "threads", threads_to_json(v));
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(root);
	return 0;
}

static void view_free(struct view *v)
{
	for (size_t i = 0; i < v->map_count; i++)
		map_free(&v->maps[i]);
	free(v->maps);
	summary_free(&v->summary);
	profile_free(&v->profile);
}

static int read_profile(const char *path, struct view *v, struct err *e)
{
	const char *name = strcmp(path, "-") ? path : "stdin";
	struct file_data file;
	int status = file_read(path, &file, e);
	if (status)
		return status;
	status = profile_decode(file.data, file.size, name, &v->profile, e);
	v->by_steps = !status && v->profile.course.steps && !v->profile.sample_count && !v->profile.count_count;
	if (v->by_steps)
		status = summary_count_steps(file.data, file.size, name, &v->profile, e);
	file_data_free(&file);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct view v = {.top = (size_t)cli_number(cli, "top", TOP_DEFAULT)};
	int status = read_profile(cli_argument(cli, 0), &v, e);
	if (!status)
		status = load_maps(cli, &v, e);
	if (!status)
		status = summary_make(&v.profile, v.maps, v.map_count, &v.summary, e);
	if (!status && cli_json(cli)) {
		status = print_json(&v, e);
	} else if (!status) {
		print_info(&v);
		print_lists(&v);
	}
	view_free(&v);
	return status;
}

static const struct cli_option options[] = {
    {"top", 0, CLI_NUMBER, "N", "how many modules, functions and threads (default 20)"},
    {"map", 0, CLI_STRING, "MAP", "a map of one of the modules, to name its functions; may be given several times"},
    {0},
};

const struct cli_verb cmd_show = {
    .name = "show",
    .arguments = "FILE [--top N] [--map MAP]...",
    .summary = "how a profile was made and what is hot in it",
    .options = options,
    .minimum = 1,
    .maximum = 1,
    .run = run,
};
