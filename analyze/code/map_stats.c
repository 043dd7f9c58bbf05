#include "analyze/code/map_stats.h"

static void add(struct map_tally *t, const struct map_function *f)
{
	t->functions++;
	t->bytes += f->size;
}

void map_stats_count(const struct map *map, struct map_stats *ret_stats)
{
	struct map_stats s = {0};
	for (uint32_t i = 0; i < map->function_count; i++) {
		const struct map_function *f = &map->functions[i];
		add(&s.all, f);
		add(&s.grades[f->grade], f);
		for (unsigned r = 0; r < MAP_REASON_COUNT; r++)
			if (f->reasons & 1u << r)
				add(&s.reasons[r], f);
		s.parts += (f->flags & MAP_FUNCTION_PART) != 0;
		s.unknown_jump_functions += (f->flags & MAP_FUNCTION_UNKNOWN_JUMP) != 0;
	}
	for (uint32_t i = 0; i < map->table_count; i++)
		s.tables_proven += map->tables[i].proven;
	*ret_stats = s;
}

double map_stats_movable(const struct map_stats *s)
{
	uint64_t good = s->grades[MAP_MOVABLE].bytes + s->grades[MAP_ENTRY_FIXED].bytes;
	return s->all.bytes ? 100.0 * (double)good / (double)s->all.bytes : 0;
}
