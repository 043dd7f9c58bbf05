/* A dictionary of addresses, as chunks of samples and of courses begin with. */
#include "formats/bitpack.h"
#include "formats/profile_chunks.h"

int profile_compare_places(const void *place, const void *other)
{
	const struct profile_place *a = place, *b = other;
	if (a->module != b->module)
		return a->module < b->module ? -1 : 1;
	return (a->address > b->address) - (a->address < b->address);
}

/* Groups of one module each {module, count}, then all addresses: the first of a group as it is, the others as the gap to the one before. */
void profile_put_places(struct writer *raw, const struct profile_place *places, size_t count, uint64_t *column)
{
	size_t groups = 0;
	for (size_t i = 0; i < count; i++) {
		bool first = !i || places[i].module != places[i - 1].module;
		groups += first;
		column[i] = places[i].address - (first ? 0 : places[i - 1].address);
	}
	column_put(raw, groups);
	for (size_t i = 0, next; i < count; i = next) {
		for (next = i; next < count && places[next].module == places[i].module;)
			next++;
		column_put(raw, places[i].module);
		column_put(raw, next - i);
	}
	bitpack_put(raw, column, count, 0);
}

struct group {
	uint32_t module, count;
};

/* One dictionary while it is read. */
struct reading {
	const struct container *c;
	struct section *s;
	size_t modules, limit;
	struct group *groups;
	struct profile_place *places;
	uint64_t *column;
	size_t group_count, place_count;
};

static int refuse(const struct reading *d, const char *what, uint64_t value, struct err *e)
{
	return err_set(e, ERR_FORMAT, "%s: addresses of the chunk at offset %llu: %s %llu", d->c->name,
		       (unsigned long long)d->s->chunk.offset, what, (unsigned long long)value);
}

static int no_memory(const struct reading *d, const char *what, uint64_t count, struct err *e)
{
	return err_set(e, ERR_MEMORY, "%s: no memory for %llu %s", d->c->name, (unsigned long long)count, what);
}

/* Reads the groups' heads into a small array, so that their sum is known before the dictionary is allocated. */
static int get_groups(struct reading *d, struct err *e)
{
	struct reader *r = &d->s->r;
	uint64_t groups = column_get(r), total = 0;
	if (!groups || groups > reader_left(r) / 2)
		return refuse(d, "impossible number of module groups", groups, e);
	d->groups = calloc((size_t)groups, sizeof *d->groups);
	if (!d->groups)
		return no_memory(d, "module groups", groups, e);
	for (size_t i = 0; i < groups; i++) {
		struct group *g = &d->groups[i];
		g->module = column_get_u32(r);
		g->count = column_get_u32(r);
		total += g->count;
		if (r->failed)
			return refuse(d, "malformed or cut off at module group", i, e);
		if (g->module != PROFILE_NO_MODULE && g->module >= d->modules)
			return refuse(d, "no such module:", g->module, e);
		if (i && g->module <= g[-1].module)
			return refuse(d, "not sorted by module at group", i, e);
		if (!g->count || total > d->limit)
			return refuse(d, "impossible size of module group", i, e);
	}
	d->group_count = (size_t)groups;
	d->place_count = (size_t)total;
	return 0;
}

static int get_addresses(struct reading *d, struct err *e)
{
	size_t n = 0;
	d->places = calloc(d->place_count, sizeof *d->places);
	d->column = calloc(d->place_count, sizeof *d->column);
	if (!d->places || !d->column)
		return no_memory(d, "addresses", d->place_count, e);
	bitpack_get(&d->s->r, d->column, d->place_count);
	if (d->s->r.failed)
		return refuse(d, "malformed or cut off; there should be", d->place_count, e);
	for (size_t i = 0; i < d->group_count; i++) {
		uint64_t address = 0;
		for (uint32_t j = 0; j < d->groups[i].count; j++, n++) {
			if (__builtin_add_overflow(address, d->column[n], &address) || (j && !d->column[n]))
				return refuse(d, "not after the one before: address", n, e);
			d->places[n] = (struct profile_place){address, d->groups[i].module};
		}
	}
	return 0;
}

int profile_get_places(const struct container *c, struct section *s, size_t modules, size_t limit, struct profile_place **ret_places,
		       size_t *ret_count, struct err *e)
{
	struct reading d = {.c = c, .s = s, .modules = modules, .limit = limit};
	int status = get_groups(&d, e);
	if (!status)
		status = get_addresses(&d, e);
	free(d.groups);
	free(d.column);
	if (status) {
		free(d.places);
		return status;
	}
	*ret_places = d.places;
	*ret_count = d.place_count;
	return 0;
}
