#include "profile/merge/module_set.h"

#include "formats/base/hash.h"

#include <stdbool.h>
#include <string.h>

enum { CAPACITY_MIN = 64 };

static bool is_nameless(const struct module_identity *m)
{
	return !m->build_id_size && !m->text_hash;
}

static int compare_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare(const struct module_identity *a, const struct module_identity *b)
{
	int order = compare_u64(a->build_id_size, b->build_id_size);
	if (!order)
		order = memcmp(a->build_id, b->build_id, a->build_id_size);
	if (!order)
		order = compare_u64(a->text_hash, b->text_hash);
	if (!order)
		order = compare_u64(a->file_size, b->file_size);
	return order || !is_nameless(a) ? order : strcmp(a->path, b->path);
}

static uint64_t hash_of(const struct module_identity *m)
{
	uint64_t parts[4] = {hash_bytes(m->build_id, m->build_id_size), m->text_hash, m->file_size, 0};
	if (is_nameless(m))
		parts[3] = hash_bytes(m->path, strlen(m->path));
	return hash_bytes(parts, sizeof parts);
}

/* The slot of this module, or the free one where it belongs. */
static uint32_t *find(const struct module_set *set, const struct module_identity *module)
{
	size_t i = (size_t)hash_of(module) & (set->capacity - 1);
	while (set->slots[i] && compare(&set->modules.data[set->slots[i] - 1], module))
		i = (i + 1) & (set->capacity - 1);
	return &set->slots[i];
}

static int grow(struct module_set *set)
{
	size_t capacity = set->capacity ? set->capacity * 2 : CAPACITY_MIN;
	uint32_t *slots = calloc(capacity, sizeof *slots);
	if (!slots)
		return -1;
	free(set->slots);
	set->slots = slots;
	set->capacity = capacity;
	for (size_t i = 0; i < set->modules.count; i++)
		*find(set, &set->modules.data[i]) = (uint32_t)i + 1;
	return 0;
}

static int keep_lesser_path(struct module_identity *mine, const char *path, struct err *e)
{
	if (strcmp(mine->path, path) <= 0)
		return 0;
	char *copy = strdup(path);
	if (!copy)
		return err_set(e, ERR_MEMORY, "no memory for a path");
	free(mine->path);
	mine->path = copy;
	return 0;
}

int module_set_add(struct module_set *set, const struct module_identity *module, uint32_t *ret_number, struct err *e)
{
	if (((set->modules.count + 1) * 2 > set->capacity && grow(set)) || vec_reserve(&set->modules, 1))
		return err_set(e, ERR_MEMORY, "no memory for more than %zu modules", set->modules.count);
	uint32_t *slot = find(set, module);
	int status = *slot ? keep_lesser_path(&set->modules.data[*slot - 1], module->path, e)
			   : module_copy(module, &set->modules.data[set->modules.count], e);
	if (status)
		return status;
	if (!*slot)
		*slot = (uint32_t)++set->modules.count;
	*ret_number = *slot - 1;
	return 0;
}

struct numbered {
	struct module_identity module;
	uint32_t number;
};

static int by_identity(const void *left, const void *right)
{
	const struct numbered *a = left, *b = right;
	return compare(&a->module, &b->module);
}

int module_set_sort(struct module_set *set, uint32_t **ret_new_number, struct err *e)
{
	size_t count = set->modules.count;
	struct numbered *sorted = calloc(count + 1, sizeof *sorted);
	uint32_t *new_number = calloc(count + 1, sizeof *new_number);
	if (!sorted || !new_number) {
		free(sorted);
		free(new_number);
		return err_set(e, ERR_MEMORY, "no memory to sort %zu modules", count);
	}
	for (size_t i = 0; i < count; i++)
		sorted[i] = (struct numbered){set->modules.data[i], (uint32_t)i};
	qsort(sorted, count, sizeof *sorted, by_identity);
	for (size_t i = 0; i < count; i++) {
		set->modules.data[i] = sorted[i].module;
		new_number[sorted[i].number] = (uint32_t)i;
	}
	free(sorted);
	*ret_new_number = new_number;
	return 0;
}

void module_set_free(struct module_set *set)
{
	for (size_t i = 0; i < set->modules.count; i++)
		module_free(&set->modules.data[i]);
	vec_free(&set->modules);
	free(set->slots);
	*set = (struct module_set){0};
}
