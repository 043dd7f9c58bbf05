/* The image against the original, run by run and edge by edge. */
#include "analyze/emit/stub.h"
#include "analyze/emit/validate_work.h"

#include <string.h>

#define LOOP_REACH 16 /* a loop's displacement leads over one jump of 2 or 5 bytes */

static vaddr image_vaddr(const struct validator *v, uint32_t at)
{
	return (vaddr){v->module->region_vaddr + at};
}

static vaddr original_vaddr(const struct validator *v, uint32_t at)
{
	return (vaddr){v->module->text_base + at};
}

static bool decode_image(const struct validator *v, uint32_t at, uint32_t end, struct insn *ret_insn)
{
	return !insn_second_decode(v->second, v->module->code + at, end - at, image_vaddr(v, at), ret_insn);
}

static bool decode_original(const struct validator *v, uint32_t at, uint32_t size, struct insn *ret_insn)
{
	const uint8_t *bytes = validate_original_bytes(v, at, size);
	return bytes && !insn_second_decode(v->second, bytes, size, original_vaddr(v, at), ret_insn) && ret_insn->length == size;
}

static bool is_direct(const struct insn *i)
{
	return i->kind == INSN_JUMP || i->kind == INSN_BRANCH || i->kind == INSN_BRANCH_SHORT || i->kind == INSN_CALL;
}

/* --- marking --- */

static void mark(struct validator *v, uint32_t at, uint32_t original, enum validate_place place)
{
	v->original[at] = original;
	v->place[at] = (uint8_t)place;
}

/* Remembers where the bytes of patches have their copies; a jump that was left out counts, with the place that it leads to. */
static int mark_under_patch(struct validator *v, uint32_t at, uint32_t original)
{
	uint32_t patch = validate_patch_at(v, original);
	if (patch == PLAN_NONE)
		return 0;
	uint32_t *copy = &v->copies[patch * PLAN_PATCH_SIZE + (original - v->module->patches[patch].at)];
	if (*copy != PLAN_NONE)
		return validate_refuse(v, "two copies of code under a patch");
	*copy = at;
	return 0;
}

static int mark_real(struct validator *v, uint32_t at, uint32_t original)
{
	mark(v, at, original, PLACE_REAL);
	return mark_under_patch(v, at, original);
}

static int mark_copy(struct validator *v, const struct plan_run *r)
{
	uint32_t end = r->image + r->image_size;
	for (uint32_t at = r->image; at < end;) {
		struct insn i;
		v->image_at = at;
		v->original_at = r->original + (at - r->image);
		if (!decode_image(v, at, end, &i))
			return validate_refuse(v, "a copied instruction does not decode");
		int status = mark_real(v, at, v->original_at);
		if (status)
			return status;
		at += i.length;
	}
	return 0;
}

/* Between runs may be padding, which nothing can lead to because no offset in it stands for anything. */
static bool all_int3(const struct validator *v, uint64_t start, uint64_t end)
{
	while (start < end && v->module->code[start] == 0xcc)
		start++;
	return start >= end;
}

static int mark_run(struct validator *v, const struct plan_run *r)
{
	uint64_t original_end = (uint64_t)r->original + r->original_size;
	uint32_t function = validate_function_at(v->module, r->original);
	bool in_function =
	    function != PLAN_NONE && original_end <= (uint64_t)v->module->functions[function].start + v->module->functions[function].size;
	if (r->kind != PLAN_RUN_INSERTED && r->kind != PLAN_RUN_COUNTER && !in_function)
		return validate_refuse(v, "run lies in no function of the plan");
	switch (r->kind) {
	case PLAN_RUN_COPY:
		return r->image_size == r->original_size ? mark_copy(v, r) : validate_refuse(v, "copy run with two sizes");
	case PLAN_RUN_REWRITTEN:
		return mark_real(v, r->image, r->original);
	case PLAN_RUN_DELETED:
		return mark_under_patch(v, r->image, r->original);
	case PLAN_RUN_STUB:
		mark(v, r->image, r->original, PLACE_REAL);
		return r->original_size ? validate_refuse(v, "stub run with original bytes") : 0;
	case PLAN_RUN_INSERTED:
		if (r->original_size || r->original >= v->module->text_size)
			return validate_refuse(v, "inserted run with original bytes or outside the text");
		mark(v, r->image, r->original, PLACE_INSERTED);
		return 0;
	case PLAN_RUN_COUNTER: /* see mark_counters */
		if (r->original_size || r->original >= v->module->text_size)
			return validate_refuse(v, "counter with original bytes or outside the text");
		mark(v, r->image, r->original, PLACE_REAL);
		return 0;
	}
	return validate_refuse(v, "run of unknown kind %u", r->kind);
}

/*
 * Counters fall forward only, and in the end to what is there, or to an added jump. In front of a jump they may stand for code of any function,
 * but an added jump does not prove them: the two would prove each other.
 */
static int mark_counters(struct validator *v)
{
	for (uint32_t i = v->module->run_count; i-- > 0;) {
		const struct plan_run *r = &v->module->runs[i];
		uint32_t next = r->image + r->image_size;
		if (r->kind != PLAN_RUN_COUNTER)
			continue;
		v->image_at = r->image;
		v->original_at = r->original;
		bool same = next < v->module->code_size && v->original[next] == r->original;
		if (same && (v->place[next] == PLACE_INSERTED || v->place[next] == PLACE_COUNTED))
			v->place[r->image] = PLACE_COUNTED;
		else if (validate_function_at(v->module, r->original) == PLAN_NONE)
			return validate_refuse(v, "counter lies in no function of the plan");
	}
	return 0;
}

int validate_runs_mark(struct validator *v)
{
	uint64_t next = 0, start = 0; /* end and start of the last run that has bytes */
	for (uint32_t i = 0; i < v->module->run_count; i++) {
		const struct plan_run *r = &v->module->runs[i];
		v->image_at = r->image;
		v->original_at = r->original;
		bool beside = r->kind == PLAN_RUN_DELETED && r->image == start; /* sorted behind what stands at the same place */
		if ((r->image < next && !beside) || (uint64_t)r->image + r->image_size > v->module->code_size)
			return validate_refuse(v, "runs overlap or leave the code");
		if (!all_int3(v, next, r->image))
			return validate_refuse(v, "code at 0x%llx belongs to no run", (unsigned long long)next);
		if (i && r->image == r[-1].image && r->original < r[-1].original)
			return validate_refuse(v, "runs are not sorted");
		if (r->kind == PLAN_RUN_DELETED ? r->image_size || !r->original_size : !r->image_size)
			return validate_refuse(v, "run of no size");
		if (r->image_size) {
			start = r->image;
			next = start + r->image_size;
		}
		int status = mark_run(v, r);
		if (status)
			return status;
	}
	if (!all_int3(v, next, v->module->code_size))
		return validate_refuse(v, "the end of the code belongs to no run");
	return mark_counters(v);
}

/* --- what stands for what --- */

uint32_t validate_first_run_at(const struct plan_module *p, uint32_t at)
{
	uint32_t low = 0, high = p->run_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (p->runs[middle].image < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The jump that a DELETED run left out: its target as a text offset. */
static bool deleted_target(const struct validator *v, const struct plan_run *r, uint64_t *ret_target)
{
	struct insn i;
	if (!decode_original(v, r->original, r->original_size, &i) || i.kind != INSN_JUMP)
		return false;
	*ret_target = i.target - v->module->text_base;
	return *ret_target < v->module->text_size;
}

/* What may stand for an original place. Added jumps only where control falls into them: they must not prove each other in a circle. */
enum { ONLY_REAL = 1u << PLACE_REAL, ALSO_COUNTED = ONLY_REAL | 1u << PLACE_COUNTED, ANY = ALSO_COUNTED | 1u << PLACE_INSERTED };

/*
 * Does image offset `at` stand for `original`? Either one of `places` there does, or `original` is a jump that was left out and whose target
 * `at` stands for.
 */
static bool stands_for(const struct validator *v, uint32_t at, uint64_t original, unsigned places)
{
	const struct plan_module *p = v->module;
	if (at >= p->code_size)
		return false;
	uint32_t first = validate_first_run_at(p, at);
	for (uint32_t steps = 0; steps <= 8; steps++) {
		if (v->original[at] == original && (places & 1u << v->place[at]))
			return true;
		uint32_t i = first;
		while (i < p->run_count && p->runs[i].image == at &&
		       !(p->runs[i].kind == PLAN_RUN_DELETED && p->runs[i].original == original))
			i++;
		if (i >= p->run_count || p->runs[i].image != at || !deleted_target(v, &p->runs[i], &original))
			return false;
	}
	return false;
}

/*
 * Counters with a jump to original code stand for code of any function, whether that is left out or not; but they must not stand in the bytes
 * where it is sent home.
 */
static bool leaves_image(const struct validator *v, uint32_t at, uint32_t function)
{
	const struct plan_module *p = v->module;
	uint32_t k = validate_first_run_at(p, at), entry = function == PLAN_NONE ? PLAN_NONE : p->functions[function].entry;
	struct insn i;
	while (k < p->run_count && p->runs[k].kind != PLAN_RUN_INSERTED)
		k++;
	return v->place[at] == PLACE_COUNTED && (entry == PLAN_NONE || at < entry || at - entry >= PLAN_PATCH_SIZE) && k < p->run_count &&
	       decode_image(v, p->runs[k].image, p->code_size, &i) && i.target - p->region_vaddr >= p->code_size;
}

/* Into another function only at its entry: whoever leaves that function out puts a jump home there. */
static int check_crossing(const struct validator *v, uint32_t at)
{
	if (v->place[at] == PLACE_INSERTED)
		return 0; /* the caller sees to it that it is the jump after a loop */
	uint32_t function = validate_function_at(v->module, v->original[at]);
	if (function == v->function || (function != PLAN_NONE && v->module->functions[function].entry == at) ||
	    leaves_image(v, at, function))
		return validate_counted_edge(v, at);
	return validate_refuse(v, "leads into the middle of another function's copy at 0x%x", at);
}

int validate_falls(const struct validator *v, uint32_t at, uint64_t original)
{
	if (!stands_for(v, at, original, ANY))
		return validate_refuse(v, "what follows does not stand for 0x%llx", (unsigned long long)(v->module->text_base + original));
	return check_crossing(v, at);
}

int validate_consume_relocation(struct validator *v, uint32_t field)
{
	const struct plan_module *p = v->module;
	if (v->next_relocation >= p->relocation_count || p->relocations[v->next_relocation] != field)
		return validate_refuse(v, "the field at 0x%x has no relocation, or a field that needs none has one", field);
	v->next_relocation++;
	return 0;
}

/* The branch or call `i` at v->image_at must lead to what stands for `original`. */
static int check_edge(struct validator *v, const struct insn *i, uint64_t original, unsigned places)
{
	uint64_t inside = i->target - v->module->region_vaddr;
	if (inside < v->module->code_size) {
		uint32_t at = (uint32_t)inside;
		bool loop = i->kind == INSN_BRANCH_SHORT && at > v->image_at && at - v->image_at <= LOOP_REACH;
		if (!stands_for(v, at, original, loop ? ANY : places))
			return validate_refuse(v, "leads to image offset 0x%x, which does not stand for 0x%llx", at,
					       (unsigned long long)(v->module->text_base + original));
		return check_crossing(v, at);
	}
	if (i->target != v->module->text_base + original)
		return validate_refuse(v, "leads to 0x%llx instead of 0x%llx", (unsigned long long)i->target,
				       (unsigned long long)(v->module->text_base + original));
	if (validate_interior(v, original))
		return validate_refuse(v, "leads into the interior of a patch");
	if (i->relative_size != 4)
		return validate_refuse(v, "short branch out of the region");
	return validate_consume_relocation(v, v->image_at + i->length - 4);
}

/* --- checking --- */

static bool continues(const struct insn *i)
{
	return i->kind != INSN_JUMP && i->kind != INSN_JUMP_INDIRECT && i->kind != INSN_RETURN;
}

/* Equal bytes apart from `size` bytes at `field`. */
static bool equal_but(const uint8_t *a, const uint8_t *b, uint32_t length, uint32_t field, uint32_t size)
{
	return !memcmp(a, b, field) && !memcmp(a + field + size, b + field + size, length - field - size);
}

static uint64_t displaced(const uint8_t *field, uint32_t size, uint64_t end)
{
	return end + (size == 1 ? (uint64_t)(int64_t)(int8_t)field[0] : (uint64_t)(int64_t)(int32_t)load_u32(field));
}

static int check_plain(struct validator *v, const uint8_t *bytes, const struct insn *i)
{
	const uint8_t *code = v->module->code + v->image_at;
	if (!i->rip_field)
		return memcmp(code, bytes, i->length) ? validate_refuse(v, "copied bytes differ") : 0;
	if (i->rip_field + 4u > i->length || !equal_but(code, bytes, i->length, i->rip_field, 4))
		return validate_refuse(v, "copied bytes differ");
	if (displaced(bytes + i->rip_field, 4, original_vaddr(v, v->original_at).v + i->length) != i->target)
		return validate_refuse(v, "memory operand is another address");
	/* It may be listed as a slot, which it is. */
	const struct plan_module *p = v->module;
	bool through = i->length == 6 && code[0] == 0xff && (code[1] == 0x15 || code[1] == 0x25);
	if (through && v->next_slot < p->slot_count && p->slots[v->next_slot].at == v->image_at) {
		if (p->slots[v->next_slot].slot != i->target)
			return validate_refuse(v, "slot is another address");
		v->next_slot++;
	}
	return validate_consume_relocation(v, v->image_at + i->rip_field);
}

/* One instruction of a COPY run. */
static int check_copied(struct validator *v, const struct insn *i)
{
	const uint8_t *bytes = validate_original_bytes(v, v->original_at, i->length);
	int status;
	if (!bytes || i->kind == INSN_UNSUPPORTED)
		return validate_refuse(v, "an instruction that cannot be copied");
	if (is_direct(i)) {
		uint32_t size = i->relative_size, field = i->length - size;
		if (!equal_but(v->module->code + v->image_at, bytes, i->length, field, size))
			return validate_refuse(v, "copied branch differs");
		uint64_t target = displaced(bytes + field, size, original_vaddr(v, v->original_at).v + i->length);
		status = check_edge(v, i, target - v->module->text_base, ALSO_COUNTED);
	} else {
		status = check_plain(v, bytes, i);
	}
	if (status || !continues(i))
		return status;
	return validate_falls(v, v->image_at + i->length, (uint64_t)v->original_at + i->length);
}

static int check_copy(struct validator *v, const struct plan_run *r)
{
	uint32_t end = r->image + r->image_size;
	for (uint32_t at = r->image; at < end;) {
		struct insn i;
		v->image_at = at;
		v->original_at = r->original + (at - r->image);
		if (!decode_image(v, at, end, &i))
			return validate_refuse(v, "a copied instruction does not decode");
		int status = check_copied(v, &i);
		if (status)
			return status;
		at += i.length;
	}
	return 0;
}

/* The slot that the PLT stub at `stub` (a vaddr) jumps through: [endbr64] [bnd] jmp *slot(%rip). */
static bool stub_slot(const struct validator *v, uint64_t stub, uint64_t *ret_slot)
{
	for (int step = 0; step < 2; step++) {
		struct insn i;
		size_t left;
		const uint8_t *bytes = image_bytes_left(v->image, (vaddr){stub}, &left);
		if (!bytes || insn_second_decode(v->second, bytes, left, (vaddr){stub}, &i))
			return false;
		if (i.kind == INSN_JUMP_INDIRECT && i.rip_field) {
			*ret_slot = i.target;
			return true;
		}
		if (!i.is_endbr)
			return false;
		stub += i.length;
	}
	return false;
}

static int check_slot(struct validator *v, const struct insn *i, const struct insn *o)
{
	const struct plan_module *p = v->module;
	uint64_t slot;
	if (i->length != 6 || p->code[v->image_at] != 0xff || p->code[v->image_at + 1] != (o->kind == INSN_CALL ? 0x15 : 0x25))
		return validate_refuse(v, "no plain call or jump through a slot");
	if (!stub_slot(v, o->target, &slot) || slot != i->target)
		return validate_refuse(v, "the original does not go through slot 0x%llx", (unsigned long long)i->target);
	if (v->next_slot >= p->slot_count || p->slots[v->next_slot].at != v->image_at || p->slots[v->next_slot].slot != slot)
		return validate_refuse(v, "slot is not listed");
	v->next_slot++;
	return validate_consume_relocation(v, v->image_at + 2);
}

static int check_branch(struct validator *v, const struct plan_run *r, const struct insn *i, const struct insn *o)
{
	uint64_t taken = o->target - v->module->text_base, next = (uint64_t)r->original + r->original_size;
	bool inverted = o->kind == INSN_BRANCH && i->kind == INSN_BRANCH && i->condition == (o->condition ^ 1);
	bool same = i->kind == o->kind &&
		    (i->kind == INSN_BRANCH
			 ? i->condition == o->condition
			 : i->length == o->length &&
			       !memcmp(v->module->code + r->image, validate_original_bytes(v, r->original, o->length), i->length - 1u));
	if (!inverted && !same)
		return validate_refuse(v, "another condition than the original's");
	if (i->has_bnd_or_notrack || (i->kind == INSN_BRANCH && i->length != (i->relative_size == 1 ? 2 : 6)))
		return validate_refuse(v, "branch with a prefix");
	int status = check_edge(v, i, inverted ? next : taken, ALSO_COUNTED);
	return status ? status : validate_falls(v, r->image + r->image_size, inverted ? taken : next);
}

static int check_rewritten(struct validator *v, const struct plan_run *r)
{
	struct insn i, o;
	if (!decode_image(v, r->image, r->image + r->image_size, &i) || i.length != r->image_size)
		return validate_refuse(v, "rewritten instruction does not decode");
	if (!decode_original(v, r->original, r->original_size, &o))
		return validate_refuse(v, "original of a rewritten instruction does not decode");
	if (o.kind == INSN_BRANCH || o.kind == INSN_BRANCH_SHORT)
		return check_branch(v, r, &i, &o);
	if (o.kind == INSN_JUMP && i.kind == INSN_JUMP && i.length == 1 + i.relative_size)
		return check_edge(v, &i, o.target - v->module->text_base, ALSO_COUNTED);
	if (o.kind == INSN_JUMP && i.kind == INSN_JUMP_INDIRECT)
		return check_slot(v, &i, &o);
	if (o.kind != INSN_CALL || i.kind != INSN_CALL_INDIRECT)
		return validate_refuse(v, "rewritten into something else");
	int status = check_slot(v, &i, &o);
	return status ? status : validate_falls(v, r->image + r->image_size, (uint64_t)r->original + r->original_size);
}

static int check_inserted(struct validator *v, const struct plan_run *r)
{
	struct insn i;
	if (!decode_image(v, r->image, r->image + r->image_size, &i) || i.length != r->image_size || i.kind != INSN_JUMP ||
	    i.length != 1 + i.relative_size)
		return validate_refuse(v, "inserted code is not one jump");
	return check_edge(v, &i, r->original, ONLY_REAL);
}

static int check_deleted(struct validator *v, const struct plan_run *r)
{
	uint64_t target;
	if (validate_function_at(v->module, r->original) == PLAN_NONE || !deleted_target(v, r, &target))
		return validate_refuse(v, "deleted something else than a jump");
	return stands_for(v, r->image, r->original, ANY) ? 0 : validate_refuse(v, "deleted a jump that leads elsewhere");
}

static int check_stub(struct validator *v, const struct plan_run *r)
{
	const struct plan_function *f = &v->module->functions[v->function];
	const struct image_symbol *symbol = image_symbol_at(v->image, original_vaddr(v, r->original));
	const struct stub *stub = symbol ? stub_of(symbol->name) : NULL;
	const uint8_t *code = v->module->code + r->image;
	if (v->stub_seen || !stub || f->start != r->original || f->entry != r->image)
		return validate_refuse(v, "stub is not before a look-up of unwinders");
	if (r->image_size != stub->size || !equal_but(code, stub->code, (uint32_t)stub->size, (uint32_t)stub->directory_field, 4))
		return validate_refuse(v, "stub has other bytes");
	uint32_t field = r->image + (uint32_t)stub->directory_field;
	if (v->module->directory != PLAN_NONE && field + 4 + load_u32(v->module->code + field) != v->module->directory)
		return validate_refuse(v, "stub reads another directory");
	v->stub_seen = true;
	return validate_falls(v, r->image + r->image_size, r->original);
}

int validate_runs_check(struct validator *v)
{
	for (uint32_t k = 0; k < v->module->run_count; k++) {
		const struct plan_run *r = &v->module->runs[k];
		int status = 0;
		v->image_at = r->image;
		v->original_at = r->original;
		if (r->kind != PLAN_RUN_INSERTED && r->kind != PLAN_RUN_DELETED)
			v->function = validate_function_at(v->module, r->original);
		if (r->kind == PLAN_RUN_COPY)
			status = check_copy(v, r);
		else if (r->kind == PLAN_RUN_REWRITTEN)
			status = check_rewritten(v, r);
		else if (r->kind == PLAN_RUN_INSERTED)
			status = check_inserted(v, r);
		else if (r->kind == PLAN_RUN_DELETED)
			status = check_deleted(v, r);
		else if (r->kind == PLAN_RUN_COUNTER)
			status = validate_counter(v, r);
		else
			status = check_stub(v, r);
		if (status)
			return status;
	}
	return 0;
}
