#include "apply/cgroup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_SIZE 8192
#define PATH_SIZE 4352

/* Where groups of one kind are, and what their files are called. */
struct hierarchy {
	const char *mount, *controller; /* "": version 2 */
	const char *frozen_file, *frozen_text;
	const char *limit_file, *usage_file, *cached[2];
};

static const struct hierarchy hierarchies[] = {
    {"/sys/fs/cgroup/freezer", "freezer", "freezer.state", "FR", NULL, NULL, {NULL, NULL}}, /* FREEZING, FROZEN */
    {"/sys/fs/cgroup/memory",
     "memory",
     NULL,
     NULL,
     "memory.limit_in_bytes",
     "memory.usage_in_bytes",
     {"\ntotal_inactive_file ", "\ntotal_active_file "}},
    {"/sys/fs/cgroup", "", "cgroup.events", "frozen 1", "memory.max", "memory.current", {"\ninactive_file ", "\nactive_file "}},
    {"/sys/fs/cgroup/unified", "", "cgroup.events", "frozen 1", "memory.max", "memory.current", {"\ninactive_file ", "\nactive_file "}},
};
enum { HIERARCHIES = sizeof hierarchies / sizeof *hierarchies };

static bool read_file(const char *path, char text[TEXT_SIZE])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, TEXT_SIZE - 1);
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = 0;
	return got > 0;
}

static bool read_in(const char *group, const char *name, char text[TEXT_SIZE])
{
	char path[PATH_SIZE + 64];
	snprintf(path, sizeof path, "%s/%s", group, name);
	return read_file(path, text);
}

/* Is `name` one of the words, separated by commas, up to `end`? */
static bool lists(const char *words, const char *end, const char *name)
{
	size_t length = strlen(name);
	if (!length)
		return words == end;
	for (const char *p = words; p < end; p += strcspn(p, ",:") + 1)
		if (strcspn(p, ",:") == length && !strncmp(p, name, length))
			return true;
	return false;
}

/* The directory of the group that the process is in; lines are "number:controllers:path". False: none. */
static bool find_group(pid_t pid, const struct hierarchy *h, char group[PATH_SIZE])
{
	char path[64], text[TEXT_SIZE];
	snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
	if (!read_file(path, text))
		return false;
	for (char *line = text, *next; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		char *controllers = strchr(line, ':'), *end = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!end || !lists(controllers + 1, end, h->controller))
			continue;
		int length = snprintf(group, PATH_SIZE, "%s%s", h->mount, end + 1);
		return length > 0 && length < PATH_SIZE;
	}
	return false;
}

bool cgroup_frozen(pid_t pid)
{
	char group[PATH_SIZE], text[TEXT_SIZE];
	for (int i = 0; i < HIERARCHIES; i++) {
		const struct hierarchy *h = &hierarchies[i];
		if (h->frozen_file && find_group(pid, h, group) && read_in(group, h->frozen_file, text) && strstr(text, h->frozen_text))
			return true;
	}
	return false;
}

/* Of one group. */
static uint64_t left_in(const char *group, const struct hierarchy *h)
{
	char text[TEXT_SIZE];
	if (!read_in(group, h->limit_file, text) || *text < '0' || *text > '9') /* "max" */
		return UINT64_MAX;
	uint64_t limit = strtoull(text, NULL, 10);
	if (!read_in(group, h->usage_file, text))
		return UINT64_MAX;
	uint64_t used = strtoull(text, NULL, 10), cached = 0;
	for (int i = 0; i < 2 && read_in(group, "memory.stat", text); i++) {
		const char *line = strstr(text, h->cached[i]);
		cached += line ? strtoull(line + strlen(h->cached[i]), NULL, 10) : 0;
	}
	used -= cached < used ? cached : used;
	return limit > used ? limit - used : 0;
}

uint64_t cgroup_memory_left(pid_t pid)
{
	uint64_t left = UINT64_MAX;
	char group[PATH_SIZE];
	for (int i = 0; i < HIERARCHIES; i++) {
		const struct hierarchy *h = &hierarchies[i];
		if (!h->limit_file || !find_group(pid, h, group))
			continue;
		/* The limits of all groups above hold as well. */
		for (char *end = group + strlen(group); end > group + strlen(h->mount); end = strrchr(group, '/')) {
			*end = 0;
			uint64_t here = left_in(group, h);
			left = here < left ? here : left;
		}
	}
	return left;
}
