/*
 * Order does not matter to counts, so each chunk is first summed up as pairs of steps that follow one another; a hot program has some thousand
 * different ones in a million. Then for each pair: everything from the one step up to the transfer that led to the other was executed that often.
 */
#include "analyze/layout/course.h"

#include "analyze/elf/image.h"
#include "analyze/layout/executions.h"

#include <stdlib.h>
#include <string.h>

#define RUN_MAX 256 /* blocks run through in a row */
#define PAIRS_MIN 4096u
#define INSN_PREFIXES 4 /* repeat, operand size, address size, REX */

struct module {
	const struct map *map;
	struct image image;
	uint64_t *block, *taken, *table; /* executions, see executions.h */
	uint32_t *table_of;		 /* by block, MAP_NONE: none */
	bool *is_stub;			 /* by block: of the PLT */
	uint32_t number;		 /* in the profile */
	bool opened;
};

/* A step's place. */
struct spot {
	const struct module *module; /* NULL: no map */
	struct profile_place place;
	uint32_t offset, block; /* in the map */
};

struct pair {
	uint32_t from, to; /* spots of the chunk */
	uint64_t count;	   /* 0: free */
};

/* Where a thread's course stands. */
struct thread {
	uint32_t id;
	uint64_t used;
	bool is_known; /* of the last step */
	struct spot last;
};

struct counting {
	struct err *e;
	struct module *modules;
	size_t module_count;
	VEC(const struct module *) by_number; /* of the profile's modules */
	VEC(struct spot) spots;
	struct pair *pairs; /* [pair_capacity] hash table */
	size_t pair_count, pair_capacity;
	struct thread threads[COURSE_THREADS_MAX];
	size_t thread_count;
	uint64_t windows;
	struct executions executions;
};

static int no_memory(const struct counting *c)
{
	return err_set(c->e, ERR_MEMORY, "no memory to count a course");
}

/* --- modules --- */

static void module_close(struct module *m)
{
	if (m->opened)
		image_close(&m->image);
	free(m->block);
	free(m->taken);
	free(m->table);
	free(m->table_of);
	free(m->is_stub);
}

static int module_open(struct counting *c, struct module *m, const struct map *map)
{
	size_t blocks = (size_t)map->block_count + 1;
	m->map = map;
	if (image_open(map->module.path, &m->image, NULL))
		return 0; /* then it is as if there were no map */
	m->opened = true;
	m->block = calloc(blocks, sizeof *m->block);
	m->taken = calloc(blocks, sizeof *m->taken);
	m->table = calloc((size_t)map->table_target_count + 1, sizeof *m->table);
	m->table_of = malloc(blocks * sizeof *m->table_of);
	m->is_stub = calloc(blocks, sizeof *m->is_stub);
	if (!m->block || !m->taken || !m->table || !m->table_of || !m->is_stub)
		return no_memory(c);
	memset(m->table_of, 0xff, blocks * sizeof *m->table_of);
	for (uint32_t t = map->table_count; t-- > 0;)
		m->table_of[map->tables[t].block] = t;
	for (uint32_t i = 0; i < map->import_count; i++) {
		uint32_t block = map->imports[i].stub == MAP_NONE ? MAP_NONE : map_block_at(map, map->imports[i].stub);
		if (block != MAP_NONE)
			m->is_stub[block] = true;
	}
	return 0;
}

static int open_modules(struct counting *c, const struct map *const *maps, size_t map_count, const struct profile *profile)
{
	int status = 0;
	c->modules = calloc(map_count + 1, sizeof *c->modules);
	if (!c->modules)
		return no_memory(c);
	for (size_t i = 0; i < map_count && !status; i++) {
		uint32_t number = profile_find_module(profile, &maps[i]->module);
		struct module *m = &c->modules[c->module_count];
		if (number == PROFILE_NO_MODULE)
			continue;
		m->number = number;
		status = module_open(c, m, maps[i]);
		c->module_count++;
		if (!status && m->opened && !module_same(&m->image.identity, &maps[i]->module)) {
			module_close(m);
			*m = (struct module){0};
			c->module_count--;
		}
	}
	return status;
}

static const struct module *module_of(const struct counting *c, const struct module_identity *identity)
{
	for (size_t i = 0; i < c->module_count; i++)
		if (c->modules[i].opened && module_same(&c->modules[i].map->module, identity))
			return &c->modules[i];
	return NULL;
}

/* --- what a step executed --- */

/* How a run from a spot ends: at a call, or at the end of a block. */
struct end {
	uint32_t block, call; /* call: MAP_NONE, none */
	uint32_t last;	      /* offset of the call, or of the end of the block */
};

static struct end end_in_block(const struct map *map, uint32_t block, uint32_t offset)
{
	uint32_t end = map->blocks[block].start + map->blocks[block].size, call = map_call_from(map, offset);
	if (call < map->call_count && map->calls[call].site < end)
		return (struct end){block, call, map->calls[call].site};
	return (struct end){block, MAP_NONE, end};
}

/* Does `to` only go on with what the run from `offset` executes anyway? */
static bool is_inside(const struct spot *from, const struct spot *to, uint32_t offset, const struct end *end)
{
	return to && to->module == from->module && to->offset > offset &&
	       (to->offset < end->last || (end->call != MAP_NONE && to->offset == end->last));
}

/* Is it a string instruction with a repeat prefix? Each repetition is a step. */
static bool repeats(const struct spot *s)
{
	const uint8_t *bytes = image_bytes(&s->module->image, (vaddr){s->place.address}, INSN_PREFIXES + 1);
	bool has_repeat = false;
	for (int i = 0; bytes && i <= INSN_PREFIXES; i++) {
		uint8_t b = bytes[i];
		if (b >= 0xa4 && b <= 0xaf && b != 0xa8 && b != 0xa9) /* movs cmps, stos lods scas */
			return has_repeat;
		if (b != 0xf2 && b != 0xf3 && b != 0x66 && b != 0x67 && (b & 0xf0) != 0x40)
			return false;
		has_repeat |= b == 0xf2 || b == 0xf3;
	}
	return false;
}

static uint64_t address_of(const struct module *m, uint32_t offset)
{
	return map_vaddr(m->map, offset).v;
}

static void add_edge(struct counting *c, const struct module *m, uint64_t from, const struct spot *to, uint64_t count,
		     enum profile_edge_kind kind)
{
	executions_add_edge(&c->executions, (struct profile_edge){.from = from,
								  .to = to->place.address,
								  .count = count,
								  .from_module = m->number,
								  .to_module = to->place.module,
								  .kind = (uint8_t)kind});
}

static void leave_by_call(struct counting *c, const struct spot *from, const struct end *end, const struct spot *to, uint64_t count)
{
	const struct map_call *call = &from->module->map->calls[end->call];
	/* Direct calls follow from the counts of their blocks. */
	if (call->kind != MAP_CALL_DIRECT)
		add_edge(c, from->module, address_of(from->module, call->site), to, count, PROFILE_EDGE_CALL);
}

static void leave_by_jump(struct counting *c, const struct module *m, uint32_t block, const struct spot *to, uint64_t count)
{
	const struct map *map = m->map;
	const struct map_block *b = &map->blocks[block];
	bool ours = to->module == m && to->offset == map->blocks[to->block].start;
	if (ours && (b->terminator == MAP_JUMP || b->terminator == MAP_BRANCH) && b->taken == to->block) {
		m->taken[block] += count;
		return;
	}
	if (b->terminator != MAP_JUMP && b->terminator != MAP_JUMP_INDIRECT)
		return; /* falls through, returns, or a signal came */
	const struct map_table *t = m->table_of[block] == MAP_NONE ? NULL : &map->tables[m->table_of[block]];
	for (uint32_t i = 0; ours && t && i < t->count; i++)
		if (map->table_targets[t->first + i] == to->block) {
			m->table[t->first + i] += count;
			return;
		}
	add_edge(c, m, executions_last(map, &m->image, block), to, count, PROFILE_EDGE_JUMP);
}

/* The run from `from` up to the transfer to `to` (NULL: not known) was executed `count` times. */
static void add_run(struct counting *c, const struct spot *from, const struct spot *to, uint64_t count)
{
	const struct module *m = from->module;
	bool again = m && to && to->module == m && to->offset == from->offset && repeats(from);
	if (!m || again) {
		struct profile_count one = {from->place.address, count, from->place.module};
		c->executions.failed |= vec_push(&c->executions.counts, one) != 0;
		return;
	}
	uint32_t block = from->block, offset = from->offset;
	m->block[block] += offset == m->map->blocks[block].start ? count : 0;
	for (int i = 0; i < RUN_MAX; i++) {
		const struct map_block *b = &m->map->blocks[block];
		struct end end = end_in_block(m->map, block, offset);
		if (is_inside(from, to, offset, &end))
			return;
		if (end.call != MAP_NONE) {
			if (to)
				leave_by_call(c, from, &end, to, count);
			return;
		}
		if (b->terminator != MAP_FALLS || b->next == MAP_NONE) {
			if (to)
				leave_by_jump(c, m, block, to, count);
			return;
		}
		block = b->next;
		offset = m->map->blocks[block].start;
		if (to && to->module == m && to->offset == offset)
			return; /* counted when it is left */
		m->block[block] += count;
	}
}

/* Does the run end in a call through the PLT? Then its stub is passed over. */
static bool calls_stub(const struct spot *from, const struct spot *to)
{
	if (!from->module || !to->module || !to->module->is_stub[to->block] || from->module != to->module)
		return false;
	struct end end = end_in_block(from->module->map, from->block, from->offset);
	for (int i = 0; i < RUN_MAX && end.call == MAP_NONE; i++) {
		const struct map_block *b = &from->module->map->blocks[end.block];
		if (b->terminator != MAP_FALLS || b->next == MAP_NONE)
			return false;
		end = end_in_block(from->module->map, b->next, from->module->map->blocks[b->next].start);
	}
	return end.call != MAP_NONE && from->module->map->calls[end.call].kind != MAP_CALL_DIRECT;
}

/* --- pairs --- */

static struct pair *find_pair(const struct counting *c, uint32_t from, uint32_t to)
{
	uint64_t hash = ((uint64_t)from << 32 | to) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(hash >> 32) & (c->pair_capacity - 1);
	while (c->pairs[i].count && (c->pairs[i].from != from || c->pairs[i].to != to))
		i = (i + 1) & (c->pair_capacity - 1);
	return &c->pairs[i];
}

static int grow_pairs(struct counting *c)
{
	struct pair *old = c->pairs;
	size_t old_capacity = c->pair_capacity;
	c->pair_capacity = old_capacity ? 2 * old_capacity : PAIRS_MIN;
	c->pairs = calloc(c->pair_capacity, sizeof *c->pairs);
	if (!c->pairs) {
		c->pairs = old;
		c->pair_capacity = old_capacity;
		return no_memory(c);
	}
	for (size_t i = 0; i < old_capacity; i++)
		if (old[i].count)
			*find_pair(c, old[i].from, old[i].to) = old[i];
	free(old);
	return 0;
}

static int add_pair(struct counting *c, uint32_t from, uint32_t to)
{
	if (2 * (c->pair_count + 1) > c->pair_capacity) {
		int status = grow_pairs(c);
		if (status)
			return status;
	}
	struct pair *p = find_pair(c, from, to);
	c->pair_count += !p->count;
	p->from = from;
	p->to = to;
	p->count++;
	return 0;
}

static void use_pairs(struct counting *c)
{
	for (size_t i = 0; i < c->pair_capacity; i++)
		if (c->pairs[i].count)
			add_run(c, &c->spots.data[c->pairs[i].from], &c->spots.data[c->pairs[i].to], c->pairs[i].count);
	if (c->pair_capacity)
		memset(c->pairs, 0, c->pair_capacity * sizeof *c->pairs);
	c->pair_count = 0;
}

/* --- windows --- */

static void end_thread(struct counting *c, struct thread *t)
{
	if (t->is_known)
		add_run(c, &t->last, NULL, 1);
	t->is_known = false;
}

static struct thread *thread_of(struct counting *c, uint32_t id)
{
	struct thread *oldest = &c->threads[0];
	for (size_t i = 0; i < c->thread_count; i++) {
		if (c->threads[i].id == id)
			return &c->threads[i];
		if (c->threads[i].used < oldest->used)
			oldest = &c->threads[i];
	}
	if (c->thread_count < COURSE_THREADS_MAX)
		oldest = &c->threads[c->thread_count++];
	else
		end_thread(c, oldest);
	*oldest = (struct thread){.id = id};
	return oldest;
}

static int add_window(struct counting *c, const uint32_t *steps, const struct profile_window *w)
{
	struct thread *t = thread_of(c, w->thread);
	uint32_t last = UINT32_MAX; /* none in this window */
	int status = 0;
	t->used = ++c->windows;
	if (w->gap)
		end_thread(c, t);
	for (uint32_t i = 0; i < w->step_count && !status; i++) {
		const struct spot *spot = &c->spots.data[steps[i]], *before = last == UINT32_MAX ? &t->last : &c->spots.data[last];
		bool has_before = last != UINT32_MAX || t->is_known;
		if (has_before && calls_stub(before, spot)) {
			spot->module->block[spot->block]++;
			continue;
		}
		if (last != UINT32_MAX)
			status = add_pair(c, last, steps[i]);
		else if (has_before)
			add_run(c, before, spot, 1);
		last = steps[i];
	}
	if (last != UINT32_MAX)
		t->last = c->spots.data[last];
	t->is_known |= last != UINT32_MAX;
	return status;
}

static int find_spots(struct counting *c, const struct profile *part)
{
	while (c->by_number.count < part->module_count) {
		const struct module *m = module_of(c, &part->modules[c->by_number.count]);
		if (vec_push(&c->by_number, m))
			return no_memory(c);
	}
	c->spots.count = 0;
	if (vec_reserve(&c->spots, part->place_count))
		return no_memory(c);
	for (size_t i = 0; i < part->place_count; i++) {
		struct spot s = {.place = part->places[i], .offset = MAP_NONE, .block = MAP_NONE};
		if (s.place.module != PROFILE_NO_MODULE)
			s.module = c->by_number.data[s.place.module];
		if (s.module)
			s.offset = map_offset(s.module->map, (vaddr){s.place.address});
		if (s.offset != MAP_NONE)
			s.block = map_block_at(s.module->map, s.offset);
		if (s.block == MAP_NONE)
			s.module = NULL;
		c->spots.data[c->spots.count++] = s;
	}
	return 0;
}

static int add_part(void *context, const struct profile *part, struct err *e)
{
	struct counting *c = context;
	(void)e;
	int status = part->step_count ? find_spots(c, part) : 0;
	for (size_t i = 0; i < part->window_count && !status; i++)
		status = add_window(c, part->steps + part->windows[i].first_step, &part->windows[i]);
	use_pairs(c);
	return status;
}

/* --- all of it --- */

/* Chunks name the same places again. The counts are sorted. */
static size_t add_up(struct profile_count *counts, size_t count)
{
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		if (kept && !profile_compare_counts(&counts[kept - 1], &counts[i]))
			counts[kept - 1].count += counts[i].count;
		else
			counts[kept++] = counts[i];
	}
	return kept;
}

static int finish(struct counting *c, struct profile *profile)
{
	for (size_t i = 0; i < c->thread_count; i++)
		end_thread(c, &c->threads[i]);
	for (size_t i = 0; i < c->module_count; i++) {
		const struct module *m = &c->modules[i];
		if (m->opened)
			executions_add(&c->executions,
				       &(struct executions_source){m->map, &m->image, m->block, m->taken, m->table, m->number});
	}
	int status = executions_finish(&c->executions, profile, c->e);
	if (!status) {
		c->executions = (struct executions){0}; /* the profile owns the arrays now */
		profile->count_count = add_up(profile->counts, profile->count_count);
		profile->info.source = PROFILE_EXACT;
	}
	return status;
}

bool course_is_all(const struct profile *p)
{
	return p->course.steps && !p->sample_count && !p->count_count && !p->edge_count;
}

int course_count(const void *data, size_t size, const char *name, const struct map *const *maps, size_t map_count, struct profile *profile,
		 struct err *e)
{
	struct counting *c = calloc(1, sizeof *c);
	struct profile rest;
	if (!c)
		return err_set(e, ERR_MEMORY, "no memory to count a course");
	c->e = e;
	int status = open_modules(c, maps, map_count, profile);
	if (!status)
		status = profile_walk(data, size, name, add_part, c, &rest, e);
	if (!status) {
		profile_free(&rest);
		status = finish(c, profile);
	}
	for (size_t i = 0; i < c->module_count; i++)
		module_close(&c->modules[i]);
	free(c->modules);
	free(c->pairs);
	vec_free(&c->by_number);
	vec_free(&c->spots);
	executions_free(&c->executions);
	free(c);
	return status;
}
