#include "analyze/emit/plan_make.h"

#include "analyze/emit/stub.h"
#include "analyze/emit/unwind.h"
#include "analyze/emit/validate.h"
#include "analyze/layout/course.h"
#include "formats/base/hash.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct job {
	struct plan_make_module *module;
	struct plan_module result;
	uint32_t profile_index; /* PROFILE_NO_MODULE: nothing is known of it */
	int status;
	struct err e;
};

struct maker {
	const struct plan_make_options *options;
	const struct profile *profile;
	struct job *jobs;
	size_t job_count;
	atomic_size_t next;
};

struct plan_make_options plan_make_options_default(void)
{
	return (struct plan_make_options){
	    .layout = {.coverage = 0.999},
	    .emit = emit_options_default(),
	    .minimum_share = 0.002,
	};
}

const char *plan_make_stage_name(unsigned stage)
{
	static const char *const names[PLAN_STAGE_COUNT] = {"read", "flow", "layout", "emit", "unwind", "validate"};
	return stage < PLAN_STAGE_COUNT ? names[stage] : "?";
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- one module, start to end --- */

struct attempt {
	struct image image;
	struct flow flow;
	struct layout layout;
	bool has_flow;
};

static void attempt_free(struct attempt *a)
{
	layout_free(&a->layout);
	if (a->has_flow)
		flow_free(&a->flow);
	image_close(&a->image);
}

static int open_path(struct job *job, const char *path, struct image *ret_image, struct err *e)
{
	int status = image_open(path, ret_image, e);
	if (status || module_same(&ret_image->identity, &job->module->map.module))
		return status;
	image_close(ret_image);
	return err_set(e, ERR_MISMATCH, "%s is not the file that was mapped: map it again", path);
}

static int open_image(const struct maker *m, struct job *job, struct attempt *a)
{
	const char *path = job->module->map.module.path, *other = NULL;
	if (job->profile_index != PROFILE_NO_MODULE)
		other = m->profile->modules[job->profile_index].path;
	int status = open_path(job, path, &a->image, &job->e);
	if (status && other && strcmp(other, path) && !open_path(job, other, &a->image, NULL))
		return 0;
	return status;
}

static int make_layout(const struct maker *m, struct job *job, struct attempt *a)
{
	double start = now();
	const struct map *map = &job->module->map;
	if (job->module->only_hook || (job->profile_index == PROFILE_NO_MODULE && !m->options->layout.torture_seed))
		return 0;
	if (job->profile_index != PROFILE_NO_MODULE) {
		int status = flow_infer(map, m->profile, job->profile_index, &a->flow, &job->e);
		if (status)
			return status;
		a->has_flow = true;
		if (m->options->emit.counting)
			flow_reach_callees(map, m->profile, job->profile_index, &a->flow);
	}
	job->module->seconds[PLAN_STAGE_FLOW] = now() - start;
	start = now();
	int status = layout_make(map, a->has_flow ? &a->flow : NULL, &m->options->layout, &a->layout, &job->e);
	job->module->seconds[PLAN_STAGE_LAYOUT] = now() - start;
	return status;
}

/* The validator's answer about our own output is a fault of ours, not an answer to the user. */
static int prove(struct job *job, const struct attempt *a)
{
	struct err refusal = {0};
	int status = validate_module(&a->image, &job->result, &refusal);
	if (!status)
		return 0;
	return err_set(&job->e, status == -ERR_MEMORY ? ERR_MEMORY : ERR_INTERNAL, "what was emitted cannot be proven: %.800s",
		       refusal.text);
}

/* Names the reason for which all functions of the module stay, where there is one such. */
static int refuse_module(const struct map *map, struct err *e)
{
	uint32_t reasons = map->function_count ? UINT32_MAX : 0;
	unsigned shared = 0;
	for (uint32_t i = 0; i < map->function_count; i++)
		reasons &= map->functions[i].reasons;
	while (shared < MAP_REASON_COUNT && !(reasons & 1u << shared))
		shared++;
	return err_set(e, ERR_NO, "nothing in it is hot and can be moved%s%s", shared < MAP_REASON_COUNT ? ": " : "",
		       shared < MAP_REASON_COUNT ? map_reason_text(shared) : "");
}

static int make_code(const struct maker *m, struct job *job, const struct attempt *a)
{
	struct plan_make_module *module = job->module;
	double start = now();
	int status = emit_module_with(&a->image, &module->map, a->has_flow ? &a->flow : NULL, &a->layout, &m->options->emit, &job->result,
				      &module->report, &job->e);
	module->seconds[PLAN_STAGE_EMIT] = now() - start;
	if (status)
		return status;
	if (!job->result.code_size)
		return refuse_module(&module->map, &job->e);
	start = now();
	status = unwind_emit(&a->image, &module->map, &job->result, &job->e);
	module->seconds[PLAN_STAGE_UNWIND] = now() - start;
	if (status)
		return status;
	start = now();
	status = prove(job, a);
	module->seconds[PLAN_STAGE_VALIDATE] = now() - start;
	return status;
}

static void run_job(const struct maker *m, struct job *job)
{
	struct attempt a = {0};
	double start = now();
	job->status = open_image(m, job, &a);
	job->module->seconds[PLAN_STAGE_READ] += now() - start;
	if (job->status)
		return;
	job->status = make_layout(m, job, &a);
	if (!job->status)
		job->status = make_code(m, job, &a);
	if (job->status)
		plan_module_free(&job->result);
	attempt_free(&a);
}

static void *work(void *argument)
{
	struct maker *m = argument;
	size_t index;
	while ((index = atomic_fetch_add(&m->next, 1)) < m->job_count)
		run_job(m, &m->jobs[index]);
	return NULL;
}

static void run_jobs(struct maker *m)
{
	pthread_t threads[PLAN_MAKE_MODULES_MAX];
	long cpus = m->options->threads ? (long)m->options->threads : sysconf(_SC_NPROCESSORS_ONLN);
	size_t wanted = cpus < 1 ? 1 : (size_t)cpus, started = 0;
	if (wanted > m->job_count)
		wanted = m->job_count;
	/* This thread works too; one that cannot be started is not missed. */
	while (started + 1 < wanted && started < PLAN_MAKE_MODULES_MAX && !pthread_create(&threads[started], NULL, work, m))
		started++;
	work(m);
	while (started)
		pthread_join(threads[--started], NULL);
}

/* --- which modules --- */

/* Nothing but branches is known (BOLT's fdata): how many landed there. */
static uint64_t landed_in(const struct profile *p, const struct module_identity *wanted)
{
	uint64_t weight = 0;
	for (size_t i = 0; i < p->edge_count; i++) {
		const struct profile_edge *edge = &p->edges[i];
		bool same = edge->to_module != PROFILE_NO_MODULE && wanted && module_same(&p->modules[edge->to_module], wanted);
		if (edge->kind != PROFILE_EDGE_RUN && (!wanted || same))
			weight += edge->count;
	}
	return weight;
}

/* Of the modules that are `wanted` (NULL: of everything): executed instructions, or samples, counted ones and single ones. */
static uint64_t weight_of(const struct profile *p, const struct module_identity *wanted)
{
	uint64_t weight = 0;
	bool exact = p->info.source == PROFILE_EXACT, same = false;
	uint32_t last = PROFILE_NO_MODULE; /* counts are sorted by module, and samples cluster */
	for (size_t i = 0; i < p->count_count + (exact ? 0 : p->sample_count); i++) {
		bool is_count = i < p->count_count;
		uint32_t module = is_count ? p->counts[i].module : p->samples[i - p->count_count].module;
		if (wanted && (module != last || !i)) {
			same = module != PROFILE_NO_MODULE && module_same(&p->modules[module], wanted);
			last = module;
		}
		if (!wanted || same)
			weight += is_count ? p->counts[i].count : 1;
	}
	return p->count_count || p->sample_count ? weight : landed_in(p, wanted);
}

#define HOOKS_MAX 2

static bool holds_hook(const struct map *map)
{
	for (uint32_t f = 0; f < map->function_count; f++)
		if (stub_of(map_function_name(map, f)))
			return true;
	return false;
}

static int compare_identities(const struct module_identity *a, const struct module_identity *b)
{
	int order = memcmp(a->build_id, b->build_id, sizeof a->build_id);
	if (order)
		return order;
	if (a->text_hash != b->text_hash)
		return a->text_hash < b->text_hash ? -1 : 1;
	return strcmp(a->path, b->path);
}

static int compare_modules(const void *va, const void *vb)
{
	const struct plan_make_module *a = va, *b = vb;
	if (a->weight != b->weight)
		return a->weight > b->weight ? -1 : 1;
	return compare_identities(&a->map.module, &b->map.module);
}

static int read_map(const char *path, struct plan_make_module *ret_module, struct err *e)
{
	struct file_data file;
	double start = now();
	int status = file_read(path, &file, e);
	if (status)
		return status;
	ret_module->map_hash = hash_bytes(file.data, file.size);
	status = map_decode(file.data, file.size, path, &ret_module->map, e);
	file_data_free(&file);
	ret_module->seconds[PLAN_STAGE_READ] = now() - start;
	return status;
}

static void module_release(struct plan_make_module *module)
{
	map_free(&module->map);
	emit_report_free(&module->report);
}

static bool known(const struct plan_make_result *r, const struct plan_make_module *module)
{
	for (size_t i = 0; i < r->module_count; i++)
		if (module_same(&r->modules[i].map.module, &module->map.module))
			return true;
	return false;
}

static int read_maps(const char *const *paths, size_t count, struct plan_make_result *r, struct err *e)
{
	r->modules = calloc(count + 1, sizeof *r->modules);
	if (!r->modules)
		return err_set(e, ERR_MEMORY, "plan: no memory");
	for (size_t i = 0; i < count; i++) {
		struct plan_make_module *module = &r->modules[r->module_count];
		int status = read_map(paths[i], module, e);
		if (status)
			return status;
		if (known(r, module)) {
			module_release(module);
			*module = (struct plan_make_module){0};
		} else {
			r->module_count++;
		}
	}
	return 0;
}

static void weigh(struct plan_make_result *r, const struct profile *profile)
{
	r->weight_total = weight_of(profile, NULL);
	r->weight_unmapped = r->weight_total;
	for (size_t i = 0; i < r->module_count; i++) {
		struct plan_make_module *m = &r->modules[i];
		m->weight = weight_of(profile, &m->map.module);
		m->share = r->weight_total ? (double)m->weight / (double)r->weight_total : 0;
		m->is_hook = holds_hook(&m->map);
		r->weight_unmapped -= m->weight < r->weight_unmapped ? m->weight : r->weight_unmapped;
	}
	if (r->module_count)
		qsort(r->modules, r->module_count, sizeof *r->modules, compare_modules);
}

static bool is_named(const struct plan_make_options *o, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	for (const char *const *name = o->names; *name; name++)
		if (!strcmp(*name, path) || !strcmp(*name, base))
			return true;
	return false;
}

/* Sets `reason` of the modules that are not to be planned; the others have none. Room is left for the hooks: of libc and of libgcc_s. */
static void select_modules(const struct plan_make_options *o, struct plan_make_result *r)
{
	size_t chosen = 0, hooks = 0;
	for (size_t i = 0; i < r->module_count; i++) {
		struct plan_make_module *m = &r->modules[i];
		bool torture = o->layout.torture_seed != 0;
		if (o->names && !is_named(o, m->map.module.path))
			snprintf(m->reason, sizeof m->reason, "not among the modules asked for");
		else if (!m->weight && !torture)
			snprintf(m->reason, sizeof m->reason, "not in the profile");
		else if (m->share < o->minimum_share && !torture)
			snprintf(m->reason, sizeof m->reason, "%.3f %% of the profile, less than %.3f %%", 100 * m->share,
				 100 * o->minimum_share);
		else if ((o->module_maximum && chosen >= o->module_maximum) || chosen + HOOKS_MAX >= PLAN_MAKE_MODULES_MAX)
			snprintf(m->reason, sizeof m->reason, "lighter than the %zu modules that are planned", chosen);
		else
			chosen++;
		m->only_hook = m->is_hook && m->reason[0] && hooks < HOOKS_MAX;
		if (m->only_hook)
			m->reason[0] = 0;
		hooks += m->only_hook;
	}
}

/* --- putting it together --- */

static char *options_text(const struct plan_make_options *o)
{
	char *text = NULL;
	int n = asprintf(&text,
			 "coverage=%.9g torture=%" PRIu64 " minimum-share=%.9g modules=%u alignment=%u reentries=%u reentry-share=%.9g%s",
			 o->layout.coverage, o->layout.torture_seed, o->minimum_share, o->module_maximum, o->emit.function_alignment,
			 o->emit.reentry_maximum, o->emit.reentry_share,
			 o->emit.counting	      ? " counting"
			 : o->emit.count_exits	      ? " count-exits"
			 : o->emit.reentry_everywhere ? " reentry-everywhere"
						      : "");
	if (n >= 0 && o->layout.torture_last.v) {
		char *longer = NULL;
		n = asprintf(&longer, "%s functions=%" PRIx64 "-%" PRIx64, text, o->layout.torture_first.v, o->layout.torture_last.v);
		free(text);
		text = n < 0 ? NULL : longer;
	}
	for (const char *const *name = o->names; n >= 0 && name && *name; name++) {
		char *longer = NULL;
		n = asprintf(&longer, "%s module=%s", text, *name);
		free(text);
		text = n < 0 ? NULL : longer;
	}
	return n < 0 ? NULL : text;
}

static int hash_inputs(struct plan_make_result *r, uint64_t profile_hash, struct err *e)
{
	struct hash_state *state = hash_begin();
	if (!state)
		return err_set(e, ERR_MEMORY, "plan: no memory");
	struct writer w = {0};
	write_u64(&w, profile_hash);
	for (size_t i = 0; i < r->module_count; i++) {
		module_encode(&w, &r->modules[i].map.module);
		write_u64(&w, r->modules[i].map_hash);
	}
	write_bytes(&w, r->plan.options, strlen(r->plan.options));
	hash_add(state, w.data, w.size);
	r->plan.inputs_hash = hash_end(state);
	int status = w.failed ? err_set(e, ERR_MEMORY, "plan: no memory") : 0;
	writer_free(&w);
	return status;
}

/* These say that this module cannot be planned; anything else says that we are broken. */
static bool leaves_out(int status)
{
	return status == -ERR_NO || status == -ERR_MISSING || status == -ERR_PERMISSION || status == -ERR_IO || status == -ERR_FORMAT ||
	       status == -ERR_UNSUPPORTED || status == -ERR_MISMATCH;
}

/* Takes the results in the order of the jobs, which is by weight. */
static int collect(struct maker *m, struct plan_make_result *r, struct err *e)
{
	r->plan.modules = calloc(m->job_count + 1, sizeof *r->plan.modules);
	if (!r->plan.modules)
		return err_set(e, ERR_MEMORY, "plan: no memory");
	for (size_t i = 0; i < m->job_count; i++) {
		struct job *job = &m->jobs[i];
		if (job->status && !leaves_out(job->status))
			return err_set(e, (enum err_code)job->e.code, "%s: %.900s", job->module->map.module.path, job->e.text);
		if (job->status) {
			snprintf(job->module->reason, sizeof job->module->reason, "%.290s", job->e.text);
			job->module->failure = job->e.code;
			continue;
		}
		job->module->planned = true;
		r->plan.modules[r->plan.module_count++] = job->result;
		job->result = (struct plan_module){0};
	}
	return 0;
}

static int make_all(const struct plan_make_options *options, const struct profile *profile, struct plan_make_result *r, struct err *e)
{
	struct maker m = {.options = options, .profile = profile};
	m.jobs = calloc(r->module_count + 1, sizeof *m.jobs);
	if (!m.jobs)
		return err_set(e, ERR_MEMORY, "plan: no memory");
	for (size_t i = 0; i < r->module_count; i++) {
		if (r->modules[i].reason[0])
			continue;
		struct job job = {.module = &r->modules[i], .profile_index = profile_find_module(profile, &r->modules[i].map.module)};
		m.jobs[m.job_count++] = job;
	}
	run_jobs(&m);
	int status = collect(&m, r, e);
	for (size_t i = 0; i < m.job_count; i++)
		plan_module_free(&m.jobs[i].result);
	free(m.jobs);
	return status;
}

/* A plan of nothing but hooks of the unwinder helps nobody. */
static int refuse_empty(const struct plan_make_result *r, struct err *e)
{
	for (size_t i = 0; i < r->module_count; i++)
		if (r->modules[i].planned && !r->modules[i].only_hook)
			return 0;
	if (!r->module_count)
		return err_set(e, ERR_NO, "nothing to plan: no maps");
	const struct plan_make_module *first = &r->modules[0];
	return err_set(e, first->failure ? first->failure : ERR_NO, "nothing to plan; %s: %s", first->map.module.path,
		       first->reason[0] ? first->reason : "not in the profile");
}

static int make_plan(const struct profile *profile, uint64_t profile_hash, const struct plan_make_options *options,
		     struct plan_make_result *r, struct err *e)
{
	weigh(r, profile);
	select_modules(options, r);
	r->plan.options = options_text(options);
	if (!r->plan.options)
		return err_set(e, ERR_MEMORY, "plan: no memory");
	int status = hash_inputs(r, profile_hash, e);
	if (!status)
		status = make_all(options, profile, r, e);
	return status ? status : refuse_empty(r, e);
}

/* A course becomes counts by what the maps say. */
static int count_course(const struct plan_make_result *r, const struct file_data *file, const char *path, struct profile *profile,
			struct err *e)
{
	const struct map **maps = calloc(r->module_count + 1, sizeof *maps);
	if (!maps)
		return err_set(e, ERR_MEMORY, "plan: no memory");
	for (size_t i = 0; i < r->module_count; i++)
		maps[i] = &r->modules[i].map;
	int status = course_count(file->data, file->size, path, maps, r->module_count, profile, e);
	free(maps);
	return status;
}

static int read_profile(const char *path, const struct plan_make_result *r, struct profile *ret_profile, uint64_t *ret_hash, struct err *e)
{
	struct file_data file;
	int status = file_read(path, &file, e);
	if (status)
		return status;
	*ret_hash = hash_bytes(file.data, file.size);
	status = profile_decode(file.data, file.size, path, ret_profile, e);
	if (!status && course_is_all(ret_profile))
		status = count_course(r, &file, path, ret_profile, e);
	file_data_free(&file);
	return status;
}

int plan_make(const char *profile_path, const char *const *map_paths, size_t map_count, const struct plan_make_options *options,
	      struct plan_make_result *ret_result, struct err *e)
{
	struct plan_make_result result = {0};
	struct profile profile = {0};
	uint64_t profile_hash = 0;
	int status = read_maps(map_paths, map_count, &result, e);
	if (!status && profile_path)
		status = read_profile(profile_path, &result, &profile, &profile_hash, e);
	if (!status)
		status = make_plan(&profile, profile_hash, options, &result, e);
	profile_free(&profile);
	if (status)
		plan_make_result_free(&result);
	else
		*ret_result = result;
	return status;
}

void plan_make_result_free(struct plan_make_result *result)
{
	plan_free(&result->plan);
	for (size_t i = 0; result->modules && i < result->module_count; i++)
		module_release(&result->modules[i]);
	free(result->modules);
	*result = (struct plan_make_result){0};
}
