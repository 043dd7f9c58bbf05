/*
 * image PLAN MODULE (PID|FILE) ADDRESS: writes the bytes of a region of PLAN to stdout as they stand in a process, or in a file, at ADDRESS (of the code:
 * in the process; in the file a vaddr), with zeros for what depends on the place: fields with relocations, calls through slots, the directory.
 */
#include "formats/base/elfhead.h"
#include "formats/plan.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *text)
{
	fprintf(stderr, "image: %s\n", text);
	exit(2);
}

static uint64_t offset_in_file(int fd, const char *path, uint64_t address)
{
	struct elf_source source = elf_source_of_fd(fd, 0);
	struct elfhead head;
	struct err e;
	if (elfhead_read(&source, path, &head, &e))
		die(e.text);
	for (uint32_t i = 0; i < head.segment_count; i++) {
		const struct elf_segment *s = &head.segments[i];
		if (s->type == ELFHEAD_LOAD && address - s->address.v < s->file_size)
			return s->offset + (address - s->address.v);
	}
	die("no such address");
	return 0;
}

int main(int argc, char **argv)
{
	struct plan plan;
	struct err e;
	char path[64];
	if (argc != 5 || plan_read(argv[1], &plan, &e))
		die("usage: image PLAN MODULE PID|FILE ADDRESS");
	const struct plan_module *m = &plan.modules[atoi(argv[2])];
	uint64_t at = strtoull(argv[4], NULL, 0);
	uint8_t *region = calloc(1, (size_t)m->data_offset + m->data_size);
	snprintf(path, sizeof path, "/proc/%s/mem", argv[3]);
	bool live = strspn(argv[3], "0123456789") == strlen(argv[3]);
	int fd = open(live ? path : argv[3], O_RDONLY);
	uint64_t code = live ? at : offset_in_file(fd, argv[3], at),
		 data = live || !m->data_size ? at + m->data_offset : offset_in_file(fd, argv[3], at + m->data_offset);
	if (pread(fd, region, m->code_size, (off_t)code) != (ssize_t)m->code_size ||
	    pread(fd, region + m->data_offset, m->data_size, (off_t)data) != (ssize_t)m->data_size)
		die("cannot be read");
	for (uint32_t i = 0; i < m->relocation_count; i++)
		memset(region + m->relocations[i], 0, 4);
	for (uint32_t i = 0; i < m->slot_count; i++)
		memset(region + m->slots[i].at, 0, 6);
	if (m->directory != PLAN_NONE)
		memset(region + m->directory, 0, (size_t)m->directory_entries * 32);
	fwrite(region, 1, (size_t)m->data_offset + m->data_size, stdout);
	return fflush(stdout) != 0;
}
