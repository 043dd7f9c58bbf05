/*
 * exits: how often control left the image of a plan, where and why, from the counters of that image (plan --count-exits).
 *
 * An exit is one transfer of control from an instruction of the image to original code, in this module or another one; formats/plan.md says
 * what is one and what is not. What a branch, call or switch of the image does follows from counters. Where an indirect call goes is known
 * from readings (apply/count.h), and whether a return leaves the image from who called: those are estimates, and marked so.
 */
#ifndef ANALYZE_LAYOUT_EXITS_H
#define ANALYZE_LAYOUT_EXITS_H

#include "analyze/elf/image.h"
#include "analyze/layout/complete.h"
#include "formats/base/vec.h"

/* X(name, key, text) */
#define EXITS_KINDS(X)                                                                                                                     \
	X(BRANCH, "branch", "branches to blocks that are not in the image")                                                                \
	X(TAIL, "tail", "jumps to functions that are not in the image")                                                                    \
	X(CALL, "call", "calls of functions that are not in the image")                                                                    \
	X(SLOT, "slot", "calls and jumps through slots (PLT, GOT)")                                                                        \
	X(POINTER, "pointer", "calls through pointers")                                                                                    \
	X(TABLE, "table", "switches: jumps through tables")                                                                                \
	X(JUMP, "jump", "other indirect jumps")                                                                                            \
	X(RETURN, "return", "returns to code that is not in the image (estimated)")

enum exits_kind {
#define X(name, key, text) EXITS_##name,
	EXITS_KINDS(X)
#undef X
	    EXITS_KIND_COUNT
};

/* One place where the image is left. */
struct exits_place {
	uint64_t from,
	    to; /* vaddr of the original instruction (RETURN: of its function) and of where it goes; to 0: not known, or more than one */
	uint64_t count;
	uint64_t back;		      /* of these: a patch stands where they lead, so control is back in the image at once */
	uint64_t nowhere;	      /* of these: it is not known where they lead */
	uint32_t subject, to_subject; /* indices; to_subject == the number of subjects: none of them */
	uint8_t kind;		      /* enum exits_kind */
};

struct exits_sum {
	uint64_t count, back, nowhere;
	uint32_t places;
};

/* One module. */
struct exits_module {
	struct exits_sum sums[EXITS_KIND_COUNT];
	uint64_t instructions; /* of the original program, executed in the image; what was added to it does not count */
	uint64_t entered;      /* from code outside the image, at the start of functions: estimated as returns are */
	uint64_t reentered;    /* through patches inside functions, after whatever exit */
	uint64_t made_direct;  /* calls and jumps through slots that apply made direct, to the image: no exits, in a file they were */
	uint32_t ways, unsure; /* branches that leave the image and were executed; how often is not known for sure */
	uint64_t unsure_most;  /* executions of the latter, taken or not */
};

struct exits {
	struct exits_module *modules;	/* [subjects] */
	VEC(struct exits_place) places; /* most first */
};

/* One module of the plan with all that is known about it. */
struct exits_subject {
	const struct map *map;
	const struct image *image;
	const struct plan_module *plan;
	const struct complete *complete;
	uint32_t module; /* its number in the profile */
};

/* `counts` is what repave-apply count made of the plan. ERR_MEMORY. */
int exits_find(const struct exits_subject *subjects, size_t count, const struct profile *counts, struct exits *ret_exits,
	       struct err *e) MUST_CHECK;
void exits_free(struct exits *x);

const char *exits_kind_key(unsigned kind);
const char *exits_kind_text(unsigned kind);

#endif
