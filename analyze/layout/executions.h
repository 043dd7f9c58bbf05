/*
 * executions: a profile as callgrind would have written it, from how often each block and branch of a map ran: a count for every
 * instruction, an edge for every taken jump and every direct call.
 */
#ifndef ANALYZE_LAYOUT_EXECUTIONS_H
#define ANALYZE_LAYOUT_EXECUTIONS_H

#include "analyze/elf/image.h"
#include "formats/base/vec.h"
#include "formats/map.h"
#include "formats/profile.h"

/* Start with {0}; executions_free. */
struct executions {
	VEC(struct profile_count) counts;
	VEC(struct profile_edge) edges;
	bool failed; /* no memory */
};

/* Arrays as in flow.h and complete.h. `module` is the number that the profile gives the map's module. */
struct executions_source {
	const struct map *map;
	const struct image *image;
	const uint64_t *block, *taken, *table;
	uint32_t module;
};

/* vaddr of the last instruction of a block. */
uint64_t executions_last(const struct map *map, const struct image *image, uint32_t block);
void executions_add(struct executions *x, const struct executions_source *source);
/* One more edge; nothing if its count is 0. */
void executions_add_edge(struct executions *x, struct profile_edge edge);
/* Sorts, adds up equal edges, and lends the arrays to `profile`. ERR_MEMORY. */
int executions_finish(struct executions *x, struct profile *profile, struct err *e) MUST_CHECK;
void executions_free(struct executions *x);

#endif
