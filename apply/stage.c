#include "apply/stage.h"

#include "apply/modules.h"
#include "apply/patch.h"
#include "apply/placement.h"
#include "formats/base/bytes.h"
#include "formats/base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PIECE (256u << 10) /* code that is read at once */
#define PIECE_GAP 4096u	   /* a page */

static uint64_t page_up(uint64_t v)
{
	return (v + 4095) & ~(uint64_t)4095;
}

static void region_free(struct region *r)
{
	free(r->code_bytes);
	free(r->data_bytes);
	free(r->left_out);
	*r = (struct region){0};
}

void stage_free(struct stage *s)
{
	for (uint32_t i = 0; i < s->region_count; i++)
		region_free(&s->regions[i]);
	free(s->regions);
	free(s->skipped);
	*s = (struct stage){0};
}

static void skip(struct stage *s, const struct plan_module *plan, const struct err *why)
{
	struct stage_skip *k = &s->skipped[s->skipped_count++];
	k->plan = plan;
	snprintf(k->reason, sizeof k->reason, "%.*s", (int)sizeof k->reason - 1, why->text);
}

/* The first function behind those that are read together with `first`: what is between neighbours is read with them. */
static uint32_t piece_end(const struct plan_module *m, uint32_t first)
{
	uint64_t start = m->functions[first].start, end = start + m->functions[first].size;
	uint32_t next = first + 1;
	for (; next < m->function_count; next++) {
		const struct plan_function *f = &m->functions[next];
		if (f->start >= end + PIECE_GAP || /* a hole between segments is no smaller */ (uint64_t)f->start + f->size - start > PIECE)
			break;
		end = (uint64_t)f->start + f->size;
	}
	return next;
}

/* The original bytes where hooks of kept images stand in the `size` bytes of `text`, read at `start`. */
static void without_hooks(const struct stage_kept *kept, raddr start, uint8_t *text, uint64_t size)
{
	for (uint32_t i = 0; i < kept->patch_count; i++) {
		const struct patch *p = &kept->patches[i];
		uint64_t offset = p->at.v - start.v;
		if (p->is_hook && offset < size && size - offset >= PLAN_PATCH_SIZE && !memcmp(text + offset, p->written, PLAN_PATCH_SIZE))
			memcpy(text + offset, p->original, PLAN_PATCH_SIZE);
	}
}

/* Of the functions [first, next). `text` has room for them. */
static int compare_piece(const struct stage *s, struct region *r, uint32_t first, uint32_t next, uint8_t *text, struct err *e)
{
	const struct plan_function *f = r->plan->functions;
	uint32_t start = f[first].start, size = f[next - 1].start + f[next - 1].size - start;
	int status = target_read(s->target, region_text(r, start), text, size, e);
	if (!status)
		without_hooks(s->kept, region_text(r, start), text, size);
	for (uint32_t i = first; !status && i < next; i++) {
		if (hash_bytes(text + (f[i].start - start), f[i].size) == f[i].hash)
			continue;
		r->left_out[i] = true;
		r->left_out_count++;
	}
	return status;
}

/* Marks every function whose live bytes are not what the plan was made from. */
static int compare_functions(const struct stage *s, struct region *r, struct err *e)
{
	const struct plan_module *m = r->plan;
	uint32_t room = PIECE;
	for (uint32_t i = 0; i < m->function_count; i++)
		room = m->functions[i].size > room ? m->functions[i].size : room;
	uint8_t *text = malloc(room);
	if (!text)
		return err_set(e, ERR_MEMORY, "no memory for %u bytes of code", room);
	int status = 0;
	for (uint32_t i = 0, next; !status && i < m->function_count; i = next) {
		next = piece_end(m, i);
		status = compare_piece(s, r, i, next, text, e);
	}
	free(text);
	return status;
}

static int region_init(const struct stage *s, const struct plan_module *plan, struct region *r, struct err *e)
{
	*r = (struct region){.plan = plan};
	int status = modules_find(s->target, plan, &r->bias, e);
	if (status)
		return status;
	r->counters_mapped = plan_counter_span(plan->counter_count);
	r->code_mapped = plan->data_offset - r->counters_mapped;
	r->data_mapped = page_up(plan->data_size);
	r->code_bytes = malloc(plan->code_size ? plan->code_size : 1);
	r->data_bytes = malloc(plan->data_size ? plan->data_size : 1);
	r->left_out = calloc(plan->function_count ? plan->function_count : 1, sizeof *r->left_out);
	if (!r->code_bytes || !r->data_bytes || !r->left_out)
		return err_set(e, ERR_MEMORY, "%s: no memory for the image", plan->module.path);
	if (plan->code_size)
		memcpy(r->code_bytes, plan->code, plan->code_size);
	if (plan->data_size)
		memcpy(r->data_bytes, plan->data, plan->data_size);
	status = compare_functions(s, r, e);
	if (!status && plan->function_count && r->left_out_count == plan->function_count)
		return err_set(e, ERR_MISMATCH, "%s: none of its functions in memory is what the plan was made from", plan->module.path);
	return status;
}

int stage_init(struct target *t, const struct plan *plan, const struct stage_kept *kept, struct stage *ret_stage, struct err *e)
{
	struct stage s = {.target = t, .kept = kept};
	struct err why = {0};
	s.regions = calloc(plan->module_count ? plan->module_count : 1, sizeof *s.regions);
	s.skipped = calloc(plan->module_count ? plan->module_count : 1, sizeof *s.skipped);
	if (!s.regions || !s.skipped) {
		stage_free(&s);
		return err_set(e, ERR_MEMORY, "no memory for %u modules", plan->module_count);
	}
	int status = 0;
	for (uint32_t i = 0; !status && i < plan->module_count; i++) {
		if (!plan->modules[i].code_size)
			continue;
		status = region_init(&s, &plan->modules[i], &s.regions[s.region_count], &why);
		if (!status) {
			s.region_count++;
			continue;
		}
		region_free(&s.regions[s.region_count]);
		if (status == -ERR_MISMATCH) {
			skip(&s, &plan->modules[i], &why);
			status = 0;
		} else if (e) {
			*e = why;
		}
	}
	if (!status && !s.region_count)
		status = err_set(e, ERR_REFUSED, "the plan does not fit process %d: %s", t->pid,
				 s.skipped_count ? s.skipped[0].reason : "it has no modules");
	if (status)
		stage_free(&s);
	else
		*ret_stage = s;
	return status;
}

int stage_place(struct stage *s, struct err *e)
{
	uint32_t kept = s->kept->place_count, placed = 0;
	struct placement_range *taken = calloc(s->region_count + kept + 1, sizeof *taken);
	struct err why = {0};
	if (!taken)
		return err_set(e, ERR_MEMORY, "no memory for %u regions", s->region_count);
	if (kept)
		memcpy(taken, s->kept->places, kept * sizeof *taken);
	for (uint32_t i = 0; i < s->region_count; i++) {
		struct region *r = &s->regions[i];
		struct placement_want want = {
		    .load_low = raddr_of_vaddr((vaddr){r->plan->load_low}, r->bias),
		    .load_high = raddr_of_vaddr((vaddr){r->plan->load_high}, r->bias),
		    .size = region_span(r),
		    .alignment = plan_code_alignment(r->plan->code_size),
		};
		if (placement_find(&s->target->maps, taken, kept + placed, &want, &r->code, &why)) {
			skip(s, r->plan, &why);
			region_free(r);
			continue;
		}
		r->data.v = r->code.v + r->plan->data_offset;
		r->counters.v = r->counters_mapped ? r->code.v + r->plan->counter_offset : 0;
		taken[kept + placed] = (struct placement_range){r->code, want.size};
		if (placed != i) {
			s->regions[placed] = *r;
			*r = (struct region){0};
		}
		placed++;
	}
	s->region_count = placed;
	free(taken);
	return placed ? 0 : err_set(e, ERR_REFUSED, "process %d: %s", s->target->pid, why.text);
}

const struct region *stage_region_of(const struct stage *s, raddr address)
{
	for (uint32_t i = 0; i < s->region_count; i++)
		if (address.v - s->regions[i].code.v < s->regions[i].plan->code_size)
			return &s->regions[i];
	return NULL;
}

/* A 32-bit field that refers to the module: the region stands `delta` further away than it was linked for. */
static int relocate_field(struct region *r, uint32_t at, int64_t delta, struct err *e)
{
	const struct plan_module *m = r->plan;
	uint8_t *field;
	if (m->code_size >= 4 && at <= m->code_size - 4)
		field = r->code_bytes + at;
	else if (at >= m->data_offset && m->data_size >= 4 && at - m->data_offset <= m->data_size - 4)
		field = r->data_bytes + (at - m->data_offset);
	else
		return err_set(e, ERR_FORMAT, "%s: relocation at 0x%x outside of the region", m->module.path, at);
	int64_t value = (int64_t)(int32_t)load_u32(field) - delta;
	if (value != (int32_t)value)
		return err_set(e, ERR_REFUSED, "%s: the field at 0x%x does not reach from where the region was placed", m->module.path, at);
	store_u32(field, (uint32_t)value);
	return 0;
}

/* Puts `e9 rel32` at `from` (in code_bytes) to `to`; false when out of reach. */
static bool put_branch(uint8_t *code, uint8_t opcode, raddr from, raddr to)
{
	int64_t distance = (int64_t)(to.v - (from.v + PLAN_PATCH_SIZE));
	if (distance != (int32_t)distance)
		return false;
	code[0] = opcode;
	store_u32(code + 1, (uint32_t)distance);
	return true;
}

/* A function that differs in memory keeps its own code: whoever calls its copy is sent there. */
static int send_home(struct region *r, uint32_t function, struct err *e)
{
	const struct plan_function *f = &r->plan->functions[function];
	if (f->entry == PLAN_NONE)
		return 0;
	if (r->plan->code_size < PLAN_PATCH_SIZE || f->entry > r->plan->code_size - PLAN_PATCH_SIZE ||
	    !put_branch(r->code_bytes + f->entry, 0xe9, region_image(r, f->entry), region_text(r, f->start)))
		return err_set(e, ERR_REFUSED, "%s: no way home from the copy at 0x%x", r->plan->module.path, f->entry);
	return 0;
}

/* The copy of the function that starts at `address`, if a region has one; `address` itself otherwise. */
static raddr newest_entry(const struct stage *s, raddr address)
{
	for (uint32_t i = 0; i < s->region_count; i++) {
		const struct region *r = &s->regions[i];
		uint64_t offset = address.v - region_text(r, 0).v;
		if (offset >= r->plan->text_size)
			continue;
		uint32_t low = 0, high = r->plan->function_count;
		while (low < high) {
			uint32_t middle = low + (high - low) / 2;
			if (r->plan->functions[middle].start < offset)
				low = middle + 1;
			else
				high = middle;
		}
		if (low == r->plan->function_count || r->plan->functions[low].start != offset || r->left_out[low] ||
		    r->plan->functions[low].entry == PLAN_NONE)
			return address;
		return region_image(r, r->plan->functions[low].entry);
	}
	return address;
}

/*
 * A call or jump through a slot that can never change again (its page is read-only by now: RELRO) goes straight to where the slot leads.
 *	ff 15 disp32	call *slot(%rip)	->	67 e8 rel32	addr32 call	same length, so return addresses stay the same
 *	ff 25 disp32	jmp *slot(%rip)		->	e9 rel32 90	jmp; nop
 */
static int bind_slot(const struct stage *s, struct region *r, const struct plan_slot *slot, struct err *e)
{
	raddr where = raddr_of_vaddr((vaddr){slot->slot}, r->bias), value;
	const struct procmap *map = procmaps_find(&s->target->maps, where);
	if (!map || map->write || !map->read || where.v + 8 > map->end.v)
		return 0;
	if (r->plan->code_size < 6 || slot->at > r->plan->code_size - 6)
		return err_set(e, ERR_FORMAT, "%s: slot at 0x%x outside of the code", r->plan->module.path, slot->at);
	uint8_t *code = r->code_bytes + slot->at;
	if (code[0] != 0xff || (code[1] != 0x15 && code[1] != 0x25))
		return err_set(e, ERR_FORMAT, "%s: no call or jump through a slot at 0x%x", r->plan->module.path, slot->at);
	int status = target_read(s->target, where, &value.v, sizeof value.v, e);
	if (status)
		return status;
	const struct procmap *code_map = procmaps_find(&s->target->maps, value);
	if (!code_map || !code_map->execute)
		return 0;
	bool call = code[1] == 0x15;
	uint8_t bound[6] = {0x67, 0, 0, 0, 0, 0x90};
	uint8_t *branch = call ? bound + 1 : bound;
	raddr from = {region_image(r, slot->at).v + (call ? 1 : 0)};
	if (!put_branch(branch, call ? 0xe8 : 0xe9, from, newest_entry(s, value)) && !put_branch(branch, call ? 0xe8 : 0xe9, from, value))
		return 0;
	memcpy(code, bound, sizeof bound);
	r->bound_slots++;
	return 0;
}

/*
 * The list of all regions' unwind tables, which the stub in front of a look-up reads: those of kept images too, whose stub is asked no more when
 * this one is.
 */
static int fill_directory(const struct stage *s, struct region *r, struct err *e)
{
	const struct plan_module *m = r->plan;
	_Static_assert(sizeof(struct stage_table) == 32, "an entry");
	if (m->directory == PLAN_NONE)
		return 0;
	uint64_t size = (uint64_t)m->directory_entries * 32;
	if (m->directory < m->data_offset || size > m->data_size || m->directory - m->data_offset > m->data_size - size)
		return err_set(e, ERR_FORMAT, "%s: unwind directory outside of the data", m->module.path);
	uint8_t *out = r->data_bytes + (m->directory - m->data_offset);
	uint32_t filled = s->kept->table_count;
	memset(out, 0, size);
	if (filled >= m->directory_entries)
		return err_set(e, ERR_BUSY, "process %d: %u images of earlier undos are still in use", s->target->pid, filled);
	if (filled)
		memcpy(out, s->kept->tables, filled * sizeof *s->kept->tables);
	for (uint32_t i = 0; i < s->region_count; i++) {
		const struct region *other = &s->regions[i];
		if (!other->plan->fde_count)
			continue;
		if (filled + 1 >= m->directory_entries)
			return err_set(e, s->kept->table_count ? ERR_BUSY : ERR_FORMAT,
				       "%s: unwind directory too small (%u entries of kept images)", m->module.path, s->kept->table_count);
		const struct stage_table table = {
		    other->code,
		    {other->code.v + other->plan->code_size},
		    {other->code.v + other->plan->fde_table},
		    other->plan->fde_count,
		};
		memcpy(out + sizeof table * filled++, &table, sizeof table);
	}
	return 0;
}

static int relocate_region(const struct stage *s, struct region *r, struct err *e)
{
	const struct plan_module *m = r->plan;
	int64_t delta = (int64_t)(r->code.v - r->bias - m->region_vaddr);
	int status = 0;
	for (uint32_t i = 0; !status && i < m->relocation_count; i++)
		status = relocate_field(r, m->relocations[i], delta, e);
	for (uint32_t i = 0; !status && i < m->slot_count; i++)
		status = bind_slot(s, r, &m->slots[i], e);
	for (uint32_t i = 0; !status && i < m->function_count; i++)
		if (r->left_out[i])
			status = send_home(r, i, e);
	return status ? status : fill_directory(s, r, e);
}

int stage_relocate(struct stage *s, struct err *e)
{
	int status = 0;
	for (uint32_t i = 0; !status && i < s->region_count; i++)
		status = relocate_region(s, &s->regions[i], e);
	return status;
}

int stage_mark(const struct target *t, raddr mapping, struct err *e)
{
	return target_write(t, mapping, STAGE_MARK, sizeof STAGE_MARK - 1, e);
}

/* The first page comes last: until everything else is there the mapping begins with the mark. */
static int write_and_compare(const struct target *t, raddr address, const uint8_t *bytes, uint64_t size, struct err *e)
{
	uint64_t first = size < 4096 ? size : 4096;
	if (!size)
		return 0;
	int status = size > first ? target_write(t, (raddr){address.v + first}, bytes + first, size - first, e) : 0;
	if (!status)
		status = target_write(t, address, bytes, first, e);
	if (status)
		return status;
	uint8_t *back = malloc(size);
	if (!back)
		return err_set(e, ERR_MEMORY, "no memory for %" PRIu64 " bytes", size);
	status = target_read(t, address, back, size, e);
	if (!status && memcmp(back, bytes, size))
		status = err_set(e, ERR_IO, "process %d: what was written at 0x%" PRIx64 " does not read back", t->pid, address.v);
	free(back);
	return status;
}

int stage_write(const struct stage *s, struct err *e)
{
	int status = 0;
	for (uint32_t i = 0; !status && i < s->region_count; i++) {
		const struct region *r = &s->regions[i];
		status = write_and_compare(s->target, r->code, r->code_bytes, r->plan->code_size, e);
		if (!status)
			status = write_and_compare(s->target, r->data, r->data_bytes, r->plan->data_size, e);
	}
	return status;
}
