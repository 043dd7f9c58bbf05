/*
 * tiny_run: runs the image of a tiny module in the test itself, beside the module, and reads its counters.
 */
#ifndef TESTS_TINY_RUN_H
#define TESTS_TINY_RUN_H

#include "formats/plan.h"
#include "formats/profile.h"
#include "tests/unit/analyze/tiny_module.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>

#include <cmocka.h>

typedef long (*tiny_function)(long);

/* The region with its counters, relocated by its distance from where it was linked. */
static inline uint8_t *tiny_load(const struct plan_module *m, size_t *ret_size)
{
	uint64_t bias = (uintptr_t)tiny_begin - TINY_VADDR;
	uint8_t *hint = (uint8_t *)((uintptr_t)tiny_begin & ~0xfffull) - (512u << 20);
	*ret_size = m->data_offset;
	uint8_t *base = mmap(hint, *ret_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(base != MAP_FAILED);
	memcpy(base, m->code, m->code_size);
	uint64_t delta = (uintptr_t)base - bias - m->region_vaddr;
	for (uint32_t i = 0; i < m->relocation_count; i++)
		store_u32(base + m->relocations[i], load_u32(base + m->relocations[i]) - (uint32_t)delta);
	assert_int_equal(mprotect(base, m->counter_offset, PROT_READ | PROT_EXEC), 0);
	return base;
}

static inline tiny_function tiny_entry_of(const struct plan_module *m, uint8_t *base, const uint8_t *start)
{
	tiny_function f = NULL;
	for (uint32_t i = 0; i < m->function_count; i++) {
		uint8_t *code = base + m->functions[i].entry;
		if (TINY_VADDR + m->functions[i].start == tiny_vaddr(start) && m->functions[i].entry != PLAN_NONE)
			memcpy(&f, &code, sizeof f);
	}
	return f;
}

/* What apply/count.c reads. The counters of a kind are in the order of their places. */
static inline void tiny_read_counters(const struct plan_module *m, const uint8_t *base, struct profile *p)
{
	for (uint32_t i = 0; i < m->counter_count; i++) {
		const struct plan_counter *c = &m->counters[i];
		uint64_t value = load_u64(base + plan_counter_at(m, i));
		if (!value || c->kind == PLAN_COUNTER_TARGET)
			continue;
		if (c->kind == PLAN_COUNTER_EDGE)
			p->edges[p->edge_count++] = (struct profile_edge){
			    .from = m->text_base + c->from, .to = m->text_base + c->to, .count = value, .kind = PROFILE_EDGE_JUMP};
		else
			p->counts[p->count_count++] = (struct profile_count){m->text_base + c->from, value, 0};
	}
}

#endif
