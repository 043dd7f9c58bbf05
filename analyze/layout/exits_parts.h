/*
 * exits_parts: what the parts of exits_find share. Private to analyze/layout/exits*.c.
 */
#ifndef ANALYZE_LAYOUT_EXITS_PARTS_H
#define ANALYZE_LAYOUT_EXITS_PARTS_H

#include "analyze/layout/cfg.h"
#include "analyze/layout/exits.h"

/* Control went from one function of the image to the start of another, in the same activation: by a jump. */
struct exits_tail {
	uint32_t from_subject, from, to_subject, to; /* groups: see cfg.h */
	double count;
};

/* How a function of the image was entered; by group. */
struct exits_entries {
	double calls;	/* from the image, straight */
	double readers; /* from the image, through pointers and slots */
	double left;	/* exits of its blocks that stay in the function: branches and switches */
};

struct exits_work {
	const struct exits_subject *subjects;
	size_t count;
	const struct profile *profile;
	struct exits *result;
	struct cfg_index *index;	/* [count] */
	struct exits_entries **entries; /* [count][function_count] */
	VEC(struct exits_tail) tails;
	bool failed; /* no memory */
};

/* Adds a place and its sums; nothing when count is 0. */
void exits_add(struct exits_work *w, struct exits_place place);
/* What indirect calls and jumps of one block did. */
void exits_add_indirect(struct exits_work *w, uint32_t subject, uint32_t block, uint32_t site, enum exits_kind kind, bool call);
/* Does a patch of the plan stand at this text offset? */
bool exits_leads_back(const struct exits_subject *s, uint32_t offset);
/* Index of the subject with this module number; w->count: none. */
uint32_t exits_subject_of(const struct exits_work *w, uint32_t module);
/* The group of the function that starts at this text offset and whose start is in the image; MAP_NONE: none. */
uint32_t exits_group_starting(const struct exits_work *w, uint32_t subject, uint32_t offset);
/* Returns, and entries from outside, once all else is known. */
int exits_add_returns(struct exits_work *w) MUST_CHECK;

#endif
