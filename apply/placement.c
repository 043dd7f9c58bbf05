#include "apply/placement.h"

#include <inttypes.h>
#include <string.h>

#define REACH (((uint64_t)1 << 31) - (1 << 16)) /* a little less than a signed 32-bit displacement, for instruction lengths */
#define LOWEST ((uint64_t)2 << 20)
#define HIGHEST ((uint64_t)0x7fffff000000)
#define PAGE 4096u
#define LOW_MODULE ((uint64_t)1 << 32)
/*
 * Above lie 32-bit numbers that programs like: sets of flags with the highest bit set (Python's types have one word of 0x8008xxxx each), infinities and
 * NaNs of floats, INT_MAX. In memory each looks like a saved PC to an undo that searches for them (hidden.h), and the image would stay.
 */
#define LOW_PREFERRED ((uint64_t)0x7f000000)

/*
 * What a string that ends where a pointer was makes of it: two characters, the zero and the rest of the pointer (0x7f30ab002029), or three
 * (0x7f3000202029). That, too, looks like a saved PC, and old pointers lead to where libraries are, next to which images stand.
 */
static const struct band {
	uint64_t every, size;
} bands[] = {{(uint64_t)1 << 24, (uint64_t)1 << 16}, {(uint64_t)1 << 32, (uint64_t)1 << 24}};

struct window {
	uint64_t low, high; /* the new range must lie in [low, high) */
	bool anywhere;	    /* in bands too */
};

struct best {
	uint64_t address, distance;
	bool found;
};

static uint64_t align_down(const struct placement_want *want, uint64_t v)
{
	return v & ~(want->alignment - 1);
}

static struct window reach_of(const struct placement_want *want)
{
	struct window w = {LOWEST, HIGHEST, false};
	if (want->load_high.v > REACH && want->load_high.v - REACH > w.low)
		w.low = want->load_high.v - REACH;
	if (want->load_low.v + REACH < w.high)
		w.high = want->load_low.v + REACH;
	return w;
}

/* Lower is better. Below the module beats above; a low module wants the most distant place, so that its heap has room. */
static uint64_t distance_of(const struct placement_want *want, uint64_t address)
{
	if (want->load_high.v <= LOW_MODULE)
		return HIGHEST - address;
	if (address < want->load_low.v)
		return want->load_low.v - address;
	return HIGHEST + (address - want->load_low.v);
}

static void try_address(const struct placement_want *want, uint64_t address, struct best *best)
{
	uint64_t distance = distance_of(want, address);
	if (best->found && best->distance <= distance)
		return;
	*best = (struct best){address, distance, true};
}

/* The band that [address, address + size) meets; *ret_start is where it begins. NULL: none. */
static const struct band *band_at(uint64_t address, uint64_t size, uint64_t *ret_start)
{
	for (size_t i = 0; i < sizeof bands / sizeof *bands; i++) {
		*ret_start = address & ~(bands[i].every - 1);
		if (address >= *ret_start + bands[i].size)
			*ret_start += bands[i].every;
		if (*ret_start < address + size)
			return &bands[i];
	}
	return NULL;
}

/* The highest and lowest fit of a free range. */
static void try_free(const struct placement_want *want, const struct window *gap, struct best *best)
{
	const struct band *band;
	uint64_t start, size = want->size;
	if (gap->high < gap->low || gap->high - gap->low < size)
		return;
	uint64_t highest = align_down(want, gap->high - size), lowest = align_down(want, gap->low + want->alignment - 1);
	while (!gap->anywhere && highest >= gap->low && (band = band_at(highest, size, &start)))
		highest = start >= size ? align_down(want, start - size) : 0;
	while (!gap->anywhere && lowest + size <= gap->high && (band = band_at(lowest, size, &start)))
		lowest = align_down(want, start + band->size + want->alignment - 1);
	if (highest >= gap->low)
		try_address(want, highest, best);
	if (lowest >= gap->low && lowest + size <= gap->high)
		try_address(want, lowest, best);
}

/* The free range [low, high), of which `taken` takes bites: tries each rest. */
static void try_gap(const struct placement_range *taken, size_t taken_count, const struct placement_want *want, struct window gap,
		    struct best *best)
{
	for (size_t i = 0; i < taken_count; i++) {
		uint64_t start = taken[i].start.v - PAGE, end = taken[i].start.v + taken[i].size + PAGE;
		if (end <= gap.low || start >= gap.high)
			continue;
		if (start > gap.low)
			try_gap(taken + i + 1, taken_count - i - 1, want, (struct window){gap.low, start, gap.anywhere}, best);
		if (end >= gap.high)
			return;
		gap.low = end;
	}
	try_free(want, &gap, best);
}

static bool grows(const struct procmap *m)
{
	return !strncmp(m->path, "[stack", 6);
}

static struct best find_best(const struct procmaps *maps, const struct placement_range *taken, size_t taken_count,
			     const struct placement_want *want, struct window reach)
{
	struct best best = {0};
	uint64_t low = 0;
	for (size_t i = 0; i <= maps->count; i++) {
		const struct procmap *m = i < maps->count ? &maps->maps[i] : NULL;
		struct window gap = {low + PAGE, (m ? m->start.v : HIGHEST) - PAGE, reach.anywhere};
		if (m)
			low = m->end.v;
		if (m && grows(m))
			continue;
		if (gap.low < reach.low)
			gap.low = reach.low;
		if (gap.high > reach.high)
			gap.high = reach.high;
		if (gap.low < gap.high)
			try_gap(taken, taken_count, want, gap, &best);
	}
	return best;
}

int placement_find(const struct procmaps *maps, const struct placement_range *taken, size_t taken_count, const struct placement_want *want,
		   raddr *ret_address, struct err *e)
{
	struct window reach = reach_of(want), preferred = reach;
	if (want->load_high.v <= LOW_MODULE && preferred.high > LOW_PREFERRED)
		preferred.high = LOW_PREFERRED;
	struct best best = find_best(maps, taken, taken_count, want, preferred);
	preferred.anywhere = reach.anywhere = true;
	if (!best.found)
		best = find_best(maps, taken, taken_count, want, preferred);
	if (!best.found)
		best = find_best(maps, taken, taken_count, want, reach);
	if (!best.found)
		return err_set(e, ERR_REFUSED, "no free %" PRIu64 " bytes within 2 GiB of the module at 0x%" PRIx64 "-0x%" PRIx64,
			       want->size, want->load_low.v, want->load_high.v);
	ret_address->v = best.address;
	return 0;
}
