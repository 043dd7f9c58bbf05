/*
 * build: the stages of map_build; private to analyze/code.
 *
 * draft (per function, in parallel) -> global references -> drafts again where something else leads into them -> one map.
 */
#ifndef ANALYZE_CODE_BUILD_H
#define ANALYZE_CODE_BUILD_H

#include "analyze/code/walk.h"
#include "formats/map.h"

/* One function, before the whole is known. In blocks: `taken` is the text offset led to, `next` is 1 or MAP_NONE. In calls: `block` counts from
   the function's first. In tables: `block` likewise, first indexes `targets`, which are text offsets. All arrays are owned. */
struct draft {
	uint32_t fde, start, size; /* index into image->fdes; text offset, bytes */
	uint32_t reasons;
	uint32_t block_count, call_count, table_count, target_count, syscall_count, reference_count;
	struct map_block *blocks;
	struct map_call *calls;
	struct map_table *tables;
	uint32_t *targets, *syscalls;
	struct walk_reference *references; /* without those that lead to the start of another function, unless branches */
	uint8_t called, pointed;	   /* set by others (relaxed atomics): its start is called, its address is taken */
	uint8_t unknown_jump, again;	   /* again: to be walked once more */
	uint8_t special;		   /* enum special of its names and of what it tail calls */
};

struct builder {
	const struct image *image;
	unsigned threads;
	struct draft *drafts; /* sorted by start */
	uint32_t draft_count;
	uint32_t *page_first; /* per 4 KiB of text: the first draft that ends after the page's start */
	uint32_t page_count;
	uint8_t *import_special;     /* [image->import_count] enum special */
	VEC(struct walk_seed) seeds; /* sorted by address, unique */
	VEC(uint64_t) noreturn;
	bool no_memory;
};

/* Index of the draft that holds the text offset, or MAP_NONE. */
uint32_t builder_draft_at(const struct builder *b, uint32_t offset);
/* The same by vaddr. */
uint32_t builder_draft_of(const struct builder *b, uint64_t address);
/* Index of the import that the stub at `address` jumps through, or MAP_NONE if no `[endbr64] [bnd] jmp *slot(%rip)` stands there. */
uint32_t builder_stub(const struct image *image, uint64_t address);

/* Turns a finished walk into the draft's arrays (old ones are freed). 0 or -1: no memory. */
int draft_fill(struct builder *b, uint32_t index, const struct walk *w);
void draft_free(struct draft *d);

/* Direct branches and calls of executable bytes that no FDE covers, found by linear sweep, appended to `references` (a VEC). */
typedef VEC(struct walk_reference) walk_references;
int gap_sweep(struct builder *b, walk_references *references);

/* Runs `work(context, i, slot)` for i in [0, count) on the builder's threads; slot < threads names the thread. */
typedef void builder_work(void *context, uint32_t i, unsigned slot);
int builder_parallel(const struct builder *b, uint32_t count, builder_work *work, void *context);

/* Joins the drafts to the map (the drafts' arrays are freed on the way) and grades the functions. */
int builder_finish(struct builder *b, struct map *ret_map, struct err *e) MUST_CHECK;
void builder_grade(const struct builder *b, struct map *map);
/* Adds the reasons that come from an unwinder linked into the module. */
void builder_grade_unwinder(const struct builder *b, struct map *map);

#endif
