/* The second opinion on dead flags: another decoder, a search forward instead of liveness backward, no map. */
#include "analyze/code/flags.h"

#include "analyze/code/insn.h"

#define SEARCH_MAX 256 /* instructions looked at */

/* Places still to be looked at, and the flags that were not overwritten on the way there. */
struct search {
	struct insn_second *second;
	const struct image *image;
	struct {
		uint64_t at;
		uint8_t open;
	} list[SEARCH_MAX];
	unsigned count;
};

static bool search_add(struct search *s, uint64_t at, uint8_t open)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->list[i].at == at && (s->list[i].open & open) == open)
			return true;
	if (s->count == SEARCH_MAX)
		return false;
	s->list[s->count].at = at;
	s->list[s->count++].open = open;
	return true;
}

/* Does a jump at `from` lead to the start of another function? */
static bool is_tail_call(const struct image *image, uint64_t from, uint64_t target)
{
	size_t here = image_fde_at(image, from), there = image_fde_at(image, target);
	return there != SIZE_MAX && there != here && image->fdes[there].start == target;
}

/* One instruction of the original: false when it reads a flag that is open, or cannot be followed. */
static bool search_step(struct search *s, uint64_t at, uint8_t open)
{
	struct insn i;
	uint8_t read, written;
	size_t left;
	const uint8_t *bytes = image_bytes_left(s->image, (vaddr){at}, &left);
	if (!bytes || insn_second_decode(s->second, bytes, left, (vaddr){at}, &i) ||
	    insn_second_flags(s->second, bytes, left, &read, &written))
		return false;
	if (read & open)
		return false;
	open &= (uint8_t)~written;
	if (!open || i.kind == INSN_CALL || i.kind == INSN_CALL_INDIRECT || i.kind == INSN_RETURN || i.kind == INSN_STOP)
		return true;
	if (i.kind == INSN_JUMP_INDIRECT || i.kind == INSN_UNSUPPORTED)
		return i.kind == INSN_JUMP_INDIRECT && i.rip_field; /* a stub of the PLT: a call */
	bool direct = i.kind == INSN_JUMP || i.kind == INSN_BRANCH || i.kind == INSN_BRANCH_SHORT;
	if (direct && !is_tail_call(s->image, at, i.target) && !search_add(s, i.target, open))
		return false;
	return i.kind == INSN_JUMP || search_add(s, at + i.length, open);
}

bool flags_dead_second(struct insn_second *second, const struct image *image, vaddr at)
{
	struct search s;
	s.second = second;
	s.image = image;
	s.count = 0;
	if (!search_add(&s, at.v, INSN_FLAGS))
		return false;
	for (unsigned i = 0; i < s.count; i++)
		if (!search_step(&s, s.list[i].at, s.list[i].open))
			return false;
	return true;
}
