/*
 * infer_parts: the steps of infer after the minimum-cost flow. Only infer*.c includes this.
 */
#ifndef ANALYZE_LAYOUT_INFER_PARTS_H
#define ANALYZE_LAYOUT_INFER_PARTS_H

#include "analyze/layout/infer.h"

/* Fills near_in/way_in (cheapest way from an entrance to each block: last edge of it) and near_out/way_out (first edge of the way out). */
void infer_find_ways(struct infer *in, const struct cfg *cfg);
/* Adds flow from the entrance to, and to the exit from, every circulation that hangs in the air. */
void infer_join_islands(struct infer *in, const struct cfg *cfg);
/* Moves flow onto ways without samples that could not be ruled out. */
void infer_smooth(struct infer *in, const struct cfg *cfg);

#endif
