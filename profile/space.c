#include "profile/space.h"

#include "formats/base/elfhead.h"
#include "formats/base/vec.h"
#include "formats/profile.h"
#include "profile/identity.h"

#include <stdlib.h>
#include <string.h>

struct range {
	uint64_t start, end; /* [start, end), raddr */
	uint64_t bias;	     /* of its module */
	uint32_t module;     /* PROFILE_NO_MODULE: no file, or none we know */
};

/* A file seen before: libraries come back (dlopen) and each has several mappings. */
struct known {
	uint64_t inode;
	uint32_t device_major, device_minor;
	struct elfhead head;
	uint32_t module;
};

struct space {
	pid_t pid;
	struct space_translator translator;
	VEC(struct range) ranges; /* sorted, no overlaps */
	VEC(struct module_identity) modules;
	VEC(struct known) known;
	uint32_t last; /* range of the last look-up: samples cluster */
};

int space_new(pid_t pid, struct space **ret_space, struct err *e)
{
	struct space *space = calloc(1, sizeof *space);
	if (!space)
		return err_set(e, ERR_MEMORY, "no memory for address space");
	space->pid = pid;
	*ret_space = space;
	return 0;
}

void space_free(struct space *space)
{
	if (!space)
		return;
	for (size_t i = 0; i < space->modules.count; i++)
		module_free(&space->modules.data[i]);
	vec_free(&space->modules);
	vec_free(&space->ranges);
	vec_free(&space->known);
	free(space);
}

void space_set_translator(struct space *space, const struct space_translator *translator)
{
	space->translator = *translator;
}

/* Index of the first range that ends after `address`. */
static size_t lower_range(const struct space *space, uint64_t address)
{
	size_t low = 0, high = space->ranges.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (space->ranges.data[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Puts `new` in, over whatever was there:   old  [-----A-----)[--B--)
 *                                           new       [-----------)
 *                                           then [-A-)[----new----)[B)
 */
static int replace_range(struct space *space, struct range new, struct err *e)
{
	if (vec_reserve(&space->ranges, 2))
		return err_set(e, ERR_MEMORY, "no memory for mappings");
	size_t first = lower_range(space, new.start), last = first;
	struct range pieces[3];
	size_t count = 0;
	while (last < space->ranges.count && space->ranges.data[last].start < new.end)
		last++;
	if (last > first && space->ranges.data[first].start < new.start) {
		pieces[count] = space->ranges.data[first];
		pieces[count++].end = new.start;
	}
	pieces[count++] = new;
	if (last > first && space->ranges.data[last - 1].end > new.end) {
		pieces[count] = space->ranges.data[last - 1];
		pieces[count++].start = new.end;
	}
	struct range *r = space->ranges.data;
	memmove(r + first + count, r + last, (space->ranges.count - last) * sizeof *r);
	memcpy(r + first, pieces, count * sizeof *r);
	space->ranges.count += count - (last - first);
	return 0;
}

/* Number of an equal module, or of `module` newly added (then the space owns it; otherwise it is freed). */
static int keep_module(struct space *space, struct module_identity *module, uint32_t *ret_module, struct err *e)
{
	for (uint32_t i = 0; i < space->modules.count; i++)
		if (module_same(&space->modules.data[i], module)) {
			module_free(module);
			*ret_module = i;
			return 0;
		}
	if (vec_push(&space->modules, *module)) {
		module_free(module);
		return err_set(e, ERR_MEMORY, "no memory for modules");
	}
	*ret_module = (uint32_t)space->modules.count - 1;
	return 0;
}

static const struct known *find_known(const struct space *space, const struct procmap *map)
{
	for (size_t i = 0; i < space->known.count; i++) {
		const struct known *k = &space->known.data[i];
		if (map->inode && k->inode == map->inode && k->device_major == map->device_major && k->device_minor == map->device_minor)
			return k;
	}
	return NULL;
}

/* Finds out what file a mapping is of. The module is PROFILE_NO_MODULE when it is none we know; only ERR_MEMORY is an error. */
static int identify(struct space *space, const struct procmap *map, const struct procmaps *maps, struct known *ret_known, struct err *e)
{
	const struct known *seen = find_known(space, map);
	struct known new = {.inode = map->inode, .device_major = map->device_major, .device_minor = map->device_minor};
	struct module_identity module;
	ret_known->module = PROFILE_NO_MODULE;
	if (seen) {
		*ret_known = *seen;
		return 0;
	}
	int status = identity_of_mapping(space->pid, map, maps, &module, &new.head, e);
	if (status)
		return status == -ERR_MEMORY ? status : 0;
	status = keep_module(space, &module, &new.module, e);
	if (!status && vec_push(&space->known, new))
		status = err_set(e, ERR_MEMORY, "no memory for modules");
	if (!status)
		*ret_known = new;
	return status;
}

static int add_mapping(struct space *space, const struct procmap *map, const struct procmaps *maps, struct err *e)
{
	struct range range = {.start = map->start.v, .end = map->end.v, .module = PROFILE_NO_MODULE};
	struct known known;
	if (map->inode) {
		int status = identify(space, map, maps, &known, e);
		if (status)
			return status;
		if (known.module != PROFILE_NO_MODULE && elfhead_bias_of_mapping(&known.head, maps, map, &range.bias))
			range.module = known.module;
	}
	return replace_range(space, range, e);
}

int space_read(struct space *space, struct err *e)
{
	struct procmaps maps;
	int status = procmaps_read(space->pid, &maps, e);
	if (status)
		return status;
	space->ranges.count = 0;
	for (size_t i = 0; i < maps.count && !status; i++)
		if (maps.maps[i].execute)
			status = add_mapping(space, &maps.maps[i], &maps, e);
	procmaps_free(&maps);
	return status;
}

int space_add(struct space *space, const struct procmap *map, struct err *e)
{
	struct procmaps maps;
	if (!map->inode) /* anonymous: made by the thousand by JIT compilers */
		return add_mapping(space, map, NULL, e);
	bool have = procmaps_read(space->pid, &maps, NULL) == 0; /* without them only the file can be asked */
	const struct procmap *now = have ? procmaps_find(&maps, map->start) : NULL;
	/* The table knows more than the record (deleted, device), if it still shows the same mapping. */
	bool same = now && now->execute && now->start.v == map->start.v && now->offset == map->offset;
	int status = add_mapping(space, same ? now : map, have ? &maps : NULL, e);
	if (have)
		procmaps_free(&maps);
	return status;
}

static const struct range *find_range(struct space *space, uint64_t address)
{
	if (space->last < space->ranges.count) {
		const struct range *r = &space->ranges.data[space->last];
		if (address >= r->start && address < r->end)
			return r;
	}
	size_t i = lower_range(space, address);
	if (i == space->ranges.count || space->ranges.data[i].start > address)
		return NULL;
	space->last = (uint32_t)i;
	return &space->ranges.data[i];
}

void space_find(struct space *space, raddr address, uint32_t *ret_module, uint64_t *ret_address)
{
	const struct range *r = find_range(space, address.v);
	raddr original;
	if ((!r || r->module == PROFILE_NO_MODULE) && space->translator.translate &&
	    space->translator.translate(space->translator.context, address, &original)) {
		address = original;
		r = find_range(space, address.v);
	}
	bool known = r && r->module != PROFILE_NO_MODULE;
	*ret_module = known ? r->module : PROFILE_NO_MODULE;
	*ret_address = known ? vaddr_of_raddr(address, r->bias).v : address.v;
}

size_t space_module_count(const struct space *space)
{
	return space->modules.count;
}

const struct module_identity *space_module(const struct space *space, uint32_t module)
{
	return &space->modules.data[module];
}
