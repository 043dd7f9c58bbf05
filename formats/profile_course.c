/*
 * One chunk of a recorded course, self-contained. Places go through a dictionary; then each step is its index, in recorded order: programs loop,
 * which LZ4 sees. A byte per step or more goes into LZ4, so that a reader can bound the steps of a chunk by its bytes.
 */
#include "formats/bitpack.h"
#include "formats/profile_chunks.h"

#include <string.h>
#include <sys/random.h>

#define SLOTS_MIN 1024u

void profile_course_free(struct profile_course_pending *c)
{
	vec_free(&c->places);
	vec_free(&c->steps);
	vec_free(&c->windows);
	free(c->slots);
	*c = (struct profile_course_pending){0};
}

/* Places come from files too: with a random seed none can be made to fall on one slot. */
static uint64_t seed(void)
{
	static uint64_t value;
	if (!value && getrandom(&value, sizeof value, GRND_NONBLOCK) != sizeof value)
		value = (uintptr_t)&value;
	return value | 1;
}

/* The slot of this place, or the free one where it belongs. There always is a free one. */
static size_t find_slot(const struct profile_course_pending *c, const struct profile_place *place)
{
	uint64_t z = (place->address ^ (uint64_t)place->module << 40) + seed();
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	size_t i = (size_t)(z ^ z >> 31) & (c->slot_count - 1);
	while (c->slots[i] && profile_compare_places(&c->places.data[c->slots[i] - 1], place))
		i = (i + 1) & (c->slot_count - 1);
	return i;
}

static int grow_slots(struct profile_course_pending *c)
{
	size_t count = c->slot_count ? 2 * c->slot_count : SLOTS_MIN;
	uint32_t *slots = calloc(count, sizeof *slots);
	if (!slots)
		return -1;
	free(c->slots);
	c->slots = slots;
	c->slot_count = count;
	for (size_t i = 0; i < c->places.count; i++)
		c->slots[find_slot(c, &c->places.data[i])] = (uint32_t)i + 1;
	return 0;
}

static int place_index(struct profile_course_pending *c, const struct profile_place *place, uint32_t *ret_index)
{
	if (2 * (c->places.count + 1) > c->slot_count && grow_slots(c))
		return -1;
	size_t slot = find_slot(c, place);
	if (!c->slots[slot]) {
		if (vec_push(&c->places, *place))
			return -1;
		c->slots[slot] = (uint32_t)c->places.count;
	}
	*ret_index = c->slots[slot] - 1;
	return 0;
}

/* Does the window only go on with the one that is pending last? */
static bool goes_on(const struct profile_course_pending *c, const struct profile_window *window)
{
	return c->windows.count && !window->gap && c->windows.data[c->windows.count - 1].thread == window->thread;
}

int profile_course_add(struct profile_course_pending *c, const struct profile_window *window, const struct profile_place *steps,
		       size_t count)
{
	if (vec_reserve(&c->steps, count) || vec_reserve(&c->windows, 1))
		return -1;
	for (size_t i = 0; i < count; i++)
		if (place_index(c, &steps[i], &c->steps.data[c->steps.count + i]))
			return -1;
	if (!goes_on(c, window)) {
		struct profile_window copy = *window;
		copy.first_step = (uint32_t)c->steps.count;
		copy.step_count = 0;
		c->windows.data[c->windows.count++] = copy;
	}
	c->windows.data[c->windows.count - 1].step_count += (uint32_t)count;
	c->steps.count += count;
	return 0;
}

struct numbered {
	struct profile_place place;
	uint32_t number; /* in the order of coming */
};

/* Sorts the places and gives the steps their new numbers. */
static int sort_places(struct profile_course_pending *c)
{
	size_t count = c->places.count;
	struct numbered *sorted = calloc(count, sizeof *sorted);
	uint32_t *position = calloc(count, sizeof *position);
	if (!sorted || !position) {
		free(sorted);
		free(position);
		return -1;
	}
	for (size_t i = 0; i < count; i++)
		sorted[i] = (struct numbered){c->places.data[i], (uint32_t)i};
	qsort(sorted, count, sizeof *sorted, profile_compare_places); /* the place is the first member */
	for (size_t i = 0; i < count; i++) {
		c->places.data[i] = sorted[i].place;
		position[sorted[i].number] = (uint32_t)i;
	}
	for (size_t i = 0; i < c->steps.count; i++)
		c->steps.data[i] = position[c->steps.data[i]];
	free(sorted);
	free(position);
	return 0;
}

static void put_windows(struct writer *raw, const struct profile_window *windows, size_t count, uint64_t *column)
{
	uint64_t before = 0;
	column_put(raw, count);
	for (size_t i = 0; i < count; i++)
		column[i] = windows[i].thread;
	bitpack_put(raw, column, count, 0);
	for (size_t i = 0; i < count; i++) {
		uint64_t time = windows[i].time_ns / PROFILE_TIME_UNIT_NS;
		column[i] = zigzag(time - before);
		before = time;
	}
	bitpack_put(raw, column, count, 0);
	for (size_t i = 0; i < count; i++)
		column[i] = windows[i].step_count - 1;
	bitpack_put(raw, column, count, 0);
	for (size_t i = 0; i < count; i++)
		column[i] = windows[i].gap;
	bitpack_put(raw, column, count, 0);
}

void profile_put_course(struct container_writer *cw, struct writer *w, struct profile_course_pending *c)
{
	struct writer raw = {0};
	size_t room = c->places.count > c->windows.count ? c->places.count : c->windows.count;
	uint64_t *column = calloc(room, sizeof *column);
	if (!column || sort_places(c)) {
		raw.failed = true;
	} else {
		column_put(&raw, c->steps.count);
		profile_put_places(&raw, c->places.data, c->places.count, column);
		put_windows(&raw, c->windows.data, c->windows.count, column);
		for (size_t i = 0; i < c->steps.count; i++)
			column_put(&raw, c->steps.data[i]);
	}
	free(column);
	w->failed |= raw.failed;
	container_put_chunk(cw, w, PROFILE_CHUNK_COURSE, 0, raw.data, raw.size);
	writer_free(&raw);
	c->places.count = c->steps.count = c->windows.count = 0;
	if (c->slot_count)
		memset(c->slots, 0, c->slot_count * sizeof *c->slots);
}
