/*
 * pristine PID [--padding]: is the process as if nobody had ever patched it? Compares every private executable file mapping with its file,
 * byte by byte (with --padding also the bytes behind the end of the segment in its last page), and looks for anonymous mappings that are
 * readable and not writable. Says what differs; exit 1 if anything does.
 */
#include "formats/base/elfhead.h"
#include "formats/base/file.h"
#include "formats/base/procmaps.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int differences;

static void compare(int mem, const struct procmap *m, bool padding)
{
	struct file_data file;
	struct elfhead head;
	struct err e;
	if (file_read(m->path, &file, &e))
		return;
	struct elf_source source = elf_source_of_buffer(file.data, file.size);
	uint64_t size = m->end.v - m->start.v;
	if (elfhead_read(&source, m->path, &head, &e))
		return;
	for (uint32_t i = 0; !padding && i < head.segment_count; i++) {
		const struct elf_segment *s = &head.segments[i];
		if (s->type == ELFHEAD_LOAD && s->flags & ELFHEAD_EXECUTE && s->offset >= m->offset && s->offset - m->offset < size &&
		    s->offset + s->file_size - m->offset < size)
			size = s->offset + s->file_size - m->offset;
	}
	uint8_t *live = malloc(size);
	if (!live || pread(mem, live, size, (off_t)m->start.v) != (ssize_t)size) {
		printf("%s: cannot be read\n", m->path);
		differences++;
	}
	for (uint64_t i = 0; live && i < size && m->offset + i < file.size; i++) {
		if (live[i] == file.data[m->offset + i])
			continue;
		printf("%s: 0x%" PRIx64 " is %02x, in the file %02x\n", m->path, m->start.v + i, live[i], file.data[m->offset + i]);
		differences++;
		break;
	}
	free(live);
	file_data_free(&file);
}

/* Through any thread: the first may have exited. */
static int open_memory(pid_t pid)
{
	char path[64];
	int memory = -1;
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	DIR *tasks = opendir(path);
	for (struct dirent *entry; memory < 0 && tasks && (entry = readdir(tasks));) {
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/mem", pid, entry->d_name);
		memory = open(path, O_RDONLY);
	}
	if (tasks)
		closedir(tasks);
	return memory;
}

int main(int argc, char **argv)
{
	struct procmaps maps;
	struct err e;
	if (argc < 2)
		return 2;
	pid_t pid = atoi(argv[1]);
	if (procmaps_read(pid, &maps, &e)) {
		printf("%s\n", e.text);
		return 1;
	}
	int mem = open_memory(pid);
	for (size_t i = 0; i < maps.count; i++) {
		const struct procmap *m = &maps.maps[i];
		if (m->execute && m->inode && !m->shared)
			compare(mem, m, argc > 2);
		if (!m->inode && m->read && !m->write && *m->path != '[') {
			printf("0x%" PRIx64 "-0x%" PRIx64 ": anonymous and not writable\n", m->start.v, m->end.v);
			differences++;
		}
	}
	return differences != 0;
}
