/*
 * Counted ways out of an image: it is the same image apart from what counts, the validator proves it and refuses every change of what counts,
 * and the code of a tiny module leaves its image as often as it says.
 */
#include "analyze/emit/emit.h"
#include "analyze/emit/validate.h"
#include "analyze/layout/exits.h"
#include "tests/unit/analyze/tiny_run.h"

#define CALLS 40 /* of each function, with 0, 1, ... */

struct world {
	struct tiny tiny;
	struct plan_module plain, counted;
};

static uint32_t offset_of(const uint8_t *at)
{
	return (uint32_t)(tiny_vaddr(at) - TINY_VADDR);
}

/* Left out: what tiny_sum does with odd numbers, where tiny_step jumps for large ones, and what comes after the jump of tiny_jump. */
static bool is_left_out(const struct map *map, uint32_t block)
{
	const struct map_block *b = &map->blocks[block];
	bool odd = b->start > offset_of(tiny_sum) && b->start < offset_of(tiny_sum_end) && map_call_from(map, b->start) < map->call_count &&
		   map->calls[map_call_from(map, b->start)].site < b->start + b->size &&
		   map->calls[map_call_from(map, b->start)].kind == MAP_CALL_IMPORT;
	bool loop = b->start >= offset_of(tiny_loop) && b->start < offset_of(tiny_loop_end);
	bool behind = b->start > offset_of(tiny_jump) && b->start < offset_of(tiny_jump_end) && b->terminator == MAP_RETURN;
	return odd || loop || behind;
}

static int emit(struct world *w, bool count_exits, struct plan_module *ret_module)
{
	const struct map *map = &w->tiny.linear.map;
	struct layout layout = {.blocks = malloc((map->block_count + 1) * sizeof *layout.blocks)};
	struct emit_options options = emit_options_default();
	struct emit_report report;
	options.count_exits = count_exits;
	for (uint32_t i = 0; layout.blocks && i < map->block_count; i++)
		if (!is_left_out(map, i))
			layout.blocks[layout.count++] = i;
	int status = layout.blocks ? emit_module_with(&w->tiny.image, map, NULL, &layout, &options, ret_module, &report, NULL) : -1;
	layout_free(&layout);
	if (!status)
		emit_report_free(&report);
	return status;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	if (!w)
		return -1;
	tiny_make(&w->tiny);
	*state = w;
	return emit(w, false, &w->plain) || emit(w, true, &w->counted) ? -1 : 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	plan_module_free(&w->plain);
	plan_module_free(&w->counted);
	tiny_free(&w->tiny);
	free(w);
	return 0;
}

static bool proven(const struct world *w)
{
	return !validate_module(&w->tiny.image, &w->counted, NULL);
}

/* The next run of the original's own instructions, in image order. */
static const struct plan_run *next_real(const struct plan_module *m, uint32_t *index)
{
	while (*index < m->run_count && !m->runs[*index].original_size)
		++*index;
	return *index < m->run_count ? &m->runs[(*index)++] : NULL;
}

/* Text offsets in image order. Counters split what was one run. */
static void list_order(const struct plan_module *m, uint32_t *ret_order, size_t *ret_count)
{
	uint32_t index = 0;
	for (const struct plan_run *r; (r = next_real(m, &index));)
		for (uint32_t i = 0; i < r->original_size; i++)
			ret_order[(*ret_count)++] = r->original + i;
}

static void image_is_the_same_apart_from_counters(void **state)
{
	struct world *w = *state;
	static uint32_t plain[8192], counted[8192];
	size_t plain_count = 0, counted_count = 0;
	assert_int_equal(w->plain.counter_count, 0);
	assert_true(w->counted.counter_count > 5);
	list_order(&w->plain, plain, &plain_count);
	list_order(&w->counted, counted, &counted_count);
	assert_int_equal(plain_count, counted_count);
	assert_memory_equal(plain, counted, plain_count * sizeof *plain);
	assert_int_equal(w->plain.patch_count, w->counted.patch_count);
	for (uint32_t i = 0; i < w->plain.patch_count; i++) {
		assert_int_equal(w->plain.patches[i].at, w->counted.patches[i].at);
		assert_int_equal(w->plain.patches[i].kind, w->counted.patches[i].kind);
	}
}

/* The counters in front of an added jump that stand behind all else. */
static const struct plan_run *way_out(const struct plan_module *m, uint32_t *index)
{
	for (; *index + 1 < m->run_count; ++*index) {
		const struct plan_run *r = &m->runs[*index];
		if (r->kind == PLAN_RUN_COUNTER && r[1].kind == PLAN_RUN_INSERTED && r[1].original == r->original) {
			++*index;
			return r;
		}
	}
	return NULL;
}

static void ways_out_are_proven_and_stand_behind_the_code(void **state)
{
	struct world *w = *state;
	const struct plan_module *m = &w->counted;
	struct err e = {0};
	uint32_t index = 0, last = 0, ways = 0, elsewhere = 0;
	if (validate_module(&w->tiny.image, m, &e))
		fail_msg("%s", e.text);
	for (uint32_t i = 0; i < m->run_count; i++)
		if (m->runs[i].original_size && m->runs[i].image > last)
			last = m->runs[i].image;
	for (const struct plan_run *r; (r = way_out(m, &index)); ways++) {
		assert_true(r->image > last);
		assert_int_equal(m->code[r[1].image], 0xe9);
		elsewhere += r->original == offset_of(tiny_loop); /* code of a function that is not in the plan */
	}
	assert_in_range(ways, 2, 8);
	assert_int_equal(elsewhere, 1);
}

static void every_changed_bit_of_a_way_out_is_refused(void **state)
{
	struct world *w = *state;
	struct plan_module *m = &w->counted;
	uint32_t index = 0;
	for (const struct plan_run *r; (r = way_out(m, &index));) {
		for (uint32_t bit = 0; bit < 8u * (r->image_size + r[1].image_size); bit++) {
			m->code[r->image + bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (proven(w))
				fail_msg("way out at 0x%x: bit %u does not matter", r->image, bit);
			m->code[r->image + bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	assert_true(proven(w));
}

/* A counter and the jump behind it that leads back to it: each alone stands for the same place, together they never get there. */
static void circle_of_counter_and_jump_is_refused(void **state)
{
	struct world *w = *state;
	struct plan_module *m = &w->counted;
	uint32_t index = 0, relocations[8], count = 0;
	const struct plan_run *r = way_out(m, &index);
	assert_non_null(r);
	uint32_t field = r[1].image + 1, right = load_u32(m->code + field), all = m->relocation_count;
	assert_in_range(all, 1, 1000);
	store_u32(m->code + field, r->image - (field + 4));
	/* A field that stays in the region has no relocation. */
	uint32_t at = 0;
	while (at < all && m->relocations[at] != field)
		at++;
	assert_true(at < all && all - at <= 8);
	for (uint32_t i = at; i < all; i++)
		relocations[count++] = m->relocations[i];
	memmove(m->relocations + at, m->relocations + at + 1, (all - at - 1) * sizeof *m->relocations);
	m->relocation_count--;
	struct err e = {0};
	assert_int_equal(validate_module(&w->tiny.image, m, &e), -ERR_NO);
	assert_non_null(strstr(e.text, "does not stand for"));
	memcpy(m->relocations + at, relocations, count * sizeof *relocations);
	m->relocation_count = all;
	store_u32(m->code + field, right);
	assert_true(proven(w));
}

/* What the plan says of a counter must be what it counts. */
static void counters_of_other_places_are_refused(void **state)
{
	struct world *w = *state;
	struct plan_module *m = &w->counted;
	for (uint32_t i = 0; i < m->counter_count; i++) {
		struct plan_counter saved = m->counters[i];
		bool block = saved.kind == PLAN_COUNTER_BLOCK || saved.kind == PLAN_COUNTER_SEEN;
		m->counters[i].from = block ? (uint32_t)m->text_size - 1 : saved.from + 1; /* behind what is counted; in an instruction */
		assert_false(proven(w));
		m->counters[i] = saved;
		m->counters[i].kind = saved.kind == PLAN_COUNTER_BLOCK ? PLAN_COUNTER_SEEN : PLAN_COUNTER_BLOCK;
		assert_false(proven(w));
		m->counters[i] = saved;
		m->counters[i].to = saved.to == PLAN_NONE ? saved.from : saved.to + 1;
		assert_true(saved.kind != PLAN_COUNTER_EDGE || !proven(w));
		m->counters[i] = saved;
	}
	m->counter_count++; /* one that nothing feeds: there is room for it, the counters end at a page */
	m->counters[m->counter_count - 1] = m->counters[0];
	assert_false(proven(w));
	m->counter_count--;
	assert_true(proven(w));
}

struct counts {
	struct module_identity module;
	struct profile_count counts[64];
	struct profile_edge edges[64];
	struct profile profile;
};

static int by_ends(const void *va, const void *vb)
{
	const struct profile_edge *a = va, *b = vb;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	return a->to < b->to ? -1 : a->to > b->to;
}

static int by_address(const void *va, const void *vb)
{
	const struct profile_count *a = va, *b = vb;
	return a->address < b->address ? -1 : a->address > b->address;
}

static void run_all(const struct world *w, struct counts *c)
{
	static const uint8_t *const functions[] = {tiny_sum, tiny_step, tiny_jump, tiny_callee};
	const struct plan_module *m = &w->counted;
	size_t size;
	uint8_t *base = tiny_load(m, &size);
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		tiny_function there = tiny_entry_of(m, base, functions[i]), here;
		memcpy(&here, &functions[i], sizeof here);
		assert_non_null(there);
		for (long n = 0; n < CALLS; n++)
			assert_int_equal(there(n), here(n));
	}
	*c = (struct counts){.module = w->tiny.image.identity};
	c->profile = (struct profile){.modules = &c->module, .module_count = 1, .counts = c->counts, .edges = c->edges};
	assert_in_range(m->counter_count, 1, 64);
	tiny_read_counters(m, base, &c->profile);
	if (c->profile.count_count)
		qsort(c->counts, c->profile.count_count, sizeof *c->counts, by_address);
	if (c->profile.edge_count)
		qsort(c->edges, c->profile.edge_count, sizeof *c->edges, by_ends);
	assert_int_equal(munmap(base, size), 0);
}

static void assert_kind(const struct exits *x, enum exits_kind kind, uint64_t count, uint64_t nowhere)
{
	if (x->modules[0].sums[kind].count != count || x->modules[0].sums[kind].nowhere != nowhere)
		fail_msg("%s: %lu, %lu of them nowhere", exits_kind_text(kind), (unsigned long)x->modules[0].sums[kind].count,
			 (unsigned long)x->modules[0].sums[kind].nowhere);
}

/*
 * tiny_sum(n) steps down from n: for the first odd number it leaves the image for good; before that, for an even n, it calls tiny_step(n) once.
 * tiny_step jumps to tiny_loop above 5, and through the slot from 1 to 5. tiny_jump jumps out through a register.
 */
static void exits_are_those_that_were_made(void **state)
{
	struct world *w = *state;
	static struct counts c;
	struct complete complete;
	struct exits x;
	struct err e = {0};
	run_all(w, &c);
	if (complete_counts(&w->tiny.linear.map, &w->counted, &c.profile, 0, &complete, &e))
		fail_msg("%s", e.text);
	assert_int_equal(complete.guessed, 0);
	struct exits_subject subject = {&w->tiny.linear.map, &w->tiny.image, &w->counted, &complete, 0};
	if (exits_find(&subject, 1, &c.profile, &x, &e))
		fail_msg("%s", e.text);
	uint64_t odd = 0, large = 0, small = 0, steps = 0;
	for (long n = 0; n < CALLS; n++) {
		bool even = n && n % 2 == 0; /* tiny_step(n) once more */
		odd += n > 0;
		steps += 1 + even;
		large += n > 5 ? 1 + even : 0;
		small += n && n <= 5 ? 1 + even : 0;
	}
	assert_kind(&x, EXITS_BRANCH, odd, 0);
	assert_kind(&x, EXITS_TAIL, large, 0);
	assert_kind(&x, EXITS_SLOT, small, small);
	assert_kind(&x, EXITS_JUMP, CALLS, CALLS);
	assert_kind(&x, EXITS_CALL, 0, 0);
	assert_kind(&x, EXITS_TABLE, 0, 0);
	/* tiny_sum(0), tiny_step(0) and all of tiny_callee return in the image, to this test; of tiny_step some might return to tiny_sum. */
	assert_int_equal(x.modules[0].sums[EXITS_RETURN].count, 1 + (uint64_t)(CALLS * 1.0 / (double)steps + 0.5) + CALLS);
	assert_int_equal(x.modules[0].entered, 4 * CALLS);
	assert_int_equal(x.modules[0].unsure, 0);
	assert_true(x.places.data[0].count >= x.places.data[x.places.count - 1].count);
	exits_free(&x);
	complete_free(&complete);
}

/* One reading of the slot: it leads to tiny_callee, which is in the image, and was made direct or not. */
static void calls_made_direct_are_no_exits(void **state)
{
	struct world *w = *state;
	static struct counts c;
	const struct map *map = &w->tiny.linear.map;
	run_all(w, &c);
	for (int direct = 0; direct < 2; direct++) {
		struct complete complete;
		struct exits x;
		struct err e = {0};
		if (complete_counts(map, &w->counted, &c.profile, 0, &complete, &e))
			fail_msg("%s", e.text);
		for (uint32_t i = 0; i < map->call_count; i++) {
			if (map->calls[i].kind != MAP_TAIL_IMPORT)
				continue;
			struct profile_edge edge = {
			    .from = map_vaddr(map, map->calls[i].site).v, .to = tiny_vaddr(tiny_callee), .count = 1};
			edge.kind = direct ? PROFILE_EDGE_JUMP : PROFILE_EDGE_CALL;
			c.edges[c.profile.edge_count++] = edge;
		}
		qsort(c.edges, c.profile.edge_count, sizeof *c.edges, by_ends);
		struct exits_subject subject = {map, &w->tiny.image, &w->counted, &complete, 0};
		if (exits_find(&subject, 1, &c.profile, &x, &e))
			fail_msg("%s", e.text);
		assert_int_equal(x.modules[0].sums[EXITS_SLOT].count != 0, !direct);
		assert_int_equal(x.modules[0].made_direct != 0, direct);
		assert_int_equal(x.modules[0].sums[EXITS_SLOT].back, x.modules[0].sums[EXITS_SLOT].count);
		assert_int_equal(x.modules[0].sums[EXITS_SLOT].nowhere, 0);
		exits_free(&x);
		complete_free(&complete);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(image_is_the_same_apart_from_counters),
	    cmocka_unit_test(ways_out_are_proven_and_stand_behind_the_code),
	    cmocka_unit_test(every_changed_bit_of_a_way_out_is_refused),
	    cmocka_unit_test(circle_of_counter_and_jump_is_refused),
	    cmocka_unit_test(counters_of_other_places_are_refused),
	    cmocka_unit_test(exits_are_those_that_were_made),
	    cmocka_unit_test(calls_made_direct_are_no_exits),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
