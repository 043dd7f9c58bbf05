/* The validator proves counting images and refuses every small change of what counts; the code of a tiny module counts right when it runs. */
#include "analyze/emit/emit.h"
#include "analyze/emit/validate.h"
#include "analyze/layout/complete.h"
#include "formats/base/hash.h"
#include "tests/unit/analyze/tiny_run.h"

struct world {
	struct tiny tiny;
	struct plan_module module;
	uint8_t *file; /* see open_file */
	const uint8_t *kept;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct emit_options options = emit_options_default();
	struct emit_report report;
	if (!w)
		return -1;
	tiny_make(&w->tiny);
	uint32_t count = w->tiny.linear.map.block_count;
	struct layout layout = {.blocks = malloc(count * sizeof *layout.blocks), .count = count};
	for (uint32_t i = 0; layout.blocks && i < count; i++)
		layout.blocks[i] = i;
	options.counting = true;
	/* Blocks weigh more than edges, so edges are counted where they can be. */
	uint64_t *weights = calloc(2 * (size_t)count + 1, sizeof *weights);
	for (uint32_t i = 0; weights && i < count; i++)
		weights[i] = 1000 + i;
	struct flow flow = {.block = weights, .taken = weights + count, .next = weights + count};
	int status =
	    emit_module_with(&w->tiny.image, &w->tiny.linear.map, weights ? &flow : NULL, &layout, &options, &w->module, &report, NULL);
	layout_free(&layout);
	free(weights);
	if (status)
		return -1;
	emit_report_free(&report);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	plan_module_free(&w->module);
	tiny_free(&w->tiny);
	free(w);
	return 0;
}

static bool proven(const struct world *w)
{
	return !validate_module(&w->tiny.image, &w->module, NULL);
}

static void counting_module_is_proven(void **state)
{
	struct world *w = *state;
	struct err e = {0};
	unsigned runs = 0, kinds = 0;
	if (validate_module(&w->tiny.image, &w->module, &e))
		fail_msg("%s", e.text);
	for (uint32_t i = 0; i < w->module.run_count; i++)
		runs += w->module.runs[i].kind == PLAN_RUN_COUNTER;
	for (uint32_t i = 0; i < w->module.counter_count; i++)
		kinds |= 1u << w->module.counters[i].kind;
	assert_true(runs >= w->module.counter_count);
	assert_true(kinds & 1u << PLAN_COUNTER_BLOCK);
	assert_true(kinds & 1u << PLAN_COUNTER_EDGE);
	assert_true(kinds & 1u << PLAN_COUNTER_TARGET);
}

static void every_changed_bit_of_a_counter_is_refused(void **state)
{
	struct world *w = *state;
	unsigned refused = 0;
	for (uint32_t i = 0; i < w->module.run_count; i++) {
		const struct plan_run *r = &w->module.runs[i];
		uint8_t before[16];
		if (r->kind != PLAN_RUN_COUNTER)
			continue;
		memcpy(before, w->module.code + r->image, r->image_size);
		for (uint32_t bit = 0; bit < 8u * r->image_size; bit++) {
			w->module.code[r->image + bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (proven(w))
				fail_msg("run %u at 0x%x (%02x %02x %02x): bit %u does not matter", i, r->image, before[0], before[1],
					 before[2], bit);
			refused++;
			w->module.code[r->image + bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	assert_true(refused > 500);
}

/* Displacements just outside the counters, between two, and to the counter of something else. */
static void counters_elsewhere_are_refused(void **state)
{
	struct world *w = *state;
	struct plan_module *m = &w->module;
	for (uint32_t i = 0; i < m->run_count; i++) {
		const struct plan_run *r = &m->runs[i];
		uint8_t *code = m->code + r->image;
		if (r->kind != PLAN_RUN_COUNTER || r->image_size != 7 || code[0] != 0x48 || code[1] != 0xff)
			continue;
		uint32_t right = load_u32(code + 3), end = r->image + 7;
		const uint32_t wrong[] = {plan_counter_at(m, 0) - 8,
					  plan_counter_at(m, m->counter_count),
					  plan_counter_at(m, 0) + 4,
					  m->counter_offset,
					  m->data_offset,
					  0};
		for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
			store_u32(code + 3, wrong[k] - end);
			assert_false(proven(w));
		}
		for (uint32_t k = 0; k < m->counter_count; k++) {
			store_u32(code + 3, plan_counter_at(m, k) - end);
			assert_int_equal(proven(w), load_u32(code + 3) == right);
		}
		store_u32(code + 3, right);
	}
}

/* The module's file as a copy that may be changed, at w->file. */
static void open_file(struct world *w)
{
	w->kept = w->tiny.image.file.data;
	w->file = malloc(w->tiny.image.file.size);
	assert_non_null(w->file);
	memcpy(w->file, w->kept, w->tiny.image.file.size);
	w->tiny.image.file.data = w->file;
}

static void close_file(struct world *w)
{
	w->tiny.image.file.data = w->kept;
	free(w->file);
}

/* Writes into the file; the function's hash is made to fit, so that whatever is refused is refused for another reason. */
static void change_file(struct world *w, uint32_t original, const void *bytes, size_t size)
{
	memcpy(w->file + original, bytes, size);
	for (uint32_t i = 0; i < w->module.function_count; i++) {
		struct plan_function *f = &w->module.functions[i];
		if (original - f->start < f->size)
			f->hash = hash_bytes(w->file + f->start, f->size);
	}
}

/* Where an increment stands, the original is made to read the flags. */
static void increments_where_flags_live_are_refused(void **state)
{
	struct world *w = *state;
	unsigned tried = 0, for_flags = 0;
	open_file(w);
	for (uint32_t i = 0; i < w->module.run_count; i++) {
		struct plan_run *r = &w->module.runs[i];
		const uint8_t *code = w->module.code + r->image;
		if (r->kind != PLAN_RUN_COUNTER || code[0] != 0x48 || code[1] != 0xff)
			continue;
		struct err e = {0};
		change_file(w, r->original, "\x0f\x94\xc0", 3); /* setz al */
		assert_int_not_equal(validate_module(&w->tiny.image, &w->module, &e), 0);
		for_flags += strstr(e.text, "flags may still be read") != NULL;
		change_file(w, r->original, w->kept + r->original, 3);
		tried++;
	}
	assert_true(proven(w));
	assert_true(tried >= 3);
	assert_true(for_flags >= 2); /* a patch, which is looked at before, may show the change first */
	close_file(w);
}

/* What is copied from `original`. */
static uint8_t *copy_of(struct plan_module *m, uint32_t original)
{
	for (uint32_t i = 0; i < m->run_count; i++)
		if (m->runs[i].kind == PLAN_RUN_COPY && original - m->runs[i].original < m->runs[i].original_size)
			return m->code + m->runs[i].image + (original - m->runs[i].original);
	return NULL;
}

/* A call through [register + displacement] is loaded before it is counted; the displacement may be any, also one that would lead to a counter. */
static void loads_that_look_like_counters_are_proven(void **state)
{
	struct world *w = *state;
	struct plan_module *m = &w->module;
	unsigned tried = 0;
	open_file(w);
	for (uint32_t i = 0; i < m->run_count; i++) {
		const struct plan_run *r = &m->runs[i];
		uint8_t *code = m->code + r->image;
		if (r->kind != PLAN_RUN_COUNTER || r->image_size != 7 || code[1] != 0x8b || (code[2] & 0xc7) == 5)
			continue;
		uint32_t before = load_u32(code + 3);
		uint8_t *call = copy_of(m, r->original);
		assert_non_null(call);
		assert_int_equal(load_u32(call + 2), before);
		for (uint32_t k = 0; k < m->counter_count; k++) {
			struct err e = {0};
			store_u32(code + 3, plan_counter_at(m, k) - (r->image + 7));
			change_file(w, r->original + 2, code + 3, 4);
			memcpy(call + 2, code + 3, 4);
			if (validate_module(&w->tiny.image, m, &e))
				fail_msg("%s", e.text);
			change_file(w, r->original + 2, w->kept + r->original + 2, 4);
			store_u32(call + 2, before);
			assert_false(proven(w)); /* loads from elsewhere than the call goes to */
			tried++;
		}
		store_u32(code + 3, before);
	}
	assert_true(proven(w));
	assert_true(tried >= 3);
	close_file(w);
}

static uint64_t runs_of(const struct world *w, const struct complete *c, const uint8_t *at)
{
	return c->block[map_block_at(&w->tiny.linear.map, (uint32_t)(tiny_vaddr(at) - TINY_VADDR))];
}

static void code_that_counts_computes_the_same_and_counts_right(void **state)
{
	struct world *w = *state;
	const uint8_t *const functions[] = {tiny_sum, tiny_step, tiny_loop, tiny_jump, tiny_callee};
	struct profile_count counts[64];
	struct profile_edge edges[64];
	struct module_identity module = w->tiny.image.identity;
	struct profile p = {.modules = &module, .module_count = 1, .counts = counts, .edges = edges};
	struct complete complete;
	struct err e = {0};
	size_t size;
	assert_true(w->module.counter_count <= 64);
	uint8_t *base = tiny_load(&w->module, &size);
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		tiny_function there = tiny_entry_of(&w->module, base, functions[i]), here;
		memcpy(&here, &functions[i], sizeof here);
		for (long n = 0; there && n < 40; n++)
			assert_int_equal(there(n), here(n));
	}
	tiny_read_counters(&w->module, base, &p);
	if (complete_counts(&w->tiny.linear.map, &w->module, &p, 0, &complete, &e))
		fail_msg("%s", e.text);
	/* tiny_sum(n) calls tiny_step for even numbers up to n; that jumps to tiny_loop above 5. */
	uint64_t even = 0, above = 0;
	for (long n = 0; n < 40; n++)
		for (long k = 2; k <= n; k += 2) {
			even++;
			above += k > 5;
		}
	assert_int_equal(runs_of(w, &complete, tiny_sum), 40);
	assert_int_equal(runs_of(w, &complete, tiny_step), 40 + even);
	assert_int_equal(runs_of(w, &complete, tiny_loop), 40 + 34 + above);
	assert_true(complete.guessed || !complete.negative); /* loop and jrcxz have no countable edges */
	complete_free(&complete);
	assert_int_equal(munmap(base, size), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(counting_module_is_proven),
	    cmocka_unit_test(every_changed_bit_of_a_counter_is_refused),
	    cmocka_unit_test(counters_elsewhere_are_refused),
	    cmocka_unit_test(increments_where_flags_live_are_refused),
	    cmocka_unit_test(loads_that_look_like_counters_are_proven),
	    cmocka_unit_test(code_that_counts_computes_the_same_and_counts_right),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
