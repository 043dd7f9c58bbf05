#include "formats/profile.h"

#include "formats/base/file.h"
#include "formats/profile_chunks.h"

#include <stdlib.h>

static const char *const source_names[] = {"branch-stacks", "exact", "cycles", "clock"};

const char *profile_source_name(unsigned source)
{
	return source <= PROFILE_CLOCK ? source_names[source] : "unknown";
}

uint32_t profile_find_module(const struct profile *p, const struct module_identity *module)
{
	for (size_t i = 0; i < p->module_count; i++)
		if (module_same(&p->modules[i], module))
			return (uint32_t)i;
	return PROFILE_NO_MODULE;
}

void profile_free(struct profile *p)
{
	for (size_t i = 0; i < p->module_count; i++)
		module_free(&p->modules[i]);
	free(p->modules);
	free(p->samples);
	free(p->branches);
	free(p->counts);
	free(p->edges);
	free(p->info.event);
	free(p->info.kernel);
	free(p->info.cpu);
	free(p->info.command);
	*p = (struct profile){0};
}

int profile_read(const char *path, struct profile *ret_profile, struct err *e)
{
	struct file_data file;
	int status = file_read(path, &file, e);
	if (status)
		return status;
	status = profile_decode(file.data, file.size, path, ret_profile, e);
	file_data_free(&file);
	return status;
}

static bool module_valid(const struct profile *p, uint32_t module)
{
	return module < p->module_count || module == PROFILE_NO_MODULE;
}

static int validate_samples(const struct profile *p, const char *name, struct err *e)
{
	for (size_t i = 0; i < p->sample_count; i++) {
		const struct profile_sample *s = &p->samples[i];
		if (!module_valid(p, s->module))
			return err_set(e, ERR_FORMAT, "%s: sample %zu: module %u does not exist", name, i, s->module);
		if (s->branch_count && (uint64_t)s->first_branch + s->branch_count > p->branch_count)
			return err_set(e, ERR_FORMAT, "%s: sample %zu: branches %u + %u are more than there are", name, i, s->first_branch,
				       s->branch_count);
	}
	for (size_t i = 0; i < p->branch_count; i++) {
		const struct profile_branch *b = &p->branches[i];
		if (!module_valid(p, b->from_module) || !module_valid(p, b->to_module))
			return err_set(e, ERR_FORMAT, "%s: branch %zu: module %u or %u does not exist", name, i, b->from_module,
				       b->to_module);
		if (b->mispredicted > 1)
			return err_set(e, ERR_FORMAT, "%s: branch %zu: mispredicted is %u, must be 0 or 1", name, i, b->mispredicted);
	}
	return 0;
}

static int compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

int profile_compare_counts(const void *count, const void *other)
{
	const struct profile_count *a = count, *b = other;
	int order = compare_u64(a->module, b->module);
	return order ? order : compare_u64(a->address, b->address);
}

int profile_compare_edges(const void *edge, const void *other)
{
	const struct profile_edge *a = edge, *b = other;
	int order = compare_u64(a->from_module, b->from_module);
	if (!order)
		order = compare_u64(a->from, b->from);
	if (!order)
		order = compare_u64(a->to_module, b->to_module);
	if (!order)
		order = compare_u64(a->to, b->to);
	return order ? order : compare_u64(a->kind, b->kind);
}

static int validate_counts(const struct profile *p, const char *name, struct err *e)
{
	for (size_t i = 0; i < p->count_count; i++) {
		if (!module_valid(p, p->counts[i].module))
			return err_set(e, ERR_FORMAT, "%s: count %zu: module %u does not exist", name, i, p->counts[i].module);
		if (i && profile_compare_counts(&p->counts[i - 1], &p->counts[i]) >= 0)
			return err_set(e, ERR_FORMAT, "%s: count %zu is not after the one before", name, i);
	}
	return 0;
}

static int validate_edges(const struct profile *p, const char *name, struct err *e)
{
	for (size_t i = 0; i < p->edge_count; i++) {
		const struct profile_edge *edge = &p->edges[i];
		if (!module_valid(p, edge->from_module) || !module_valid(p, edge->to_module))
			return err_set(e, ERR_FORMAT, "%s: edge %zu: module %u or %u does not exist", name, i, edge->from_module,
				       edge->to_module);
		if (edge->kind > PROFILE_EDGE_RUN)
			return err_set(e, ERR_FORMAT, "%s: edge %zu: unknown kind %u", name, i, edge->kind);
		if (i && profile_compare_edges(&p->edges[i - 1], edge) >= 0)
			return err_set(e, ERR_FORMAT, "%s: edge %zu is not after the one before", name, i);
	}
	return 0;
}

int profile_validate_records(const struct profile *p, const char *name, struct err *e)
{
	int status = validate_samples(p, name, e);
	if (!status)
		status = validate_counts(p, name, e);
	if (!status)
		status = validate_edges(p, name, e);
	return status;
}

int profile_validate(const struct profile *p, const char *name, struct err *e)
{
	if (p->info.source > PROFILE_CLOCK)
		return err_set(e, ERR_FORMAT, "%s: unknown source %u", name, p->info.source);
	if (p->module_count >= PROFILE_NO_MODULE)
		return err_set(e, ERR_FORMAT, "%s: %zu modules are too many", name, p->module_count);
	for (size_t i = 0; i < p->module_count; i++)
		if (p->modules[i].build_id_size > MODULE_BUILD_ID_MAX)
			return err_set(e, ERR_FORMAT, "%s: module %zu: build-id of %u bytes", name, i, p->modules[i].build_id_size);
	return profile_validate_records(p, name, e);
}
