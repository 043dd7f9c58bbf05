#include "formats/base/procmaps.h"

#include "formats/base/file.h"
#include "formats/base/vec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char deleted_suffix[] = " (deleted)";

/* The kernel writes '\n' in a path as "\012" and nothing else escaped; undone in place. */
static void unescape(char *path)
{
	char *out = path;
	for (const char *in = path; *in; in++) {
		if (!strncmp(in, "\\012", 4)) {
			*out++ = '\n';
			in += 3;
		} else {
			*out++ = *in;
		}
	}
	*out = 0;
}

static int parse_line(char *line, struct procmap *ret_map)
{
	struct procmap map = {0};
	char permissions[5];
	int path_at = 0;
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &map.start.v, &map.end.v, permissions, &map.offset,
		   &map.device_major, &map.device_minor, &map.inode, &path_at) < 7 ||
	    strlen(permissions) != 4)
		return -1;
	map.read = permissions[0] == 'r';
	map.write = permissions[1] == 'w';
	map.execute = permissions[2] == 'x';
	map.shared = permissions[3] == 's';
	char *path = line + path_at;
	size_t length = strlen(path), suffix = sizeof deleted_suffix - 1;
	if (length > suffix && !strcmp(path + length - suffix, deleted_suffix)) {
		path[length - suffix] = 0;
		map.deleted = true;
	}
	unescape(path);
	map.path = path;
	*ret_map = map;
	return 0;
}

static int parse_text(char *text, pid_t pid, struct procmaps *maps, struct err *e)
{
	VEC(struct procmap) list = {0};
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n")) && rest;) {
		struct procmap map;
		if (parse_line(line, &map)) {
			vec_free(&list);
			return err_set(e, ERR_INTERNAL, "/proc/%d/maps: cannot parse '%.100s'", (int)pid, line);
		}
		if (vec_push(&list, map)) {
			vec_free(&list);
			return err_set(e, ERR_MEMORY, "/proc/%d/maps", (int)pid);
		}
	}
	maps->maps = list.data;
	maps->count = list.count;
	return 0;
}

/* Whole text of a maps file, NUL-terminated; *ret_text stays NULL when it is empty, as it is for a zombie. */
static int read_text(const char *path, char **ret_text, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? err_set(e, ERR_GONE, "%s: no such process", path)
							 : err_set_errno(e, errno, "%s", path);
	struct file_data file;
	int status = file_read_fd(fd, path, &file, e);
	close(fd);
	if (status)
		return status;
	if (file.size) {
		*ret_text = malloc(file.size + 1);
		if (*ret_text) {
			memcpy(*ret_text, file.data, file.size);
			(*ret_text)[file.size] = 0;
		} else {
			status = err_set(e, ERR_MEMORY, "%s", path);
		}
	}
	file_data_free(&file);
	return status;
}

/* A leader that has exited shows no mappings although its threads live on: any other thread shows them. */
static int read_text_of_any_thread(pid_t pid, char **ret_text, struct err *e)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *directory = opendir(path);
	if (!directory)
		return errno == ENOENT || errno == ESRCH ? err_set(e, ERR_GONE, "%s: no such process", path)
							 : err_set_errno(e, errno, "%s", path);
	int status = 0;
	for (struct dirent *entry; !*ret_text && !status && (entry = readdir(directory));) {
		if (entry->d_name[0] == '.')
			continue;
		char maps_path[sizeof path + 280];
		snprintf(maps_path, sizeof maps_path, "%s/%s/maps", path, entry->d_name);
		status = read_text(maps_path, ret_text, e);
		if (status == -ERR_GONE) /* a thread may exit between the listing and the read; the next one is tried */
			status = 0;
	}
	closedir(directory);
	return *ret_text || status ? status : err_set(e, ERR_GONE, "process %d has no memory (zombie or kernel thread)", (int)pid);
}

int procmaps_read(pid_t pid, struct procmaps *ret_maps, struct err *e)
{
	char path[64];
	struct procmaps maps = {0};
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	int status = read_text(path, &maps.text, e);
	if (!status && !maps.text)
		status = read_text_of_any_thread(pid, &maps.text, e);
	if (!status)
		status = parse_text(maps.text, pid, &maps, e);
	if (status)
		procmaps_free(&maps);
	else
		*ret_maps = maps;
	return status;
}

void procmaps_free(struct procmaps *maps)
{
	free(maps->maps);
	free(maps->text);
	*maps = (struct procmaps){0};
}

const struct procmap *procmaps_find(const struct procmaps *maps, raddr address)
{
	size_t low = 0, high = maps->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (maps->maps[middle].end.v <= address.v)
			low = middle + 1;
		else
			high = middle;
	}
	return low < maps->count && maps->maps[low].start.v <= address.v ? &maps->maps[low] : NULL;
}
