/*
 * complete: from the counters of a counting image to executions of all its blocks and edges.
 *
 * The image counts only what does not follow from the rest (emit_probe.c). Here the rest is worked out by conservation of flow: wherever all
 * but one of the arcs at a block's head or end are known, so is the last. Threads may have lost increments, functions may have been left
 * by exceptions, and the counters were not read at one instant, so sums may be off by a little: what would be negative becomes zero.
 */
#ifndef ANALYZE_LAYOUT_COMPLETE_H
#define ANALYZE_LAYOUT_COMPLETE_H

#include "formats/map.h"
#include "formats/plan.h"
#include "formats/profile.h"

struct complete {
	uint8_t *counted;	  /* [map->function_count] by group: 1 if its blocks are in the image */
	uint64_t *block;	  /* [map->block_count] executions; 0 where nothing is known */
	uint64_t *taken, *next;	  /* [map->block_count] */
	uint64_t *table;	  /* [map->table_target_count] */
	uint8_t *there;		  /* [map->block_count] in the image */
	uint64_t *inside;	  /* [map->block_count] as `block`, but only of the copy in the image: not where a table led beside it */
	uint64_t *entered;	  /* [map->block_count] through its patch, or as a function's start from other functions of the image */
	uint8_t *unsure;	  /* [map->block_count] bit 0 `taken`, bit 1 `next` does not follow from the counters */
	uint64_t negative;	  /* sum of what fell below zero */
	uint64_t total;		  /* sum of all block executions */
	uint32_t blocks, guessed; /* in the image and executed; whose count does not follow from the counters */
};

/* `module` indexes profile->modules: counts as apply/count.h makes them (event "counters"). ERR_MISMATCH, ERR_MEMORY. */
int complete_counts(const struct map *map, const struct plan_module *plan, const struct profile *profile, uint32_t module,
		    struct complete *ret_complete, struct err *e) MUST_CHECK;
void complete_free(struct complete *c);

#endif
