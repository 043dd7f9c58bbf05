#include "tests/golden/sample_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHECK(call)                                                                                                                        \
	do {                                                                                                                               \
		struct err e = {0};                                                                                                        \
		if (call)                                                                                                                  \
			fail_msg("%s", e.text);                                                                                            \
	} while (0)

#define assert_same(a, b, field) assert_int_equal((a)->field, (b)->field)

static void assert_functions_equal(const struct plan_module *a, const struct plan_module *b)
{
	assert_same(a, b, function_count);
	for (uint32_t i = 0; i < a->function_count; i++) {
		assert_same(&a->functions[i], &b->functions[i], start);
		assert_same(&a->functions[i], &b->functions[i], size);
		assert_same(&a->functions[i], &b->functions[i], hash);
		assert_same(&a->functions[i], &b->functions[i], entry);
		assert_same(&a->functions[i], &b->functions[i], first_patch);
		assert_same(&a->functions[i], &b->functions[i], patch_count);
		assert_same(&a->functions[i], &b->functions[i], name);
	}
	assert_same(a, b, patch_count);
	for (uint32_t i = 0; i < a->patch_count; i++) {
		assert_same(&a->patches[i], &b->patches[i], at);
		assert_same(&a->patches[i], &b->patches[i], target);
		assert_same(&a->patches[i], &b->patches[i], function);
		assert_same(&a->patches[i], &b->patches[i], kind);
		assert_memory_equal(a->patches[i].original, b->patches[i].original, PLAN_PATCH_SIZE);
	}
}

static void assert_runs_equal(const struct plan_module *a, const struct plan_module *b)
{
	assert_same(a, b, run_count);
	for (uint32_t i = 0; i < a->run_count; i++) {
		assert_same(&a->runs[i], &b->runs[i], image);
		assert_same(&a->runs[i], &b->runs[i], original);
		assert_same(&a->runs[i], &b->runs[i], image_size);
		assert_same(&a->runs[i], &b->runs[i], original_size);
		assert_same(&a->runs[i], &b->runs[i], kind);
	}
	assert_same(a, b, slot_count);
	for (uint32_t i = 0; i < a->slot_count; i++) {
		assert_same(&a->slots[i], &b->slots[i], at);
		assert_same(&a->slots[i], &b->slots[i], slot);
	}
}

static void assert_modules_equal(const struct plan_module *a, const struct plan_module *b)
{
	assert_true(module_same(&a->module, &b->module));
	assert_string_equal(a->module.path, b->module.path);
	assert_same(a, b, text_base);
	assert_same(a, b, text_size);
	assert_same(a, b, load_low);
	assert_same(a, b, load_high);
	assert_same(a, b, region_vaddr);
	assert_same(a, b, code_size);
	assert_same(a, b, data_offset);
	assert_same(a, b, data_size);
	assert_same(a, b, fde_table);
	assert_same(a, b, fde_count);
	assert_same(a, b, eh_frame);
	assert_same(a, b, eh_frame_size);
	assert_same(a, b, directory);
	assert_same(a, b, directory_entries);
	assert_memory_equal(&a->stats, &b->stats, sizeof a->stats);
	assert_memory_equal(a->code, b->code, a->code_size);
	if (a->data_size)
		assert_memory_equal(a->data, b->data, a->data_size);
	assert_same(a, b, relocation_count);
	for (uint32_t i = 0; i < a->relocation_count; i++)
		assert_int_equal(a->relocations[i], b->relocations[i]);
	assert_functions_equal(a, b);
	assert_runs_equal(a, b);
}

static void encoded_then_decoded_is_equal(void **state)
{
	(void)state;
	struct plan p = sample_plan(), d;
	struct writer w = {0}, again = {0};
	CHECK(plan_encode(&p, &w, &e));
	CHECK(plan_decode(w.data, w.size, "test", &d, &e));
	assert_int_equal(d.module_count, 2);
	assert_int_equal(d.inputs_hash, p.inputs_hash);
	assert_string_equal(d.options, p.options);
	assert_modules_equal(&p.modules[0], &d.modules[0]);
	assert_modules_equal(&p.modules[1], &d.modules[1]);
	assert_memory_equal(d.modules[0].strings, p.modules[0].strings, p.modules[0].string_size);
	CHECK(plan_encode(&d, &again, &e));
	assert_int_equal(again.size, w.size);
	assert_memory_equal(again.data, w.data, w.size);
	plan_free(&d);
	writer_free(&w);
	writer_free(&again);
}

/* The second module of the sample, counting: every kind, in the order of their places and against it. */
static struct plan_counter sample_counters[] = {{.from = 0x80, .to = PLAN_NONE, .kind = PLAN_COUNTER_BLOCK},
						{.from = 0x84, .to = 0x10, .kind = PLAN_COUNTER_EDGE},
						{.from = 0x10, .to = PLAN_NONE, .kind = PLAN_COUNTER_SEEN},
						{.from = 0xff, .to = PLAN_NONE, .kind = PLAN_COUNTER_TARGET}};

static void make_counting(struct plan_module *m)
{
	m->counters = sample_counters;
	m->counter_count = sizeof sample_counters / sizeof *sample_counters;
	m->counter_offset = m->data_offset - PLAN_PAGE;
}

static void counters_round_trip(void **state)
{
	(void)state;
	struct plan p = sample_plan(), d;
	struct writer w = {0}, again = {0};
	make_counting(&p.modules[1]);
	CHECK(plan_encode(&p, &w, &e));
	CHECK(plan_decode(w.data, w.size, "test", &d, &e));
	assert_true(plan_counts(&d));
	assert_int_equal(d.modules[0].counter_count, 0);
	assert_int_equal(d.modules[1].counter_count, 4);
	assert_int_equal(d.modules[1].counter_offset, p.modules[1].counter_offset);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(d.modules[1].counters[i].from, sample_counters[i].from);
		assert_int_equal(d.modules[1].counters[i].to, sample_counters[i].to);
		assert_int_equal(d.modules[1].counters[i].kind, sample_counters[i].kind);
	}
	CHECK(plan_encode(&d, &again, &e));
	assert_int_equal(again.size, w.size);
	assert_memory_equal(again.data, w.data, w.size);
	for (size_t size = 0; size < w.size; size++)
		assert_int_equal(plan_decode(w.data, size, "cut", &p, NULL), -ERR_FORMAT);
	plan_free(&d);
	writer_free(&w);
	writer_free(&again);
}

static void broken_counters_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint32_t counter_offset;
		struct plan_counter first;
		const char *words;
	} cases[] = {
	    {PLAN_REGION_ALIGN - 2 * PLAN_PAGE, {0x80, PLAN_NONE, PLAN_COUNTER_BLOCK}, "do not stand before the data"},
	    {PLAN_REGION_ALIGN - PLAN_PAGE + 8, {0x80, PLAN_NONE, PLAN_COUNTER_BLOCK}, "do not stand before the data"},
	    {0, {0x80, PLAN_NONE, PLAN_COUNTER_BLOCK}, "do not stand before the data"},
	    {PLAN_REGION_ALIGN - PLAN_PAGE, {0x100, PLAN_NONE, PLAN_COUNTER_BLOCK}, "outside the text"},
	    {PLAN_REGION_ALIGN - PLAN_PAGE, {0x80, PLAN_NONE, 4}, "unknown kind"},
	    {PLAN_REGION_ALIGN - PLAN_PAGE, {0x80, 0x10, PLAN_COUNTER_BLOCK}, "impossible destination"},
	    {PLAN_REGION_ALIGN - PLAN_PAGE, {0x80, PLAN_NONE, PLAN_COUNTER_EDGE}, "impossible destination"},
	    {PLAN_REGION_ALIGN - PLAN_PAGE, {0x80, 0x100, PLAN_COUNTER_EDGE}, "impossible destination"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct plan p = sample_plan();
		struct plan_counter counter = cases[i].first;
		struct writer w = {0};
		struct err e = {0};
		p.modules[1].counters = &counter;
		p.modules[1].counter_count = 1;
		p.modules[1].counter_offset = cases[i].counter_offset;
		assert_int_equal(plan_encode(&p, &w, &e), -ERR_FORMAT);
		if (!strstr(e.text, cases[i].words))
			fail_msg("'%s' does not say '%s'", e.text, cases[i].words);
		writer_free(&w);
	}
}

static void plan_of_nothing_round_trips(void **state)
{
	(void)state;
	struct plan p = {0}, d;
	struct writer w = {0};
	CHECK(plan_encode(&p, &w, &e));
	CHECK(plan_decode(w.data, w.size, "test", &d, &e));
	assert_int_equal(d.module_count, 0);
	assert_string_equal(d.options, "");
	plan_free(&d);
	writer_free(&w);
}

static void address_map_finds_boundaries_only(void **state)
{
	(void)state;
	struct plan_module m = sample_plan_module();
#define ORIGINAL(image) plan_run_original(m.runs, m.run_count, image)
#define RETURN(image) plan_run_original_return(m.runs, m.run_count, image)
	assert_int_equal(ORIGINAL(0), 0x104);
	assert_int_equal(ORIGINAL(7), 0x10b);
	assert_int_equal(ORIGINAL(8), 0x10c);
	assert_int_equal(ORIGINAL(9), PLAN_NONE);
	assert_int_equal(ORIGINAL(14), 0x111);
	assert_int_equal(ORIGINAL(16), 0x400);
	assert_int_equal(ORIGINAL(17), PLAN_NONE);
	assert_int_equal(ORIGINAL(22), 0x120); /* not the deleted jump that stands there too */
	assert_int_equal(ORIGINAL(31), 0x129);
	assert_int_equal(ORIGINAL(32), PLAN_NONE); /* padding */
	assert_int_equal(ORIGINAL(40), 0x300);
	assert_int_equal(ORIGINAL(55), 0x300);
	assert_int_equal(ORIGINAL(56), PLAN_NONE);
	assert_int_equal(RETURN(0), PLAN_NONE);
	assert_int_equal(RETURN(8), 0x10c);
	assert_int_equal(RETURN(13), PLAN_NONE);
	assert_int_equal(RETURN(14), 0x111);
	assert_int_equal(RETURN(22), PLAN_NONE); /* after an inserted jump nothing returns */
	assert_int_equal(RETURN(32), 0x12a);
	assert_int_equal(RETURN(56), PLAN_NONE);
	assert_int_equal(plan_run_original(NULL, 0, 0), PLAN_NONE);
}

/* Everything a case may change, copied from the sample. */
struct changeable {
	struct plan p;
	struct plan_module modules[2];
	struct plan_function f[3];
	struct plan_patch c[3];
	struct plan_run r[7];
	struct plan_slot s[2];
	uint32_t l[4];
	uint8_t code[SAMPLE_PLAN_CODE], data[SAMPLE_PLAN_DATA];
};

static void changeable_init(struct changeable *x)
{
	x->p = sample_plan();
	memcpy(x->modules, x->p.modules, sizeof x->modules);
	struct plan_module *m = x->p.modules = x->modules;
	memcpy(x->f, m->functions, sizeof x->f);
	memcpy(x->c, m->patches, sizeof x->c);
	memcpy(x->r, m->runs, sizeof x->r);
	memcpy(x->s, m->slots, sizeof x->s);
	memcpy(x->l, m->relocations, sizeof x->l);
	memcpy(x->code, m->code, sizeof x->code);
	memcpy(x->data, m->data, sizeof x->data);
	m->functions = x->f;
	m->patches = x->c;
	m->runs = x->r;
	m->slots = x->s;
	m->relocations = x->l;
	m->code = x->code;
	m->data = x->data;
}

static void broken_plans_are_refused_with_their_own_text(void **state)
{
	(void)state;
#define BREAK(change, words)                                                                                                               \
	do {                                                                                                                               \
		struct changeable x;                                                                                                       \
		struct err e = {0};                                                                                                        \
		struct writer w = {0};                                                                                                     \
		changeable_init(&x);                                                                                                       \
		struct plan_module *m = x.modules;                                                                                         \
		change;                                                                                                                    \
		(void)m;                                                                                                                   \
		assert_int_equal(plan_encode(&x.p, &w, &e), -ERR_FORMAT);                                                                  \
		if (!strstr(e.text, words))                                                                                                \
			fail_msg("'%s' does not say '%s'", e.text, words);                                                                 \
		writer_free(&w);                                                                                                           \
	} while (0)
	BREAK(m->code_size = 0, "no code");
	BREAK(m->data_offset = 0, "data at region offset");
	BREAK(m->region_vaddr += 4096, "not aligned");
	BREAK(m->load_high = 0, "load span");
	BREAK(m->load_high = (1ull << 31) + 1, "load span");
	BREAK(m->region_vaddr = 0, "overlaps the module");
	BREAK(m->region_vaddr = -(uint64_t)PLAN_REGION_ALIGN, "overlaps the module");
	BREAK(m->region_vaddr = 1ull << 31, "within 2 GiB");
	BREAK(m->region_vaddr = -(1ull << 31), "within 2 GiB");
	BREAK(m->region_vaddr = 1ull << 63, "within 2 GiB");
	BREAK((m->module.build_id_size = 0, m->module.text_hash = 0), "could be any file");
	BREAK(m->module.build_id_size = 33, "build-id");
	BREAK(m->text_size = 0x7001, "not inside its load span");
	BREAK(m->text_base = UINT64_MAX, "not inside its load span");
	BREAK(m->string_size -= 2, "NUL");
	BREAK(x.l[1] = 12, "overlaps the one before");
	BREAK(x.l[1] = 9, "overlaps the one before");
	BREAK(x.l[2] = 61, "outside code and data");
	BREAK(x.l[3] = PLAN_REGION_ALIGN + 125, "outside code and data");
	BREAK(x.l[0] = 11, "not relocated");
	BREAK(x.f[1].start = 0x13f, "before the end");
	BREAK(x.f[1].size = 0, "no bytes");
	BREAK(x.f[2].size = 0x2000, "outside the text");
	BREAK(x.f[0].entry = 60, "entry at region offset");
	BREAK(x.f[2].first_patch = 1, "first patch");
	BREAK(x.f[2].patch_count = 0, "belong to functions");
	BREAK(x.f[0].name = 13, "outside the strings");
	BREAK(x.c[0].function = 1, "belongs to 0");
	BREAK(x.c[2].at = 0x301, "not inside its function");
	BREAK(x.c[0].at = 0xff, "not inside its function");
	BREAK(x.c[1].at = 0x108, "overlaps the one before");
	BREAK(x.c[1].kind = 2, "unknown kind");
	BREAK(x.c[1].target = 64, "outside the code");
	BREAK(x.c[1].target = 32, "no instruction of the image");
	BREAK(x.c[1].target = 9, "no instruction of the image");
	BREAK(x.r[0].kind = 5, "unknown kind");
	BREAK(x.r[0].image_size = 7, "do not go with its kind");
	BREAK(x.r[1].original_size = 0, "do not go with its kind");
	BREAK(x.r[3].original_size = 1, "do not go with its kind");
	BREAK(x.r[5].image_size = 1, "do not go with its kind");
	BREAK(x.r[6].image_size = 513, "do not go with its kind");
	BREAK(x.r[1].image = 7, "overlaps the one before");
	BREAK(x.r[5].image = 23, "overlaps the one before");
	BREAK(x.r[5].original = 0x110, "overlaps the one before");
	BREAK(x.r[6].image = 49, "outside the code");
	BREAK(x.r[6].original = 0x2000, "outside the text");
	BREAK(x.r[4].original = 0x1ff7, "outside the text");
	BREAK(x.s[1].at = 59, "outside the code");
	BREAK(x.s[1].at = 13, "overlaps the one before");
	BREAK(x.code[9] = 0x14, "no call or jump");
	BREAK(x.s[1].slot = 0x7ff9, "outside the module");
	BREAK(x.s[1].slot = 0x5010, "goes through");
	BREAK(m->fde_count = 0, "without a table");
	BREAK(m->fde_table -= 8, "unwind table at");
	BREAK(m->fde_count = 17, "unwind table at");
	BREAK(m->eh_frame_size = 113, "unwind data at");
	BREAK(store_u32(x.data + 8, 0), "not after the one before");
	BREAK(store_u32(x.data + 8, 64), "outside the code");
	BREAK(store_u32(x.data + 4, PLAN_REGION_ALIGN + 8), "not inside the unwind data");
	BREAK(store_u32(x.data + 44, 13), "not inside the unwind data");
	BREAK(m->directory += 4, "directory at");
	BREAK(m->directory_entries = 3, "directory at");
	BREAK(m->directory = PLAN_NONE, "without a directory");
	BREAK(x.modules[1].module.text_hash = 77, "same file as module 0");
	BREAK(x.p.module_count = 4097, "at most 4096");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(encoded_then_decoded_is_equal),	 cmocka_unit_test(counters_round_trip),
	    cmocka_unit_test(broken_counters_are_refused),	 cmocka_unit_test(plan_of_nothing_round_trips),
	    cmocka_unit_test(address_map_finds_boundaries_only), cmocka_unit_test(broken_plans_are_refused_with_their_own_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
