#include "profile/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int set_path(struct module_identity *module, const char *path, struct err *e)
{
	module->path = strdup(path);
	return module->path ? 0 : err_set(e, ERR_MEMORY, "%s", path);
}

static void set_build_id(struct module_identity *module, const struct elfhead *head, const struct elf_source *source, bool in_memory)
{
	size_t size;
	elfhead_build_id(head, source, in_memory, module->build_id, sizeof module->build_id, &size);
	module->build_id_size = (uint8_t)size;
}

int identity_of_file(int fd, const char *path, struct module_identity *ret_module, struct elfhead *ret_head, struct err *e)
{
	struct elf_source file = elf_source_of_fd(fd, 0);
	struct module_identity module = {0};
	struct elfhead head;
	struct stat stat;
	if (fstat(fd, &stat))
		return err_set_errno(e, errno, "%s", path);
	if (!S_ISREG(stat.st_mode))
		return err_set(e, ERR_UNSUPPORTED, "%s: not a regular file", path);
	int status = elfhead_read(&file, path, &head, e);
	if (!status)
		status = elfhead_text_hash(&head, &file, path, &module.text_hash, e);
	if (!status)
		status = set_path(&module, path, e);
	if (status)
		return status;
	module.file_size = (uint64_t)stat.st_size;
	set_build_id(&module, &head, &file, false);
	*ret_module = module;
	*ret_head = head;
	return 0;
}

int identity_of_path(const char *path, struct module_identity *ret_module, struct elfhead *ret_head, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	int status = identity_of_file(fd, path, ret_module, ret_head, e);
	close(fd);
	return status;
}

static bool is_inode(int fd, uint64_t inode)
{
	struct stat stat;
	return !fstat(fd, &stat) && S_ISREG(stat.st_mode) && stat.st_ino == inode;
}

static int open_below(const char *root, const struct procmap *map)
{
	char path[4096 + 64];
	if ((size_t)snprintf(path, sizeof path, "%s%s", root, map->path) >= sizeof path)
		return -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0 && !is_inode(fd, map->inode)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Descriptor of the mapped file, -1 if it cannot be had. */
static int open_mapped(pid_t pid, const struct procmap *map)
{
	char path[96], root[64];
	snprintf(path, sizeof path, "/proc/%d/map_files/%lx-%lx", (int)pid, map->start.v, map->end.v);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0 || map->deleted || map->path[0] != '/')
		return fd;
	snprintf(root, sizeof root, "/proc/%d/root", (int)pid);
	fd = open_below(root, map);
	return fd >= 0 ? fd : open_below("", map); /* the process may be gone already */
}

/* Where the first byte of the same file is mapped, NULL if nowhere below. */
static const struct procmap *find_header(const struct procmaps *maps, const struct procmap *map)
{
	const struct procmap *found = NULL;
	for (size_t i = 0; maps && i < maps->count && maps->maps[i].start.v <= map->start.v; i++) {
		const struct procmap *m = &maps->maps[i];
		if (m->inode == map->inode && m->device_major == map->device_major && m->device_minor == map->device_minor && !m->offset &&
		    m->read)
			found = m;
	}
	return found;
}

static int identity_of_memory(pid_t pid, const struct procmap *map, const struct procmaps *maps, struct module_identity *ret_module,
			      struct elfhead *ret_head, struct err *e)
{
	char path[64];
	const struct procmap *header = map->inode ? find_header(maps, map) : NULL;
	if (!header)
		return err_set(e, ERR_MISSING, "%s: neither the file nor its header in memory can be read", map->path);
	snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	struct elf_source memory = elf_source_of_fd(fd, header->start.v);
	struct module_identity module = {0};
	uint64_t bias;
	int status = elfhead_read(&memory, map->path, ret_head, e);
	if (!status && elfhead_bias_of_mapping(ret_head, maps, map, &bias)) {
		memory.base = bias;
		set_build_id(&module, ret_head, &memory, true);
	}
	close(fd);
	if (!status)
		status = set_path(&module, map->path, e);
	if (!status)
		*ret_module = module;
	return status;
}

int identity_of_mapping(pid_t pid, const struct procmap *map, const struct procmaps *maps, struct module_identity *ret_module,
			struct elfhead *ret_head, struct err *e)
{
	int fd = open_mapped(pid, map);
	if (fd < 0)
		return identity_of_memory(pid, map, maps, ret_module, ret_head, e);
	int status = identity_of_file(fd, map->path, ret_module, ret_head, e);
	close(fd);
	return status;
}
