/*
 * emit_work: what the stages of emit_module hand to each other. Private to analyze/emit/emit*.c and stats.c.
 *
 *   emit_set    layout -> set of blocks and chunks in order; checks; drops functions
 *   emit_patch  chooses patches and the blocks they need, before the chunks are final
 *   emit_probe  where a counting image counts
 *   emit_place  tails of the chunks, branch relaxation, addresses
 *   emit_write  bytes, runs, relocations, slots
 */
#ifndef ANALYZE_EMIT_EMIT_WORK_H
#define ANALYZE_EMIT_EMIT_WORK_H

#include "analyze/code/insn.h"
#include "analyze/emit/emit.h"
#include "formats/base/vec.h"

#define EMIT_NONE UINT32_MAX
#define EMIT_NO_REGISTER 255

/* Where control goes: to a chunk of the image, or (chunk == EMIT_NONE) to the original code at text offset `original`. */
struct emit_edge {
	uint32_t chunk, original;
	uint32_t probe; /* 1 + index of the one that counts this way out and stands behind all chunks; 0: none */
};

enum emit_tail_kind {
	EMIT_TAIL_BRANCH,  /* 7x rel8 or 0f 8x rel32 */
	EMIT_TAIL_JUMP,	   /* eb rel8 or e9 rel32 */
	EMIT_TAIL_SLOT,	   /* ff 25 disp32 */
	EMIT_TAIL_LOOP,	   /* loop, jrcxz: rel8 over the element that follows it, to the last one */
	EMIT_TAIL_DELETED, /* jump left out: its target follows */
	EMIT_TAIL_PROBE,   /* counts the edge that is followed next, which stays in the image */
};

/* One control transfer at the end of a chunk. */
struct emit_tail {
	uint8_t kind, condition, size, is_long;
	bool inserted; /* image only: maps to where it leads */
	bool inverted;
	struct emit_edge to;
	uint32_t import; /* SLOT: index into map->imports; PROBE: index into probes */
};

/* One counter and the instructions that feed it, before the instruction at `offset` of the block, or on an edge that leaves it. */
struct emit_probe {
	uint32_t block, offset;
	uint32_t counter; /* index into the plan's counters */
	uint32_t to;	  /* EDGE: text offset where it leads */
	uint8_t kind;	  /* enum plan_counter_kind */
	uint8_t reg;	  /* counts through this register, dead there; EMIT_NO_REGISTER: by an increment, where the flags are dead */
	uint8_t size;	  /* bytes in the image */
	bool way_out;	  /* EDGE: `to` is original code. Stands behind all chunks, with a jump there */
	uint32_t image;	  /* way_out: region offset */
};

/* A probe that counts a way out, and where that leads. */
struct emit_way_out {
	uint32_t to, probe;
};

/* One block in the image: `body` bytes of the original, copied one instruction by one, then the tails. */
struct emit_chunk {
	uint32_t block, function;
	uint32_t body;		  /* original bytes before what the tails replace */
	uint32_t body_image;	  /* the same in the image: calls to PLT stubs grow */
	uint32_t image;		  /* region offset of the copy of its first instruction */
	uint32_t terminator;	  /* original bytes that the tails replace */
	uint16_t lead, lead_stub; /* bytes before `image`: alignment pad, then the stub */
	uint16_t pad;		  /* int3 after the tails */
	uint8_t tail_count;
	uint32_t first_probe, probe_count; /* in the body, by offset */
	uint32_t probe_taken, probe_next;  /* on these edges, or EMIT_NONE */
	struct emit_tail tails[3];
};

struct emit_patch {
	uint32_t at, function;
	uint8_t kind;
};

struct emitter {
	const struct image *image;
	const struct map *map;
	const struct flow *flow;
	const struct layout *layout;
	struct emit_options options;
	uint32_t *chunk_of;	 /* [block_count] index of the block's chunk, or EMIT_NONE; while chunks are chosen: 0 = in the set */
	uint8_t *dropped;	 /* [function_count] 1 + enum emit_drop, 0 = not */
	uint32_t hook;		 /* function that gets the stub, or EMIT_NONE */
	const struct stub *stub; /* of the hook */
	VEC(uint32_t) order;
	VEC(struct emit_chunk) chunks;
	VEC(struct emit_patch) patches;
	VEC(struct plan_run) runs;
	size_t function_runs; /* runs before the function that is being written */
	VEC(uint32_t) relocations;
	VEC(struct plan_slot) slots;
	VEC(struct emit_dropped) drops;
	VEC(struct emit_probe) probes;	   /* by block, offset */
	VEC(struct emit_way_out) ways_out; /* by where they lead: what stands for code of one function is one piece for the unwinder */
	VEC(struct plan_counter) counters;
	uint32_t counter_offset; /* region offset */
	uint64_t region;	 /* vaddr */
	uint8_t *code;
	uint32_t code_size;
};

int emit_set_order(struct emitter *m, struct err *e) MUST_CHECK;
int emit_set_chunks(struct emitter *m, struct err *e) MUST_CHECK;
int emit_choose_patches(struct emitter *m, struct err *e) MUST_CHECK;
int emit_choose_probes(struct emitter *m, struct err *e) MUST_CHECK;
int emit_place(struct emitter *m, struct err *e) MUST_CHECK;
int emit_write(struct emitter *m, struct err *e) MUST_CHECK;
void emit_statistics(const struct emitter *m, struct plan_stats *ret_stats);

/* The block's bytes in the file; never NULL for blocks of the set. */
const uint8_t *emit_block_bytes(const struct emitter *m, uint32_t block);
/* The call that the map knows at this site, or NULL. */
const struct map_call *emit_call_at(const struct map *map, uint32_t site);
/* Import index when the instruction at `site` calls or jumps to a PLT stub whose slot is known, else EMIT_NONE. */
uint32_t emit_import_at(const struct map *map, uint32_t site);
/* Where an edge from `function` to text offset `original` leads. */
struct emit_edge emit_edge_to(const struct emitter *m, uint32_t function, uint32_t original);
bool emit_is_entry(const struct map *map, uint32_t block);

#endif
