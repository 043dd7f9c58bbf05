/*
 * evil PLAN OUTPUT KIND: the same plan with one lie in it, checksums and all in order. plan_encode refuses to write what cannot be right, so its
 * check is taken out here (linked with --wrap=plan_validate).
 *
 * evil list: the kinds, a line each: KIND EXIT-STATUS.
 */
#include "formats/base/bytes.h"
#include "formats/base/file.h"
#include "formats/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int __real_plan_validate(const struct plan *p, const char *name, struct err *e);
int __wrap_plan_validate(const struct plan *p, const char *name, struct err *e);

static bool writing;

int __wrap_plan_validate(const struct plan *p, const char *name, struct err *e)
{
	return writing ? 0 : __real_plan_validate(p, name, e);
}

static struct plan_slot slot;
static uint32_t fields[2];

static void patch_outside_function(struct plan_module *m)
{
	m->patches[0].at = m->functions[0].start + m->functions[0].size - 3;
}

static void patch_outside_text(struct plan_module *m)
{
	m->functions[m->function_count - 1].start = (uint32_t)m->text_size;
	m->patches[m->patch_count - 1].at = (uint32_t)m->text_size;
}

static void patches_overlap(struct plan_module *m)
{
	m->functions[0].patch_count = 2;
	m->functions[1].patch_count = 0;
	m->patches[1].at = m->patches[0].at + 3;
	m->patches[1].function = 0;
}

static void functions_overlap(struct plan_module *m)
{
	m->functions[1].start = m->functions[0].start + m->functions[0].size - 4;
	m->patches[1].at = m->functions[1].start;
}

static void target_outside_code(struct plan_module *m)
{
	m->patches[0].target = m->code_size + 64;
}

static void target_between_runs(struct plan_module *m)
{
	m->patches[0].target = m->runs[0].image + m->runs[0].image_size;
}

static void bytes_are_others(struct plan_module *m)
{
	m->patches[0].original[2] ^= 0x10;
}

static void no_hash_fits(struct plan_module *m)
{
	for (uint32_t i = 0; i < m->function_count; i++)
		m->functions[i].hash ^= 1;
}

static void other_build(struct plan_module *m)
{
	m->module.build_id[0] ^= 1;
}

static void no_build_id(struct plan_module *m)
{
	m->module.build_id_size = 0;
}

static void hostile_name(struct plan_module *m)
{
	m->module.path = (char *)"/tmp/\033[31mred\nprocess 1: applied\r\t\"quoted\"\377\302\233";
	m->module.build_id[0] ^= 1;
}

static void region_far_away(struct plan_module *m)
{
	m->region_vaddr = m->load_low + (UINT64_C(3) << 30);
	m->region_vaddr -= m->region_vaddr % PLAN_REGION_ALIGN;
}

static void region_over_module(struct plan_module *m)
{
	m->region_vaddr = m->load_low - m->load_low % PLAN_REGION_ALIGN;
}

/* What lies behind the text is data; the functions and their hashes are true, so nothing but the mappings tells. */
static void text_reaches_into_data(struct plan_module *m)
{
	m->text_size = m->load_high - m->text_base;
}

static void text_begins_before(struct plan_module *m)
{
	uint64_t before = m->text_base - m->load_low;
	m->text_base = m->load_low;
	m->text_size += before;
	for (uint32_t i = 0; i < m->function_count; i++)
		m->functions[i].start += (uint32_t)before;
	for (uint32_t i = 0; i < m->patch_count; i++)
		m->patches[i].at += (uint32_t)before;
	for (uint32_t i = 0; i < m->run_count; i++)
		m->runs[i].original += (uint32_t)before;
}

static void text_overflows(struct plan_module *m)
{
	m->text_base = UINT64_MAX - 0xfff;
}

static void span_is_huge(struct plan_module *m)
{
	m->load_high = m->load_low + (UINT64_C(1) << 47);
}

/* However far the region is from where it was linked, one of these does not reach. */
static void field_cannot_reach(struct plan_module *m)
{
	fields[0] = 0;
	fields[1] = 4;
	m->relocations = fields;
	m->relocation_count = 2;
	store_u32(m->code, 0x7fffffff);
	store_u32(m->code + 4, 0x80000000);
}

static void field_outside_region(struct plan_module *m)
{
	fields[0] = m->code_size - 2;
	m->relocations = fields;
	m->relocation_count = 1;
}

static void fields_overlap(struct plan_module *m)
{
	fields[0] = 0;
	fields[1] = 2;
	m->relocations = fields;
	m->relocation_count = 2;
}

static void slot_is_no_call(struct plan_module *m)
{
	slot = (struct plan_slot){.at = 0, .slot = m->load_low};
	m->slots = &slot;
	m->slot_count = 1;
}

static void slot_outside_module(struct plan_module *m)
{
	memcpy(m->code, "\xff\x15\0\0\0", 6);
	slot = (struct plan_slot){.at = 0, .slot = m->region_vaddr + 6};
	fields[0] = 2;
	m->relocations = fields;
	m->relocation_count = m->slot_count = 1;
	m->slots = &slot;
}

static void entry_outside_code(struct plan_module *m)
{
	m->functions[0].entry = m->code_size - 2;
}

static void run_outside_text(struct plan_module *m)
{
	m->runs[m->run_count - 1].original = (uint32_t)m->text_size - 1;
}

static void runs_overlap(struct plan_module *m)
{
	m->runs[1].image = m->runs[0].image + 1;
}

static void data_far_away(struct plan_module *m)
{
	m->data_offset = 0x70000000;
}

static void unwind_table_outside(struct plan_module *m)
{
	m->fde_table = m->data_offset;
	m->fde_count = 0x20000000;
}

static void directory_outside(struct plan_module *m)
{
	m->directory = m->data_offset;
	m->directory_entries = 8;
}

static void patches_of_nobody(struct plan_module *m)
{
	m->functions[m->function_count - 1].patch_count = 0;
}

static void name_outside_strings(struct plan_module *m)
{
	m->functions[0].name = 1000;
}

static const struct kind {
	const char *name;
	int status;
	void (*spoil)(struct plan_module *m);
} kinds[] = {
    {"patch-outside-function", 3, patch_outside_function},
    {"patch-outside-text", 3, patch_outside_text},
    {"patches-overlap", 3, patches_overlap},
    {"functions-overlap", 3, functions_overlap},
    {"target-outside-code", 3, target_outside_code},
    {"target-between-runs", 3, target_between_runs},
    {"bytes-are-others", 5, bytes_are_others},
    {"no-hash-fits", 5, no_hash_fits},
    {"other-build", 5, other_build},
    {"no-build-id", 5, no_build_id},
    {"hostile-name", 5, hostile_name},
    {"region-far-away", 3, region_far_away},
    {"region-over-module", 3, region_over_module},
    {"text-reaches-into-data", 5, text_reaches_into_data},
    {"text-begins-before", 5, text_begins_before},
    {"text-overflows", 3, text_overflows},
    {"span-is-huge", 3, span_is_huge},
    {"field-cannot-reach", 5, field_cannot_reach},
    {"field-outside-region", 3, field_outside_region},
    {"fields-overlap", 3, fields_overlap},
    {"slot-is-no-call", 3, slot_is_no_call},
    {"slot-outside-module", 3, slot_outside_module},
    {"entry-outside-code", 3, entry_outside_code},
    {"run-outside-text", 3, run_outside_text},
    {"runs-overlap", 3, runs_overlap},
    {"data-far-away", 3, data_far_away},
    {"unwind-table-outside", 3, unwind_table_outside},
    {"directory-outside", 3, directory_outside},
    {"patches-of-nobody", 3, patches_of_nobody},
    {"name-outside-strings", 3, name_outside_strings},
};
#define KIND_COUNT (sizeof kinds / sizeof *kinds)

static int spoil(const char *from, const char *to, const struct kind *kind)
{
	struct plan plan;
	struct writer w = {0};
	struct err e = {0};
	if (plan_read(from, &plan, &e)) {
		fprintf(stderr, "evil: %s\n", e.text);
		return 2;
	}
	writing = true;
	kind->spoil(&plan.modules[0]);
	if (plan_encode(&plan, &w, &e) || file_write(to, w.data, w.size, &e)) {
		fprintf(stderr, "evil: %s\n", e.text);
		return 2;
	}
	return 0; /* what the spoiler put into the plan is not its own to free */
}

int main(int argc, char **argv)
{
	bool list = argc == 2 && !strcmp(argv[1], "list");
	for (size_t i = 0; i < KIND_COUNT; i++) {
		if (list)
			printf("%s %d\n", kinds[i].name, kinds[i].status);
		else if (argc == 4 && !strcmp(argv[3], kinds[i].name))
			return spoil(argv[1], argv[2], &kinds[i]);
	}
	return list ? 0 : 2;
}
