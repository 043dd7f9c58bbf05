#include "profile/merge/diff.h"

#include "formats/base/vec.h"
#include "profile/summary.h"
#include "profile/tally.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 wide;

/* A module of either profile; the same one in both, or twice in one, is one. */
struct module {
	const struct module_identity *identity;
	const struct map *map;
	bool wanted;
};

struct item {
	uint64_t from, to; /* blocks: to is 0 */
	uint32_t from_module, to_module;
	uint64_t weight[2];
};

struct owner {
	struct summary_item place;
	uint64_t weight[2];
	wide moved; /* in units of 1 / (2 * total[0] * total[1]) */
};

struct work {
	const struct diff_options *options;
	VEC(struct module) modules;
	uint32_t *number[2]; /* module of a profile -> of all */
	bool no_module_wanted;
};

/* --- modules --- */

static bool is_named(const struct diff_options *o, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	for (size_t i = 0; i < o->name_count; i++)
		if (!strcmp(o->names[i], path) || !strcmp(o->names[i], base))
			return true;
	return !o->names;
}

static bool same(const struct module_identity *a, const struct module_identity *b)
{
	bool nameless = !a->build_id_size && !a->text_hash && !b->build_id_size && !b->text_hash;
	return module_same(a, b) || (nameless && a->file_size == b->file_size && !strcmp(a->path, b->path));
}

static int add_module(struct work *w, const struct module_identity *identity, uint32_t *ret_number, struct err *e)
{
	struct module module = {.identity = identity, .wanted = is_named(w->options, identity->path)};
	for (size_t i = 0; i < w->modules.count; i++) {
		if (!same(w->modules.data[i].identity, identity))
			continue;
		w->modules.data[i].wanted |= module.wanted;
		*ret_number = (uint32_t)i;
		return 0;
	}
	for (size_t i = 0; i < w->options->map_count && !module.map; i++)
		if (module_same(&w->options->maps[i].module, identity))
			module.map = &w->options->maps[i];
	*ret_number = (uint32_t)w->modules.count;
	return vec_push(&w->modules, module) ? err_set(e, ERR_MEMORY, "no memory for modules") : 0;
}

static int number_modules(struct work *w, const struct profile profiles[2], struct err *e)
{
	int status = 0;
	w->no_module_wanted = !w->options->names;
	for (int side = 0; side < 2; side++) {
		w->number[side] = calloc(profiles[side].module_count + 1, sizeof *w->number[side]);
		if (!w->number[side])
			return err_set(e, ERR_MEMORY, "no memory for modules");
		for (size_t i = 0; i < profiles[side].module_count && !status; i++)
			status = add_module(w, &profiles[side].modules[i], &w->number[side][i], e);
	}
	return status;
}

/* --- places --- */

static bool is_wanted(const struct work *w, uint32_t module)
{
	return module == PROFILE_NO_MODULE ? w->no_module_wanted : w->modules.data[module].wanted;
}

static const struct map *map_of(const struct work *w, uint32_t module)
{
	return module == PROFILE_NO_MODULE ? NULL : w->modules.data[module].map;
}

static uint32_t block_at(const struct map *map, uint64_t address)
{
	uint32_t offset = map_offset(map, (vaddr){address});
	return offset == MAP_NONE ? MAP_NONE : map_block_at(map, offset);
}

/* Module of a profile -> of all; address -> start of its block. Where the map has no block the address stays. */
static void place(const struct work *w, int side, uint32_t *module, uint64_t *address)
{
	if (*module != PROFILE_NO_MODULE)
		*module = w->number[side][*module];
	const struct map *map = map_of(w, *module);
	uint32_t block = map ? block_at(map, *address) : MAP_NONE;
	if (block != MAP_NONE)
		*address = map_vaddr(map, map->blocks[block].start).v;
}

/* Branch records do not say what a return is; the map does: what leaves a block that returns, and is no call in it. */
static bool is_return(const struct map *map, uint64_t from)
{
	uint32_t block = block_at(map, from), offset = map_offset(map, (vaddr){from});
	if (block == MAP_NONE || map->blocks[block].terminator != MAP_RETURN)
		return false;
	uint32_t call = map_call_from(map, offset);
	return call >= map->call_count || map->calls[call].site != offset;
}

static bool is_transfer(const struct work *w, int side, const struct profile_edge *edge)
{
	if (edge->kind == PROFILE_EDGE_RETURN || edge->kind == PROFILE_EDGE_RUN)
		return false;
	const struct map *map = edge->from_module == PROFILE_NO_MODULE ? NULL : map_of(w, w->number[side][edge->from_module]);
	return !map || !is_return(map, edge->from);
}

static int by_place(const void *left, const void *right)
{
	const struct item *a = left, *b = right;
	if (a->from_module != b->from_module)
		return a->from_module < b->from_module ? -1 : 1;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	if (a->to_module != b->to_module)
		return a->to_module < b->to_module ? -1 : 1;
	return (a->to > b->to) - (a->to < b->to);
}

/* Sorts and adds up equal places; how many are left. */
static size_t join_items(struct item *items, size_t count)
{
	size_t kept = 0;
	if (count)
		qsort(items, count, sizeof *items, by_place);
	for (size_t i = 0; i < count; i++) {
		if (!kept || by_place(&items[kept - 1], &items[i])) {
			items[kept++] = items[i];
			continue;
		}
		for (int side = 0; side < 2; side++)
			items[kept - 1].weight[side] = tally_sum(items[kept - 1].weight[side], items[i].weight[side]);
	}
	return kept;
}

static int collect_blocks(const struct work *w, const struct profile profiles[2], struct item **ret_items, size_t *ret_count, struct err *e)
{
	size_t n = 0;
	struct item *items = calloc(profiles[0].count_count + profiles[1].count_count + 1, sizeof *items);
	if (!items)
		return err_set(e, ERR_MEMORY, "no memory for %zu counts", profiles[0].count_count + profiles[1].count_count);
	for (int side = 0; side < 2; side++) {
		for (size_t i = 0; i < profiles[side].count_count; i++) {
			const struct profile_count *c = &profiles[side].counts[i];
			struct item item = {.from = c->address, .from_module = c->module};
			item.weight[side] = c->count;
			place(w, side, &item.from_module, &item.from);
			if (is_wanted(w, item.from_module))
				items[n++] = item;
		}
	}
	*ret_items = items;
	*ret_count = join_items(items, n);
	return 0;
}

static int collect_edges(const struct work *w, const struct profile profiles[2], struct item **ret_items, size_t *ret_count, struct err *e)
{
	size_t n = 0;
	struct item *items = calloc(profiles[0].edge_count + profiles[1].edge_count + 1, sizeof *items);
	if (!items)
		return err_set(e, ERR_MEMORY, "no memory for %zu edges", profiles[0].edge_count + profiles[1].edge_count);
	for (int side = 0; side < 2; side++) {
		for (size_t i = 0; i < profiles[side].edge_count; i++) {
			const struct profile_edge *edge = &profiles[side].edges[i];
			struct item item = {edge->from, edge->to, edge->from_module, edge->to_module, {0, 0}};
			if (!is_transfer(w, side, edge))
				continue;
			item.weight[side] = edge->count;
			place(w, side, &item.from_module, &item.from);
			place(w, side, &item.to_module, &item.to);
			if (is_wanted(w, item.from_module) && is_wanted(w, item.to_module))
				items[n++] = item;
		}
	}
	*ret_items = items;
	*ret_count = join_items(items, n);
	return 0;
}

/* --- numbers --- */

/* Shares are compared over the common denominator total[0] * total[1], exactly: equal distributions overlap by 1, not by nearly 1. */
static struct diff_part overlap_of(const struct item *items, size_t count)
{
	struct diff_part part = {.places = count};
	wide sum = 0;
	for (size_t i = 0; i < count; i++)
		for (int side = 0; side < 2; side++)
			part.weight[side] = tally_sum(part.weight[side], items[i].weight[side]);
	wide whole = (wide)part.weight[0] * part.weight[1];
	for (size_t i = 0; i < count; i++) {
		wide a = (wide)items[i].weight[0] * part.weight[1], b = (wide)items[i].weight[1] * part.weight[0];
		wide lesser = a < b ? a : b;
		sum = lesser > whole - sum ? whole : sum + lesser; /* more than the whole only where totals stopped at 2^64 - 1 */
	}
	part.overlap = whole ? (double)sum / (double)whole : 0;
	return part;
}

static int by_owner(const void *left, const void *right)
{
	const struct summary_item *a = &((const struct owner *)left)->place, *b = &((const struct owner *)right)->place;
	if (a->module != b->module)
		return a->module < b->module ? -1 : 1;
	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	return a->is_function - b->is_function;
}

static int by_movement(const void *left, const void *right)
{
	const struct owner *a = left, *b = right;
	if (a->moved != b->moved)
		return a->moved > b->moved ? -1 : 1;
	return by_owner(a, b);
}

static size_t join_owners(struct owner *owners, size_t count)
{
	size_t kept = 0;
	qsort(owners, count, sizeof *owners, by_owner);
	for (size_t i = 0; i < count; i++) {
		if (!kept || by_owner(&owners[kept - 1], &owners[i])) {
			owners[kept++] = owners[i];
			continue;
		}
		for (int side = 0; side < 2; side++)
			owners[kept - 1].weight[side] = tally_sum(owners[kept - 1].weight[side], owners[i].weight[side]);
		owners[kept - 1].moved += owners[i].moved;
	}
	qsort(owners, kept, sizeof *owners, by_movement);
	return kept;
}

static struct owner owner_of(const struct work *w, const struct item *item, const uint64_t total[2])
{
	wide a = (wide)item->weight[0] * total[1], b = (wide)item->weight[1] * total[0];
	return (struct owner){
	    .place = summary_place(map_of(w, item->from_module), item->from_module, item->from, 0),
	    .weight = {item->weight[0], item->weight[1]},
	    .moved = (a > b ? a - b : b - a) / 2, /* halved here: the sum of both differences may pass 128 bits */
	};
}

static int find_movers(const struct work *w, const struct item *items, size_t count, struct diff *d, struct err *e)
{
	const uint64_t *total = d->blocks.weight;
	struct owner *owners = calloc(count + 1, sizeof *owners);
	d->movers = calloc(count + 1, sizeof *d->movers);
	if (!owners || !d->movers) {
		free(owners);
		return err_set(e, ERR_MEMORY, "no memory for %zu places", count);
	}
	for (size_t i = 0; i < count; i++)
		owners[i] = owner_of(w, &items[i], total);
	count = join_owners(owners, count);
	for (size_t i = 0; i < count && owners[i].moved; i++) {
		const struct summary_item *p = &owners[i].place;
		d->movers[d->mover_count++] = (struct diff_mover){
		    .module = p->module == PROFILE_NO_MODULE ? NULL : w->modules.data[p->module].identity,
		    .name = p->name,
		    .address = p->address,
		    .size = p->size,
		    .is_function = p->is_function,
		    .share = {(double)owners[i].weight[0] / (double)total[0], (double)owners[i].weight[1] / (double)total[1]},
		    .moved = (double)owners[i].moved / ((double)total[0] * (double)total[1]),
		};
	}
	free(owners);
	return 0;
}

static int compare_blocks(const struct work *w, const struct profile profiles[2], const char *const names[2], struct diff *d, struct err *e)
{
	struct item *items = NULL;
	size_t count = 0;
	int status = collect_blocks(w, profiles, &items, &count, e);
	if (status)
		return status;
	d->blocks = overlap_of(items, count);
	for (int side = 0; side < 2 && !status; side++)
		if (!d->blocks.weight[side])
			status = err_set(e, ERR_FORMAT, "%s: nothing to compare: no sample and no count%s", names[side],
					 w->options->names ? " in these modules" : "");
	if (!status)
		status = find_movers(w, items, count, d, e);
	free(items);
	return status;
}

static int compare_edges(const struct work *w, const struct profile profiles[2], struct diff *d, struct err *e)
{
	struct item *items = NULL;
	size_t count = 0;
	int status = collect_edges(w, profiles, &items, &count, e);
	if (status)
		return status;
	d->edges = overlap_of(items, count);
	d->has_edges = d->edges.weight[0] && d->edges.weight[1];
	free(items);
	return 0;
}

int diff_make(const struct profile profiles[2], const char *const names[2], const struct diff_options *options, struct diff *ret_diff,
	      struct err *e)
{
	struct work w = {.options = options};
	struct diff d = {0};
	int status = number_modules(&w, profiles, e);
	if (!status)
		status = compare_blocks(&w, profiles, names, &d, e);
	if (!status)
		status = compare_edges(&w, profiles, &d, e);
	vec_free(&w.modules);
	free(w.number[0]);
	free(w.number[1]);
	if (status)
		diff_free(&d);
	else
		*ret_diff = d;
	return status;
}

void diff_free(struct diff *diff)
{
	free(diff->movers);
	*diff = (struct diff){0};
}
