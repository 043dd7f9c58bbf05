#include "analyze/elf/libraries.h"
#include "analyze/elf/image.h"
#include "formats/base/vec.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const standard_directories[] = {
    "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", NULL,
};

struct finder {
	struct libraries *libraries;
	struct file_data cache; /* /etc/ld.so.cache, empty if unreadable */
	struct err *e;
};

static int no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "no memory for the list of libraries");
}

static int append(char ***list, size_t *count, const char *text, struct err *e)
{
	char **grown = realloc(*list, (*count + 1) * sizeof *grown);
	if (!grown)
		return no_memory(e);
	*list = grown;
	grown[*count] = strdup(text);
	if (!grown[*count])
		return no_memory(e);
	++*count;
	return 0;
}

static const char *cache_string(const struct file_data *cache, uint64_t offset)
{
	if (offset >= cache->size || !memchr(cache->data + offset, 0, cache->size - offset))
		return NULL;
	return (const char *)cache->data + offset;
}

/*
 * ld.so.cache, "glibc-ld.so.cache1.1" (glibc sysdeps/generic/dl-cache.h): 48 bytes of header, then entries of 24 bytes: flags, offset of the
 * name, offset of the path, OS version, hwcap. 0x303 is an x86-64 library for libc 6; entries for special hardware have a hwcap.
 */
static const char *cache_find(const struct file_data *cache, const char *name)
{
	static const char magic[] = "glibc-ld.so.cache1.1";
	if (cache->size < 48 || memcmp(cache->data, magic, sizeof magic - 1))
		return NULL;
	uint64_t count = load_u32(cache->data + 20);
	for (uint64_t i = 0; i < count && 48 + (i + 1) * 24 <= cache->size; i++) {
		const uint8_t *entry = cache->data + 48 + i * 24;
		const char *key = cache_string(cache, load_u32(entry + 4));
		if (load_u32(entry) == 0x303 && !load_u64(entry + 16) && key && !strcmp(key, name))
			return cache_string(cache, load_u32(entry + 8));
	}
	return NULL;
}

/* An ELF file of our class and machine? The linker skips others silently. */
static bool usable(const char *path)
{
	unsigned char head[20];
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	bool whole = fread(head, 1, sizeof head, f) == sizeof head;
	fclose(f);
	return whole && !memcmp(head, "\177ELF\002\001", 6) && head[18] == 62 && head[19] == 0;
}

static bool try_directory(const char *directory, size_t length, const char *origin, const char *name, char *path)
{
	static const char token[] = "$ORIGIN", braced[] = "${ORIGIN}";
	int size;
	if (length >= sizeof token - 1 && !strncmp(directory, token, sizeof token - 1))
		size = snprintf(path, PATH_MAX, "%s%.*s/%s", origin, (int)(length - sizeof token + 1), directory + sizeof token - 1, name);
	else if (length >= sizeof braced - 1 && !strncmp(directory, braced, sizeof braced - 1))
		size =
		    snprintf(path, PATH_MAX, "%s%.*s/%s", origin, (int)(length - sizeof braced + 1), directory + sizeof braced - 1, name);
	else
		size = snprintf(path, PATH_MAX, "%.*s/%s", (int)length, directory, name);
	return size > 0 && size < PATH_MAX && usable(path);
}

static bool try_list(const char *list, const char *origin, const char *name, char *path)
{
	while (list && *list) {
		size_t length = strcspn(list, ":");
		if (length && try_directory(list, length, origin, name, path))
			return true;
		list += length + (list[length] == ':');
	}
	return false;
}

static bool find(const struct finder *f, const struct image *image, const char *name, char *path)
{
	char origin[PATH_MAX];
	if (strchr(name, '/'))
		return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && usable(path);
	snprintf(origin, sizeof origin, "%s", image->identity.path);
	char *slash = strrchr(origin, '/');
	if (slash)
		*slash = 0;
	if (try_list(image->runpath ? image->runpath : image->rpath, origin, name, path))
		return true;
	const char *cached = cache_find(&f->cache, name);
	if (cached && snprintf(path, PATH_MAX, "%s", cached) < PATH_MAX && usable(path))
		return true;
	for (size_t i = 0; standard_directories[i]; i++)
		if (try_directory(standard_directories[i], strlen(standard_directories[i]), origin, name, path))
			return true;
	return false;
}

static int add_path(struct finder *f, const char *path)
{
	char real[PATH_MAX];
	if (!realpath(path, real))
		snprintf(real, sizeof real, "%s", path); /* opening it will say why */
	for (size_t i = 0; i < f->libraries->count; i++)
		if (!strcmp(f->libraries->paths[i], real))
			return 0;
	return append(&f->libraries->paths, &f->libraries->count, real, f->e);
}

static int add_needed(struct finder *f, const struct image *image)
{
	char path[PATH_MAX], text[2 * PATH_MAX];
	int status = image->interpreter && usable(image->interpreter) ? add_path(f, image->interpreter) : 0;
	for (size_t i = 0; i < image->needed_count && !status; i++) {
		if (find(f, image, image->needed[i], path)) {
			status = add_path(f, path);
			continue;
		}
		snprintf(text, sizeof text, "%.255s (needed by %s)", image->needed[i], image->identity.path);
		status = append(&f->libraries->missing, &f->libraries->missing_count, text, f->e);
	}
	return status;
}

int libraries_add(struct libraries *libraries, const char *path, struct err *e)
{
	struct finder f = {.libraries = libraries, .e = e};
	size_t next = libraries->count;
	if (file_read("/etc/ld.so.cache", &f.cache, NULL))
		f.cache = (struct file_data){0}; /* then the standard directories have to do */
	int status = add_path(&f, path);
	for (size_t first = next; next < libraries->count && !status; next++) {
		struct image image;
		status = image_open(libraries->paths[next], &image, e);
		if (status && next != first) { /* a library that cannot be read is reported when it is mapped */
			status = 0;
			continue;
		}
		if (!status) {
			status = add_needed(&f, &image);
			image_close(&image);
		}
	}
	file_data_free(&f.cache);
	return status;
}

static void free_list(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

void libraries_free(struct libraries *libraries)
{
	free_list(libraries->paths, libraries->count);
	free_list(libraries->missing, libraries->missing_count);
	*libraries = (struct libraries){0};
}
