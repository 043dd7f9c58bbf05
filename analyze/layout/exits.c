#include "analyze/layout/exits.h"

#include "analyze/code/insn.h"
#include "analyze/layout/exits_parts.h"

#include <stdlib.h>

const char *exits_kind_key(unsigned kind)
{
	static const char *const keys[] = {
#define X(name, key, text) key,
	    EXITS_KINDS(X)
#undef X
	};
	return kind < EXITS_KIND_COUNT ? keys[kind] : "?";
}

const char *exits_kind_text(unsigned kind)
{
	static const char *const texts[] = {
#define X(name, key, text) text,
	    EXITS_KINDS(X)
#undef X
	};
	return kind < EXITS_KIND_COUNT ? texts[kind] : "?";
}

void exits_free(struct exits *x)
{
	free(x->modules);
	vec_free(&x->places);
	*x = (struct exits){0};
}

void exits_add(struct exits_work *w, struct exits_place place)
{
	struct exits_sum *sum = &w->result->modules[place.subject].sums[place.kind];
	if (!place.count)
		return;
	sum->count += place.count;
	sum->back += place.back;
	sum->nowhere += place.nowhere;
	sum->places++;
	w->failed |= vec_push(&w->result->places, place) != 0;
}

/* Patches are sorted by address. That of a function's start may stand behind its first instruction. */
bool exits_leads_back(const struct exits_subject *s, uint32_t offset)
{
	const struct plan_module *m = s->plan;
	uint32_t low = 0, high = m->patch_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (m->patches[middle].at < offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == m->patch_count)
		return false;
	const struct plan_patch *p = &m->patches[low];
	return p->at == offset || (p->kind == PLAN_PATCH_ENTRY && m->functions[p->function].start == offset);
}

uint32_t exits_subject_of(const struct exits_work *w, uint32_t module)
{
	uint32_t i = 0;
	while (i < w->count && (module == PROFILE_NO_MODULE || w->subjects[i].module != module))
		i++;
	return i;
}

static bool is_start(const struct map *map, uint32_t function, uint32_t block)
{
	return map->functions[function].start == map->blocks[block].start;
}

uint32_t exits_group_starting(const struct exits_work *w, uint32_t subject, uint32_t offset)
{
	const struct exits_subject *s = &w->subjects[subject];
	uint32_t block = map_block_at(s->map, offset);
	if (block == MAP_NONE || s->map->blocks[block].start != offset || !s->complete->there[block])
		return MAP_NONE;
	uint32_t function = w->index[subject].function_of_block[block];
	return is_start(s->map, function, block) ? w->index[subject].group_of_function[function] : MAP_NONE;
}

/* Does the copy of `from` lead to a copy of `to`? As emit_edge_to decides it: never into the middle of another function's. */
static bool stays(const struct exits_work *w, uint32_t subject, uint32_t from, uint32_t to)
{
	const struct exits_subject *s = &w->subjects[subject];
	const uint32_t *function = w->index[subject].function_of_block;
	return to != MAP_NONE && s->complete->there[to] && (function[from] == function[to] || is_start(s->map, function[to], to));
}

/* Text offset of the block's last instruction, and where it leads when it is a branch. */
static uint32_t last_instruction(const struct exits_subject *s, uint32_t block, struct insn *ret_insn)
{
	const struct map_block *b = &s->map->blocks[block];
	const uint8_t *bytes = image_bytes(s->image, map_vaddr(s->map, b->start), b->size);
	uint32_t at = 0;
	*ret_insn = (struct insn){0};
	while (bytes && !insn_decode(bytes + at, b->size - at, map_vaddr(s->map, b->start + at), ret_insn) &&
	       at + ret_insn->length < b->size)
		at += ret_insn->length;
	return b->start + at;
}

/* One direct way from the end of a block: along it control stays, or leaves. */
static void follow_edge(struct exits_work *w, uint32_t subject, uint32_t block, bool taken, uint64_t count)
{
	const struct exits_subject *s = &w->subjects[subject];
	const struct map_block *b = &s->map->blocks[block];
	const struct cfg_index *x = &w->index[subject];
	struct exits_module *m = &w->result->modules[subject];
	uint32_t to = taken ? b->taken : b->next, group = cfg_group_of_block(x, block);
	bool other = to != MAP_NONE && cfg_group_of_block(x, to) != group;
	if (stays(w, subject, block, to)) {
		if (other && count)
			w->failed |=
			    vec_push(&w->tails, ((struct exits_tail){subject, group, subject, cfg_group_of_block(x, to), (double)count})) !=
			    0;
		return;
	}
	struct insn last;
	uint32_t site = last_instruction(s, block, &last);
	uint32_t offset = to != MAP_NONE ? s->map->blocks[to].start
			  : taken	 ? (uint32_t)(last.target - s->map->text_base)
					 : b->start + b->size;
	bool unsure = s->complete->unsure[block] & (taken ? 1 : 2);
	m->ways++;
	m->unsure += unsure;
	m->unsure_most += unsure ? s->complete->inside[block] : 0;
	if (!other)
		w->entries[subject][group].left += (double)count;
	exits_add(w, (struct exits_place){.from = map_vaddr(s->map, site).v,
					  .to = map_vaddr(s->map, offset).v,
					  .count = count,
					  .back = exits_leads_back(s, offset) ? count : 0,
					  .subject = subject,
					  .to_subject = subject,
					  .kind = other && (s->map->blocks[to].flags & MAP_BLOCK_ENTRY) ? EXITS_TAIL : EXITS_BRANCH});
}

static void follow_call(struct exits_work *w, uint32_t subject, const struct map_call *call, uint64_t count)
{
	const struct exits_subject *s = &w->subjects[subject];
	uint32_t group = exits_group_starting(w, subject, call->target);
	if (group != MAP_NONE) {
		w->entries[subject][group].calls += (double)count;
		return;
	}
	uint32_t block = map_block_at(s->map, call->target);
	if (block != MAP_NONE && s->map->blocks[block].start == call->target && stays(w, subject, call->block, block))
		return;
	exits_add(w, (struct exits_place){.from = map_vaddr(s->map, call->site).v,
					  .to = map_vaddr(s->map, call->target).v,
					  .count = count,
					  .back = exits_leads_back(s, call->target) ? count : 0,
					  .subject = subject,
					  .to_subject = subject,
					  .kind = EXITS_CALL});
}

static bool is_slot(const struct exits_subject *s, const struct map_call *call)
{
	struct insn i;
	const uint8_t *bytes = image_bytes(s->image, map_vaddr(s->map, call->site), call->size);
	return call->kind == MAP_CALL_IMPORT ||
	       (bytes && !insn_decode(bytes, call->size, map_vaddr(s->map, call->site), &i) && i.rip_field);
}

/* Calls of the block; *ret_tail: it ends with a jump to another module. */
static void follow_calls(struct exits_work *w, uint32_t subject, uint32_t block, bool *ret_tail)
{
	const struct exits_subject *s = &w->subjects[subject];
	const struct map_block *b = &s->map->blocks[block];
	uint64_t count = s->complete->inside[block];
	*ret_tail = false;
	for (uint32_t i = map_call_from(s->map, b->start); i < s->map->call_count && s->map->calls[i].site < b->start + b->size; i++) {
		const struct map_call *call = &s->map->calls[i];
		if (call->kind == MAP_CALL_DIRECT) {
			follow_call(w, subject, call, count);
		} else {
			*ret_tail = call->kind == MAP_TAIL_IMPORT;
			exits_add_indirect(w, subject, block, call->site, *ret_tail || is_slot(s, call) ? EXITS_SLOT : EXITS_POINTER,
					   !*ret_tail);
		}
	}
}

/* All targets of a table are original code. What came in through the patches that stand there is known, and shared out in complete.c. */
static void follow_table(struct exits_work *w, uint32_t subject, uint32_t block, uint32_t table)
{
	const struct exits_subject *s = &w->subjects[subject];
	const struct map_table *t = &s->map->tables[table];
	uint64_t count = s->complete->inside[block], back = 0;
	struct insn last;
	for (uint32_t i = t->first; i < t->first + t->count; i++)
		if (exits_leads_back(s, s->map->blocks[s->map->table_targets[i]].start))
			back += s->complete->table[i];
	w->entries[subject][cfg_group_of_block(&w->index[subject], block)].left += (double)count;
	exits_add(w, (struct exits_place){.from = map_vaddr(s->map, last_instruction(s, block, &last)).v,
					  .count = count,
					  .back = back < count ? back : count,
					  .subject = subject,
					  .to_subject = subject,
					  .kind = EXITS_TABLE});
}

static void follow_block(struct exits_work *w, uint32_t subject, uint32_t block)
{
	const struct exits_subject *s = &w->subjects[subject];
	const struct complete *c = s->complete;
	const struct map_block *b = &s->map->blocks[block];
	uint32_t table = w->index[subject].table_of_block[block];
	struct insn last;
	bool tail;
	w->result->modules[subject].instructions += c->inside[block] * b->insns;
	follow_calls(w, subject, block, &tail);
	switch (b->terminator) {
	case MAP_BRANCH:
		follow_edge(w, subject, block, true, c->taken[block]);
		follow_edge(w, subject, block, false, c->next[block]);
		break;
	case MAP_JUMP:
		if (!tail)
			follow_edge(w, subject, block, true, c->inside[block]);
		break;
	case MAP_FALLS:
		follow_edge(w, subject, block, false, c->inside[block]);
		break;
	case MAP_JUMP_INDIRECT:
		if (table != MAP_NONE)
			follow_table(w, subject, block, table);
		else if (!tail)
			exits_add_indirect(w, subject, block, last_instruction(s, block, &last), EXITS_JUMP, false);
		break;
	}
}

static int compare_places(const void *va, const void *vb)
{
	const struct exits_place *a = va, *b = vb;
	if (a->count != b->count)
		return a->count > b->count ? -1 : 1;
	if (a->subject != b->subject)
		return a->subject < b->subject ? -1 : 1;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	if (a->to != b->to)
		return a->to < b->to ? -1 : 1;
	return (a->kind > b->kind) - (a->kind < b->kind);
}

static int open_work(struct exits_work *w, struct err *e)
{
	w->index = calloc(w->count + 1, sizeof *w->index);
	w->entries = calloc(w->count + 1, sizeof *w->entries);
	w->result->modules = calloc(w->count + 1, sizeof *w->result->modules);
	w->failed = !w->index || !w->entries || !w->result->modules;
	int status = 0;
	for (size_t i = 0; i < w->count && !w->failed && !status; i++) {
		w->entries[i] = calloc((size_t)w->subjects[i].map->function_count + 1, sizeof *w->entries[i]);
		w->failed |= !w->entries[i];
		status = cfg_index_init(&w->index[i], w->subjects[i].map, e);
	}
	return status;
}

static void close_work(struct exits_work *w)
{
	for (size_t i = 0; w->index && i < w->count; i++)
		cfg_index_free(&w->index[i]);
	for (size_t i = 0; w->entries && i < w->count; i++)
		free(w->entries[i]);
	free(w->index);
	free(w->entries);
	vec_free(&w->tails);
}

int exits_find(const struct exits_subject *subjects, size_t count, const struct profile *counts, struct exits *ret_exits, struct err *e)
{
	struct exits result = {0};
	struct exits_work w = {.subjects = subjects, .count = count, .profile = counts, .result = &result};
	int status = open_work(&w, e);
	for (uint32_t i = 0; i < count && !status && !w.failed; i++)
		for (uint32_t b = 0; b < subjects[i].map->block_count; b++)
			if (subjects[i].complete->inside[b])
				follow_block(&w, i, b);
	if (!status && !w.failed)
		w.failed |= exits_add_returns(&w) != 0;
	if (!status && w.failed)
		status = err_set(e, ERR_MEMORY, "no memory for the exits");
	close_work(&w);
	if (status) {
		exits_free(&result);
		return status;
	}
	if (result.places.count)
		qsort(result.places.data, result.places.count, sizeof *result.places.data, compare_places);
	*ret_exits = result;
	return 0;
}
