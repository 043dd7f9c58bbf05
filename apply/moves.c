#include "apply/moves.h"

#include "formats/base/restart.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define RED_ZONE 128u

static bool enterable(const struct plan_run *run)
{
	return run->image_size && run->original_size && (run->kind == PLAN_RUN_COPY || run->kind == PLAN_RUN_REWRITTEN);
}

/* By the upper half, digit by digit: plans have hundreds of thousands of runs, and somebody may wait for his program to begin. */
static void sort_keys(uint64_t *keys, uint64_t *spare, uint32_t count)
{
	for (unsigned shift = 32; shift < 64; shift += 8) {
		uint32_t start[257] = {0};
		for (uint32_t i = 0; i < count; i++)
			start[(keys[i] >> shift & 255) + 1]++;
		for (unsigned digit = 0; digit < 256; digit++)
			start[digit + 1] += start[digit];
		for (uint32_t i = 0; i < count; i++)
			spare[start[keys[i] >> shift & 255]++] = keys[i];
		uint64_t *sorted = spare; /* four passes: at last it is `keys` */
		spare = keys;
		keys = sorted;
	}
}

static int index_region(struct moves_region *m, struct err *e)
{
	const struct plan_module *plan = m->region->plan;
	uint64_t *keys = malloc(2 * ((uint64_t)plan->run_count + 1) * sizeof *keys);
	m->runs = malloc(((uint64_t)plan->run_count + 1) * sizeof *m->runs);
	if (!m->runs || !keys) {
		free(keys);
		return err_set(e, ERR_MEMORY, "no memory for %u address map entries", plan->run_count);
	}
	for (uint32_t i = 0; i < plan->run_count; i++)
		if (enterable(&plan->runs[i]))
			keys[m->count++] = (uint64_t)plan->runs[i].original << 32 | i;
	sort_keys(keys, keys + m->count, m->count);
	for (uint32_t i = 0; i < m->count; i++)
		m->runs[i] = (uint32_t)keys[i];
	free(keys);
	return 0;
}

int moves_init(const struct stage *s, struct moves *ret_moves, struct err *e)
{
	struct moves m = {.regions = calloc(s->region_count + 1, sizeof *m.regions)};
	int status = m.regions ? 0 : err_set(e, ERR_MEMORY, "no memory for %u regions", s->region_count);
	for (; !status && m.count < s->region_count; m.count++) {
		m.regions[m.count].region = &s->regions[m.count];
		status = index_region(&m.regions[m.count], e);
	}
	if (status)
		moves_free(&m);
	else
		*ret_moves = m;
	return status;
}

void moves_free(struct moves *m)
{
	for (uint32_t i = 0; i < m->count; i++)
		free(m->regions[i].runs);
	free(m->regions);
	*m = (struct moves){0};
}

static raddr find_in_region(const struct moves_region *m, uint32_t offset)
{
	const struct plan_run *runs = m->region->plan->runs;
	uint32_t low = 0, high = m->count;
	while (low < high) { /* the first run that starts behind offset */
		uint32_t middle = low + (high - low) / 2;
		if (runs[m->runs[middle]].original <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return (raddr){0};
	const struct plan_run *run = &runs[m->runs[low - 1]];
	uint32_t distance = offset - run->original;
	if (distance >= run->original_size || (distance && run->kind != PLAN_RUN_COPY))
		return (raddr){0};
	return region_image(m->region, run->image + distance);
}

raddr moves_into_image(const struct moves *m, raddr pc)
{
	for (uint32_t i = 0; i < m->count; i++) {
		uint64_t offset = pc.v - region_text(m->regions[i].region, 0).v;
		if (offset < m->regions[i].region->plan->text_size)
			return find_in_region(&m->regions[i], (uint32_t)offset);
	}
	return (raddr){0};
}

/* Moves one thread out of the patches that hold its PC or the call instruction that the kernel will make again; false when it cannot be. */
static bool move_thread(const struct moves *m, struct tracee *tracee)
{
	raddr pc = {tracee->registers.rip}, to = moves_into_image(m, pc);
	if (!to.v || (restart_by_kernel(&tracee->registers) && moves_into_image(m, (raddr){pc.v - 2}).v != to.v - 2))
		return false;
	tracee->moved_from = pc.v;
	tracee->registers.rip = to.v;
	tracee->changed = true;
	return true;
}

uint32_t moves_out_of_patches(const struct moves *m, struct patch_set *set, struct tracees *s)
{
	uint32_t moved = 0;
	for (uint32_t i = 0; i < s->count; i++) {
		struct tracee *tracee = &s->list[i];
		if (tracee->state != TRACEE_STOPPED)
			continue;
		raddr pc = {tracee->registers.rip};
		struct patch *hit[2] = {patch_inside(set, pc), NULL};
		if (restart_by_kernel(&tracee->registers))
			hit[1] = patch_inside(set, (raddr){pc.v - 2});
		if (!hit[0] && !hit[1])
			continue;
		if (move_thread(m, tracee)) {
			moved++;
			continue;
		}
		for (unsigned k = 0; k < 2; k++)
			if (hit[k])
				hit[k]->state = PATCH_PC_INSIDE;
	}
	return moved;
}

/* Words of [low, high) that may be PCs inside a patch drop it; returns the lowest word that points into [other_low, other_high). */
static uint64_t scan_words(struct patch_set *set, const uint64_t *words, size_t count, uint64_t other_low, uint64_t other_high)
{
	uint64_t lowest = UINT64_MAX;
	if (!set->count)
		return lowest;
	uint64_t first = set->list[0].at.v, span = set->list[set->count - 1].at.v + PLAN_PATCH_SIZE - first;
	for (size_t i = 0; i < count; i++) {
		uint64_t word = words[i];
		if (word >= other_low && word < other_high && word < lowest)
			lowest = word;
		if (word - first >= span)
			continue;
		struct patch *p = patch_inside(set, (raddr){word});
		if (p)
			p->state = PATCH_PC_INSIDE;
	}
	return lowest;
}

/* Where the mapping of `address` ends, at most `most` bytes on. */
static uint64_t mapping_end(const struct target *t, uint64_t address, uint64_t most)
{
	const struct procmap *m = procmaps_find(&t->maps, (raddr){address});
	return m && m->end.v - address < most ? m->end.v : address + most;
}

static size_t read_words(const struct target *t, uint64_t low, uint64_t high, void *buffer)
{
	struct iovec local = {buffer, high - low}, remote = {(void *)(uintptr_t)low, high - low};
	ssize_t got = process_vm_readv(t->task, &local, 1, &remote, 1, 0);
	return got < 0 ? target_read_some(t, (raddr){low}, buffer, high - low) / 8 : (size_t)got / 8;
}

/* The mapping of the stack that the thread was started on: [stack] for the first, the one that holds its TLS (glibc) for others. */
static const struct procmap *home_stack(const struct target *t, const struct tracee *tracee)
{
	if (tracee->tid != t->pid)
		return procmaps_find(&t->maps, (raddr){tracee->registers.fs_base});
	for (size_t i = t->maps.count; i-- > 0;)
		if (!strcmp(t->maps.maps[i].path, "[stack]"))
			return &t->maps.maps[i];
	return NULL;
}

uint32_t moves_drop_saved(struct patch_set *set, const struct tracees *s, void *buffer)
{
	uint32_t cut = 0;
	for (uint32_t i = 0; i < s->count; i++) {
		const struct tracee *tracee = &s->list[i];
		if (tracee->state != TRACEE_STOPPED)
			continue;
		uint64_t low = (tracee->registers.rsp - RED_ZONE) & ~(uint64_t)7;
		uint64_t high = mapping_end(s->target, low, MOVES_STACK_MAX);
		const struct procmap *home = home_stack(s->target, tracee);
		bool away = home && (low < home->start.v || low >= home->end.v);
		size_t count = read_words(s->target, low, high, buffer);
		uint64_t other = scan_words(set, buffer, count, away ? home->start.v : 0, away ? home->end.v : 0);
		cut += high - low == MOVES_STACK_MAX;
		if (!away || other == UINT64_MAX)
			continue;
		/* The signal frame holds the stack pointer of the interrupted stack, so that lies at or above the lowest pointer into it. */
		low = (other - RED_ZONE) & ~(uint64_t)7;
		if (low < home->start.v)
			low = home->start.v;
		high = mapping_end(s->target, low, MOVES_STACK_MAX);
		scan_words(set, buffer, read_words(s->target, low, high, buffer), 0, 0);
		cut += high - low == MOVES_STACK_MAX;
	}
	return cut;
}

void moves_forget(struct tracees *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (s->list[i].moved_from)
			s->list[i].registers.rip = s->list[i].moved_from;
}

void moves_commit(struct tracees *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		struct tracee *tracee = &s->list[i];
		if (tracee->state != TRACEE_STOPPED || !tracee->changed)
			continue;
		if (tracee_request(PTRACE_SETREGS, tracee->tid, 0, (uintptr_t)&tracee->registers) == 0)
			tracee->changed = false;
	}
}
