/*
 * plan_chunks: what plan_encode.c, plan_decode.c and plan_validate.c share. A plan is HEAD, then per module the chunks below in this order.
 */
#ifndef FORMATS_PLAN_CHUNKS_H
#define FORMATS_PLAN_CHUNKS_H

#include "formats/plan.h"
#include "formats/section.h"

#define PLAN_CHUNK_HEAD CONTAINER_TAG('H', 'E', 'A', 'D')
#define PLAN_CHUNK_MODULE CONTAINER_TAG('M', 'O', 'D', 'U')
#define PLAN_CHUNK_CODE CONTAINER_TAG('C', 'O', 'D', 'E')
#define PLAN_CHUNK_DATA CONTAINER_TAG('D', 'A', 'T', 'A')
#define PLAN_CHUNK_RELOCATIONS CONTAINER_TAG('R', 'E', 'L', 'O')
#define PLAN_CHUNK_STRINGS CONTAINER_TAG('S', 'T', 'R', 'S')
#define PLAN_CHUNK_FUNCTIONS CONTAINER_TAG('F', 'U', 'N', 'C')
#define PLAN_CHUNK_PATCHES CONTAINER_TAG('P', 'T', 'C', 'H')
#define PLAN_CHUNK_RUNS CONTAINER_TAG('R', 'U', 'N', 'S')
#define PLAN_CHUNK_SLOTS CONTAINER_TAG('S', 'L', 'O', 'T')
#define PLAN_CHUNK_COUNTERS CONTAINER_TAG('C', 'N', 'T', 'R') /* only of a counting image */

#define PLAN_MODULES_MAX 4096u
#define PLAN_OPTIONS_MAX 65536u
#define PLAN_STATS_COUNT 14u

/* The statistics, in the order in which they stand in the file. */
void plan_stats_fields(struct plan_stats *stats, uint64_t *fields[PLAN_STATS_COUNT]);

#endif
