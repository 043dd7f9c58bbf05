#include "profile/import/gather.h"

#define KERNEL_HALF (UINT64_C(1) << 63) /* of the address space; no process has code there */

int gather_init(struct gather *g, struct files *files, struct err *e)
{
	*g = (struct gather){.files = files, .first_time = UINT64_MAX};
	return spaces_new(&g->spaces, e);
}

void gather_free(struct gather *g)
{
	spaces_free(g->spaces);
	vec_free(&g->samples);
	vec_free(&g->branches);
}

int gather_map(struct gather *g, uint32_t pid, const struct files_mapping *map, bool execute, struct err *e)
{
	uint32_t number = SPACES_NONE;
	if (map->start >= KERNEL_HALF)
		return 0;
	if (execute) {
		int status = files_add(g->files, map, &number, e);
		if (status)
			return status;
	}
	return spaces_map(g->spaces, pid, (raddr){map->start}, (raddr){map->end}, number, e);
}

static int find(struct gather *g, uint32_t pid, uint64_t address, struct files_place *ret_place, struct err *e)
{
	struct files_address where = {.spaces = g->spaces, .pid = pid, .address = address};
	*ret_place = (struct files_place){PROFILE_NO_MODULE, address};
	return address >= KERNEL_HALF ? 0 : files_find(g->files, &where, ret_place, e);
}

int gather_branch(struct gather *g, uint32_t pid, const struct profile_branch *raw, struct err *e)
{
	struct files_place from, to;
	int status = find(g, pid, raw->from, &from, e);
	if (!status)
		status = find(g, pid, raw->to, &to, e);
	if (status)
		return status;
	struct profile_branch branch = {from.address, to.address, from.module, to.module, raw->mispredicted};
	return vec_push(&g->branches, branch) ? err_set(e, ERR_MEMORY, "no memory for more than %zu branches", g->branches.count) : 0;
}

static size_t branches_taken(const struct gather *g)
{
	const struct profile_sample *last = g->samples.count ? &g->samples.data[g->samples.count - 1] : NULL;
	return last ? (size_t)last->first_branch + last->branch_count : 0;
}

void gather_drop(struct gather *g)
{
	g->branches.count = branches_taken(g);
}

int gather_sample(struct gather *g, const struct gather_sample *s, struct err *e)
{
	size_t first = branches_taken(g), count = g->branches.count - first;
	struct profile_sample sample = {
	    .time_ns = s->time,
	    .thread = s->tid,
	    .first_branch = (uint32_t)first,
	    .branch_count = (uint16_t)count,
	};
	if (count > GATHER_BRANCHES_MAX)
		return err_set(e, ERR_FORMAT, "a sample with %zu branches", count);
	if (g->branches.count > UINT32_MAX)
		return err_set(e, ERR_UNSUPPORTED, "more than 2^32 branches");
	struct files_place place = {PROFILE_NO_MODULE, s->address};
	int status = s->elsewhere ? 0 : find(g, s->pid, s->address, &place, e);
	if (status)
		return status;
	sample.module = place.module;
	sample.address = place.address;
	if (s->time < g->first_time)
		g->first_time = s->time;
	if (s->time > g->last_time)
		g->last_time = s->time;
	return vec_push(&g->samples, sample) ? err_set(e, ERR_MEMORY, "no memory for more than %zu samples", g->samples.count) : 0;
}

int gather_finish(struct gather *g, struct profile *profile, struct err *e)
{
	int status = files_finish(g->files, profile, e);
	if (status)
		return status;
	for (size_t i = 0; i < g->samples.count; i++)
		g->samples.data[i].time_ns -= g->first_time;
	profile->info.duration_ns = g->samples.count ? g->last_time - g->first_time : 0;
	profile->samples = g->samples.data;
	profile->sample_count = g->samples.count;
	profile->branches = g->branches.data;
	profile->branch_count = branches_taken(g);
	g->samples.data = NULL;
	g->samples.count = g->samples.capacity = 0;
	g->branches.data = NULL;
	g->branches.count = g->branches.capacity = 0;
	return 0;
}
