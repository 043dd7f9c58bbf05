#include "profile/ring.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES_MIN = 8 };

int ring_map(int fd, size_t pages, struct ring *ret_ring, struct err *e)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int saved = 0;
	for (; pages >= PAGES_MIN; pages /= 2) {
		size_t size = (pages + 1) * page;
		void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (memory != MAP_FAILED) {
			*ret_ring = (struct ring){.memory = memory, .data_size = pages * page, .mapped_size = size};
			return 0;
		}
		saved = errno;
		if (saved != EPERM && saved != ENOMEM)
			break;
	}
	if (saved == EPERM)
		return err_set(e, ERR_PERMISSION,
			       "perf ring buffer: over the locked-memory limits (kernel.perf_event_mlock_kb, RLIMIT_MEMLOCK)");
	return err_set_errno(e, saved, "perf ring buffer");
}

void ring_unmap(struct ring *ring)
{
	if (ring->memory)
		munmap(ring->memory, ring->mapped_size);
	*ring = (struct ring){0};
}

int ring_take(struct ring *ring, struct writer *out, size_t *ret_bytes, struct err *e)
{
	struct perf_event_mmap_page *control = ring->memory;
	const uint8_t *data = (const uint8_t *)ring->memory + (ring->mapped_size - ring->data_size);
	/* Pairs with the kernel's barrier: records are complete before data_head moves, and are read before data_tail moves. */
	uint64_t head = __atomic_load_n(&control->data_head, __ATOMIC_ACQUIRE), tail = control->data_tail;
	uint64_t size = head - tail, at = tail & (ring->data_size - 1);
	if (size > ring->data_size)
		return err_set(e, ERR_INTERNAL, "perf ring buffer: head 0x%lx, tail 0x%lx, size 0x%zx", head, tail, ring->data_size);
	size_t first = size < ring->data_size - at ? (size_t)size : (size_t)(ring->data_size - at);
	write_bytes(out, data + at, first);
	write_bytes(out, data, (size_t)size - first);
	if (out->failed)
		return err_set(e, ERR_MEMORY, "no memory for %lu bytes of perf records", size);
	__atomic_store_n(&control->data_tail, head, __ATOMIC_RELEASE);
	*ret_bytes = (size_t)size;
	return 0;
}
