/*
 * map_stats: how much of a map may be moved, and why the rest may not.
 */
#ifndef ANALYZE_CODE_MAP_STATS_H
#define ANALYZE_CODE_MAP_STATS_H

#include "formats/map.h"

struct map_tally {
	uint32_t functions;
	uint64_t bytes; /* of FDE ranges */
};

struct map_stats {
	struct map_tally all, grades[MAP_UNTOUCHABLE + 1], reasons[MAP_REASON_COUNT]; /* one function may have several reasons */
	uint32_t parts, tables_proven, unknown_jump_functions;
};

void map_stats_count(const struct map *map, struct map_stats *ret_stats);
/* Bytes that may be copied (movable, or with a fixed entry) in percent of all; 0 for an empty map. */
double map_stats_movable(const struct map_stats *stats);

#endif
