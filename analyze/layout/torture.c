#include "analyze/layout/torture.h"

#include "analyze/layout/random.h"
#include "analyze/layout/select.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define SCATTERED 4 /* one function in so many */

struct work {
	const struct cfg_index *index;
	uint64_t seed;
	uint32_t *place;     /* [block_count] of a block that waits: its index in `waiting`; NONE otherwise */
	uint32_t *waiting;   /* the blocks of the function under work that stand nowhere yet */
	uint32_t *together;  /* blocks in the order of their functions */
	uint32_t *scattered; /* blocks that go anywhere */
	uint32_t *order;     /* the functions, roots of groups, in random order */
	uint8_t *left;	     /* [function_count] by root: its blocks stand nowhere yet */
	size_t waiting_count, together_count, scattered_count, order_count;
};

static void shuffle(uint64_t *seed, uint32_t *data, size_t count)
{
	for (size_t i = count; i > 1; i--) { /* Fisher and Yates */
		size_t k = random_below(seed, i);
		uint32_t swap = data[i - 1];
		data[i - 1] = data[k];
		data[k] = swap;
	}
}

static void wait_for_place(struct work *w, uint32_t block)
{
	w->place[block] = (uint32_t)w->waiting_count;
	w->waiting[w->waiting_count++] = block;
}

static void take(struct work *w, uint32_t block)
{
	uint32_t last = w->waiting[--w->waiting_count];
	w->waiting[w->place[block]] = last;
	w->place[last] = w->place[block];
	w->place[block] = NONE;
}

/* Draws which blocks of a group are moved; they wait then. */
static void draw_blocks(struct work *w, uint32_t group)
{
	static const uint32_t share[] = {0, 16, 4, 2}; /* one in so many stays out */
	const struct cfg_index *x = w->index;
	uint32_t out = share[random_below(&w->seed, sizeof share / sizeof *share)];
	for (uint32_t i = x->group_first[group]; i < x->group_first[group + 1]; i++) {
		const struct map_function *f = &x->map->functions[x->group_functions[i]];
		for (uint32_t b = f->first_block; b < f->first_block + f->block_count; b++)
			if (select_allowed(x, b) && (!out || random_below(&w->seed, out)))
				wait_for_place(w, b);
	}
}

static void place_block(struct work *w, uint32_t block)
{
	take(w, block);
	w->together[w->together_count++] = block;
}

static bool waits(const struct work *w, uint32_t block)
{
	return block < w->index->map->block_count && w->place[block] != NONE;
}

/* The block that stands behind `block`; some wait. */
static uint32_t draw_next(struct work *w, uint32_t block)
{
	const struct map_block *b = &w->index->map->blocks[block];
	uint64_t way = random_below(&w->seed, 5);
	if (way < 2 && waits(w, b->next))
		return b->next;
	if (way >= 2 && way < 4 && waits(w, b->taken))
		return b->taken;
	return w->waiting[random_below(&w->seed, w->waiting_count)];
}

/* Every other function begins with its entry, so that who jumps to it can fall into it. Those before it may have left it last. */
static void place_together(struct work *w, uint32_t group)
{
	uint32_t entry = w->index->map->functions[group].first_block;
	uint32_t block = random_below(&w->seed, 2) && waits(w, entry) ? entry : w->waiting[random_below(&w->seed, w->waiting_count)];
	place_block(w, block);
	while (w->waiting_count) {
		block = draw_next(w, block);
		place_block(w, block);
	}
}

static void place_group(struct work *w, uint32_t group)
{
	w->left[group] = 0;
	draw_blocks(w, group);
	bool scatter = !random_below(&w->seed, SCATTERED);
	if (!scatter && w->waiting_count)
		place_together(w, group);
	while (w->waiting_count) {
		uint32_t block = w->waiting[w->waiting_count - 1];
		take(w, block);
		w->scattered[w->scattered_count++] = block;
	}
}

/* The function that the last block so far jumps to, where it stands nowhere yet, so that the jump may vanish; NONE: no such. */
static uint32_t jumped_to(const struct work *w)
{
	if (!w->together_count)
		return NONE;
	const struct map_block *b = &w->index->map->blocks[w->together[w->together_count - 1]];
	if (b->terminator != MAP_JUMP || b->taken >= w->index->map->block_count)
		return NONE;
	uint32_t group = cfg_group_of_block(w->index, b->taken);
	return w->left[group] ? group : NONE;
}

static void place_groups(struct work *w)
{
	for (size_t i = 0; i < w->order_count; i++) {
		if (!w->left[w->order[i]])
			continue;
		place_group(w, w->order[i]);
		for (uint32_t next; (next = jumped_to(w)) != NONE;)
			place_group(w, next);
	}
}

/* Scattered blocks between the others, both in their order. */
static void merge(struct work *w, uint32_t *blocks)
{
	size_t together = 0, scattered = 0, count = w->together_count + w->scattered_count;
	for (size_t i = 0; i < count; i++) {
		bool one = random_below(&w->seed, count - i) < w->scattered_count - scattered;
		blocks[i] = one ? w->scattered[scattered++] : w->together[together++];
	}
}

/* Leaves the order alone, so that a part of a layout is the same for any range. */
static size_t keep_range(const struct cfg_index *x, const struct layout_options *o, uint32_t *blocks, size_t count)
{
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t start = map_vaddr(x->map, x->map->functions[cfg_group_of_block(x, blocks[i])].start).v;
		if (start >= o->torture_first.v && start <= o->torture_last.v)
			blocks[kept++] = blocks[i];
	}
	return kept;
}

static int make(struct work *w, const struct layout_options *options, struct layout *ret_layout, struct err *e)
{
	const struct map *map = w->index->map;
	size_t blocks = (size_t)map->block_count + 1, functions = (size_t)map->function_count + 1;
	w->place = malloc(blocks * sizeof *w->place);
	w->waiting = malloc(blocks * sizeof *w->waiting);
	w->together = malloc(blocks * sizeof *w->together);
	w->scattered = malloc(blocks * sizeof *w->scattered);
	w->order = malloc(functions * sizeof *w->order);
	w->left = calloc(functions, 1);
	uint32_t *result = malloc(blocks * sizeof *result);
	if (!w->place || !w->waiting || !w->together || !w->scattered || !w->order || !w->left || !result) {
		free(result);
		return err_set(e, ERR_MEMORY, "no memory for the layout");
	}
	memset(w->place, 0xff, blocks * sizeof *w->place);
	for (uint32_t f = 0; f < map->function_count; f++)
		if (w->index->group_of_function[f] == f)
			w->left[w->order[w->order_count++] = f] = 1;
	shuffle(&w->seed, w->order, w->order_count);
	place_groups(w);
	shuffle(&w->seed, w->scattered, w->scattered_count);
	merge(w, result);
	size_t count = w->together_count + w->scattered_count;
	if (options->torture_last.v)
		count = keep_range(w->index, options, result, count);
	*ret_layout = (struct layout){result, count};
	return 0;
}

int torture_layout(const struct cfg_index *index, const struct layout_options *options, struct layout *ret_layout, struct err *e)
{
	struct work w = {.index = index, .seed = options->torture_seed};
	int status = make(&w, options, ret_layout, e);
	free(w.place);
	free(w.waiting);
	free(w.together);
	free(w.scattered);
	free(w.order);
	free(w.left);
	return status;
}
