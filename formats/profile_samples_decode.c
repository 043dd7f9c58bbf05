#include "formats/bitpack.h"
#include "formats/profile_chunks.h"

#include <string.h>

#define PLACES_MAX (PROFILE_CHUNK_SAMPLES_MAX + 2 * PROFILE_CHUNK_BRANCHES_MAX)

struct place {
	uint64_t address;
	uint32_t module;
};

/* One chunk while it is unpacked. */
struct unpacking {
	const struct container *c;
	struct section *s;
	struct profile_growing *g;
	struct profile_sample *samples;
	struct place *places;
	uint64_t *column, *threads; /* each with room for the largest column of the chunk */
	struct place *froms, *tos;  /* [hop_count] */
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

struct group {
	uint32_t module, count;
};

/* Reads the groups' heads into a small array, so that their sum is known before the dictionary is allocated. */
static int get_groups(struct unpacking *u, struct group **ret_groups, size_t *ret_count, struct err *e)
{
	struct reader *r = &u->s->r;
	uint64_t groups = column_get(r), total = 0;
	if (!groups || groups > reader_left(r) / 2)
		return refuse(u, "impossible number of module groups", groups, e);
	struct group *group = calloc((size_t)groups, sizeof *group);
	if (!group)
		return err_set(e, ERR_MEMORY, "%s: no memory for %llu module groups", u->c->name, (unsigned long long)groups);
	*ret_groups = group;
	*ret_count = (size_t)groups;
	for (size_t i = 0; i < groups; i++) {
		group[i].module = column_get_u32(r);
		group[i].count = column_get_u32(r);
		total += group[i].count;
		if (r->failed)
			return cut_off(u, "module groups", e);
		if (group[i].module != PROFILE_NO_MODULE && group[i].module >= u->g->modules.count)
			return refuse(u, "no such module:", group[i].module, e);
		if (!group[i].count || total > PLACES_MAX)
			return refuse(u, "impossible size of module group", i, e);
	}
	u->place_count = (size_t)total;
	return 0;
}

static int get_places(struct unpacking *u, struct err *e)
{
	struct group *groups = NULL;
	size_t group_count = 0, n = 0;
	int status = get_groups(u, &groups, &group_count, e);
	if (status) {
		free(groups);
		return status;
	}
	size_t room = u->place_count > u->count ? u->place_count : u->count;
	u->places = calloc(u->place_count, sizeof *u->places);
	u->column = calloc(room, sizeof *u->column);
	if (!u->places || !u->column) {
		free(groups);
		return err_set(e, ERR_MEMORY, "%s: no memory for %zu addresses", u->c->name, u->place_count);
	}
	bitpack_get(&u->s->r, u->column, u->place_count);
	for (size_t i = 0; i < group_count; i++) {
		uint64_t address = 0;
		for (uint32_t j = 0; j < groups[i].count; j++, n++) {
			address += u->column[n];
			u->places[n] = (struct place){address, groups[i].module};
		}
	}
	free(groups);
	return u->s->r.failed ? cut_off(u, "addresses", e) : 0;
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
