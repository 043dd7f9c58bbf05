/*
 * program_build: what program.c (nodes) and program_arcs.c (arcs, callers, pool) share while a program is made.
 */
#ifndef ANALYZE_SIMULATE_PROGRAM_BUILD_H
#define ANALYZE_SIMULATE_PROGRAM_BUILD_H

#include "analyze/simulate/program.h"
#include "formats/base/vec.h"

struct program_transfer {
	uint32_t from, to;
	uint64_t count;
};

struct program_build {
	struct program *p;
	const struct profile *profile;
	VEC(struct program_node) nodes;
	VEC(struct program_transfer) transfers;
	uint32_t *module_of; /* [profile->module_count] index into p->modules, or PROGRAM_NONE */
	uint8_t *seen;	     /* [node count] the profile itself says where this node goes */
	uint64_t *arrived;   /* [node count] counts of arcs into the node */
	struct err *e;
};

int program_no_memory(struct err *e) MUST_CHECK;
/* Arcs, shares, callers and pool of the nodes of b->p. ERR_NO when no node ran, ERR_MEMORY. */
int program_build_arcs(struct program_build *b) MUST_CHECK;

#endif
