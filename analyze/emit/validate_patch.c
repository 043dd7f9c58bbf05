/* Patches: right bytes, right target, and nothing that reaches the bytes behind the first. */
#include "analyze/elf/lsda.h"
#include "analyze/emit/validate_work.h"

#include <string.h>

#define SYSCALL_SIZE 2

static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};

/* Are there nothing but counters between the patch's target and the copy of its instruction? */
static bool counts_until(const struct validator *v, const struct plan_patch *patch, uint32_t copy)
{
	const struct plan_module *p = v->module;
	uint32_t at = patch->target;
	for (uint32_t i = validate_first_run_at(p, at); i < p->run_count && at < copy; i++) {
		if (!p->runs[i].image_size)
			continue;
		if (p->runs[i].image != at || p->runs[i].kind != PLAN_RUN_COUNTER || p->runs[i].original != patch->at)
			return false;
		at += p->runs[i].image_size;
	}
	return at == copy;
}

static bool stands_behind_endbr(const struct validator *v, const struct plan_patch *patch)
{
	const struct plan_function *f = &v->module->functions[patch->function];
	const uint8_t *bytes = validate_original_bytes(v, f->start, sizeof endbr64);
	return patch->at == f->start + sizeof endbr64 && bytes && !memcmp(bytes, endbr64, sizeof endbr64);
}

/* At the function's start the target may have more before it: what answers unwinders. */
static bool target_matches(const struct validator *v, const struct plan_patch *patch)
{
	const struct plan_function *f = &v->module->functions[patch->function];
	uint32_t copy = v->copies[(size_t)(patch - v->module->patches) * PLAN_PATCH_SIZE];
	if (copy == PLAN_NONE)
		return false;
	if (patch->target == copy || counts_until(v, patch, copy))
		return true;
	/* The stub stands for the function's start; an endbr64 between that and the patch does nothing. */
	uint32_t first = validate_first_run_at(v->module, f->entry);
	return patch->kind == PLAN_PATCH_ENTRY && (patch->at == f->start || stands_behind_endbr(v, patch)) && patch->target == f->entry &&
	       first < v->module->run_count && v->module->runs[first].image == f->entry && v->module->runs[first].kind == PLAN_RUN_STUB &&
	       v->module->runs[first].original == f->start;
}

/* At the function's start, or behind the first instruction when control goes on behind it. */
static int check_place(const struct validator *v, const struct plan_patch *patch)
{
	const struct plan_function *f = &v->module->functions[patch->function];
	if (patch->kind == PLAN_PATCH_REENTRY)
		return 0;
	if (patch->kind != PLAN_PATCH_ENTRY)
		return validate_refuse(v, "patch of unknown kind");
	if (patch->at == f->start)
		return 0;
	size_t left;
	struct insn first;
	vaddr start = {v->module->text_base + f->start};
	const uint8_t *bytes = image_bytes_left(v->image, start, &left);
	if (!bytes || insn_second_decode(v->second, bytes, left, start, &first) || first.kind != INSN_PLAIN ||
	    patch->at != f->start + first.length)
		return validate_refuse(v, "entry patch is not at the entry");
	return 0;
}

/* Every instruction that begins in the 5 bytes has a copy, so that a thread that stands there can be moved to it. */
static int check_covered(const struct validator *v, const struct plan_patch *patch)
{
	const uint32_t *copies = &v->copies[(size_t)(patch - v->module->patches) * PLAN_PATCH_SIZE];
	for (uint32_t at = 0; at < PLAN_PATCH_SIZE;) {
		struct insn i;
		size_t left;
		vaddr address = {v->module->text_base + patch->at + at};
		const uint8_t *bytes = image_bytes_left(v->image, address, &left);
		if (!bytes || insn_second_decode(v->second, bytes, left, address, &i))
			return validate_refuse(v, "code under a patch does not decode");
		if (copies[at] == PLAN_NONE)
			return validate_refuse(v, "code under a patch has no copy");
		at += i.length;
	}
	return 0;
}

static int check_patch(struct validator *v, const struct plan_patch *patch)
{
	v->image_at = patch->target;
	v->original_at = patch->at;
	const uint8_t *bytes = validate_original_bytes(v, patch->at, PLAN_PATCH_SIZE);
	if (!bytes || memcmp(bytes, patch->original, PLAN_PATCH_SIZE))
		return validate_refuse(v, "expected bytes of a patch are not the file's");
	if (patch->target >= v->module->code_size || !target_matches(v, patch))
		return validate_refuse(v, "target of a patch does not stand for its place");
	int status = check_place(v, patch);
	return status ? status : check_covered(v, patch);
}

static int check_landing(struct validator *v, uint64_t address, const char *what)
{
	uint64_t offset = address - v->module->text_base;
	if (!validate_interior(v, offset))
		return 0;
	v->original_at = (uint32_t)offset;
	v->image_at = v->module->patches[validate_patch_at(v, (uint32_t)offset)].target;
	return validate_refuse(v, "%s leads into the interior of a patch", what);
}

static int check_scanned(struct validator *v, uint64_t at, const struct insn *i)
{
	int status = 0;
	if (i->kind == INSN_JUMP || i->kind == INSN_BRANCH || i->kind == INSN_BRANCH_SHORT || i->kind == INSN_CALL)
		status = check_landing(v, i->target, "a branch");
	if (!status && (i->kind == INSN_CALL || i->kind == INSN_CALL_INDIRECT))
		status = check_landing(v, at + i->length, "the return of a call");
	if (!status && i->kind == INSN_SYSCALL)
		status = check_landing(v, at + i->length - SYSCALL_SIZE, "a restarted system call");
	return status;
}

/* A fresh linear walk, by the other decoder, over every range that has an FDE: all code of the module that could branch here. */
static int scan_range(struct validator *v, const struct image_fde *fde)
{
	size_t left;
	const uint8_t *bytes = image_bytes_left(v->image, (vaddr){fde->start}, &left);
	if (!bytes)
		return 0;
	if (left > fde->size)
		left = fde->size;
	for (size_t at = 0; at < left;) {
		struct insn i;
		if (insn_decode(bytes + at, left - at, (vaddr){fde->start + at}, &i)) {
			at++;
			continue;
		}
		int status = check_scanned(v, fde->start + at, &i);
		if (status)
			return status;
		at += i.length;
	}
	return 0;
}

static bool has_patches(const struct validator *v, const struct image_fde *fde)
{
	uint64_t offset = fde->start - v->module->text_base;
	uint32_t f = offset < v->module->text_size ? validate_function_at(v->module, (uint32_t)offset) : PLAN_NONE;
	return f != PLAN_NONE && v->module->functions[f].patch_count;
}

/* Landing pads of a function may lie in another part of it; those parts are functions of the plan too, so all moved ones are read. */
static int scan_landing_pads(struct validator *v, const struct image_fde *fde)
{
	struct lsda table;
	if (!fde->lsda)
		return 0;
	int status = lsda_read(v->image, fde, &table, v->e);
	if (status) /* such a function is not moved; whose table is unreadable and is patched must be refused */
		return has_patches(v, fde) ? validate_refuse(v, "exception table of a patched function is unreadable") : 0;
	for (uint32_t i = 0; i < table.site_count && !status; i++)
		if (table.sites[i].pad)
			status = check_landing(v, table.sites[i].pad, "a landing pad");
	lsda_free(&table);
	return status;
}

int validate_patches(struct validator *v)
{
	int status = 0;
	for (uint32_t i = 0; i < v->module->patch_count && !status; i++)
		status = check_patch(v, &v->module->patches[i]);
	for (size_t i = 0; i < v->image->fde_count && !status && v->module->patch_count; i++) {
		status = scan_range(v, &v->image->fdes[i]);
		if (!status)
			status = scan_landing_pads(v, &v->image->fdes[i]);
	}
	for (size_t i = 0; i < v->image->code_pointer_count && !status && v->module->patch_count; i++)
		status = check_landing(v, v->image->code_pointers[i], "a code pointer");
	return status;
}
