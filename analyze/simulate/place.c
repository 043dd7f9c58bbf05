#include "analyze/simulate/place.h"

#include <stdlib.h>
#include <string.h>

#define SPACING (UINT64_C(1) << 36) /* between modules: with their regions within 2 GiB of them they cannot meet */
#define PAGE 4096u

/* The runs of one module that have original bytes, by original. */
struct runs {
	const struct plan_module *plan;
	const struct plan_run **by_original;
	uint32_t count;
	uint64_t start; /* address of the region */
};

static uint64_t base_of(uint32_t module)
{
	uint64_t scattered = (module + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 52; /* 12 bits of page number */
	return SPACING * (module + 1) + (UINT64_C(1) << 32) + scattered * PAGE;
}

static uint64_t region_of(uint32_t module)
{
	return SPACING * (module + 1); /* 4 GiB below the module; a multiple of 2 MiB */
}

static int compare_original(const void *va, const void *vb)
{
	const struct plan_run *a = *(const struct plan_run *const *)va, *b = *(const struct plan_run *const *)vb;
	if (a->original != b->original)
		return a->original < b->original ? -1 : 1;
	return (a->image > b->image) - (a->image < b->image);
}

static int runs_init(struct runs *r, const struct plan_module *plan, uint64_t start, struct err *e)
{
	*r = (struct runs){.plan = plan, .start = start};
	r->by_original = malloc((plan->run_count + (size_t)1) * sizeof *r->by_original);
	if (!r->by_original)
		return err_set(e, ERR_MEMORY, "simulate: no memory for the address map");
	for (uint32_t i = 0; i < plan->run_count; i++)
		if (plan->runs[i].original_size)
			r->by_original[r->count++] = &plan->runs[i];
	if (r->count)
		qsort(r->by_original, r->count, sizeof *r->by_original, compare_original);
	return 0;
}

/* The run that holds the original byte, or NULL. */
static const struct plan_run *run_of(const struct runs *r, uint32_t original)
{
	uint32_t low = 0, high = r->count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (r->by_original[middle]->original <= original)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || original - r->by_original[low - 1]->original >= r->by_original[low - 1]->original_size)
		return NULL;
	return r->by_original[low - 1];
}

/* Address in the image of a boundary of the original; 0 when it has none. */
static uint64_t image_of(const struct runs *r, uint32_t original)
{
	const struct plan_run *run = run_of(r, original);
	if (!run || (run->original != original && run->kind != PLAN_RUN_COPY))
		return 0;
	return r->start + run->image + (original - run->original);
}

/* Address behind the copy of what ends at `original_end` (exclusive). */
static uint64_t image_end_of(const struct runs *r, uint32_t original_end)
{
	const struct plan_run *run = run_of(r, original_end - 1);
	if (!run)
		return 0;
	if (run->kind == PLAN_RUN_COPY)
		return r->start + run->image + (original_end - run->original);
	return run->original + run->original_size == original_end ? r->start + run->image + run->image_size : 0;
}

/* The added jump that starts at this image offset, or NULL. Runs are sorted by image. */
static const struct plan_run *inserted_at(const struct plan_module *plan, uint32_t image)
{
	uint32_t low = 0, high = plan->run_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (plan->runs[middle].image < image)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < plan->run_count && plan->runs[low].image == image; low++)
		if (plan->runs[low].kind == PLAN_RUN_INSERTED)
			return &plan->runs[low];
	return NULL;
}

static bool has_slot(const struct plan_module *plan, uint32_t image_end)
{
	uint32_t low = 0, high = plan->slot_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (plan->slots[middle].at + 6 < image_end)
			low = middle + 1;
		else
			high = middle;
	}
	return low < plan->slot_count && plan->slots[low].at + 6 == image_end;
}

static void place_copy(struct place_node *n, const struct program *p, const struct program_node *node, const struct runs *r)
{
	n->image = image_of(r, node->start);
	uint64_t end = n->image ? image_end_of(r, node->start + node->size) : 0;
	if (end < n->image)
		n->image = 0;
	if (!n->image)
		return;
	n->image_size = (uint32_t)(end - n->image);
	n->through_slot = has_slot(r->plan, (uint32_t)(end - r->start));
	const struct plan_run *jump = inserted_at(r->plan, (uint32_t)(end - r->start));
	if (!jump)
		return;
	const struct program_module *m = &p->modules[node->module];
	uint32_t block = map_block_at(m->map, jump->original);
	n->inserted = end;
	n->inserted_size = (uint8_t)jump->image_size;
	n->inserted_to = block == MAP_NONE ? PROGRAM_NONE : m->node_of_block[block];
}

/* The patch that starts inside the node, if any. Patches are sorted by address. */
static void place_patch(struct place_node *n, const struct program_node *node, const struct runs *r)
{
	const struct plan_module *plan = r->plan;
	uint32_t low = 0, high = plan->patch_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (plan->patches[middle].at < node->start)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == plan->patch_count || plan->patches[low].at >= node->start + node->size || !n->image)
		return;
	const struct plan_patch *patch = &plan->patches[low];
	n->patch_image = r->start + patch->target;
	n->patch_end = patch->at + PLAN_PATCH_SIZE - node->start;
	uint64_t end = n->image + n->image_size;
	n->patch_rest = end > n->patch_image ? (uint32_t)(end - n->patch_image) : 0;
}

static void place_nodes(struct place *place, const struct program *p, uint32_t module, const struct runs *r)
{
	uint32_t home = 0;
	for (uint32_t m = 0; m < module; m++)
		home += p->modules[m].map->function_count;
	const struct map *map = p->modules[module].map;
	uint64_t base = base_of(module) + map->text_base % PAGE;
	for (uint32_t i = 0; i < p->node_count; i++) {
		const struct program_node *node = &p->nodes[i];
		struct place_node *n = &place->nodes[i];
		if (node->module != module)
			continue;
		n->original = base + node->start;
		n->size = node->size;
		n->entry = (node->flags & PROGRAM_ENTRY) != 0;
		n->home = home + map_function_of_block(map, node->block);
		if (!r)
			continue;
		place_copy(n, p, node, r);
		place_patch(n, node, r);
	}
}

static int place_module(struct place *place, const struct program *p, const struct plan_module *plan, uint32_t module, struct err *e)
{
	const struct map *map = p->modules[module].map;
	struct runs r;
	if (map->text_base != plan->text_base || map->text_size != plan->text_size)
		return err_set(e, ERR_MISMATCH, "%s: the map and the plan do not have the same text", map->module.path);
	int status = runs_init(&r, plan, region_of(module), e);
	if (status)
		return status;
	place->images[module] =
	    (struct place_image){r.start, r.start + plan->code_size, plan_code_alignment(plan->code_size) == PLAN_REGION_ALIGN};
	place_nodes(place, p, module, &r);
	free(r.by_original);
	return 0;
}

static uint32_t module_of(const struct program *p, const struct plan_module *plan)
{
	for (uint32_t m = 0; m < p->module_count; m++)
		if (module_same(&p->modules[m].map->module, &plan->module))
			return m;
	return PROGRAM_NONE;
}

int place_init(struct place *place, const struct program *p, const struct plan *plan, struct err *e)
{
	*place = (struct place){.image_count = p->module_count};
	place->nodes = calloc(p->node_count + (size_t)1, sizeof *place->nodes);
	place->images = calloc(p->module_count + (size_t)1, sizeof *place->images);
	int status = place->nodes && place->images ? 0 : err_set(e, ERR_MEMORY, "simulate: no memory for %u places", p->node_count);
	for (uint32_t m = 0; m < p->module_count && !status; m++)
		place_nodes(place, p, m, NULL);
	for (uint32_t i = 0; i < plan->module_count && !status; i++) {
		uint32_t module = module_of(p, &plan->modules[i]);
		if (module == PROGRAM_NONE)
			status = err_set(e, ERR_MISMATCH, "the plan is for %s, of which no map is given", plan->modules[i].module.path);
		else
			status = place_module(place, p, &plan->modules[i], module, e);
	}
	if (status)
		place_free(place);
	return status;
}

void place_free(struct place *place)
{
	free(place->nodes);
	free(place->images);
	*place = (struct place){0};
}
