/*
 * place: where each node of a program stands in the original layout and in a plan's.
 *
 * Modules stand at bases of their own, as the loader would put them: page aligned, far apart, low bits by chance (a fixed one, like a machine
 * without ASLR). The image of a module stands 2 MiB aligned (plan_code_alignment) below its module. Nothing is decoded: what the image executes
 * for a node follows from the plan's runs (see plan.h), which the validator has proven against the code.
 */
#ifndef ANALYZE_SIMULATE_PLACE_H
#define ANALYZE_SIMULATE_PLACE_H

#include "analyze/simulate/program.h"
#include "formats/plan.h"

struct place_node {
	uint64_t original;
	uint64_t image;	      /* address of the copy; 0: the node is not in the image */
	uint64_t patch_image; /* where the patch in the original leads; 0: no patch in this node */
	uint64_t inserted;    /* address of the jump added behind the copy; 0: none */
	uint32_t inserted_to; /* the node that it leads to */
	uint32_t size;	      /* of the original, bytes */
	uint32_t image_size;
	uint32_t patch_end;  /* bytes of the original up to the end of the patch */
	uint32_t patch_rest; /* bytes of the copy from patch_image on */
	uint32_t home;	     /* map function the block belongs to, numbered over all modules: branches inside stay inside the image */
	uint8_t inserted_size;
	uint8_t through_slot; /* the copy calls or jumps through the GOT slot, not the PLT stub */
	uint8_t entry;
};

struct place_image {
	uint64_t start, end; /* addresses of the code */
	bool huge;	     /* in 2 MiB pages */
};

struct place {
	struct place_node *nodes;   /* [program->node_count] */
	struct place_image *images; /* [module_count] of the program; start == end: none */
	uint32_t image_count;
};

/*
 * ERR_MISMATCH names a module of the plan that has no map here, or whose text the map does not have at the same place; ERR_MEMORY. `plan` is not needed afterwards.
 */
int place_init(struct place *place, const struct program *p, const struct plan *plan, struct err *e) MUST_CHECK;
void place_free(struct place *place);

#endif
