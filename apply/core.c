#include "apply/core.h"

#include "formats/base/bytes.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENTS_MAX (1u << 20)
#define NOTES_READ 4096 /* that on the process is the first or the second */
#define PID_OFFSET 24	/* of pr_pid in struct elf_prpsinfo */

struct core {
	int fd;
	Elf64_Phdr *segments;
	uint32_t count;
};

void core_close(struct core *core)
{
	if (!core)
		return;
	if (core->fd >= 0)
		close(core->fd);
	free(core->segments);
	free(core);
}

static bool read_all(int fd, void *buffer, size_t size, uint64_t at)
{
	size_t done = 0;
	while (done < size) {
		ssize_t got = pread(fd, (char *)buffer + done, size - done, (off_t)(at + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

/* Segments that do not fit into 16 bits are counted in section header 0: elf(5), PN_XNUM. */
static int count_segments(struct core *c, const Elf64_Ehdr *h, const char *path, struct err *e)
{
	Elf64_Shdr first;
	c->count = h->e_phnum;
	if (h->e_phnum == PN_XNUM) {
		if (!read_all(c->fd, &first, sizeof first, h->e_shoff))
			return err_set(e, ERR_FORMAT, "%s: does not say how many segments it has", path);
		c->count = first.sh_info;
	}
	if (!c->count || c->count > SEGMENTS_MAX || h->e_phentsize != sizeof *c->segments)
		return err_set(e, ERR_FORMAT, "%s: a core file with %u segments of %u bytes", path, c->count, h->e_phentsize);
	return 0;
}

static int read_segments(struct core *c, const char *path, struct err *e)
{
	Elf64_Ehdr h;
	if (!read_all(c->fd, &h, sizeof h, 0) || memcmp(h.e_ident, ELFMAG, SELFMAG) || h.e_type != ET_CORE)
		return err_set(e, ERR_FORMAT, "%s: is not a core file", path);
	if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_machine != EM_X86_64)
		return err_set(e, ERR_UNSUPPORTED, "%s: is not the core file of an x86-64 process", path);
	int status = count_segments(c, &h, path, e);
	if (status)
		return status;
	c->segments = malloc(c->count * sizeof *c->segments);
	if (!c->segments)
		return err_set(e, ERR_MEMORY, "%s: no memory for %u segments", path, c->count);
	if (!read_all(c->fd, c->segments, c->count * sizeof *c->segments, h.e_phoff))
		return err_set(e, ERR_FORMAT, "%s: is truncated", path);
	return 0;
}

/* The kernel and debuggers write them ascending, as mappings are. */
static int make_maps(const struct core *c, struct procmaps *maps, const char *path, struct err *e)
{
	maps->maps = calloc(c->count, sizeof *maps->maps);
	if (!maps->maps)
		return err_set(e, ERR_MEMORY, "%s: no memory for %u segments", path, c->count);
	for (uint32_t i = 0; i < c->count; i++) {
		const Elf64_Phdr *p = &c->segments[i];
		if (p->p_type != PT_LOAD || !p->p_filesz || p->p_vaddr + p->p_filesz < p->p_vaddr)
			continue;
		if (maps->count && maps->maps[maps->count - 1].end.v > p->p_vaddr)
			return err_set(e, ERR_FORMAT, "%s: its segments do not ascend", path);
		maps->maps[maps->count++] = (struct procmap){
		    .start = {p->p_vaddr},
		    .end = {p->p_vaddr + p->p_filesz},
		    .read = true,
		    .write = p->p_flags & PF_W,
		    .execute = p->p_flags & PF_X,
		    .path = "",
		};
	}
	return 0;
}

/* The number of the process in the first notes of a segment, as far as they are in `notes`; 0 when they do not say. */
static pid_t pid_of_notes(const void *notes, size_t size)
{
	struct reader r = reader_of(notes, size);
	while (reader_left(&r) >= sizeof(Elf64_Nhdr)) {
		uint32_t name = read_u32(&r), descriptor = read_u32(&r), type = read_u32(&r);
		read_bytes(&r, ((size_t)name + 3) & ~(size_t)3);
		const uint8_t *bytes = read_bytes(&r, ((size_t)descriptor + 3) & ~(size_t)3);
		if (!r.failed && type == NT_PRPSINFO && descriptor >= PID_OFFSET + 4)
			return (pid_t)load_u32(bytes + PID_OFFSET);
	}
	return 0;
}

/* For messages. */
static pid_t read_pid(const struct core *c)
{
	uint8_t notes[NOTES_READ];
	pid_t pid = 0;
	for (uint32_t i = 0; i < c->count && !pid; i++) {
		const Elf64_Phdr *p = &c->segments[i];
		size_t size = p->p_filesz < sizeof notes ? p->p_filesz : sizeof notes;
		if (p->p_type == PT_NOTE && read_all(c->fd, notes, size, p->p_offset))
			pid = pid_of_notes(notes, size);
	}
	return pid;
}

int core_open(const char *path, struct target *ret_target, struct err *e)
{
	struct target t = {.pidfd = -1, .mem_fd = -1, .task_fd = -1, .lock_fd = -1};
	struct core *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(e, ERR_MEMORY, "no memory for a core file");
	t.core = c;
	c->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int status = c->fd < 0 ? err_set_errno(e, errno, "%s", path) : read_segments(c, path, e);
	if (!status)
		status = make_maps(c, &t.maps, path, e);
	if (status) {
		target_close(&t);
		return status;
	}
	t.pid = t.task = read_pid(c);
	*ret_target = t;
	return 0;
}

ssize_t core_read(const struct core *core, void *buffer, size_t size, raddr address)
{
	for (uint32_t i = 0; i < core->count; i++) {
		const Elf64_Phdr *p = &core->segments[i];
		uint64_t offset = address.v - p->p_vaddr;
		if (p->p_type != PT_LOAD || offset >= p->p_filesz)
			continue;
		uint64_t left = p->p_filesz - offset;
		ssize_t got = pread(core->fd, buffer, size < left ? size : left, (off_t)(p->p_offset + offset));
		if (got)
			return got;
		break;
	}
	errno = EIO;
	return -1;
}
