#include "profile/emulate/memory.h"

#include "formats/base/procmaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct slot {
	uint64_t page; /* address / MEMORY_PAGE */
	uint32_t epoch, copy;
};

struct shared {
	raddr start, end;
	const uint8_t *own; /* the same pages in this process */
};

enum { SHARED_MAX = 4 };

struct memory {
	int fd;
	int pipe[2]; /* how own pages are copied: writing them fails where reading would be fatal */
	struct shared shared[SHARED_MAX];
	uint32_t shared_count;
	uint32_t epoch, used, room, mask;
	struct slot *slots; /* open addressing, at most half full */
	uint8_t *copies;    /* room * MEMORY_PAGE, page-aligned: code relies on the alignment of what it reads */
};

int memory_new(pid_t pid, uint32_t pages, struct memory **ret_memory, struct err *e)
{
	char path[64];
	struct memory *m = calloc(1, sizeof *m);
	if (!m)
		return err_set(e, ERR_MEMORY, "no memory for pages of process %d", (int)pid);
	snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
	m->pipe[0] = m->pipe[1] = -1;
	m->fd = open(path, O_RDONLY | O_CLOEXEC);
	int failure = errno;
	m->room = pages;
	m->epoch = 1;
	for (m->mask = 64; m->mask < 2 * pages; m->mask *= 2)
		;
	m->slots = calloc(m->mask--, sizeof *m->slots);
	m->copies = mmap(NULL, (size_t)pages * MEMORY_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->copies == MAP_FAILED)
		m->copies = NULL;
	int status = 0;
	if (m->fd < 0)
		status = err_set_errno(e, failure, "%s", path);
	else if (!m->slots || !m->copies)
		status = err_set(e, ERR_MEMORY, "no memory for pages of process %d", (int)pid);
	if (status)
		memory_free(m);
	else
		*ret_memory = m;
	return status;
}

void memory_free(struct memory *m)
{
	if (!m)
		return;
	if (m->fd >= 0)
		close(m->fd);
	if (m->pipe[0] >= 0) {
		close(m->pipe[0]);
		close(m->pipe[1]);
	}
	if (m->copies)
		munmap(m->copies, (size_t)m->room * MEMORY_PAGE);
	free(m->slots);
	free(m);
}

static void add_shared(struct memory *m, const struct procmap *theirs, const struct procmaps *own)
{
	if (strncmp(theirs->path, "[vvar", 5) || m->shared_count == SHARED_MAX)
		return;
	for (size_t i = 0; i < own->count; i++)
		if (!strcmp(own->maps[i].path, theirs->path) &&
		    own->maps[i].end.v - own->maps[i].start.v == theirs->end.v - theirs->start.v)
			m->shared[m->shared_count++] =
			    (struct shared){theirs->start, theirs->end, (const uint8_t *)(uintptr_t)own->maps[i].start.v};
}

int memory_share_clock(struct memory *m, pid_t pid, struct err *e)
{
	struct procmaps theirs, own;
	if (m->pipe[0] < 0 && pipe2(m->pipe, O_CLOEXEC | O_NONBLOCK))
		return err_set_errno(e, errno, "pipe");
	int status = procmaps_read(pid, &theirs, e);
	if (status)
		return status;
	status = procmaps_read(getpid(), &own, e);
	m->shared_count = 0;
	for (size_t i = 0; !status && i < theirs.count; i++)
		add_shared(m, &theirs.maps[i], &own);
	procmaps_free(&theirs);
	if (!status)
		procmaps_free(&own);
	return status;
}

void memory_forget(struct memory *m)
{
	m->used = 0;
	if (!++m->epoch) {
		memset(m->slots, 0, ((size_t)m->mask + 1) * sizeof *m->slots);
		m->epoch = 1;
	}
}

static bool copy_page(const struct memory *m, uint64_t address, uint8_t *copy)
{
	for (uint32_t i = 0; i < m->shared_count; i++) {
		const struct shared *s = &m->shared[i];
		if (address >= s->start.v && address < s->end.v)
			return write(m->pipe[1], s->own + (address - s->start.v), MEMORY_PAGE) == MEMORY_PAGE &&
			       read(m->pipe[0], copy, MEMORY_PAGE) == MEMORY_PAGE;
	}
	return pread(m->fd, copy, MEMORY_PAGE, (off_t)address) == MEMORY_PAGE;
}

static uint8_t *fetch(struct memory *m, struct slot *slot, uint64_t page)
{
	uint8_t *copy = m->copies + (size_t)m->used * MEMORY_PAGE;
	if (m->used == m->room || !copy_page(m, page * MEMORY_PAGE, copy))
		return NULL;
	*slot = (struct slot){page, m->epoch, m->used++};
	return copy;
}

uint8_t *memory_at(struct memory *m, raddr address)
{
	uint64_t page = address.v / MEMORY_PAGE;
	for (uint32_t i = (uint32_t)(page * 0x9e3779b97f4a7c15u >> 32) & m->mask;; i = (i + 1) & m->mask) {
		struct slot *slot = &m->slots[i];
		uint8_t *copy = NULL;
		if (slot->epoch != m->epoch)
			copy = fetch(m, slot, page);
		else if (slot->page == page)
			copy = m->copies + (size_t)slot->copy * MEMORY_PAGE;
		else
			continue;
		return copy ? copy + address.v % MEMORY_PAGE : NULL;
	}
}

static size_t to_page_end(raddr address, size_t size)
{
	size_t left = MEMORY_PAGE - address.v % MEMORY_PAGE;
	return size < left ? size : left;
}

bool memory_load(struct memory *m, raddr address, void *ret_bytes, size_t size)
{
	size_t first = to_page_end(address, size);
	const uint8_t *one = memory_at(m, address), *two = one;
	if (size > first)
		two = memory_at(m, (raddr){address.v + first});
	if (!one || !two)
		return false;
	memcpy(ret_bytes, one, first);
	memcpy((uint8_t *)ret_bytes + first, two, size - first);
	return true;
}

bool memory_store(struct memory *m, raddr address, const void *bytes, size_t size)
{
	size_t first = to_page_end(address, size);
	uint8_t *one = memory_at(m, address), *two = one;
	if (size > first)
		two = memory_at(m, (raddr){address.v + first});
	if (!one || !two)
		return false;
	memcpy(one, bytes, first);
	memcpy(two, (const uint8_t *)bytes + first, size - first);
	return true;
}
