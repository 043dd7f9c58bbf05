#include "profile/merge/replay.h"

#include "profile/idmap.h"

struct playing {
	const struct replay_window *window;
	const struct replay_sink *sink;
	uint32_t modules;     /* handed out so far */
	struct idmap skipped; /* threads (plus 1) of which a piece was left out since the last that was played: 1 */
};

struct survey {
	bool has_times, has_totals;
};

static int survey_part(void *context, const struct profile *part, struct err *e)
{
	struct survey *s = context;
	(void)e;
	s->has_times |= part->sample_count || part->window_count;
	s->has_totals |= part->count_count || part->edge_count;
	return 0;
}

static bool is_inside(const struct playing *p, uint64_t time_ns)
{
	return p->window->whole || (time_ns >= p->window->from_ns && time_ns < p->window->to_ns);
}

static int play_samples(struct playing *p, const struct profile *part, struct err *e)
{
	int status = 0;
	for (size_t i = 0; i < part->sample_count && !status; i++) {
		const struct profile_sample *s = &part->samples[i];
		if (is_inside(p, s->time_ns))
			status = p->sink->sample(p->sink->context, s, s->branch_count ? &part->branches[s->first_branch] : NULL, e);
	}
	return status;
}

/* What was left out of a thread's course is a gap in what is played of it. */
static int play_course(struct playing *p, const struct profile *part, struct err *e)
{
	int status = 0;
	for (size_t i = 0; i < part->window_count && !status; i++) {
		struct profile_window w = part->windows[i];
		uint64_t key = (uint64_t)w.thread + 1;
		bool inside = is_inside(p, w.time_ns);
		w.gap |= idmap_get(&p->skipped, key) == 1;
		if (!p->window->whole && idmap_set(&p->skipped, key, !inside))
			return err_set(e, ERR_MEMORY, "no memory for threads");
		if (inside)
			status = p->sink->window(p->sink->context, &w, part->places, part->steps + w.first_step, e);
	}
	return status;
}

static int play_part(void *context, const struct profile *part, struct err *e)
{
	struct playing *p = context;
	const struct replay_sink *sink = p->sink;
	int status = 0;
	for (; p->modules < part->module_count && !status; p->modules++)
		status = sink->module(sink->context, p->modules, &part->modules[p->modules], e);
	if (!status)
		status = play_samples(p, part, e);
	if (!status)
		status = play_course(p, part, e);
	for (size_t i = 0; i < part->count_count && p->window->whole && !status; i++)
		status = sink->count(sink->context, &part->counts[i], e);
	for (size_t i = 0; i < part->edge_count && p->window->whole && !status; i++)
		status = sink->edge(sink->context, &part->edges[i], e);
	return status;
}

/* Its texts are borrowed from `whole`. */
static struct profile_info info_of_window(const struct profile_info *whole, const struct replay_window *w)
{
	struct profile_info info = *whole;
	if (w->whole)
		return info;
	uint64_t end = w->to_ns < whole->duration_ns ? w->to_ns : whole->duration_ns;
	info.start_ns = whole->start_ns ? whole->start_ns + w->from_ns : 0;
	info.duration_ns = end > w->from_ns ? end - w->from_ns : 0;
	info.lost = info.throttled = info.target_cpu_ns = info.recorder_cpu_ns = 0;
	return info;
}

static int play(const void *data, size_t size, const char *name, const struct profile *whole, struct playing *p, struct err *e)
{
	struct profile_info info = info_of_window(&whole->info, p->window);
	struct profile rest;
	int status = p->sink->begin(p->sink->context, &info, e);
	if (status)
		return status;
	status = profile_walk(data, size, name, play_part, p, &rest, e);
	if (status)
		return status;
	profile_free(&rest);
	return p->sink->end(p->sink->context, &info, whole->complete, e);
}

int replay_run(const void *data, size_t size, const char *name, const struct replay_window *window, const struct replay_sink *sink,
	       struct err *e)
{
	struct survey survey = {0};
	struct playing p = {.window = window, .sink = sink};
	struct profile whole;
	int status = profile_walk(data, size, name, survey_part, &survey, &whole, e);
	if (status)
		return status;
	if (!window->whole && survey.has_totals && !survey.has_times)
		status =
		    err_set(e, ERR_UNSUPPORTED, "%s: holds only totals (it was merged or imported), so it has no windows of time", name);
	else
		status = play(data, size, name, &whole, &p, e);
	idmap_free(&p.skipped);
	profile_free(&whole);
	return status;
}
