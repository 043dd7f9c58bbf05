#include "analyze/code/trace.h"

#include <stdlib.h>

enum { CALLER_SAVED = 0x0fc7 /* rax rcx rdx rsi rdi r8-r11 */, STEPS_MAX = 4000, DEPTH_MAX = 200, BOUND_MAX = 65536 };

bool trace_operation(const struct walk *w, uint32_t offset, struct operation *ret_operation)
{
	const struct walk_insn *i = walk_insn_at(w, offset);
	if (!i || operation_decode(w->bytes + offset, w->size - offset, (vaddr){w->start + offset}, ret_operation))
		return false;
	if (i->insn.kind == INSN_CALL || i->insn.kind == INSN_CALL_INDIRECT || i->insn.kind == INSN_SYSCALL) {
		ret_operation->writes |= CALLER_SAVED;
		ret_operation->writes_memory = ret_operation->writes_flags = 1;
	}
	return true;
}

static bool falls_through(const struct walk *w, const struct walk_insn *i)
{
	uint8_t kind = i->insn.kind;
	return kind != INSN_JUMP && kind != INSN_JUMP_INDIRECT && kind != INSN_RETURN && kind != INSN_STOP &&
	       !(w->marks[i->at] & WALK_NORETURN);
}

uint32_t trace_before(const struct walk *w, uint32_t offset)
{
	for (uint32_t length = 1; length <= 15 && length <= offset; length++) {
		const struct walk_insn *i = walk_insn_at(w, offset - length);
		if (i && i->insn.length == length)
			return falls_through(w, i) ? offset - length : MAP_NONE;
	}
	return MAP_NONE;
}

static int compare_edges(const void *a, const void *b)
{
	const struct walk_edge *x = a, *y = b;
	if (x->target != y->target)
		return x->target < y->target ? -1 : 1;
	return (x->from > y->from) - (x->from < y->from);
}

static void make_edges(struct walk *w)
{
	if (w->edges_for == w->insns.count)
		return;
	w->edges_for = w->insns.count;
	w->edges.count = 0;
	for (size_t i = 0; i < w->insns.count; i++) {
		const struct walk_insn *x = &w->insns.data[i];
		if (x->insn.relative_size && x->insn.kind != INSN_CALL && x->insn.target - w->start < w->size)
			w->no_memory |= vec_push(&w->edges, (struct walk_edge){(uint32_t)(x->insn.target - w->start), x->at}) != 0;
	}
	if (w->edges.count)
		qsort(w->edges.data, w->edges.count, sizeof *w->edges.data, compare_edges);
}

static bool table_holds(const struct walk *w, const struct walk_table *t, uint64_t target)
{
	size_t low = t->first, high = t->first + t->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (w->targets.data[middle] < target)
			low = middle + 1;
		else
			high = middle;
	}
	return low < t->first + t->count && w->targets.data[low] == target;
}

/* The indirect jumps whose tables lead to `offset`; at least one is known, else another function's table does. */
static bool visit_tables(struct walk *w, uint32_t offset, trace_visit *visit, void *context)
{
	bool any = false;
	for (size_t i = 0; i < w->tables.count; i++) {
		if (!table_holds(w, &w->tables.data[i], w->start + offset))
			continue;
		any = true;
		if (!visit(context, w->tables.data[i].jump, true))
			return false;
	}
	return any;
}

bool trace_predecessors(struct walk *w, uint32_t offset, trace_visit *visit, void *context)
{
	uint32_t before = trace_before(w, offset);
	if (!(w->marks[offset] & WALK_TARGET))
		return before != MAP_NONE && visit(context, before, false);
	if (offset == 0 || w->marks[offset] & (WALK_PAD | WALK_POINTED | WALK_EXTERNAL))
		return false;
	if (w->marks[offset] & WALK_TABLE && !visit_tables(w, offset, visit, context))
		return false;
	make_edges(w);
	size_t low = 0, high = w->edges.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (w->edges.data[middle].target < offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (before != MAP_NONE && !visit(context, before, false))
		return false;
	for (; low < w->edges.count && w->edges.data[low].target == offset; low++)
		if (!visit(context, w->edges.data[low].from, true))
			return false;
	return true;
}

/* A search for what a register holds, over all paths. */
struct source_search {
	struct walk *w;
	uint64_t value; /* the one constant; 0: none found yet */
	uint8_t reg;
	bool loaded; /* look for plain loads and arguments instead of a constant */
	unsigned steps, depth;
};

/* A definition of the register ends the path: is it what is looked for? */
static bool accept_source(struct source_search *s, const struct operation *op)
{
	if (s->loaded)
		return op->kind == OPERATION_POP ||
		       (op->kind == OPERATION_LOAD && op->source_width == 64 && (op->index == OPERATION_NO_REGISTER || op->scale == 1));
	if (op->kind != OPERATION_ADDRESS || (s->value && s->value != op->value))
		return false;
	s->value = op->value;
	return s->value != 0;
}

static bool source_from(void *context, uint32_t from, bool taken)
{
	struct source_search *outer = context, s = *outer;
	struct operation op;
	bool found = false;
	(void)taken;
	for (uint32_t at = from;; at = trace_before(s.w, at)) {
		if (++s.steps > STEPS_MAX || !trace_operation(s.w, at, &op))
			break;
		if (op.writes & 1u << s.reg) {
			if (op.kind != OPERATION_MOVE || op.width != 64 || op.source_width != 64) {
				found = accept_source(&s, &op);
				break;
			}
			s.reg = op.source;
		}
		if (!(s.w->marks[at] & WALK_LEADER))
			continue;
		/* Seen with this register in this search: a loop or a join, and the first visit decides. */
		uint32_t stamp = s.w->generation << 4 | s.reg;
		found = s.w->stamp[at] == stamp || (at == 0 && s.loaded);
		if (found || s.depth >= DEPTH_MAX)
			break;
		s.w->stamp[at] = stamp;
		s.depth++;
		found = trace_predecessors(s.w, at, source_from, &s);
		break;
	}
	outer->value = s.value;
	outer->steps = s.steps;
	return found;
}

static bool source_before(struct walk *w, uint32_t offset, struct source_search *s)
{
	uint32_t before = trace_before(w, offset);
	w->generation = (w->generation + 1) & 0xfffffff;
	if (w->marks[offset] & WALK_LEADER)
		return (offset == 0 && s->loaded) || trace_predecessors(w, offset, source_from, s);
	return before != MAP_NONE && source_from(s, before, false);
}

uint64_t trace_constant(struct walk *w, uint32_t offset, uint8_t r)
{
	struct source_search s = {.w = w, .reg = r};
	return source_before(w, offset, &s) ? s.value : 0;
}

bool trace_loaded(struct walk *w, uint32_t offset, uint8_t r)
{
	struct source_search s = {.w = w, .reg = r, .loaded = true};
	return source_before(w, offset, &s);
}

/* What is being bounded, going backwards: a register, or the memory it was loaded from. */
struct subject {
	bool in_memory;
	uint8_t reg, base;
	uint8_t width; /* bits of it that matter */
	int64_t displacement;
	uint64_t natural; /* bound that its own extension gives, 0 = none */
	uint64_t found;	  /* bound of a narrow compare that counts only if the value turns out to be extended from `found_width` bits */
	uint8_t found_width;
	bool has_condition; /* a conditional branch was passed and its flags are not explained yet */
	uint8_t condition;
};

/* Where the search has been, and with what: only the same question at the same place is answered already. */
struct bound_visit {
	uint32_t at;
	struct subject subject;
};

enum { VISITS_MAX = 400 };

struct bound_search {
	struct walk *w;
	struct bound_visit *visits; /* shared by the whole search */
	unsigned *visit_count;
	struct subject subject;
	uint64_t bound; /* largest over the paths so far; 0 = none yet */
	unsigned steps, depth;
	bool proven_once;
};

static bool finish(struct bound_search *s, uint64_t bound)
{
	if (!bound || bound > BOUND_MAX)
		return false;
	if (bound > s->bound)
		s->bound = bound;
	s->proven_once = true;
	return true;
}

static uint64_t mask(unsigned width)
{
	return width >= 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
}

/* The bound that `compare` and the condition that held after it give, 0 = none. */
static uint64_t bound_of_compare(const struct operation *op, uint8_t condition)
{
	uint64_t value = op->value & mask(op->width);
	if (condition == 2)
		return value;
	if (condition == 6 || condition == 4)
		return value + 1;
	return 0;
}

static bool same_subject(const struct subject *t, const struct operation *op)
{
	if (t->in_memory)
		return op->has_memory && op->base == t->base && op->index == OPERATION_NO_REGISTER && op->displacement == t->displacement &&
		       op->width == t->width;
	return !op->has_memory && op->source == t->reg;
}

/* The value is replaced by what it was made from. True: go on with the new subject; false: *ret_done tells the outcome. */
static bool step_definition(struct bound_search *s, const struct operation *op, bool *ret_done)
{
	struct subject *t = &s->subject;
	bool extends = (op->kind == OPERATION_MOVE || op->kind == OPERATION_LOAD) && !op->sign_extends;
	if (t->found) {
		*ret_done = extends && op->source_width <= t->found_width && finish(s, t->found);
		return false;
	}
	if (extends && op->source_width <= 8)
		t->natural = mask(op->source_width) + 1;
	if (op->kind == OPERATION_AND) {
		*ret_done = finish(s, (op->value & mask(op->width)) + 1);
		return false;
	}
	if (op->kind == OPERATION_SHIFT_RIGHT && op->value < op->width) {
		*ret_done = finish(s, mask(op->width - (unsigned)op->value) + 1);
		return false;
	}
	if (op->kind == OPERATION_ADDRESS) {
		*ret_done = finish(s, op->value + 1);
		return false;
	}
	if (op->kind == OPERATION_MOVE) {
		t->reg = op->source;
		if (op->source_width < t->width)
			t->width = op->source_width;
		return true;
	}
	if (op->kind == OPERATION_LOAD && op->index == OPERATION_NO_REGISTER) {
		t->in_memory = true;
		t->base = op->base;
		t->displacement = op->displacement;
		t->width = op->source_width;
		return true;
	}
	*ret_done = t->natural && finish(s, t->natural);
	return false;
}

static bool subject_changes(const struct subject *t, const struct operation *op)
{
	if (!t->in_memory)
		return op->writes & 1u << t->reg;
	return op->writes_memory || (t->base != OPERATION_NO_REGISTER && op->writes & 1u << t->base);
}

/* One instruction backwards. True: go on; false: *ret_done tells the outcome. */
static bool step(struct bound_search *s, const struct operation *op, bool *ret_done)
{
	struct subject *t = &s->subject;
	if (t->has_condition && op->writes_flags) {
		uint64_t bound = op->kind == OPERATION_COMPARE && same_subject(t, op) ? bound_of_compare(op, t->condition) : 0;
		t->has_condition = false;
		if (bound && (op->width >= 32 || op->width >= t->width)) {
			*ret_done = finish(s, bound);
			return false;
		}
		if (bound && !t->found && !t->in_memory) {
			t->found = bound;
			t->found_width = op->width;
		}
	}
	if (!subject_changes(t, op))
		return true;
	if (t->in_memory) {
		*ret_done = t->natural && finish(s, t->natural);
		return false;
	}
	return step_definition(s, op, ret_done);
}

static bool same_question(const struct subject *a, const struct subject *b)
{
	return a->in_memory == b->in_memory && a->reg == b->reg && a->base == b->base && a->width == b->width &&
	       a->displacement == b->displacement && a->natural == b->natural && a->found == b->found && a->found_width == b->found_width &&
	       a->has_condition == b->has_condition && a->condition == b->condition;
}

/* 1: been there. 0: not yet, noted now. -1: too many places. */
static int visit(struct bound_search *s, uint32_t at)
{
	for (unsigned i = 0; i < *s->visit_count; i++)
		if (s->visits[i].at == at && same_question(&s->visits[i].subject, &s->subject))
			return 1;
	if (*s->visit_count == VISITS_MAX)
		return -1;
	s->visits[(*s->visit_count)++] = (struct bound_visit){at, s->subject};
	return 0;
}

static void pass_branch(struct bound_search *s, uint32_t from, bool taken)
{
	const struct walk_insn *i = walk_insn_at(s->w, from);
	if (!i || i->insn.kind != INSN_BRANCH)
		return;
	s->subject.has_condition = true;
	s->subject.condition = taken ? i->insn.condition : i->insn.condition ^ 1;
}

static bool bound_from(void *context, uint32_t from, bool taken)
{
	struct bound_search *outer = context, s = *outer;
	struct operation op;
	bool done = false;
	pass_branch(&s, from, taken);
	for (uint32_t at = from;; at = trace_before(s.w, at)) {
		if (++s.steps > STEPS_MAX || !trace_operation(s.w, at, &op))
			break;
		if (!step(&s, &op, &done))
			break;
		if (!(s.w->marks[at] & WALK_LEADER))
			continue;
		int been = s.depth < DEPTH_MAX ? visit(&s, at) : -1;
		done = been == 1; /* a loop or a join: the first visit decides */
		if (been)
			break;
		s.depth++;
		done = trace_predecessors(s.w, at, bound_from, &s);
		s.depth--;
		if (!done && s.subject.natural)
			done = finish(&s, s.subject.natural);
		break;
	}
	outer->bound = s.bound;
	outer->steps = s.steps;
	outer->proven_once = s.proven_once;
	return done;
}

uint64_t trace_bound(struct walk *w, uint32_t offset, uint8_t r)
{
	struct bound_visit visits[VISITS_MAX];
	unsigned visit_count = 0;
	struct bound_search s = {.w = w, .visits = visits, .visit_count = &visit_count, .subject = {.reg = r, .width = 64}};
	bool leader = w->marks[offset] & WALK_LEADER;
	uint32_t before = trace_before(w, offset);
	bool found = leader ? trace_predecessors(w, offset, bound_from, &s) : before != MAP_NONE && bound_from(&s, before, false);
	return found && s.proven_once ? s.bound : 0;
}
