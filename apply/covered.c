#include "apply/covered.h"

#include "apply/tracee.h"
#include "formats/base/bytes.h"

#include <stdlib.h>
#include <string.h>

enum { RANGES_MAX = 1 << 16, PAGE = 4096, CONTROL_BLOCK = 2560, ABOVE_MAX = 1 << 14, ENDING = 16 };

int covered_init(struct covered *ret_covered, struct err *e)
{
	struct covered c = {.list = malloc(RANGES_MAX * sizeof *c.list), .threads = malloc(TRACEES_MAX * sizeof *c.threads)};
	if (!c.list || !c.threads) {
		covered_free(&c);
		return err_set(e, ERR_MEMORY, "no memory for the stacks of threads");
	}
	*ret_covered = c;
	return 0;
}

void covered_free(struct covered *c)
{
	free(c->list);
	free(c->threads);
	*c = (struct covered){0};
}

static uint32_t first_of_thread(const struct covered *c)
{
	return c->thread_count ? c->threads[c->thread_count - 1].first + c->threads[c->thread_count - 1].count : 0;
}

static void add(struct covered *c, uint64_t start, uint64_t end)
{
	struct covered_range *last = c->count > first_of_thread(c) ? &c->list[c->count - 1] : NULL;
	if (last && start >= last->start.v && start <= last->end.v) {
		last->end.v = end > last->end.v ? end : last->end.v;
		return;
	}
	if (c->count < RANGES_MAX)
		c->list[c->count++] = (struct covered_range){{start}, {end}};
}

void covered_begin(struct covered *c)
{
	c->count = 0;
	c->thread_count = 0;
	c->inner.v = 0;
}

void covered_frame(struct covered *c, const struct stack_frame *frame)
{
	if (frame->slot.v) {
		uint64_t end = frame->slot.v + 8;
		bool small = c->inner.v <= frame->slot.v && end - c->inner.v < COVERED_FRAME;
		add(c, small ? c->inner.v : frame->slot.v, end);
	}
	/* One that was interrupted may use its red zone. */
	c->inner.v = frame->stack.v - (frame->is_return ? 0 : COVERED_RED_ZONE);
	if (!frame->is_return)
		add(c, c->inner.v, frame->stack.v);
}

void covered_thread_end(struct covered *c, raddr tcb, const struct stack_result *result)
{
	uint32_t first = first_of_thread(c);
	if (result->end != STACK_BOTTOM)
		c->count = first;
	if (c->thread_count < TRACEES_MAX)
		c->threads[c->thread_count++] = (struct covered_thread){
		    .tcb = tcb, .end_pc = result->pc, .end_stack = c->inner, .first = first, .count = c->count - first};
	c->inner.v = 0;
}

/*
 * Does the code that the outermost frame goes on with end its thread? In _start: hlt behind the call of __libc_start_main, which does not return. In
 * clone of glibc and musl: the system call exit behind the call of the thread's function.
 */
static bool ends_thread(const struct target *t, raddr pc)
{
	static const uint8_t syscall_bytes[2] = {0x0f, 0x05};
	uint8_t code[ENDING];
	if (target_read_some(t, pc, code, sizeof code) != sizeof code)
		return false;
	return code[0] == 0xf4 || memmem(code, sizeof code, syscall_bytes, sizeof syscall_bytes);
}

bool covered_block(const struct target *t, raddr tcb, struct covered_range *ret_block)
{
	uint8_t bytes[CONTROL_BLOCK];
	size_t size = target_read_some(t, tcb, bytes, sizeof bytes);
	for (size_t i = 0; i + 16 <= size; i += 8) {
		uint64_t start = load_u64(bytes + i), length = load_u64(bytes + i + 8), end = start + length;
		if (!start || start % PAGE || length % PAGE || start > tcb.v || end <= tcb.v || end - tcb.v > ABOVE_MAX)
			continue;
		*ret_block = (struct covered_range){{start}, {end}};
		return true;
	}
	return false;
}

/* The own stack of a thread that is on it. A guard below is a mapping of its own, or is not there. */
static bool own_stack(const struct target *t, const struct covered_thread *thread, struct covered_range *ret_stack)
{
	const struct procmap *m = procmaps_find(&t->maps, thread->end_stack);
	if (!m || !thread->count || !ends_thread(t, thread->end_pc))
		return false;
	if (!strcmp(m->path, "[stack]")) {
		*ret_stack = (struct covered_range){m->start, m->end};
		return true;
	}
	return covered_block(t, thread->tcb, ret_stack) && thread->end_stack.v >= ret_stack->start.v && thread->end_stack.v < thread->tcb.v;
}

void covered_finish(struct covered *c, const struct target *t)
{
	for (uint32_t i = 0; i < c->thread_count; i++) {
		const struct covered_thread *thread = &c->threads[i];
		struct covered_range stack;
		if (!own_stack(t, thread, &stack))
			continue;
		uint64_t lowest = thread->end_stack.v;
		for (uint32_t k = thread->first; k < thread->first + thread->count; k++)
			if (c->list[k].start.v >= stack.start.v && c->list[k].start.v < lowest)
				lowest = c->list[k].start.v;
		if (c->count < RANGES_MAX)
			c->list[c->count++] = (struct covered_range){stack.start, {lowest}};
	}
}

bool covered_has_thread(const struct covered *c, raddr tcb)
{
	for (uint32_t i = 0; i < c->thread_count; i++)
		if (c->threads[i].tcb.v == tcb.v)
			return true;
	return false;
}
