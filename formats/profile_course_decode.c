#include "formats/bitpack.h"
#include "formats/profile_chunks.h"

/* One chunk while it is unpacked. */
struct unpacking {
	const struct container *c;
	struct section *s;
	struct profile_growing *g;
	struct profile_place *places;
	uint64_t *column; /* [window_count] scratch */
	size_t step_count, place_count, window_count;
};

static int refuse(const struct unpacking *u, const char *what, uint64_t value, struct err *e)
{
	return err_set(e, ERR_FORMAT, "%s: course at offset %llu: %s %llu", u->c->name, (unsigned long long)u->s->chunk.offset, what,
		       (unsigned long long)value);
}

static int cut_off(const struct unpacking *u, const char *what, struct err *e)
{
	return err_set(e, ERR_FORMAT, "%s: course at offset %llu: %s: malformed or cut off", u->c->name,
		       (unsigned long long)u->s->chunk.offset, what);
}

static int get_times(struct unpacking *u, struct profile_window *windows, struct err *e)
{
	uint64_t now = 0;
	bitpack_get(&u->s->r, u->column, u->window_count);
	if (u->s->r.failed)
		return cut_off(u, "times", e);
	for (size_t i = 0; i < u->window_count; i++) {
		now += unzigzag(u->column[i]);
		if (now > UINT64_MAX / PROFILE_TIME_UNIT_NS)
			return refuse(u, "time out of range at window", i, e);
		windows[i].time_ns = now * PROFILE_TIME_UNIT_NS;
		if (u->g->last_window_ns < windows[i].time_ns)
			u->g->last_window_ns = windows[i].time_ns;
	}
	return 0;
}

static int get_lengths(struct unpacking *u, struct profile_window *windows, struct err *e)
{
	uint64_t first = 0;
	bitpack_get(&u->s->r, u->column, u->window_count);
	if (u->s->r.failed)
		return cut_off(u, "lengths of windows", e);
	for (size_t i = 0; i < u->window_count; i++) {
		if (u->column[i] >= u->step_count - first)
			return refuse(u, "more steps than there are in window", i, e);
		windows[i].first_step = (uint32_t)first;
		windows[i].step_count = (uint32_t)u->column[i] + 1;
		first += windows[i].step_count;
	}
	return first == u->step_count ? 0 : refuse(u, "steps in no window, from", first, e);
}

static int get_windows(struct unpacking *u, struct err *e)
{
	struct reader *r = &u->s->r;
	uint64_t count = column_get(r);
	if (!count || count > u->step_count)
		return refuse(u, "impossible number of windows", count, e);
	u->window_count = (size_t)count;
	u->column = calloc(u->window_count, sizeof *u->column);
	if (!u->column || vec_reserve(&u->g->windows, u->window_count))
		return err_set(e, ERR_MEMORY, "%s: no memory for %zu windows", u->c->name, u->window_count);
	struct profile_window *windows = u->g->windows.data;
	bitpack_get(r, u->column, u->window_count);
	for (size_t i = 0; i < u->window_count && !r->failed; i++) {
		if (u->column[i] > UINT32_MAX)
			return refuse(u, "thread id is too large at window", i, e);
		windows[i] = (struct profile_window){.thread = (uint32_t)u->column[i]};
	}
	int status = r->failed ? cut_off(u, "threads", e) : get_times(u, windows, e);
	if (!status)
		status = get_lengths(u, windows, e);
	if (status)
		return status;
	bitpack_get(r, u->column, u->window_count);
	for (size_t i = 0; i < u->window_count && !r->failed; i++) {
		if (u->column[i] > 1)
			return refuse(u, "gap is neither 0 nor 1 at window", i, e);
		windows[i].gap = u->column[i];
		u->g->course.gaps += u->column[i];
	}
	return r->failed ? cut_off(u, "gaps", e) : 0;
}

static int get_steps(struct unpacking *u, struct err *e)
{
	struct reader *r = &u->s->r;
	if (vec_reserve(&u->g->steps, u->step_count))
		return err_set(e, ERR_MEMORY, "%s: no memory for %zu steps", u->c->name, u->step_count);
	for (size_t i = 0; i < u->step_count; i++) {
		uint64_t place = column_get(r);
		if (place >= u->place_count && !r->failed)
			return refuse(u, "no such address at step", i, e);
		u->g->steps.data[i] = (uint32_t)place;
	}
	return r->failed ? cut_off(u, "steps", e) : 0;
}

/* The arrays of a course hold one chunk at a time. */
int profile_get_course(const struct container *c, struct section *s, struct profile_growing *g, struct err *e)
{
	struct unpacking u = {.c = c, .s = s, .g = g};
	uint64_t steps = column_get(&s->r);
	if (!steps || steps > PROFILE_CHUNK_STEPS_MAX || steps > reader_left(&s->r))
		return refuse(&u, "impossible number of steps", steps, e);
	u.step_count = (size_t)steps;
	int status = profile_get_places(c, s, g->modules.count, u.step_count, &u.places, &u.place_count, e);
	if (!status)
		status = get_windows(&u, e);
	if (!status)
		status = get_steps(&u, e);
	free(u.column);
	if (status) {
		free(u.places);
		return status;
	}
	vec_free(&g->places);
	g->places.data = u.places;
	g->places.count = g->places.capacity = u.place_count;
	g->windows.count = u.window_count;
	g->steps.count = u.step_count;
	g->course.steps += u.step_count;
	g->course.windows += u.window_count;
	return 0;
}
