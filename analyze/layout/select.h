/*
 * select: which blocks are worth a place in the image, in zones from hot to warm.
 */
#ifndef ANALYZE_LAYOUT_SELECT_H
#define ANALYZE_LAYOUT_SELECT_H

#include "analyze/layout/callgraph.h"
#include "analyze/layout/cfg.h"
#include "analyze/layout/flow.h"

enum select_zone {
	SELECT_OUT,  /* stays where it is */
	SELECT_WARM, /* in the image so that hot code seldom has to leave it; not worth a hot cache line */
	SELECT_HOT,
};

/*
 * Fills ret_zone [block_count]. Hot: the blocks that run most until they hold `coverage` of the executed instructions in movable code, and
 * the blocks that every way from the entry to them must pass. Warm: other blocks of the same functions that seem to run at all often
 * compared to their entry. A function whose entry cannot be patched is in only when selected code calls it directly. ERR_MEMORY.
 */
int select_blocks(const struct cfg_index *index, const struct callgraph *calls, const struct flow *flow, double coverage, uint8_t *ret_zone,
		  struct err *e) MUST_CHECK;

/* May this block be in the image at all? */
bool select_allowed(const struct cfg_index *index, uint32_t block);

#endif
