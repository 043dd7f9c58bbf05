#include "profile/import/perfdata_parts.h"

#include "profile/import/gather.h"

#include <string.h>

enum { PROTECTION_EXECUTE = 4 };

static int by_time(const void *left, const void *right)
{
	const struct perfdata_ref *a = left, *b = right;
	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

/* Several CPUs' buffers are written one after the other, so the order of the file is only roughly that of time. */
static void sort_records(struct perfdata *p)
{
	bool sorted = true;
	for (size_t i = 1; i < p->refs.count && sorted; i++)
		sorted = p->refs.data[i - 1].time <= p->refs.data[i].time;
	if (!sorted)
		qsort(p->refs.data, p->refs.count, sizeof *p->refs.data, by_time);
}

static bool is_user(const struct perfrecord *r)
{
	unsigned mode = r->misc & PERF_RECORD_MISC_CPUMODE_MASK;
	return mode == PERF_RECORD_MISC_USER || mode == PERF_RECORD_MISC_CPUMODE_UNKNOWN;
}

static int take_sample(struct perfdata *p, struct gather *g, const struct perfdata_event *event, const struct perfrecord *r)
{
	struct gather_sample sample = {.time = r->time, .address = r->address, .pid = r->pid, .tid = r->tid, .elsewhere = !is_user(r)};
	bool use_branches = perfdata_has_branches(event);
	int status = 0;
	for (uint64_t i = 0; i < r->branch_count && use_branches && !status; i++) {
		struct perfrecord_branch raw = perfrecord_branch_at(r, i);
		struct profile_branch branch = {.from = raw.from, .to = raw.to, .mispredicted = raw.mispredicted};
		status = gather_branch(g, r->pid, &branch, p->e);
	}
	if (!use_branches)
		p->result.branches_ignored += r->branch_count;
	return status ? status : gather_sample(g, &sample, p->e);
}

static int take_mapping(struct perfdata *p, struct gather *g, const struct perfrecord *r)
{
	struct files_mapping map = {
	    .start = r->map_start,
	    .end = r->map_start + r->map_length,
	    .offset = r->map_offset,
	    .path = r->text,
	    .build_id = r->build_id,
	    .build_id_size = r->build_id_size,
	};
	if (r->pid == UINT32_MAX || !is_user(r)) /* the kernel and its modules */
		return 0;
	return gather_map(g, r->pid, &map, r->map_protection & PROTECTION_EXECUTE, p->e);
}

static int take_record(struct perfdata *p, struct gather *g, const struct perfdata_ref *ref, uint32_t chosen)
{
	const struct perfdata_event *event = &p->events.data[ref->event];
	struct perfrecord r;
	size_t size = (size_t)(ref->data[6] | ref->data[7] << 8);
	int status = perfrecord_decode(&event->format, ref->data, size, &r, &size, p->e); /* it was decoded once already */
	if (status)
		return status;
	switch (r.type) {
	case PERF_RECORD_SAMPLE:
		p->result.other_samples += ref->event != chosen;
		return ref->event == chosen ? take_sample(p, g, event, &r) : 0;
	case PERF_RECORD_FORK:
		return r.pid != r.parent_pid ? spaces_fork(g->spaces, r.parent_pid, r.pid, p->e) : 0;
	case PERF_RECORD_COMM:
		if (r.misc & PERF_RECORD_MISC_COMM_EXEC)
			spaces_exec(g->spaces, r.pid);
		return 0;
	default:
		return take_mapping(p, g, &r);
	}
}

static enum profile_source source_of(const struct perfdata_event *event)
{
	if (perfdata_has_branches(event))
		return PROFILE_BRANCH_STACKS;
	return event->type == PERF_TYPE_SOFTWARE ? PROFILE_CLOCK : PROFILE_CYCLES;
}

static char *text_or_empty(char **text)
{
	char *kept = *text ? *text : strdup("");
	*text = NULL;
	return kept;
}

static int fill_info(struct perfdata *p, const struct perfdata_event *event, struct profile *profile)
{
	profile->complete = true;
	profile->info = (struct profile_info){
	    .source = (uint8_t)source_of(event),
	    .event = strdup(event->name),
	    .kernel = text_or_empty(&p->kernel),
	    .cpu = text_or_empty(&p->cpu),
	    .command = text_or_empty(&p->command),
	    .period = event->period,
	    .frequency = event->frequency,
	    .lost = p->lost,
	    .throttled = p->throttled,
	};
	const struct profile_info *i = &profile->info;
	return i->event && i->kernel && i->cpu && i->command ? 0 : perfdata_no_memory(p);
}

int perfdata_make_profile(struct perfdata *p, struct profile *profile)
{
	struct gather g;
	uint32_t chosen;
	perfdata_name_events(p);
	if (!p->events.count)
		return perfdata_bad(p, p->input->size, "no event is described");
	int status = perfdata_choose_event(p, &chosen);
	if (status)
		return status;
	status = gather_init(&g, p->input->files, p->e);
	if (status)
		return status;
	sort_records(p);
	for (size_t i = 0; i < p->refs.count && !status; i++)
		status = take_record(p, &g, &p->refs.data[i], chosen);
	if (!status)
		status = fill_info(p, &p->events.data[chosen], profile);
	if (!status)
		status = gather_finish(&g, profile, p->e);
	gather_free(&g);
	return status;
}
