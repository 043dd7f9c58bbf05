#include "apply/file/elf_sink_parts.h"

#include "apply/file/frame_table.h"
#include "formats/base/hash.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REACH ((int64_t)1 << 31)
#define ADDRESS_MAX ((int64_t)1 << 46)
#define HOLE_MAX ((int64_t)2 * PLAN_REGION_ALIGN) /* the linked place is taken when it costs no larger hole than this */

/* --- which module, and may it be? --- */

static int refuse_unfit(const struct elf_sink *s)
{
	const struct elf_file *in = s->in;
	size_t size;
	if (elf_file_note(in, ELF_SINK_NOTE_OWNER, ELF_SINK_NOTE_TYPE, &size))
		return err_set(s->e, ERR_REFUSED, "%s: a plan is laid into this file already; start from the original", in->name);
	if (elf_file_relocates_text(in))
		return err_set(s->e, ERR_REFUSED, "%s: has text relocations: the loader changes its code", in->name);
	return 0;
}

static int find_module(struct elf_sink *s)
{
	char id[MODULE_HEX_SIZE];
	const struct module_identity *have = &s->in->identity;
	for (uint32_t i = 0; !s->m && i < s->plan->module_count; i++)
		if (module_same(&s->plan->modules[i].module, have))
			s->m = &s->plan->modules[i];
	for (uint32_t i = 0; !s->m && i < s->plan->module_count; i++) {
		const struct module_identity *m = &s->plan->modules[i].module;
		if (m->build_id_size && m->build_id_size == have->build_id_size && !memcmp(m->build_id, have->build_id, m->build_id_size))
			return err_set(s->e, ERR_REFUSED,
				       "%s: has the build-id of %s, but not its code: it was changed after it was linked", s->in->name,
				       m->path);
	}
	module_build_id_hex(have, id);
	if (!s->m)
		return err_set(s->e, ERR_REFUSED, "%s: none of the %u modules of the plan is this file (build-id %s)", s->in->name,
			       s->plan->module_count, id);
	for (uint32_t i = 0; i < s->m->run_count; i++)
		if (s->m->runs[i].kind > PLAN_RUN_STUB)
			return err_set(s->e, ERR_REFUSED, "%s: the plan counts; that is for live processes", s->in->name);
	return s->m->code_size ? 0 : err_set(s->e, ERR_REFUSED, "%s: the plan has no code for it", s->in->name);
}

/* --- where --- */

static int64_t align_up(int64_t v, int64_t alignment)
{
	return (v + alignment - 1) & -alignment;
}

/*
 * Above everything that is loaded, since segments ascend and none may be below address 0; also so far up that its place in the file, at the
 * same distance, is behind the old file's end. A page stays free, so that running off the end of .bss faults as before.
 */
static int place(struct elf_sink *s)
{
	const struct elf_file *in = s->in;
	int64_t base = (int64_t)in->load_base, end = (int64_t)in->load_end, linked = (int64_t)s->m->region_vaddr;
	int64_t alignment = plan_code_alignment(s->m->code_size), span = (int64_t)s->m->data_offset + s->m->data_size;
	if (base < -ADDRESS_MAX || base > ADDRESS_MAX || end < 0 || end > ADDRESS_MAX || in->size > (uint64_t)ADDRESS_MAX)
		return err_set(s->e, ERR_UNSUPPORTED, "%s: loaded at 0x%" PRIx64 " to 0x%" PRIx64 ": not a user address", in->name,
			       in->load_base, in->load_end);
	int64_t file_end = base + (int64_t)in->size;
	int64_t lowest = align_up((end > file_end ? end : file_end) + PLAN_PAGE, alignment);
	int64_t at = linked >= lowest && linked - lowest <= HOLE_MAX ? linked : lowest;
	if (at + span - base > REACH)
		return err_set(s->e, ERR_REFUSED, "%s: the first free address, 0x%" PRIx64 ", is more than 2 GiB from its code", in->name,
			       (uint64_t)at);
	s->region = (uint64_t)at;
	return 0;
}

/* --- the image --- */

static int relocate(struct elf_sink *s)
{
	const struct plan_module *m = s->m;
	int64_t delta = (int64_t)(s->region - m->region_vaddr);
	for (uint32_t i = 0; i < m->relocation_count; i++) {
		uint32_t at = m->relocations[i];
		uint8_t *field = at < m->code_size ? s->code + at : s->data.data + (at - m->data_offset);
		int64_t value = (int64_t)(int32_t)load_u32(field) - delta;
		if (value != (int32_t)value)
			return err_set(s->e, ERR_REFUSED, "%s: the field at region offset 0x%x does not reach from 0x%" PRIx64, s->in->name,
				       at, s->region);
		store_u32(field, (uint32_t)value);
	}
	return 0;
}

static int copy_image(struct elf_sink *s)
{
	s->code = malloc(s->m->code_size);
	write_bytes(&s->data, s->m->data, s->m->data_size);
	if (!s->code || s->data.failed)
		return err_set(s->e, ERR_MEMORY, "%s: no memory for the image", s->in->name);
	memcpy(s->code, s->m->code, s->m->code_size);
	return relocate(s);
}

static int write_frame_table(struct elf_sink *s)
{
	if (!s->m->fde_count)
		return 0;
	write_pad(&s->data, 8, 0);
	s->frame_table.at = s->data.size;
	int status = frame_table_write(s->in, s->m, s->region, elf_sink_data_vaddr(s) + s->data.size, &s->data, s->e);
	s->frame_table.size = s->data.size - s->frame_table.at;
	return status;
}

/* --- the old code --- */

static int locate(const struct elf_sink *s, uint32_t text_offset, uint32_t size, uint64_t *ret_offset)
{
	vaddr at = {s->m->text_base + text_offset};
	if (!elf_file_offset(s->in, at, size, PF_X, ret_offset))
		return err_set(s->e, ERR_REFUSED, "%s: the %u bytes at 0x%" PRIx64 " are not code of this file", s->in->name, size, at.v);
	return 0;
}

static int compare_functions(const struct elf_sink *s)
{
	for (uint32_t i = 0; i < s->m->function_count; i++) {
		const struct plan_function *f = &s->m->functions[i];
		uint64_t at;
		int status = locate(s, f->start, f->size, &at);
		if (status)
			return status;
		if (hash_bytes(s->in->data + at, f->size) != f->hash)
			return err_set(s->e, ERR_REFUSED, "%s: the function at 0x%" PRIx64 " is not what the plan was made from",
				       s->in->name, s->m->text_base + f->start);
	}
	return 0;
}

/* Compares and writes; `out` is a copy of the file. */
static int patch(const struct elf_sink *s, const struct plan_patch *p, uint8_t *out)
{
	uint64_t at, address = s->m->text_base + p->at;
	int status = locate(s, p->at, PLAN_PATCH_SIZE, &at);
	if (status)
		return status;
	if (memcmp(s->in->data + at, p->original, PLAN_PATCH_SIZE) != 0)
		return err_set(s->e, ERR_REFUSED, "%s: the bytes at 0x%" PRIx64 " are not what the plan was made from", s->in->name,
			       address);
	int64_t distance = (int64_t)(s->region + p->target - (address + PLAN_PATCH_SIZE));
	if (distance != (int32_t)distance)
		return err_set(s->e, ERR_REFUSED, "%s: a jump at 0x%" PRIx64 " does not reach the image", s->in->name, address);
	out[at] = 0xe9;
	store_u32(out + at + 1, (uint32_t)distance);
	return 0;
}

/* --- together --- */

static void write_header(const struct elf_sink *s, uint8_t *out)
{
	Elf64_Ehdr h = s->in->header;
	h.e_phoff = elf_sink_offset(s, elf_sink_data_vaddr(s) + s->segments.at);
	h.e_phnum = (uint16_t)s->segment_count;
	if (s->headers.size) {
		h.e_shoff = elf_sink_tail_offset(s) + s->headers.at;
		h.e_shnum = s->section_count;
	}
	memcpy(out, &h, sizeof h);
}

static int assemble(const struct elf_sink *s, struct elf_sink_result *r)
{
	r->size = elf_sink_tail_offset(s) + s->tail.size;
	r->data = calloc(1, r->size); /* the holes stay untouched pages of zeros */
	if (!r->data)
		return err_set(s->e, ERR_MEMORY, "%s: no memory for %zu bytes", s->in->name, r->size);
	memcpy(r->data, s->in->data, s->in->size);
	memcpy(r->data + elf_sink_offset(s, s->region), s->code, s->m->code_size);
	memcpy(r->data + elf_sink_offset(s, elf_sink_data_vaddr(s)), s->data.data, s->data.size);
	if (s->tail.size)
		memcpy(r->data + elf_sink_tail_offset(s), s->tail.data, s->tail.size);
	write_header(s, r->data);
	int status = 0;
	for (uint32_t i = 0; !status && i < s->m->patch_count; i++) {
		status = patch(s, &s->m->patches[i], r->data);
		*(s->m->patches[i].kind == PLAN_PATCH_ENTRY ? &r->entries : &r->reentries) += 1;
	}
	return status;
}

static int build(struct elf_sink *s, struct elf_sink_result *r)
{
	static int (*const steps[])(struct elf_sink *
				    s) = {find_module, place, copy_image, write_frame_table, elf_sink_write_segments, elf_sink_write_tail};
	int status = refuse_unfit(s);
	for (size_t i = 0; !status && i < sizeof steps / sizeof *steps; i++)
		status = steps[i](s);
	if (!status)
		status = compare_functions(s);
	if (status)
		return status;
	*r = (struct elf_sink_result){
	    .module = s->m,
	    .code = {s->region},
	    .frames = s->m->fde_count,
	    .overlay = s->in->size - s->in->contents_end,
	    .has_sections = s->headers.size != 0,
	};
	return assemble(s, r);
}

int elf_sink_build(const struct elf_file *in, const struct plan *plan, struct elf_sink_result *ret_result, struct err *e)
{
	struct elf_sink s = {.in = in, .plan = plan, .e = e};
	struct elf_sink_result r = {0};
	int status = build(&s, &r);
	free(s.code);
	writer_free(&s.data);
	writer_free(&s.tail);
	if (status)
		elf_sink_result_free(&r);
	else
		*ret_result = r;
	return status;
}

void elf_sink_result_free(struct elf_sink_result *r)
{
	free(r->data);
	*r = (struct elf_sink_result){0};
}
