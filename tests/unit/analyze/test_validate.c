/* The validator refuses every small change of a plan that it proved; each test is one kind of field, all of its bits in turn. */
#include "analyze/emit/validate.h"

#include "analyze/emit/emit.h"
#include "tests/unit/analyze/tiny_module.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct world {
	struct tiny tiny;
	struct plan_module module;
};

/* Blocks in reverse order, one left out: there are exits, added, left out, inverted and long branches. */
static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct emit_options options = emit_options_default();
	struct emit_report report;
	if (!w)
		return -1;
	tiny_make(&w->tiny);
	uint32_t count = w->tiny.linear.map.block_count, n = 0;
	struct layout layout = {.blocks = malloc(count * sizeof *layout.blocks)};
	for (uint32_t i = 0; layout.blocks && i < count; i++)
		if (i != 3)
			layout.blocks[n++] = i % 4 < 2 ? count - 1 - i : i % 4 == 2 ? count - 2 - i : count - i;
	/* The arithmetic above may repeat or skip some near the end: keep first occurrences only. */
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = 0;
		while (layout.blocks[k] != layout.blocks[i])
			k++;
		if (k == i && layout.blocks[i] < count)
			layout.blocks[layout.count++] = layout.blocks[i];
	}
	options.reentry_everywhere = true;
	options.function_alignment = 8;
	int status = emit_module_with(&w->tiny.image, &w->tiny.linear.map, NULL, &layout, &options, &w->module, &report, NULL);
	layout_free(&layout);
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

/* Flips each bit of [field, field + size) in turn; all must be refused. */
static void assert_every_bit_matters(const struct world *w, void *field, size_t size, const char *what, uint32_t index)
{
	uint8_t *bytes = field;
	for (size_t bit = 0; bit < 8 * size; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (proven(w))
			fail_msg("%s %u: bit %zu does not matter", what, index, bit);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void emitted_module_is_proven(void **state)
{
	struct world *w = *state;
	struct err e = {0};
	if (validate_module(&w->tiny.image, &w->module, &e))
		fail_msg("%s", e.text);
	unsigned kinds = 0;
	for (uint32_t i = 0; i < w->module.run_count; i++)
		kinds |= 1u << w->module.runs[i].kind;
	assert_int_equal(kinds, 1u << PLAN_RUN_COPY | 1u << PLAN_RUN_REWRITTEN | 1u << PLAN_RUN_INSERTED | 1u << PLAN_RUN_DELETED);
}

static void changed_code_is_refused(void **state)
{
	struct world *w = *state;
	for (uint32_t i = 0; i < w->module.code_size; i++)
		assert_every_bit_matters(w, &w->module.code[i], 1, "code byte", i);
}

static void changed_relocation_is_refused(void **state)
{
	struct world *w = *state;
	for (uint32_t i = 0; i < w->module.relocation_count; i++)
		assert_every_bit_matters(w, &w->module.relocations[i], 4, "relocation", i);
}

static void missing_or_added_relocation_is_refused(void **state)
{
	struct world *w = *state;
	struct plan_module *m = &w->module;
	uint32_t *all = m->relocations, count = m->relocation_count;
	uint32_t *other = malloc((count + 1) * sizeof *other);
	assert_non_null(other);
	m->relocations = other;
	for (uint32_t skip = 0; skip < count; skip++) {
		m->relocation_count = 0;
		for (uint32_t i = 0; i < count; i++)
			if (i != skip)
				other[m->relocation_count++] = all[i];
		assert_false(proven(w));
	}
	for (uint32_t at = 0; at + 4 <= m->code_size; at++) {
		bool there = false;
		m->relocation_count = 0;
		for (uint32_t i = 0; i < count; i++) {
			if (all[i] > at && (!i || all[i - 1] < at))
				other[m->relocation_count++] = at;
			there |= all[i] == at;
			other[m->relocation_count++] = all[i];
		}
		if (!there && all[count - 1] < at)
			other[m->relocation_count++] = at;
		if (!there)
			assert_false(proven(w));
	}
	m->relocations = all;
	m->relocation_count = count;
	assert_true(proven(w));
	free(other);
}

static void changed_run_is_refused(void **state)
{
	struct world *w = *state;
	for (uint32_t i = 0; i < w->module.run_count; i++) {
		struct plan_run *r = &w->module.runs[i];
		assert_every_bit_matters(w, &r->image, sizeof r->image, "image of run", i);
		assert_every_bit_matters(w, &r->original, sizeof r->original, "original of run", i);
		assert_every_bit_matters(w, &r->image_size, sizeof r->image_size, "image size of run", i);
		assert_every_bit_matters(w, &r->original_size, sizeof r->original_size, "original size of run", i);
	}
}

/* A branch of equal form may be called copied or rewritten: that says the same. */
static void changed_kind_of_run_is_refused(void **state)
{
	struct world *w = *state;
	for (uint32_t i = 0; i < w->module.run_count; i++) {
		struct plan_run *r = &w->module.runs[i];
		uint8_t right = r->kind;
		for (unsigned kind = 0; kind < 8; kind++) {
			bool same = kind == right || (kind <= PLAN_RUN_REWRITTEN && right <= PLAN_RUN_REWRITTEN &&
						      r->image_size == r->original_size && r->image_size <= 6);
			r->kind = (uint8_t)kind;
			if (!same && proven(w))
				fail_msg("run %u of kind %u passes as kind %u", i, right, kind);
		}
		r->kind = right;
	}
}

static void missing_run_is_refused(void **state)
{
	struct world *w = *state;
	struct plan_module *m = &w->module;
	struct plan_run *all = m->runs;
	uint32_t count = m->run_count;
	m->runs = malloc(count * sizeof *all);
	assert_non_null(m->runs);
	m->run_count = count - 1;
	for (uint32_t skip = 0; skip < count; skip++) {
		memcpy(m->runs, all, skip * sizeof *all);
		memcpy(m->runs + skip, all + skip + 1, (count - skip - 1) * sizeof *all);
		assert_false(proven(w));
	}
	free(m->runs);
	m->runs = all;
	m->run_count = count;
}

static void changed_patch_is_refused(void **state)
{
	struct world *w = *state;
	assert_true(w->module.patch_count > 5);
	for (uint32_t i = 0; i < w->module.patch_count; i++) {
		struct plan_patch *p = &w->module.patches[i];
		assert_every_bit_matters(w, &p->at, sizeof p->at, "place of patch", i);
		assert_every_bit_matters(w, &p->target, sizeof p->target, "target of patch", i);
		assert_every_bit_matters(w, &p->function, sizeof p->function, "function of patch", i);
		assert_every_bit_matters(w, p->original, sizeof p->original, "bytes of patch", i);
		uint8_t right = p->kind;
		p->kind = 2;
		assert_false(proven(w));
		p->kind = right;
	}
}

static void changed_function_is_refused(void **state)
{
	struct world *w = *state;
	for (uint32_t i = 0; i < w->module.function_count; i++) {
		struct plan_function *f = &w->module.functions[i];
		assert_every_bit_matters(w, &f->start, sizeof f->start, "start of function", i);
		assert_every_bit_matters(w, &f->size, sizeof f->size, "size of function", i);
		assert_every_bit_matters(w, &f->hash, sizeof f->hash, "hash of function", i);
		assert_every_bit_matters(w, &f->entry, sizeof f->entry, "entry of function", i);
		assert_every_bit_matters(w, &f->first_patch, sizeof f->first_patch, "first patch of function", i);
		assert_every_bit_matters(w, &f->patch_count, sizeof f->patch_count, "patches of function", i);
	}
}

static void changed_slot_is_refused(void **state)
{
	struct world *w = *state;
	assert_true(w->module.slot_count > 0);
	for (uint32_t i = 0; i < w->module.slot_count; i++) {
		assert_every_bit_matters(w, &w->module.slots[i].at, 4, "place of slot", i);
		assert_every_bit_matters(w, &w->module.slots[i].slot, 8, "slot", i);
	}
	w->module.slot_count--;
	assert_false(proven(w));
	w->module.slot_count++;
}

static void changed_spans_are_refused(void **state)
{
	struct world *w = *state;
	struct plan_module *m = &w->module;
	assert_every_bit_matters(w, &m->text_base, 8, "text base", 0);
	assert_every_bit_matters(w, &m->text_size, 8, "text size", 0);
	assert_every_bit_matters(w, &m->load_low, 8, "load span", 0);
	assert_every_bit_matters(w, &m->load_high, 8, "load span", 0);
	assert_every_bit_matters(w, &m->region_vaddr, 8, "region", 0);
}

/* Code that branches into the bytes behind the first of a patch, although no map says so. */
static void patch_over_a_branch_target_is_refused(void **state)
{
	struct world *w = *state;
	struct plan_module *m = &w->module;
	size_t size = w->tiny.image.file.size;
	uint8_t *bytes = malloc(size);
	assert_non_null(bytes);
	memcpy(bytes, tiny_begin, size);
	const uint8_t *original = w->tiny.image.file.data;
	w->tiny.image.file.data = bytes;
	assert_true(proven(w));
	/* A seventh function, not in the plan, that holds `jmp` to the third byte of the first patch. */
	uint32_t at = (uint32_t)size - 8;
	struct image_fde fdes[7];
	memcpy(fdes, w->tiny.fdes, sizeof w->tiny.fdes);
	fdes[6] = (struct image_fde){.start = TINY_VADDR + at, .size = 5};
	w->tiny.image.fdes = fdes;
	w->tiny.image.fde_count = 7;
	bytes[at] = 0xe9;
	store_u32(bytes + at + 1, m->patches[0].at - (at + 5));
	assert_true(proven(w));
	for (uint32_t inside = 1; inside < PLAN_PATCH_SIZE; inside++) {
		store_u32(bytes + at + 1, m->patches[0].at + inside - (at + 5));
		assert_false(proven(w));
	}
	w->tiny.image.fdes = w->tiny.fdes;
	w->tiny.image.fde_count = 6;
	w->tiny.image.file.data = original;
	free(bytes);
}

static void patch_under_a_code_pointer_is_refused(void **state)
{
	struct world *w = *state;
	uint64_t pointer = TINY_VADDR + w->module.patches[0].at;
	w->tiny.image.code_pointers = &pointer;
	w->tiny.image.code_pointer_count = 1;
	assert_true(proven(w));
	pointer++;
	assert_false(proven(w));
	w->tiny.image.code_pointers = NULL;
	w->tiny.image.code_pointer_count = 0;
}

static void other_file_is_a_mismatch(void **state)
{
	struct world *w = *state;
	w->tiny.image.identity.build_id[3] ^= 1;
	assert_int_equal(validate_module(&w->tiny.image, &w->module, NULL), -ERR_MISMATCH);
	w->tiny.image.identity.build_id[3] ^= 1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(emitted_module_is_proven),
	    cmocka_unit_test(changed_code_is_refused),
	    cmocka_unit_test(changed_relocation_is_refused),
	    cmocka_unit_test(missing_or_added_relocation_is_refused),
	    cmocka_unit_test(changed_run_is_refused),
	    cmocka_unit_test(changed_kind_of_run_is_refused),
	    cmocka_unit_test(missing_run_is_refused),
	    cmocka_unit_test(changed_patch_is_refused),
	    cmocka_unit_test(changed_function_is_refused),
	    cmocka_unit_test(changed_slot_is_refused),
	    cmocka_unit_test(changed_spans_are_refused),
	    cmocka_unit_test(patch_over_a_branch_target_is_refused),
	    cmocka_unit_test(patch_under_a_code_pointer_is_refused),
	    cmocka_unit_test(other_file_is_a_mismatch),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
