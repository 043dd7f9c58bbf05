#include "apply/readers.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_SIZE 64

static bool holds_name(const uint8_t *bytes, size_t size, const char *name)
{
	char whole[NAME_MAX_SIZE] = ""; /* with the zero before it, and the one behind */
	size_t length = strlen(name);
	memcpy(whole + 1, name, length + 1);
	return memmem(bytes, size, whole, length + 2) != NULL;
}

static int read_all(const struct target *t, raddr start, size_t size, uint8_t **ret_bytes, size_t *ret_size, struct err *e)
{
	*ret_bytes = malloc(size ? size : 1);
	if (!*ret_bytes)
		return err_set(e, ERR_MEMORY, "no memory for %zu bytes", size);
	*ret_size = target_read_some(t, start, *ret_bytes, size);
	return 0;
}

int readers_named(const struct target *t, raddr start, size_t size, const char *name, bool *ret_named, struct err *e)
{
	uint8_t *bytes;
	int status = read_all(t, start, size, &bytes, &size, e);
	if (!status)
		*ret_named = holds_name(bytes, size, name);
	if (!status)
		free(bytes);
	return status;
}

/* String tables are in what is mapped first, with the code in old files, or behind it where a tool has moved them. */
static int names_lookup(const struct target *t, const struct procmap *m, bool *ret_names, struct err *e)
{
	uint8_t *bytes;
	size_t size = 0;
	if (m->execute && m->offset)
		return 0;
	int status = read_all(t, m->start, (size_t)(m->end.v - m->start.v), &bytes, &size, e);
	if (status)
		return status;
	*ret_names |= holds_name(bytes, size, "_Unwind_Find_FDE") || holds_name(bytes, size, "_dl_find_object");
	free(bytes);
	return 0;
}

static bool only_tells(const char *path)
{
	return strstr(path, "/libc.so") || strstr(path, "/ld-linux");
}

static bool same_file(const struct procmap *a, const struct procmap *b)
{
	return a->inode == b->inode && a->device_major == b->device_major && a->device_minor == b->device_minor;
}

int readers_find(const struct target *t, struct readers *readers, struct err *e)
{
	const struct procmap *maps = t->maps.maps;
	size_t count = t->maps.count;
	int status = 0;
	readers_free(readers);
	readers->list = calloc(count + 1, sizeof *readers->list);
	if (!readers->list)
		return err_set(e, ERR_MEMORY, "no memory for %zu mappings", count);
	for (size_t i = 0, next; !status && i < count; i = next) {
		bool names = false, code = false;
		next = i + 1;
		while (next < count && maps[i].inode && same_file(&maps[i], &maps[next]))
			next++;
		for (size_t k = i; k < next; k++)
			code |= maps[k].inode && maps[k].execute;
		/* Files without code may be a database of any size. */
		for (size_t k = i; code && k < next && !status; k++)
			status = names_lookup(t, &maps[k], &names, e);
		if (!status && names && !only_tells(maps[i].path))
			readers->list[readers->count++] = (struct readers_range){maps[i].start, maps[next - 1].end};
	}
	return status;
}

void readers_free(struct readers *readers)
{
	free(readers->list);
	*readers = (struct readers){0};
}

bool readers_hold(const struct readers *readers, raddr address)
{
	for (uint32_t i = 0; i < readers->count; i++)
		if (address.v >= readers->list[i].start.v && address.v < readers->list[i].end.v)
			return true;
	return false;
}
