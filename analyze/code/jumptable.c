#include "analyze/code/jumptable.h"
#include "analyze/code/trace.h"

#include <stdlib.h>

enum { SUPERSET_MAX = 4096 };

/* What the instructions before an indirect jump compute. */
struct dispatch {
	enum { DISPATCH_UNKNOWN, DISPATCH_TAIL, DISPATCH_TABLE } form;
	uint8_t kind; /* enum map_table_kind */
	uint64_t address;
	uint64_t bound; /* entries, 0 = not proven */
	uint64_t limit; /* entries, if the base that was guessed is right; 0 = none known */
	bool base_guessed;
};

/* Not every path to the dispatch is known: the base is guessed when the function loads one single data address into the register. */
static uint64_t guess_base(struct walk *w, uint8_t reg)
{
	struct operation op;
	uint64_t value = 0;
	for (size_t i = 0; i < w->insns.count; i++) {
		const struct walk_insn *x = &w->insns.data[i];
		if (!x->insn.rip_field || x->insn.kind != INSN_PLAIN || !trace_operation(w, x->at, &op))
			continue;
		if (op.kind != OPERATION_ADDRESS || op.destination != reg || image_executable(w->image, (vaddr){op.value}))
			continue;
		if (value && value != op.value)
			return 0;
		value = op.value;
	}
	return value;
}

static uint64_t base_before(struct walk *w, uint32_t at, const struct operation *load, bool *ret_guessed)
{
	*ret_guessed = false;
	if (load->base == OPERATION_NO_REGISTER)
		return (uint64_t)load->displacement;
	uint64_t base = trace_constant(w, at, load->base);
	if (!base) {
		base = guess_base(w, load->base);
		*ret_guessed = true;
	}
	return base ? base + (uint64_t)load->displacement : 0;
}

static void indexed(struct walk *w, uint32_t at, const struct operation *load, uint8_t kind, struct dispatch *d)
{
	unsigned scale = kind == MAP_TABLE_ABSOLUTE64 ? 8 : 4;
	d->form = DISPATCH_UNKNOWN;
	if (load->scale != scale || load->index == OPERATION_NO_REGISTER)
		return;
	d->address = base_before(w, at, load, &d->base_guessed);
	if (!d->address)
		return;
	d->form = DISPATCH_TABLE;
	d->kind = kind;
	d->limit = trace_bound(w, at, load->index);
	d->bound = d->base_guessed ? 0 : d->limit;
}

/* Last instruction before `at` on the straight line of falling through that changes `reg`, or MAP_NONE. */
static uint32_t definition(const struct walk *w, uint32_t at, uint8_t reg, struct operation *ret_operation)
{
	for (unsigned steps = 0; steps < 64; steps++) {
		at = trace_before(w, at);
		if (at == MAP_NONE || !trace_operation(w, at, ret_operation))
			return MAP_NONE;
		if (ret_operation->writes & 1u << reg)
			return at;
		if ((w->marks[at] & (WALK_LEADER | WALK_TARGET)) == (WALK_LEADER | WALK_TARGET))
			return MAP_NONE;
	}
	return MAP_NONE;
}

/* add: one side is the table's address, the other an entry loaded from the table. */
static bool sum_side(struct walk *w, uint32_t add, uint8_t entry, uint8_t base, struct dispatch *d)
{
	struct operation load;
	uint32_t at = definition(w, add, entry, &load);
	if (at == MAP_NONE || load.kind != OPERATION_LOAD || !load.sign_extends || load.source_width != 32 || load.width != 64)
		return false;
	indexed(w, at, &load, MAP_TABLE_RELATIVE32, d);
	if (d->form != DISPATCH_TABLE)
		return false;
	return d->base_guessed ? guess_base(w, base) == d->address : trace_constant(w, add, base) == d->address;
}

static void through_register(struct walk *w, uint32_t jump, uint8_t reg, struct dispatch *d)
{
	struct operation op;
	uint32_t at = definition(w, jump, reg, &op);
	if (at == MAP_NONE)
		return;
	switch (op.kind) {
	case OPERATION_ADD:
		if (!sum_side(w, at, op.destination, op.source, d) && !sum_side(w, at, op.source, op.destination, d))
			d->form = DISPATCH_UNKNOWN;
		break;
	case OPERATION_MOVE:
		if (op.width == 64 && op.source_width == 64)
			through_register(w, at, op.source, d);
		break;
	case OPERATION_LOAD:
		if (op.index == OPERATION_NO_REGISTER)
			d->form = DISPATCH_TAIL;
		else if (op.source_width == 64)
			indexed(w, at, &op, MAP_TABLE_ABSOLUTE64, d);
		else if (op.source_width == 32 && !op.sign_extends)
			indexed(w, at, &op, MAP_TABLE_ABSOLUTE32, d);
		break;
	case OPERATION_POP:
		d->form = DISPATCH_TAIL;
		break;
	}
}

static struct dispatch dispatch_of(struct walk *w, uint32_t jump)
{
	struct dispatch d = {.form = DISPATCH_UNKNOWN};
	struct operation op;
	if (!trace_operation(w, jump, &op))
		return d;
	if (op.kind == OPERATION_JUMP_MEMORY) {
		if (op.index == OPERATION_NO_REGISTER)
			d.form = DISPATCH_TAIL;
		else
			indexed(w, jump, &op, MAP_TABLE_ABSOLUTE64, &d);
	} else if (op.kind == OPERATION_JUMP) {
		through_register(w, jump, op.source, &d);
		if (d.form == DISPATCH_UNKNOWN && trace_loaded(w, jump, op.source))
			d.form = DISPATCH_TAIL;
	}
	return d;
}

/* Entry number `n`: the code address it holds, or 0. */
static uint64_t entry_at(const struct walk *w, const struct dispatch *d, uint64_t n)
{
	uint64_t place = d->address + n * (d->kind == MAP_TABLE_ABSOLUTE64 ? 8 : 4), value;
	if (d->kind == MAP_TABLE_ABSOLUTE64 && w->image->pie)
		return image_pointer_at(w->image, place);
	const uint8_t *bytes = image_bytes(w->image, (vaddr){place}, d->kind == MAP_TABLE_ABSOLUTE64 ? 8 : 4);
	if (!bytes)
		return 0;
	if (d->kind == MAP_TABLE_ABSOLUTE64)
		value = load_u64(bytes);
	else if (d->kind == MAP_TABLE_ABSOLUTE32)
		value = load_u32(bytes);
	else
		value = d->address + (uint64_t)(int64_t)(int32_t)load_u32(bytes);
	return image_executable(w->image, (vaddr){value}) ? value : 0;
}

/* Does the function branch into this other range? Then it is its split part. */
static bool branches_into(const struct walk *w, const struct image_fde *fde)
{
	for (size_t i = 0; i < w->references.count; i++) {
		const struct walk_reference *r = &w->references.data[i];
		if (r->kind == WALK_BRANCH_CONDITIONAL && r->target - fde->start < fde->size)
			return true;
	}
	return false;
}

/* Could the function jump to `target`? In its own range not into the middle of an instruction; elsewhere, by a guess, only into its part. */
static bool acceptable(const struct walk *w, uint64_t target, bool proven)
{
	uint64_t offset = target - w->start;
	if (!target)
		return false;
	if (offset < w->size) {
		uint16_t marks = w->marks[offset];
		if (marks & WALK_BODY && !(marks & WALK_START))
			return false;
		return proven || marks & WALK_START || walk_plausible(w, (uint32_t)offset);
	}
	size_t fde = image_fde_at(w->image, target);
	return fde != SIZE_MAX && (proven || branches_into(w, &w->image->fdes[fde]));
}

/* An unproven table ends at the latest where other data that the function refers to begins. */
static uint64_t room(const struct walk *w, const struct dispatch *d)
{
	uint64_t end = UINT64_MAX;
	for (size_t i = 0; i < w->data.count; i++)
		if (w->data.data[i] > d->address && w->data.data[i] < end)
			end = w->data.data[i];
	uint64_t entries = (end - d->address) / (d->kind == MAP_TABLE_ABSOLUTE64 ? 8 : 4);
	if (d->limit && d->limit < entries)
		entries = d->limit;
	return entries < SUPERSET_MAX ? entries : SUPERSET_MAX;
}

static uint64_t count_entries(const struct walk *w, struct dispatch *d)
{
	uint64_t limit = d->bound ? d->bound : room(w, d), n = 0;
	while (n < limit && acceptable(w, entry_at(w, d, n), d->bound != 0))
		n++;
	if (n < d->bound)
		d->bound = 0; /* the proof must be wrong: what was read so far is kept, as a guess */
	return n;
}

static int compare_targets(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void add_targets(struct walk *w, struct walk_table *t, const struct dispatch *d, uint64_t count)
{
	t->first = (uint32_t)w->targets.count;
	for (uint64_t n = 0; n < count; n++)
		w->no_memory |= vec_push(&w->targets, entry_at(w, d, n)) != 0;
	uint64_t *from = w->targets.data + t->first;
	if (w->no_memory)
		return;
	qsort(from, count, sizeof *from, compare_targets);
	size_t kept = 0;
	for (size_t i = 0; i < count; i++)
		if (!kept || from[kept - 1] != from[i])
			from[kept++] = from[i];
	w->targets.count = t->first + kept;
	t->count = (uint32_t)kept;
	for (size_t i = 0; i < kept; i++) {
		if (from[i] - w->start >= w->size)
			walk_refer(w, from[i], t->proven ? WALK_TABLE_REFERENCE : WALK_TABLE_GUESS);
		else if (!walk_reach(w, from[i], WALK_TARGET | WALK_TABLE))
			w->reasons |= 1u << MAP_REASON_OVERLAPPING_CODE;
	}
}

/* A table of whole functions is a tail call through it. */
static bool is_function_table(const struct walk *w, const struct dispatch *d)
{
	uint64_t first = entry_at(w, d, 0);
	if (d->kind != MAP_TABLE_ABSOLUTE64 || !first || first - w->start < w->size)
		return false;
	size_t fde = image_fde_at(w->image, first);
	return fde != SIZE_MAX && w->image->fdes[fde].start == first;
}

static bool fill_table(struct walk *w, struct walk_table *t, struct dispatch *d)
{
	uint64_t count = count_entries(w, d);
	if (!count)
		return false;
	t->address = d->address;
	t->kind = d->kind;
	t->entries = (uint32_t)count;
	t->proven = d->bound != 0;
	add_targets(w, t, d, count);
	return true;
}

void jumptable_resolve(struct walk *w, uint32_t jump, bool guess)
{
	struct dispatch d = dispatch_of(w, jump);
	struct walk_table t = {.jump = jump};
	if (d.form == DISPATCH_TAIL || (d.form == DISPATCH_TABLE && is_function_table(w, &d)))
		return;
	if (!d.bound && !guess) {
		w->no_memory |= vec_push(&w->deferred, jump) != 0;
		return;
	}
	if (d.form == DISPATCH_UNKNOWN || !fill_table(w, &t, &d))
		w->unknown_jump = true;
	else
		w->no_memory |= vec_push(&w->tables, t) != 0;
}

/* Does the proof still hold? If not the table becomes a superset, and when even that fails the jump is unknown. */
static bool recheck(struct walk *w, struct walk_table *t, bool again)
{
	struct dispatch d = dispatch_of(w, t->jump);
	bool same_table = d.form == DISPATCH_TABLE && d.address == t->address && d.kind == t->kind;
	if (same_table && d.bound && d.bound <= t->entries)
		return false;
	t->proven = 0;
	if (!again)
		return false;
	if (!same_table || !fill_table(w, t, &d))
		w->unknown_jump = true;
	return true;
}

bool jumptable_recheck(struct walk *w, bool again)
{
	bool changed = false;
	for (size_t i = 0; i < w->tables.count && !w->no_memory; i++)
		if (w->tables.data[i].proven)
			changed |= recheck(w, &w->tables.data[i], again);
	walk_drain(w);
	return changed;
}
