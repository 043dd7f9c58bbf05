#include "formats/bitpack.h"
#include "formats/profile_chunks.h"

#include <string.h>

#define PLACES_MAX (PROFILE_CHUNK_SAMPLES_MAX + 2 * PROFILE_CHUNK_BRANCHES_MAX)

/* One chunk while it is unpacked. */
struct unpacking {
	const struct container *c;
	struct section *s;
	struct profile_growing *g;
	struct profile_sample *samples;
	struct profile_place *places;
	uint64_t *column, *threads;	   /* column: [count] scratch; threads: [thread_count] */
	struct profile_place *froms, *tos; /* [hop_count] */
	size_t count, place_count, thread_count, hop_count;
};

static int refuse(const struct unpacking *u, const char *what, uint64_t value, struct err *e)
{
	return err_set(e, ERR_FORMAT, "%s: samples at offset %llu: %s %llu", u->c->name, (unsigned long long)u->s->chunk.offset, what,
		       (unsigned long long)value);
}

static int cut_off(const struct unpacking *u, const char *what, struct err *e)
{
	return err_set(e, ERR_FORMAT, "%s: samples at offset %llu: %s: malformed or cut off", u->c->name,
		       (unsigned long long)u->s->chunk.offset, what);
}

static int get_threads(struct unpacking *u, struct err *e)
{
	struct reader *r = &u->s->r;
	uint64_t count = column_get(r), thread = 0;
	if (!count || count > u->count)
		return refuse(u, "impossible number of threads", count, e);
	u->threads = calloc((size_t)count, sizeof *u->threads);
	if (!u->threads)
		return err_set(e, ERR_MEMORY, "%s: no memory for %llu threads", u->c->name, (unsigned long long)count);
	bitpack_get(r, u->threads, (size_t)count);
	for (size_t i = 0; i < count; i++) {
		thread += u->threads[i];
		if (thread > UINT32_MAX || u->threads[i] > UINT32_MAX)
			return refuse(u, "thread id is too large at index", i, e);
		u->threads[i] = thread;
	}
	u->thread_count = (size_t)count;
	return r->failed ? cut_off(u, "threads", e) : 0;
}

static int get_places(struct unpacking *u, struct err *e)
{
	int status = profile_get_places(u->c, u->s, u->g->modules.count, PLACES_MAX, &u->places, &u->place_count, e);
	if (status)
		return status;
	u->column = calloc(u->count, sizeof *u->column);
	return u->column ? 0 : err_set(e, ERR_MEMORY, "%s: no memory for %zu samples", u->c->name, u->count);
}

static int get_times(struct unpacking *u, bool backward, struct err *e)
{
	struct reader *r = &u->s->r;
	uint64_t now = column_get(r);
	bitpack_get(r, u->column, u->count);
	if (r->failed)
		return cut_off(u, "times", e);
	for (size_t i = 0; i < u->count; i++) {
		now += backward ? unzigzag(u->column[i]) : u->column[i];
		if (now > UINT64_MAX / PROFILE_TIME_UNIT_NS)
			return refuse(u, "time out of range at sample", i, e);
		u->samples[i].time_ns = now * PROFILE_TIME_UNIT_NS;
	}
	return 0;
}

static int get_indices(struct unpacking *u, struct err *e)
{
	struct reader *r = &u->s->r;
	bitpack_get(r, u->column, u->count);
	for (size_t i = 0; i < u->count && !r->failed; i++) {
		if (u->column[i] >= u->thread_count)
			return refuse(u, "no such thread at sample", i, e);
		u->samples[i].thread = (uint32_t)u->threads[u->column[i]];
	}
	bitpack_get(r, u->column, u->count);
	for (size_t i = 0; i < u->count && !r->failed; i++) {
		if (u->column[i] >= u->place_count)
			return refuse(u, "no such address at sample", i, e);
		u->samples[i].address = u->places[u->column[i]].address;
		u->samples[i].module = u->places[u->column[i]].module;
	}
	return r->failed ? cut_off(u, "indices", e) : 0;
}

/* How many branches each sample has; their sum is checked against the bytes that hold them before anything is allocated. */
static int get_branch_counts(struct unpacking *u, uint64_t *ret_total, struct err *e)
{
	struct reader *r = &u->s->r;
	uint64_t total = 0, first = u->g->branches.count;
	bitpack_get(r, u->column, u->count);
	if (r->failed)
		return cut_off(u, "branch counts", e);
	for (size_t i = 0; i < u->count; i++) {
		if (u->column[i] > UINT16_MAX)
			return refuse(u, "too many branches at sample", i, e);
		u->samples[i].branch_count = (uint16_t)u->column[i];
		u->samples[i].first_branch = (uint32_t)(first + total);
		total += u->column[i];
	}
	if (!total || total > PROFILE_CHUNK_BRANCHES_MAX || total > reader_left(r) || first + total > UINT32_MAX)
		return refuse(u, "impossible number of branches", total, e);
	if (u->count + total > PROFILE_PER_STORED_BYTE * u->s->chunk.stored_length)
		return refuse(u, "too many branches for its size:", total, e);
	*ret_total = total;
	return 0;
}

static int get_hops(struct unpacking *u, struct err *e)
{
	struct reader *r = &u->s->r;
	uint64_t count = column_get(r), from = 0;
	if (!count || count > reader_left(r) / 2)
		return refuse(u, "impossible number of edges", count, e);
	u->froms = calloc((size_t)count, sizeof *u->froms);
	u->tos = calloc((size_t)count, sizeof *u->tos);
	if (!u->froms || !u->tos)
		return err_set(e, ERR_MEMORY, "%s: no memory for %llu edges", u->c->name, (unsigned long long)count);
	for (size_t i = 0; i < count; i++) {
		uint64_t gap = column_get(r), to = column_get(r);
		if (r->failed)
			return cut_off(u, "edges", e);
		if (gap >= u->place_count || from + gap >= u->place_count || to >= u->place_count)
			return refuse(u, "no such address at edge", i, e);
		from += gap;
		u->froms[i] = u->places[from];
		u->tos[i] = u->places[to];
	}
	u->hop_count = (size_t)count;
	return 0;
}

static int get_branches(struct unpacking *u, struct err *e)
{
	uint64_t total = 0;
	int status = get_branch_counts(u, &total, e);
	if (!status)
		status = get_hops(u, e);
	if (status)
		return status;
	if (vec_reserve(&u->g->branches, (size_t)total))
		return err_set(e, ERR_MEMORY, "%s: no memory for %llu branches", u->c->name, (unsigned long long)total);
	for (uint64_t i = 0; i < total; i++) {
		uint64_t value = column_get(&u->s->r), hop = value >> 1;
		if (u->s->r.failed)
			return cut_off(u, "branches", e);
		if (hop >= u->hop_count)
			return refuse(u, "no such edge at branch", i, e);
		u->g->branches.data[u->g->branches.count++] = (struct profile_branch){
		    .from = u->froms[hop].address,
		    .to = u->tos[hop].address,
		    .from_module = u->froms[hop].module,
		    .to_module = u->tos[hop].module,
		    .mispredicted = value & 1,
		};
	}
	return 0;
}

static int unpack(struct unpacking *u, uint8_t flags, struct err *e)
{
	int status = get_threads(u, e);
	if (!status)
		status = get_places(u, e);
	if (!status)
		status = get_times(u, flags & PROFILE_TIME_BACKWARD, e);
	if (!status)
		status = get_indices(u, e);
	if (!status && (flags & PROFILE_HAS_BRANCHES))
		status = get_branches(u, e);
	return status;
}

int profile_get_samples(const struct container *c, struct section *s, struct profile_growing *g, struct err *e)
{
	struct unpacking u = {.c = c, .s = s, .g = g};
	uint64_t count = column_get(&s->r);
	uint8_t flags = read_u8(&s->r);
	if (!count || count > PROFILE_CHUNK_SAMPLES_MAX)
		return refuse(&u, "impossible number of samples", count, e);
	if (count > PROFILE_PER_STORED_BYTE * s->chunk.stored_length)
		return refuse(&u, "too many samples for its size:", count, e);
	if (flags & ~(PROFILE_TIME_BACKWARD | PROFILE_HAS_BRANCHES))
		return refuse(&u, "unknown flags", flags, e);
	if (vec_reserve(&g->samples, (size_t)count))
		return err_set(e, ERR_MEMORY, "%s: no memory for %llu samples", c->name, (unsigned long long)count);
	u.count = (size_t)count;
	u.samples = g->samples.data + g->samples.count;
	memset(u.samples, 0, u.count * sizeof *u.samples);
	for (size_t i = 0; i < u.count; i++)
		u.samples[i].first_branch = (uint32_t)g->branches.count;
	int status = unpack(&u, flags, e);
	if (!status)
		g->samples.count += u.count;
	free(u.threads);
	free(u.places);
	free(u.column);
	free(u.froms);
	free(u.tos);
	return status;
}
