/*
 * What a plan must be, beyond its encoding. A plan is code: everything that can be judged without a decoder is judged here, and for every plan
 * that is read and every plan that is written.
 */
#include "formats/plan_chunks.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REACH ((int64_t)1 << 31)

/* Where an error is: the file and which of its modules. */
struct place {
	const char *name;
	uint32_t module;
	struct err *e;
};

static int refuse(const struct place *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(const struct place *p, const char *format, ...)
{
	char text[500];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return err_set(p->e, ERR_FORMAT, "%s: module %u: %s", p->name, p->module, text);
}

/* The region, with the module's distances, must be within reach of 32-bit displacements, wherever in the address space that is. */
static int validate_region(const struct place *p, const struct plan_module *m)
{
	if (!m->code_size)
		return refuse(p, "no code");
	uint64_t counters = plan_counter_span(m->counter_count);
	if (m->data_offset % PLAN_PAGE || m->data_offset < m->code_size + counters ||
	    m->data_offset - m->code_size - counters > PLAN_REGION_ALIGN)
		return refuse(p, "data at region offset 0x%x does not follow 0x%x bytes of code", m->data_offset, m->code_size);
	if (m->counter_count ? m->counter_offset + counters != m->data_offset || m->counter_offset % PLAN_PAGE : m->counter_offset)
		return refuse(p, "%u counters at region offset 0x%x do not stand before the data", m->counter_count, m->counter_offset);
	if (m->region_vaddr % PLAN_REGION_ALIGN)
		return refuse(p, "region at 0x%llx is not aligned", (unsigned long long)m->region_vaddr);
	if (m->load_low >= m->load_high || m->load_high - m->load_low > (uint64_t)REACH)
		return refuse(p, "load span 0x%llx to 0x%llx is empty or beyond 2 GiB", (unsigned long long)m->load_low,
			      (unsigned long long)m->load_high);
	int64_t load = (int64_t)(m->load_high - m->load_low), size = (int64_t)m->data_offset + m->data_size;
	int64_t start = (int64_t)(m->region_vaddr - m->load_low);
	if (size > REACH || start < -REACH || start > REACH || start + size > REACH || load - (start < 0 ? start : 0) > REACH)
		return refuse(p, "region at 0x%llx of 0x%llx bytes is not within 2 GiB of the module", (unsigned long long)m->region_vaddr,
			      (unsigned long long)size);
	if (start < load && start + size > 0)
		return refuse(p, "region at 0x%llx overlaps the module", (unsigned long long)m->region_vaddr);
	return 0;
}

static int validate_identity(const struct place *p, const struct plan_module *m)
{
	if (m->module.build_id_size > MODULE_BUILD_ID_MAX)
		return refuse(p, "build-id of %u bytes", m->module.build_id_size);
	if (!m->module.build_id_size && !m->module.text_hash)
		return refuse(p, "has neither build-id nor hash: it could be any file");
	if (m->text_size >= UINT32_MAX || m->text_base + m->text_size < m->text_base || m->text_base < m->load_low ||
	    m->text_base + m->text_size > m->load_high)
		return refuse(p, "text at 0x%llx of 0x%llx bytes is not inside its load span", (unsigned long long)m->text_base,
			      (unsigned long long)m->text_size);
	if (m->string_size && (m->strings[0] || m->strings[m->string_size - 1]))
		return refuse(p, "strings do not start and end with NUL");
	return 0;
}

/* [at, at + size) lies inside the code or inside the data. */
static bool in_region(const struct plan_module *m, uint64_t at, uint64_t size)
{
	return at + size <= m->code_size || (at >= m->data_offset && at + size <= (uint64_t)m->data_offset + m->data_size);
}

static bool in_data(const struct plan_module *m, uint64_t at, uint64_t size)
{
	return at >= m->data_offset && at + size <= (uint64_t)m->data_offset + m->data_size;
}

static int validate_relocations(const struct place *p, const struct plan_module *m)
{
	for (uint32_t i = 0; i < m->relocation_count; i++) {
		uint32_t at = m->relocations[i];
		if (!in_region(m, at, 4))
			return refuse(p, "relocation %u at region offset 0x%x is outside code and data", i, at);
		if (i && at < (uint64_t)m->relocations[i - 1] + 4)
			return refuse(p, "relocation %u at region offset 0x%x overlaps the one before, or is not after it", i, at);
	}
	return 0;
}

static bool is_relocated(const struct plan_module *m, uint32_t at)
{
	uint32_t low = 0, high = m->relocation_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (m->relocations[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low < m->relocation_count && m->relocations[low] == at;
}

static int validate_functions(const struct place *p, const struct plan_module *m)
{
	uint64_t end = 0, patch = 0;
	for (uint32_t i = 0; i < m->function_count; i++) {
		const struct plan_function *f = &m->functions[i];
		if (f->start < end || !f->size)
			return refuse(p, "function %u at text offset 0x%x: %s", i, f->start,
				      f->size ? "starts before the end of the one before" : "has no bytes");
		end = (uint64_t)f->start + f->size;
		if (end > m->text_size)
			return refuse(p, "function %u at text offset 0x%x ends outside the text", i, f->start);
		if (f->entry != PLAN_NONE && (uint64_t)f->entry + PLAN_PATCH_SIZE > m->code_size)
			return refuse(p, "function %u: entry at region offset 0x%x is outside the code", i, f->entry);
		if (f->patch_count && f->first_patch != patch)
			return refuse(p, "function %u: first patch is %u, must be %llu", i, f->first_patch, (unsigned long long)patch);
		patch += f->patch_count;
		if (f->name && f->name >= m->string_size)
			return refuse(p, "function %u: name at %u is outside the strings", i, f->name);
	}
	if (patch != m->patch_count)
		return refuse(p, "%llu patches belong to functions, there are %u", (unsigned long long)patch, m->patch_count);
	return 0;
}

static int validate_patch(const struct place *p, const struct plan_module *m, uint32_t i, const struct plan_function *f)
{
	const struct plan_patch *patch = &m->patches[i];
	if (&m->functions[patch->function] != f)
		return refuse(p, "patch %u says function %u, belongs to %u", i, patch->function, (uint32_t)(f - m->functions));
	if (patch->at < f->start || (uint64_t)patch->at + PLAN_PATCH_SIZE > (uint64_t)f->start + f->size)
		return refuse(p, "patch %u at text offset 0x%x is not inside its function", i, patch->at);
	if (i > f->first_patch && patch->at < patch[-1].at + PLAN_PATCH_SIZE)
		return refuse(p, "patch %u at text offset 0x%x overlaps the one before, or is not after it", i, patch->at);
	if (patch->kind > PLAN_PATCH_REENTRY)
		return refuse(p, "patch %u: unknown kind %u", i, patch->kind);
	if (patch->target >= m->code_size)
		return refuse(p, "patch %u: target 0x%x is outside the code", i, patch->target);
	if (plan_run_original(m->runs, m->run_count, patch->target) == PLAN_NONE)
		return refuse(p, "patch %u: target 0x%x is no instruction of the image", i, patch->target);
	return 0;
}

static int validate_patches(const struct place *p, const struct plan_module *m)
{
	int status = 0;
	uint32_t patch = 0;
	for (uint32_t i = 0; i < m->function_count; i++)
		for (uint32_t n = m->functions[i].patch_count; n && !status; n--)
			status = validate_patch(p, m, patch++, &m->functions[i]);
	return status;
}

static bool run_sizes_valid(const struct plan_run *r)
{
	switch (r->kind) {
	case PLAN_RUN_COPY:
		return r->image_size && r->image_size == r->original_size;
	case PLAN_RUN_REWRITTEN:
		return r->image_size && r->original_size;
	case PLAN_RUN_INSERTED:
	case PLAN_RUN_COUNTER:
		return r->image_size && !r->original_size;
	case PLAN_RUN_DELETED:
		return !r->image_size && r->original_size;
	default:
		return r->image_size && r->image_size <= PLAN_STUB_SIZE_MAX && !r->original_size;
	}
}

/* Gaps between runs are padding that nothing executes. */
static int validate_runs(const struct place *p, const struct plan_module *m)
{
	uint64_t start = 0, end = 0; /* of the last run with image bytes */
	for (uint32_t i = 0; i < m->run_count; i++) {
		const struct plan_run *r = &m->runs[i];
		if (r->kind > PLAN_RUN_COUNTER || (r->kind == PLAN_RUN_COUNTER && !m->counter_count))
			return refuse(p, "run %u: unknown kind %u", i, r->kind);
		if (!run_sizes_valid(r))
			return refuse(p, "run %u: sizes %u and %u do not go with its kind %u", i, r->image_size, r->original_size, r->kind);
		/* One without image bytes may be sorted behind what stands at the same place. */
		bool beside = i && !r->image_size && r->image == start;
		if ((r->image < end && !beside) || (i && r->image == r[-1].image && r->original < r[-1].original))
			return refuse(p, "run %u at region offset 0x%x overlaps the one before, or is not after it", i, r->image);
		if (r->image_size) {
			start = r->image;
			end = (uint64_t)r->image + r->image_size;
		}
		if ((uint64_t)r->image + r->image_size > m->code_size)
			return refuse(p, "run %u at region offset 0x%x ends outside the code", i, r->image);
		if ((uint64_t)r->original + (r->original_size ? r->original_size : 1) > m->text_size)
			return refuse(p, "run %u: original at text offset 0x%x is outside the text", i, r->original);
	}
	return 0;
}

/* The instruction bytes are there, so the slot they name can be compared with the one that is said. */
static int validate_slots(const struct place *p, const struct plan_module *m)
{
	for (uint32_t i = 0; i < m->slot_count; i++) {
		const struct plan_slot *s = &m->slots[i];
		if ((uint64_t)s->at + 6 > m->code_size)
			return refuse(p, "slot %u at region offset 0x%x is outside the code", i, s->at);
		if (i && s->at < s[-1].at + 6)
			return refuse(p, "slot %u at region offset 0x%x overlaps the one before, or is not after it", i, s->at);
		const uint8_t *insn = m->code + s->at;
		if (insn[0] != 0xff || (insn[1] != 0x15 && insn[1] != 0x25))
			return refuse(p, "slot %u at region offset 0x%x is no call or jump through memory", i, s->at);
		if (s->slot < m->load_low || s->slot >= m->load_high || m->load_high - s->slot < 8)
			return refuse(p, "slot %u: 0x%llx is outside the module", i, (unsigned long long)s->slot);
		uint64_t said = m->region_vaddr + s->at + 6 + (uint64_t)(int64_t)(int32_t)load_u32(insn + 2);
		if (said != s->slot)
			return refuse(p, "slot %u: the instruction goes through 0x%llx, not 0x%llx", i, (unsigned long long)said,
				      (unsigned long long)s->slot);
		if (!is_relocated(m, s->at + 2))
			return refuse(p, "slot %u: its displacement at region offset 0x%x is not relocated", i, s->at + 2);
	}
	return 0;
}

static int validate_fdes(const struct place *p, const struct plan_module *m)
{
	if (!m->fde_count)
		return m->eh_frame_size ? refuse(p, "unwind data without a table") : 0;
	if (!in_data(m, m->fde_table, (uint64_t)m->fde_count * 8))
		return refuse(p, "unwind table at region offset 0x%x with %u entries is outside the data", m->fde_table, m->fde_count);
	if (!in_data(m, m->eh_frame, m->eh_frame_size))
		return refuse(p, "unwind data at region offset 0x%x is outside the data", m->eh_frame);
	const uint8_t *table = m->data + (m->fde_table - m->data_offset);
	uint64_t frame_end = (uint64_t)m->eh_frame + m->eh_frame_size;
	for (uint32_t i = 0; i < m->fde_count; i++) {
		uint32_t pc = load_u32(table + 8 * (size_t)i), fde = load_u32(table + 8 * (size_t)i + 4);
		if (pc >= m->code_size || (i && pc <= load_u32(table + 8 * (size_t)i - 8)))
			return refuse(p, "unwind table entry %u: 0x%x is outside the code or not after the one before", i, pc);
		if (fde < m->eh_frame || (uint64_t)fde + 4 > frame_end ||
		    (uint64_t)fde + 4 + load_u32(m->data + (fde - m->data_offset)) > frame_end)
			return refuse(p, "unwind table entry %u: FDE at region offset 0x%x is not inside the unwind data", i, fde);
	}
	return 0;
}

static int validate_directory(const struct place *p, const struct plan_module *m)
{
	if (m->directory == PLAN_NONE)
		return m->directory_entries ? refuse(p, "%u directory entries without a directory", m->directory_entries) : 0;
	if (!m->directory_entries || m->directory % 8 || !in_data(m, m->directory, (uint64_t)m->directory_entries * 32))
		return refuse(p, "directory at region offset 0x%x with %u entries is not inside the data", m->directory,
			      m->directory_entries);
	return 0;
}

static int validate_counters(const struct place *p, const struct plan_module *m)
{
	for (uint32_t i = 0; i < m->counter_count; i++) {
		const struct plan_counter *c = &m->counters[i];
		if (c->kind > PLAN_COUNTER_TARGET || c->from >= m->text_size)
			return refuse(p, "counter %u: unknown kind %u, or text offset 0x%x outside the text", i, c->kind, c->from);
		if (c->kind == PLAN_COUNTER_EDGE ? c->to >= m->text_size : c->to != PLAN_NONE)
			return refuse(p, "counter %u of kind %u: impossible destination 0x%x", i, c->kind, c->to);
	}
	return 0;
}

static int validate_module(const struct place *p, const struct plan_module *m)
{
	static int (*const checks[])(const struct place *p, const struct plan_module *m) = {
	    validate_region,  validate_identity, validate_relocations, validate_functions, validate_runs,
	    validate_patches, validate_slots,	 validate_fdes,	       validate_directory, validate_counters,
	};
	int status = 0;
	for (size_t i = 0; i < sizeof checks / sizeof *checks && !status; i++)
		status = checks[i](p, m);
	return status;
}

int plan_validate(const struct plan *plan, const char *name, struct err *e)
{
	if (plan->module_count > PLAN_MODULES_MAX)
		return err_set(e, ERR_FORMAT, "%s: %u modules, at most %u are allowed", name, plan->module_count, PLAN_MODULES_MAX);
	if (plan->options && strlen(plan->options) > PLAN_OPTIONS_MAX)
		return err_set(e, ERR_FORMAT, "%s: options of more than %u bytes", name, PLAN_OPTIONS_MAX);
	for (uint32_t i = 0; i < plan->module_count; i++) {
		struct place p = {.name = name, .module = i, .e = e};
		int status = validate_module(&p, &plan->modules[i]);
		if (status)
			return status;
		for (uint32_t j = 0; j < i; j++)
			if (module_same(&plan->modules[i].module, &plan->modules[j].module))
				return refuse(&p, "is the same file as module %u", j);
	}
	return 0;
}
