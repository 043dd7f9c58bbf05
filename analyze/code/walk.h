/*
 * walk: finds the instructions of one function by following control from its entry, landing pads, jump tables and whatever else is known to
 * lead into it. Owns per-function scratch memory that is reused from one function to the next; knows nothing of other functions.
 */
#ifndef ANALYZE_CODE_WALK_H
#define ANALYZE_CODE_WALK_H

#include "analyze/code/insn.h"
#include "analyze/elf/image.h"
#include "formats/base/vec.h"
#include "formats/map.h"

enum walk_mark {			/* a set per byte of the function */
		 WALK_START = 1u << 0,	/* first byte of a reached instruction */
		 WALK_BODY = 1u << 1,	/* another byte of one */
		 WALK_LEADER = 1u << 2, /* a block starts here */
		 WALK_TARGET = 1u << 3, /* reached other than by falling into it */
		 WALK_PAD = 1u << 4,
		 WALK_TABLE = 1u << 5,
		 WALK_POINTED = 1u << 6,
		 WALK_NORETURN = 1u << 7, /* on the first byte of a call: control does not come back */
		 WALK_EXTERNAL = 1u << 8, /* something outside the function leads here */
};

/* Something in this function that leads or points to an address elsewhere, or into the middle of itself. */
enum walk_reference_kind {
	WALK_BRANCH,
	WALK_BRANCH_CONDITIONAL,
	WALK_CALL,
	WALK_PAD_REFERENCE,
	WALK_TABLE_REFERENCE,
	WALK_TABLE_GUESS,
	WALK_POINTER,
	WALK_POINTER_GUESS
};
struct walk_reference {
	uint64_t target;
	uint32_t function; /* index of the function that refers, or MAP_NONE */
	uint32_t kind;
};

struct walk_seed {
	uint64_t address;
	uint16_t marks; /* WALK_TARGET, ... to set there */
	uint8_t guess;	/* nothing proves that it is code: ignored where it hits the middle of an instruction or does not decode */
};

struct walk_insn {
	struct insn insn;
	uint32_t at; /* offset in the function */
};

struct walk_table {
	uint64_t address;      /* vaddr of the first entry */
	uint32_t jump;	       /* offset of the indirect jump in the function */
	uint32_t entries;      /* words read, doubles included */
	uint32_t first, count; /* into targets */
	uint8_t kind, proven;  /* enum map_table_kind */
};

struct walk_edge {
	uint32_t target, from; /* offsets: of the block led to, and of the branch */
};

struct walk {
	/* Set by the caller before walk_run; the rest is filled by it. */
	const struct image *image;
	const uint64_t *noreturn; /* sorted vaddrs of functions and PLT stubs that do not return */
	size_t noreturn_count;

	uint64_t start; /* vaddr */
	uint32_t size;
	uint32_t reasons;
	const uint8_t *bytes;
	uint16_t *marks;    /* [size] */
	uint32_t *index_of; /* [size] where START: index into insns */
	uint32_t *stamp;    /* [size] generation * 16 + register: seen by the search that runs */
	uint32_t generation;
	size_t capacity;
	VEC(struct walk_insn) insns;
	VEC(uint32_t) work;
	VEC(uint32_t) jumps;	/* offsets of indirect jumps not yet looked at */
	VEC(uint32_t) deferred; /* those without a proof: their guesses wait until all that is known has been followed */
	VEC(struct walk_table) tables;
	VEC(uint64_t) targets;		       /* vaddrs of table entries, sorted and unique per table */
	VEC(struct walk_reference) references; /* `function` is not filled here */
	VEC(struct walk_edge) edges;	       /* direct branches inside the function by target, made for edges_for instructions */
	size_t edges_for;
	VEC(uint64_t) data; /* rip-relative data addresses, for the end of unproven tables */
	bool unknown_jump, no_memory;
};

/* Walks the function at [fde->start, fde->start + size) from its start, its landing pads and `seeds`. 0, or -1: no memory. */
int walk_run(struct walk *w, const struct image_fde *fde, uint32_t size, const struct walk_seed *seeds, size_t seed_count);
void walk_free(struct walk *w);

/* Used by the jump table analysis: marks `target` (vaddr) and queues it. False when it hits the middle of an instruction. */
bool walk_reach(struct walk *w, uint64_t target, uint16_t marks);
void walk_refer(struct walk *w, uint64_t target, enum walk_reference_kind kind);
/* Decodes what is queued. */
void walk_drain(struct walk *w);
/* Decodes straight from `offset` without recording: does it meet known code at an instruction boundary, or end in a terminator? */
bool walk_plausible(const struct walk *w, uint32_t offset);
static inline const struct walk_insn *walk_insn_at(const struct walk *w, uint32_t offset)
{
	return w->marks[offset] & WALK_START ? &w->insns.data[w->index_of[offset]] : NULL;
}

#endif
