/*
 * machine: executes one sequence of nodes in the original layout and in the plan's, each with caches of its own.
 *
 * What is modelled: instruction cache, TLB (4 KiB pages, and 2 MiB pages for images that get them), the set of taken branches, a branch target
 * buffer. What is not: speculation, decoders, the second-level cache, time. All counts are per instruction of the *original* program, so that
 * before and after are shares of the same work.
 *
 * The rules by which control stays in the image are the emitter's: branches inside a function and direct calls and jumps to the start of a
 * function go to the copy; what goes through a register, a table or a slot goes to the original, and comes back at the next patch.
 */
#ifndef ANALYZE_SIMULATE_MACHINE_H
#define ANALYZE_SIMULATE_MACHINE_H

#include "analyze/simulate/lru.h"
#include "analyze/simulate/place.h"

struct machine_options {
	uint64_t cache_size, cache_ways, cache_line; /* bytes, ways, bytes */
	uint64_t tlb, tlb_huge;			     /* entries */
	uint64_t btb;				     /* entries */
	bool prefetch;
};
struct machine_options machine_options_default(void);

struct machine_counts {
	uint64_t cache_misses, tlb_misses, tlb_huge_misses, btb_misses;
	uint64_t taken;		      /* taken branches, calls, returns and jumps */
	uint64_t taken_sites;	      /* different addresses of such */
	uint64_t exits;		      /* ways out of the image into original code */
	uint64_t image_insns;	      /* instructions executed in the image, in PROGRAM_INSN_UNIT */
	uint64_t bytes, lines, pages; /* executed at least once; pages of 4 KiB or, in huge pages, 2 MiB */
};

struct machine_side {
	struct lru_cache cache;
	struct lru_table tlb, tlb_huge, btb;
	struct machine_counts counts;
	uint64_t last_page;
};

/* What is counted by time, not by place. */
struct machine_sums {
	struct machine_counts before, after;
	uint64_t insns;
};

/* Where control is. */
struct machine_at {
	/* the node before; `last_after` is the one before the PLT stub when the image has no need of the stub */
	uint32_t last, last_after;
	bool in_image;	   /* it was executed in the image */
	bool through_slot; /* it went through a slot */
};
#define MACHINE_NOWHERE ((struct machine_at){.last = PROGRAM_NONE, .last_after = PROGRAM_NONE})

struct machine {
	const struct program *program;
	const struct place *place;
	struct machine_side before, after;
	uint8_t *marks; /* [node_count] bit set of what each node did */
	uint64_t insns; /* executed, in PROGRAM_INSN_UNIT, also while paused */
	struct machine_sums paused, skipped;
	struct machine_at at; /* to be exchanged when another thread goes on */
};

/* ERR_USAGE for impossible caches, ERR_MEMORY. `program` and `place` are borrowed. */
int machine_init(struct machine *m, const struct program *program, const struct place *place, const struct machine_options *options,
		 struct err *e) MUST_CHECK;
void machine_free(struct machine *m);

enum machine_way {
	MACHINE_START,	      /* no connection with the node before */
	MACHINE_ARC,	      /* along an arc of the node before */
	MACHINE_RETURN,	      /* to the node after a call that was made from the original */
	MACHINE_RETURN_IMAGE, /* and from the image */
};

/* Executes `node`. After it, m->at.in_image says where a call in it returns to. */
void machine_step(struct machine *m, uint32_t node, enum machine_way way);

/* Between pause and resume caches fill, but nothing is counted except what is touched. */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);
/* Instructions that were counted. */
double machine_instructions(const struct machine *m);

/* Sums up what was touched, leaves out what was executed while paused; call once, at the end. ERR_MEMORY. */
int machine_finish(struct machine *m, struct err *e) MUST_CHECK;

#endif
