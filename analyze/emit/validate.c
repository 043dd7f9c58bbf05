#include "analyze/emit/validate.h"

#include "analyze/emit/validate_work.h"
#include "formats/base/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int validate_refuse(const struct validator *v, const char *format, ...)
{
	char text[300];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	return err_set(v->e, ERR_NO, "%s: image offset 0x%x, original 0x%llx: %s", v->module->module.path ? v->module->module.path : "?",
		       v->image_at, (unsigned long long)(v->module->text_base + v->original_at), text);
}

uint32_t validate_function_at(const struct plan_module *module, uint32_t original)
{
	uint32_t low = 0, high = module->function_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (module->functions[middle].start <= original)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || original - module->functions[low - 1].start >= module->functions[low - 1].size)
		return PLAN_NONE;
	return low - 1;
}

uint32_t validate_patch_at(const struct validator *v, uint32_t original)
{
	if (!(v->patched[original / 8] & 1u << original % 8))
		return PLAN_NONE;
	uint32_t low = 0, high = v->module->patch_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (v->module->patches[middle].at <= original)
			low = middle + 1;
		else
			high = middle;
	}
	return low - 1;
}

bool validate_interior(const struct validator *v, uint64_t original)
{
	if (original >= v->module->text_size)
		return false;
	uint32_t patch = validate_patch_at(v, (uint32_t)original);
	return patch != PLAN_NONE && v->module->patches[patch].at != original;
}

const uint8_t *validate_original_bytes(const struct validator *v, uint32_t original, uint32_t size)
{
	return image_bytes(v->image, (vaddr){v->module->text_base + original}, size);
}

static int check_identity(const struct validator *v)
{
	const struct plan_module *p = v->module;
	const struct image *image = v->image;
	if (!module_same(&p->module, &image->identity))
		return err_set(v->e, ERR_MISMATCH, "%s: the plan is for another file", image->identity.path);
	if (p->text_base != image->text_base || p->text_size != image->text_size || p->load_low != image->load_low ||
	    p->load_high != image->load_high)
		return validate_refuse(v, "text or load span differs from the file's");
	if (p->text_size > UINT32_MAX - PLAN_PATCH_SIZE)
		return validate_refuse(v, "text span too wide");
	return 0;
}

static int check_region(const struct validator *v)
{
	const struct plan_module *p = v->module;
	uint64_t size = p->data_size ? (uint64_t)p->data_offset + p->data_size : p->code_size;
	uint64_t counters = plan_counter_span(p->counter_count);
	if (p->region_vaddr % PLAN_REGION_ALIGN || p->data_offset % PLAN_PAGE || p->data_offset < p->code_size + counters ||
	    (p->counter_count && (p->counter_offset < p->code_size || p->counter_offset + counters > p->data_offset)))
		return validate_refuse(v, "region is not aligned or its parts overlap");
	if (p->region_vaddr + size < p->region_vaddr)
		return validate_refuse(v, "region wraps around");
	if (p->region_vaddr < p->load_high && p->load_low < p->region_vaddr + size)
		return validate_refuse(v, "region overlaps the module");
	uint64_t low = p->region_vaddr < p->load_low ? p->region_vaddr : p->load_low;
	uint64_t high = p->region_vaddr + size > p->load_high ? p->region_vaddr + size : p->load_high;
	if (high - low > INT32_MAX)
		return validate_refuse(v, "region is not within 2 GiB of the module");
	return 0;
}

static int check_functions(struct validator *v)
{
	uint64_t end = 0, patches = 0;
	for (uint32_t i = 0; i < v->module->function_count; i++) {
		const struct plan_function *f = &v->module->functions[i];
		v->original_at = f->start;
		v->image_at = f->entry;
		if (!f->size || f->start < end || (uint64_t)f->start + f->size > v->module->text_size)
			return validate_refuse(v, "function %u overlaps the one before or leaves the text", i);
		const uint8_t *bytes = validate_original_bytes(v, f->start, f->size);
		if (!bytes || hash_bytes(bytes, f->size) != f->hash)
			return validate_refuse(v, "function %u: hash differs from the file's", i);
		if (f->first_patch != patches)
			return validate_refuse(v, "function %u: patches are not in order", i);
		patches += f->patch_count;
		end = (uint64_t)f->start + f->size;
	}
	return patches == v->module->patch_count ? 0 : validate_refuse(v, "patches that belong to no function");
}

/* Marks the bytes of the patches, so that everything after can ask what lies in one. */
static int mark_patches(struct validator *v)
{
	const struct plan_module *p = v->module;
	uint64_t end = 0;
	for (uint32_t f = 0; f < p->function_count; f++) {
		for (uint32_t k = 0; k < p->functions[f].patch_count; k++) {
			const struct plan_patch *patch = &p->patches[p->functions[f].first_patch + k];
			v->original_at = patch->at;
			v->image_at = patch->target;
			if (patch->function != f || patch->at < p->functions[f].start ||
			    (uint64_t)patch->at + PLAN_PATCH_SIZE > (uint64_t)p->functions[f].start + p->functions[f].size)
				return validate_refuse(v, "patch is not inside its function");
			if (patch->at < end)
				return validate_refuse(v, "patch overlaps another");
			end = (uint64_t)patch->at + PLAN_PATCH_SIZE;
			for (uint64_t at = patch->at; at < end; at++)
				v->patched[at / 8] |= (uint8_t)(1u << at % 8);
		}
	}
	return 0;
}

static int check_entry(struct validator *v, uint32_t index)
{
	const struct plan_function *f = &v->module->functions[index];
	v->image_at = f->entry;
	v->original_at = f->start;
	if (f->entry == PLAN_NONE)
		return 0;
	if (f->entry >= v->module->code_size || v->place[f->entry] != PLACE_REAL || v->original[f->entry] != f->start)
		return validate_refuse(v, "the function's entry does not stand for its start");
	return (uint64_t)f->entry + PLAN_PATCH_SIZE <= v->module->code_size ? 0 : validate_refuse(v, "fewer than 5 bytes at the entry");
}

/* The 5 bytes at each entry hold code of that function alone. Added jumps and padding belong to what precedes them. */
static int check_entries(struct validator *v)
{
	const struct plan_module *p = v->module;
	for (uint32_t i = 0; i < p->function_count; i++) {
		int status = check_entry(v, i);
		if (status)
			return status;
	}
	uint32_t function = PLAN_NONE, entry_end = 0;
	for (uint32_t i = 0; i < p->run_count; i++) {
		const struct plan_run *r = &p->runs[i];
		if (!r->image_size || r->kind == PLAN_RUN_INSERTED)
			continue;
		uint32_t owner = validate_function_at(p, r->original);
		v->image_at = r->image;
		v->original_at = r->original;
		if (owner != function && r->image < entry_end)
			return validate_refuse(v, "another function's code in the 5 bytes at an entry");
		function = owner;
		uint32_t entry = owner == PLAN_NONE ? PLAN_NONE : p->functions[owner].entry;
		if (entry != PLAN_NONE && entry >= r->image && entry < r->image + r->image_size)
			entry_end = entry + PLAN_PATCH_SIZE;
	}
	return 0;
}

/* Relocations of the code were consumed one by one; the rest must be fields of the data. */
static int check_leftovers(struct validator *v)
{
	const struct plan_module *p = v->module;
	uint64_t free_from = p->data_offset;
	v->image_at = v->original_at = 0;
	if (v->next_slot != p->slot_count)
		return validate_refuse(v, "slot %u is no call or jump through a slot", v->next_slot);
	for (uint32_t i = v->next_relocation; i < p->relocation_count; i++) {
		v->image_at = p->relocations[i];
		if (p->relocations[i] < free_from || (uint64_t)p->relocations[i] + 4 > (uint64_t)p->data_offset + p->data_size)
			return validate_refuse(v, "relocation of a field that needs none");
		free_from = (uint64_t)p->relocations[i] + 4;
	}
	if (!v->stub_seen && p->directory != PLAN_NONE)
		return validate_refuse(v, "a directory without a stub that reads it");
	return 0;
}

static int check_all(struct validator *v)
{
	int status = check_region(v);
	if (!status)
		status = check_functions(v);
	if (!status)
		status = mark_patches(v);
	if (!status)
		status = validate_runs_mark(v);
	if (!status)
		status = validate_runs_check(v);
	if (!status)
		status = check_leftovers(v);
	if (!status)
		status = validate_counters_fed(v);
	if (!status)
		status = check_entries(v);
	return status ? status : validate_patches(v);
}

int validate_module(const struct image *image, const struct plan_module *module, struct err *e)
{
	struct validator v = {.image = image, .module = module, .e = e, .function = PLAN_NONE};
	int status = check_identity(&v);
	if (status)
		return status;
	v.second = insn_second_new();
	v.original = malloc(((size_t)module->code_size + 1) * sizeof *v.original);
	v.place = calloc((size_t)module->code_size + 1, 1);
	v.patched = calloc((size_t)(module->text_size / 8 + 2), 1);
	v.copies = malloc(((size_t)module->patch_count + 1) * PLAN_PATCH_SIZE * sizeof *v.copies);
	v.fed = calloc((size_t)module->counter_count + 1, 1);
	if (v.second && v.original && v.place && v.patched && v.copies && v.fed) {
		memset(v.original, 0xff, ((size_t)module->code_size + 1) * sizeof *v.original);
		memset(v.copies, 0xff, ((size_t)module->patch_count + 1) * PLAN_PATCH_SIZE * sizeof *v.copies);
		status = check_all(&v);
	} else {
		status = err_set(e, ERR_MEMORY, "validate: no memory");
	}
	insn_second_free(v.second);
	free(v.original);
	free(v.place);
	free(v.patched);
	free(v.copies);
	free(v.fed);
	return status;
}
