#include "profile/merge/merge.h"

#include "formats/base/file.h"
#include "formats/base/vec.h"
#include "profile/merge/module_set.h"
#include "profile/tally.h"

#include <string.h>

static const char several[] = "(several)";

struct merge {
	struct tally tally;
	struct module_set modules;
	struct profile_info info; /* joined; owned */
	struct merge_totals totals;
};

/* One file while it is added. */
struct adding {
	struct merge *merge;
	VEC(uint32_t) numbers; /* module of the file -> number in the set + 1, 0 = not named so far: only modules with records are taken */
	uint64_t weight, samples, counted;
	bool exact;
};

int merge_new(struct merge **ret_merge, struct err *e)
{
	*ret_merge = calloc(1, sizeof **ret_merge);
	return *ret_merge ? 0 : err_set(e, ERR_MEMORY, "no memory for a merge");
}

static void merge_clear(struct merge *m)
{
	struct profile holder = {.info = m->info};
	profile_free(&holder);
	tally_free(&m->tally);
	module_set_free(&m->modules);
	*m = (struct merge){0};
}

void merge_free(struct merge *merge)
{
	if (merge)
		merge_clear(merge);
	free(merge);
}

/* --- records --- */

/* Number in the set, and the address to use: anonymous memory is one place. */
static int number_of(struct adding *a, const struct profile *part, uint32_t *module, uint64_t *address, struct err *e)
{
	if (*module == PROFILE_NO_MODULE) {
		*address = 0;
		return 0;
	}
	while (a->numbers.count <= *module)
		if (vec_push(&a->numbers, 0))
			return err_set(e, ERR_MEMORY, "no memory for modules");
	uint32_t *known = &a->numbers.data[*module];
	if (!*known) {
		uint32_t number;
		int status = module_set_add(&a->merge->modules, &part->modules[*module], &number, e);
		if (status)
			return status;
		*known = number + 1;
	}
	*module = *known - 1;
	return 0;
}

static int add_count(struct adding *a, const struct profile *part, struct profile_count count, struct err *e)
{
	int status = count.count ? number_of(a, part, &count.module, &count.address, e) : 0;
	count.count = tally_product(count.count, a->weight);
	return status ? status : tally_add_count(&a->merge->tally, &count, e);
}

static int add_edge(struct adding *a, const struct profile *part, struct profile_edge edge, struct err *e)
{
	if (!edge.count)
		return 0;
	int status = number_of(a, part, &edge.from_module, &edge.from, e);
	if (!status)
		status = number_of(a, part, &edge.to_module, &edge.to, e);
	edge.count = tally_product(edge.count, a->weight);
	edge.mispredicted = tally_product(edge.mispredicted, a->weight);
	return status ? status : tally_add_edge(&a->merge->tally, &edge, e);
}

/* Newest first: where the older one landed, until where the newer one left. */
static int add_branches(struct adding *a, const struct profile *part, const struct profile_sample *s, struct err *e)
{
	int status = 0;
	for (uint32_t i = 0; i < s->branch_count && !status; i++) {
		const struct profile_branch *b = &part->branches[s->first_branch + i];
		struct profile_edge edge = {b->from, b->to, 1, b->mispredicted, b->from_module, b->to_module, PROFILE_EDGE_JUMP};
		status = add_edge(a, part, edge, e);
		if (status || !i || b->to_module == PROFILE_NO_MODULE || b->to_module != b[-1].from_module)
			continue;
		struct profile_edge run = {b->to, b[-1].from, 1, 0, b->to_module, b->to_module, PROFILE_EDGE_RUN};
		status = add_edge(a, part, run, e);
	}
	return status;
}

static int add_part(void *context, const struct profile *part, struct err *e)
{
	struct adding *a = context;
	int status = 0;
	a->samples += part->sample_count;
	for (size_t i = 0; i < part->sample_count && !status && !a->exact; i++) {
		const struct profile_sample *s = &part->samples[i];
		status = add_count(a, part, (struct profile_count){s->address, 1, s->module}, e);
		if (!status)
			status = add_branches(a, part, s, e);
	}
	for (size_t i = 0; i < part->count_count && !status; i++) {
		a->counted = tally_sum(a->counted, part->counts[i].count);
		status = add_count(a, part, part->counts[i], e);
	}
	for (size_t i = 0; i < part->edge_count && !status; i++)
		status = add_edge(a, part, part->edges[i], e);
	return status;
}

/* --- how it was made --- */

static int join_text(char **mine, const char *other, bool first, struct err *e)
{
	if (!first && !strcmp(*mine, other))
		return 0;
	char *copy = strdup(first ? other : several);
	if (!copy)
		return err_set(e, ERR_MEMORY, "no memory for a text");
	free(*mine);
	*mine = copy;
	return 0;
}

static void join_sum(uint64_t *mine, uint64_t other, uint64_t weight)
{
	*mine = tally_sum(*mine, tally_product(other, weight));
}

static void join_equal(uint64_t *mine, uint64_t other, bool first)
{
	*mine = first || *mine == other ? other : 0;
}

static int join_info(struct merge *m, const struct profile_info *other, uint64_t weight, struct err *e)
{
	struct profile_info *mine = &m->info;
	bool first = !m->totals.files;
	int status = join_text(&mine->event, other->event, first, e);
	if (!status)
		status = join_text(&mine->kernel, other->kernel, first, e);
	if (!status)
		status = join_text(&mine->cpu, other->cpu, first, e);
	if (!status)
		status = join_text(&mine->command, other->command, first, e);
	join_equal(&mine->period, other->period, first);
	join_equal(&mine->frequency, other->frequency, first);
	if (!mine->start_ns || (other->start_ns && other->start_ns < mine->start_ns))
		mine->start_ns = other->start_ns;
	join_sum(&mine->duration_ns, other->duration_ns, weight);
	join_sum(&mine->lost, other->lost, weight);
	join_sum(&mine->throttled, other->throttled, weight);
	join_sum(&mine->target_cpu_ns, other->target_cpu_ns, weight);
	join_sum(&mine->recorder_cpu_ns, other->recorder_cpu_ns, weight);
	return status;
}

/* --- a file --- */

struct survey {
	bool has_branches, has_totals; /* totals: anything that can be added */
};

static int survey_part(void *context, const struct profile *part, struct err *e)
{
	struct survey *s = context;
	(void)e;
	s->has_branches |= part->branch_count > 0;
	s->has_totals |= part->sample_count || part->count_count || part->edge_count;
	return 0;
}

/* A sampled profile with branch records is read as one (analyze/layout/evidence.c), whatever it calls itself. */
static uint8_t source_of(const struct profile_info *info, const struct survey *s)
{
	return info->source != PROFILE_EXACT && s->has_branches ? PROFILE_BRANCH_STACKS : info->source;
}

static int check_source(const struct merge *m, uint8_t source, const char *name, struct err *e)
{
	if (!m->totals.files || m->info.source == source)
		return 0;
	return err_set(e, ERR_MISMATCH,
		       "%s: made from %s, the profiles before from %s: one of the one is not worth one of the other, so they are not added",
		       name, profile_source_name(source), profile_source_name(m->info.source));
}

static int check_course(const struct profile *p, const struct survey *s, const char *name, struct err *e)
{
	if (!p->course.steps || s->has_totals)
		return 0;
	return err_set(e, ERR_UNSUPPORTED,
		       "%s: holds only a recorded course, an order of which there is no sum: repave-analyze flow makes counts of it", name);
}

/* Read twice: first all of it is checked and its source seen, so that what is refused leaves nothing behind. */
int merge_add(struct merge *merge, const void *data, size_t size, const char *name, uint64_t weight, struct err *e)
{
	struct survey survey = {0};
	struct profile rest, again;
	int status = profile_walk(data, size, name, survey_part, &survey, &rest, e);
	if (status)
		return status;
	uint8_t source = source_of(&rest.info, &survey);
	struct adding a = {.merge = merge, .weight = weight, .exact = source == PROFILE_EXACT};
	status = check_course(&rest, &survey, name, e);
	if (!status)
		status = check_source(merge, source, name, e);
	if (!status)
		status = profile_walk(data, size, name, add_part, &a, &again, e);
	if (!status) {
		merge->info.source = source;
		status = join_info(merge, &again.info, weight, e);
		merge->totals.files++;
		merge->totals.incomplete += !again.complete;
		join_sum(&merge->totals.weight, tally_sum(a.counted, a.exact ? 0 : a.samples), weight);
		join_sum(&merge->totals.steps, rest.course.steps, 1);
		join_sum(&merge->totals.left_out, a.exact ? a.samples : 0, weight);
		profile_free(&again);
	}
	vec_free(&a.numbers);
	profile_free(&rest);
	return status;
}

void merge_totals_of(const struct merge *merge, struct merge_totals *ret_totals)
{
	*ret_totals = merge->totals;
	ret_totals->addresses = merge->tally.count_count;
	ret_totals->edges = merge->tally.edge_count;
	ret_totals->modules = merge->modules.modules.count;
}

int merge_finish(struct merge *merge, struct profile *ret_profile, struct err *e)
{
	struct profile p = {.complete = true};
	uint32_t *number;
	int status = module_set_sort(&merge->modules, &number, e);
	if (status)
		return status;
	tally_finish(&merge->tally, number, &p);
	free(number);
	p.info = merge->info;
	merge->info = (struct profile_info){0};
	p.modules = merge->modules.modules.data;
	p.module_count = merge->modules.modules.count;
	merge->modules.modules.data = NULL;
	merge->modules.modules.count = 0;
	merge_clear(merge);
	*ret_profile = p;
	return 0;
}

int merge_read(const char *path, struct profile *ret_profile, struct err *e)
{
	struct file_data file;
	struct merge *m;
	int status = file_read(path, &file, e);
	if (status)
		return status;
	status = merge_new(&m, e);
	if (!status) {
		status = merge_add(m, file.data, file.size, strcmp(path, "-") ? path : "stdin", 1, e);
		if (!status)
			status = merge_finish(m, ret_profile, e);
		merge_free(m);
	}
	file_data_free(&file);
	return status;
}
