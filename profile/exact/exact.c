#include "profile/exact/exact.h"

#include "formats/base/file.h"
#include "formats/base/vec.h"
#include "formats/profile.h"
#include "profile/exact/sibling.h"
#include "profile/exact/slowdown.h"
#include "profile/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_ENOUGH 5000
#define BUSY_TRIES 10u
#define BUSY_PAUSE_NS 300000000
#define SAMPLING_LONGER 4 /* times the seconds asked for, at most */

struct exact {
	const struct exact_options *options;
	struct exact_result result;
	char directory[PATH_MAX]; /* private; removed at the end with all that is in it */
	char pid[16];
	VEC(char *) maps; /* owned paths */
};

static void say(const struct exact *x, const char *what)
{
	if (x->options->step)
		x->options->step(x->options->context, what);
}

static int text(struct err *e, char **ret_text, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int text(struct err *e, char **ret_text, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int n = vasprintf(ret_text, format, arguments);
	va_end(arguments);
	if (n >= 0)
		return 0;
	*ret_text = NULL;
	return err_set(e, ERR_MEMORY, "no memory for a path");
}

/* A path in the private directory. Lives until the next call with the same buffer. */
static const char *path_in(const struct exact *x, const char *name, char path[PATH_MAX])
{
	if (snprintf(path, PATH_MAX, "%s/%s", x->directory, name) >= PATH_MAX)
		path[0] = 0; /* opening it fails, with a message */
	return path;
}

int exact_cache(char *path, size_t size, struct err *e)
{
	const char *wish = getenv("REPAVE_CACHE"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;
	if (wish && *wish)
		n = snprintf(path, size, "%s", wish);
	else if (!geteuid())
		n = snprintf(path, size, "/var/cache/repave");
	else if (cache && *cache)
		n = snprintf(path, size, "%s/repave", cache);
	else
		n = snprintf(path, size, "%s/.cache/repave", home && *home ? home : "");
	if (n < 0 || (size_t)n >= size)
		return err_set(e, ERR_ENVIRONMENT, "the path of the cache is too long");
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(path, 0755); /* the last one tells */
		*slash = '/';
	}
	if (mkdir(path, 0755) && errno != EEXIST)
		return err_set(e, ERR_ENVIRONMENT, "cannot make the cache %s: %s", path, strerror(errno));
	return 0;
}

static bool told_to_stop(const struct exact *x)
{
	struct pollfd p = {.fd = x->options->stop_fd, .events = POLLIN};
	return poll(&p, 1, 0) > 0;
}

/* --- samples --- */

static int sample_for(struct exact *x, double seconds, struct err *e)
{
	char path[PATH_MAX];
	struct record_options options = {
	    .pid = x->options->pid,
	    .event = {.rate = x->options->rate},
	    .seconds = seconds,
	    .stop_fd = x->options->stop_fd,
	};
	struct record_result result;
	int fd = open(path_in(x, "samples.rprof", path), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	int status = record_run(&options, fd, path, &result, e);
	close(fd);
	if (status)
		return status;
	x->result.samples = result.samples;
	snprintf(x->result.event, sizeof x->result.event, "%s", result.info.event);
	bool exited = result.target_exited;
	record_result_free(&result);
	if (exited)
		return err_set(e, ERR_GONE, "process %d ended while it was sampled", x->options->pid);
	return 0;
}

/* A process that had little of the CPU is sampled once more for as long as it seems to need, so that what is hot does not stay unseen. */
static int sample(struct exact *x, struct err *e)
{
	double seconds = x->options->sample_seconds;
	int status = sample_for(x, seconds, e);
	if (!status && x->result.samples && x->result.samples < SAMPLES_ENOUGH && !told_to_stop(x)) {
		double need = seconds * SAMPLES_ENOUGH / (double)x->result.samples;
		status = sample_for(x, need < seconds * SAMPLING_LONGER ? need : seconds * SAMPLING_LONGER, e);
	}
	if (status)
		return status;
	return x->result.samples ? 0 : err_set(e, ERR_NO, "process %d did not run: nothing to count", x->options->pid);
}

/* --- maps --- */

/* Is the file of that path in the process's own root the one that everybody sees? Only then a map of it may be kept for others. */
static bool same_for_all(const char *path, const char *inside)
{
	struct stat a, b;
	return !stat(path, &a) && !stat(inside, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int make_map(struct exact *x, const struct module_identity *module, struct err *e)
{
	char *inside = NULL, *directory = NULL, *map = NULL, id[MODULE_HEX_SIZE];
	const char *slash = strrchr(module->path, '/');
	module_build_id_hex(module, id);
	int status = text(e, &inside, "/proc/%d/root%s", x->options->pid, module->path);
	bool shared = !status && same_for_all(module->path, inside);
	if (!status)
		status = text(e, &directory, "%s/", shared ? x->options->cache : x->directory);
	if (!status)
		status = text(e, &map, "%s%s-%s.rmap", directory, slash ? slash + 1 : module->path, id);
	if (!status) {
		const char *const arguments[] = {"repave-analyze", "map", "--json", "-o", directory, shared ? module->path : inside, NULL};
		status = sibling_run(arguments, NULL, e);
	}
	if (!status && vec_push(&x->maps, map))
		status = err_set(e, ERR_MEMORY, "no memory for maps");
	if (status)
		free(map);
	free(inside);
	free(directory);
	return status;
}

/* A file that is gone or no ELF file is not worth giving up for: it is not counted. */
static int map_if_possible(struct exact *x, const struct module_identity *module, struct err *e)
{
	struct err why = {0};
	if (!module->build_id_size || !module->path || module->path[0] != '/')
		return 0;
	int status = make_map(x, module, &why);
	if (status != -ERR_MEMORY && status != -ERR_INTERNAL)
		return 0;
	if (e)
		*e = why;
	return status;
}

static const char libgcc_name[] = "/libgcc_s.so", libc_name[] = "/libc.so.6";

static bool is_named(const char *path, const char *name)
{
	return path && strstr(path, name);
}

/* Maps the first file of that name that the process executes. */
static int map_named(struct exact *x, const struct procmaps *maps, const char *name, bool *ret_found, struct err *e)
{
	*ret_found = false;
	for (size_t i = 0; i < maps->count; i++) {
		const struct procmap *m = &maps->maps[i];
		struct module_identity module;
		struct elfhead head;
		if (!m->execute || !is_named(m->path, name) || identity_of_mapping(x->options->pid, m, maps, &module, &head, NULL))
			continue;
		*ret_found = true;
		int status = map_if_possible(x, &module, e);
		module_free(&module);
		return status;
	}
	return 0;
}

/*
 * What unwinders ask must be part of what is applied, though it is never hot (exceptions pass through moved code): libgcc_s, and libc where that is
 * not loaded.
 */
static int map_unwinder(struct exact *x, bool has_libc, struct err *e)
{
	struct procmaps maps;
	bool found;
	int status = procmaps_read(x->options->pid, &maps, e);
	if (status)
		return status;
	status = map_named(x, &maps, libgcc_name, &found, e);
	if (!status && !found && !has_libc)
		status = map_named(x, &maps, libc_name, &found, e);
	procmaps_free(&maps);
	return status;
}

static int make_maps(struct exact *x, struct err *e)
{
	char path[PATH_MAX];
	struct profile profile;
	int status = profile_read(path_in(x, "samples.rprof", path), &profile, e);
	if (status)
		return status;
	uint64_t *weight = calloc(profile.module_count + 1, sizeof *weight);
	if (!weight)
		status = err_set(e, ERR_MEMORY, "no memory for modules");
	for (size_t i = 0; weight && i < profile.sample_count; i++)
		if (profile.samples[i].module < profile.module_count)
			weight[profile.samples[i].module]++;
	/* What the planner would leave out needs no map. */
	bool has_libc = false;
	for (size_t i = 0; !status && i < profile.module_count; i++)
		if (weight[i] * 500 >= profile.sample_count && !is_named(profile.modules[i].path, libgcc_name)) {
			has_libc |= is_named(profile.modules[i].path, libc_name);
			status = map_if_possible(x, &profile.modules[i], e);
		}
	free(weight);
	profile_free(&profile);
	if (!status)
		status = map_unwinder(x, has_libc, e);
	if (!status && !x->maps.count)
		status = err_set(e, ERR_REFUSED, "process %d executes no file that can be mapped", x->options->pid);
	return status;
}

/* --- counting --- */

static int run_with_maps(const struct exact *x, const char *const *first, json_t **ret_json, struct err *e)
{
	VEC(const char *) arguments = {0};
	bool failed = false;
	for (; *first; first++)
		failed |= vec_push(&arguments, *first) != 0;
	for (size_t i = 0; i < x->maps.count; i++)
		failed |= vec_push(&arguments, (const char *)x->maps.data[i]) != 0;
	failed |= vec_push(&arguments, NULL) != 0;
	int status = failed ? err_set(e, ERR_MEMORY, "no memory for arguments") : sibling_run(arguments.data, ret_json, e);
	vec_free(&arguments);
	return status;
}

static int make_plan(const struct exact *x, const char *profile, struct err *e)
{
	char plan[PATH_MAX];
	const char *const arguments[] = {
	    "repave-analyze", "plan", "--json", "--counting", "--profile", profile, "-o", path_in(x, "counting.rplan", plan), NULL};
	return run_with_maps(x, arguments, NULL, e);
}

struct watch {
	struct exact *x;
	struct slowdown slowdown;
	const struct sibling *counter;
};

static void look(void *context, const struct record_progress *p)
{
	struct watch *w = context;
	w->x->result.slowdown = slowdown_factor(&w->slowdown, p->samples);
	if (p->samples < 100 || w->x->result.slowdown <= w->x->options->max_slowdown || w->x->result.cut_short)
		return;
	w->x->result.cut_short = true;
	kill(w->counter->pid, SIGTERM);
}

/* Where the images stand: the plan's modules by the line that repave-apply prints. */
static int find_regions(const struct plan *plan, json_t *line, struct slowdown *s, struct err *e)
{
	json_t *modules = json_object_get(line, "modules");
	s->regions = calloc(plan->module_count + 1, sizeof *s->regions);
	if (!s->regions)
		return err_set(e, ERR_MEMORY, "no memory for modules");
	for (size_t i = 0; i < json_array_size(modules); i++) {
		json_t *one = json_array_get(modules, i);
		const char *path = json_string_value(json_object_get(one, "path"));
		for (uint32_t k = 0; path && k < plan->module_count && s->region_count < plan->module_count; k++)
			if (plan->modules[k].module.path && !strcmp(plan->modules[k].module.path, path))
				s->regions[s->region_count++] = (struct slowdown_region){
				    &plan->modules[k], {(uint64_t)json_integer_value(json_object_get(one, "address"))}};
	}
	return 0;
}

/* Samples the process while it counts, only to see how much slower it is, until the counting ends. */
static int watch_counting(struct exact *x, struct watch *w, struct err *e)
{
	struct space_translator translator = {slowdown_translate, &w->slowdown};
	int fd = memfd_create("repave", MFD_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, errno, "memfd_create");
	struct record_options options = {
	    .pid = x->options->pid,
	    .event = {.rate = x->options->rate},
	    .stop_fd = fileno(w->counter->output), /* it prints when it is done */
	    .translator = &translator,
	    .progress = look,
	    .context = w,
	};
	struct record_result result;
	int status = record_run(&options, fd, "samples while counting", &result, e);
	if (!status) {
		x->result.slowdown = slowdown_factor(&w->slowdown, result.samples);
		record_result_free(&result);
	}
	close(fd);
	return status;
}

static void note_result(struct exact *x, json_t *done)
{
	x->result.counted_seconds = json_number_value(json_object_get(done, "seconds"));
	x->result.apply_pause_ms = json_number_value(json_object_get(done, "apply_pause_ms"));
	x->result.undo_pause_ms = json_number_value(json_object_get(done, "undo_pause_ms"));
	x->result.counters = (uint64_t)json_integer_value(json_object_get(done, "counters"));
	x->result.kept = json_is_true(json_object_get(done, "kept"));
}

static const char *show_limits(const struct exact *x)
{
	return x->options->show_limits ? "--show-limits" : NULL;
}

/* Somebody killed the tool that counts: nothing is lost, but the process still counts. */
static int take_out(const struct exact *x, struct err *e)
{
	struct err ignored;
	const char *const arguments[] = {"repave-apply", "undo", "--json", "--cut-calls", "-p", x->pid, show_limits(x), NULL};
	int status = sibling_run(arguments, NULL, &ignored);
	if (status && status != -ERR_REFUSED && status != -ERR_GONE)
		return err_set(e, ERR_INCONSISTENT, "process %d still counts: run repave-apply undo -p %d", x->options->pid,
			       x->options->pid);
	return err_prefix(e, "counting was ended, process %d is as it was", x->options->pid);
}

static int watch_sibling(struct exact *x, struct sibling *counter, const struct plan *plan, struct err *e)
{
	struct watch w = {.x = x, .counter = counter};
	struct err unseen = {0};
	bool killed = false;
	json_t *line = sibling_line(counter), *done = NULL;
	if (json_object_get(line, "modules")) {
		/* Without samples there is no estimate of the slowdown; the time limit stands all the same. */
		if (!find_regions(plan, line, &w.slowdown, &unseen) && watch_counting(x, &w, &unseen))
			x->result.slowdown = 0;
		done = sibling_line(counter);
		if (done)
			note_result(x, done);
	}
	free(w.slowdown.regions);
	json_decref(line);
	json_decref(done);
	int status = sibling_wait(counter, &killed, e);
	return killed ? take_out(x, e) : status;
}

static int count(struct exact *x, double seconds, struct err *e)
{
	char plan_path[PATH_MAX], raw[PATH_MAX], *limit = NULL;
	struct plan plan;
	struct sibling counter;
	path_in(x, "counting.rplan", plan_path);
	int status = plan_read(plan_path, &plan, e);
	if (status)
		return status;
	status = text(e, &limit, "%.3f", seconds);
	const char *const arguments[] = {"repave-apply",
					 "count",
					 "--json",
					 "--with-parent",
					 "-p",
					 x->pid,
					 "--seconds",
					 limit,
					 "-o",
					 path_in(x, "raw.rprof", raw),
					 plan_path,
					 x->options->cut_calls ? "--cut-calls" : show_limits(x),
					 x->options->cut_calls ? show_limits(x) : NULL,
					 NULL};
	if (!status)
		status = sibling_start(arguments, &counter, e);
	if (!status)
		status = watch_sibling(x, &counter, &plan, e);
	free(limit);
	plan_free(&plan);
	return status;
}

static int complete(struct exact *x, const char *output, struct err *e)
{
	char raw[PATH_MAX], plan[PATH_MAX], samples[PATH_MAX];
	const char *const arguments[] = {"repave-analyze",
					 "complete",
					 "--json",
					 "--profile",
					 path_in(x, "raw.rprof", raw),
					 "--plan",
					 path_in(x, "counting.rplan", plan),
					 "--samples",
					 path_in(x, "samples.rprof", samples),
					 "-o",
					 output,
					 NULL};
	json_t *json = NULL;
	int status = run_with_maps(x, arguments, &json, e);
	x->result.blocks = (uint64_t)json_integer_value(json_object_get(json, "blocks"));
	x->result.executions = (uint64_t)json_integer_value(json_object_get(json, "executions"));
	x->result.guessed = (uint64_t)json_integer_value(json_object_get(json, "guessed"));
	json_decref(json);
	return status;
}

/* The image of the round before may have to stay for a moment: until then the process is busy. */
static int count_patiently(struct exact *x, double seconds, struct err *e)
{
	int status = count(x, seconds, e);
	for (unsigned n = 0; status == -ERR_BUSY && n < BUSY_TRIES && !told_to_stop(x); n++) {
		const struct timespec pause = {0, BUSY_PAUSE_NS};
		nanosleep(&pause, NULL);
		status = count(x, seconds, e);
	}
	return status;
}

/* Each round but the last only looks for what is called as well. What one has counted is good, also when no other can follow it. */
static int count_rounds(struct exact *x, struct err *e)
{
	char samples[PATH_MAX], counts[PATH_MAX];
	path_in(x, "counts.rprof", counts);
	int status = make_plan(x, path_in(x, "samples.rprof", samples), e);
	for (unsigned round = 1; !status; round++) {
		bool last = round == x->options->rounds;
		x->result.rounds = round;
		say(x, last ? "counting" : "looking for more to count");
		status =
		    count_patiently(x, last ? x->options->max_seconds * 0.8 : x->options->max_seconds * 0.2 / (x->options->rounds - 1), e);
		if (status == -ERR_BUSY && round > 1) {
			snprintf(x->result.why_ended, sizeof x->result.why_ended, "%.255s", e->text);
			x->result.rounds = round - 1;
			return 0;
		}
		if (!status)
			status = complete(x, counts, e);
		if (last || x->result.cut_short || told_to_stop(x))
			break;
		if (!status)
			status = make_plan(x, counts, e);
	}
	return status;
}

static int deliver(struct exact *x, const char *output, struct err *e)
{
	char counts[PATH_MAX];
	struct file_data file;
	int status = file_read(path_in(x, "counts.rprof", counts), &file, e);
	if (status)
		return status;
	x->result.bytes = file.size;
	status = file_write(output, file.data, file.size, e);
	file_data_free(&file);
	return status;
}

static int run_all(struct exact *x, const char *output, struct err *e)
{
	say(x, "sampling");
	int status = sample(x, e);
	if (!status) {
		say(x, "mapping");
		status = make_maps(x, e);
	}
	if (!status)
		status = count_rounds(x, e);
	return status ? status : deliver(x, output, e);
}

static void remove_directory(const struct exact *x)
{
	static const char *const names[] = {"samples.rprof", "counting.rplan", "raw.rprof", "counts.rprof"};
	char path[PATH_MAX];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlink(path_in(x, names[i], path));
	for (size_t i = 0; i < x->maps.count; i++)
		if (!strncmp(x->maps.data[i], x->directory, strlen(x->directory)))
			unlink(x->maps.data[i]);
	rmdir(x->directory);
}

int exact_record(const struct exact_options *options, const char *output, struct exact_result *ret_result, struct err *e)
{
	struct exact x = {.options = options};
	const char *temporary = getenv("TMPDIR");
	snprintf(x.pid, sizeof x.pid, "%d", options->pid);
	if (snprintf(x.directory, sizeof x.directory, "%s/repave.XXXXXX", temporary && *temporary ? temporary : "/tmp") >=
		(int)sizeof x.directory ||
	    !mkdtemp(x.directory))
		return err_set(e, ERR_ENVIRONMENT, "cannot make a directory in %s: %s", temporary ? temporary : "/tmp", strerror(errno));
	int status = run_all(&x, output, e);
	remove_directory(&x);
	for (size_t i = 0; i < x.maps.count; i++)
		free(x.maps.data[i]);
	vec_free(&x.maps);
	if (!status)
		*ret_result = x.result;
	return status;
}
