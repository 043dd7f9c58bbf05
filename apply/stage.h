/*
 * stage: the image of each module of a plan as it will stand in this process, prepared in our memory and then laid down in the target.
 *
 * Nothing of the target's own is changed here: new code is complete, compared and unreachable until patch.h redirects functions to it.
 */
#ifndef APPLY_STAGE_H
#define APPLY_STAGE_H

#include "apply/placement.h"
#include "apply/target.h"
#include "formats/plan.h"

#include <stdbool.h>
#include <stdint.h>

/* One module of the plan in this process. */
struct region {
	const struct plan_module *plan; /* borrowed */
	uint64_t bias;
	raddr code, counters, data;			    /* where they go; data.v == code.v + plan->data_offset */
	uint64_t code_mapped, counters_mapped, data_mapped; /* bytes of the mappings, whole pages; 0: none */
	uint8_t *code_bytes, *data_bytes;		    /* owned: plan bytes, relocated */
	bool *left_out;					    /* owned, per function: differs in memory, so it stays as it is */
	uint32_t left_out_count, bound_slots;
};

/* Unwind tables of an image that an earlier undo had to keep: an entry of the directory (formats/plan.h). */
struct stage_table {
	raddr code, code_end, table;
	uint64_t count;
};

/* What is in the process of images that earlier undos had to keep. */
struct stage_kept {
	const struct patch *patches; /* of those the hooks are made, and stand where the plan has the original bytes */
	uint32_t patch_count;
	const struct stage_table *tables;
	uint32_t table_count;
	const struct placement_range
	    *places; /* of all images that a journal names, mapped or not: a new one there would be taken for them */
	uint32_t place_count;
};

/* What did not go in, for people; at most one per module. */
struct stage_skip {
	const struct plan_module *plan;
	char reason[240];
};

struct stage {
	struct target *target;	       /* borrowed */
	const struct stage_kept *kept; /* borrowed */
	struct region *regions;
	struct stage_skip *skipped;
	uint32_t region_count, skipped_count;
};

/*
 * Finds the plan's modules and compares the live bytes of each function with its hash. ERR_REFUSED when no module can be used (the
 * first reason in the text), ERR_GONE, ERR_MEMORY. Requires: target_refresh'ed. Target unchanged.
 */
int stage_init(struct target *t, const struct plan *plan, const struct stage_kept *kept, struct stage *ret_stage, struct err *e) MUST_CHECK;
void stage_free(struct stage *s);

/* Chooses an address for every region. Modules that do not fit move to `skipped`. ERR_REFUSED when none is left. */
int stage_place(struct stage *s, struct err *e) MUST_CHECK;

/*
 * Makes code_bytes and data_bytes final for the chosen addresses: relocations, ways home of functions left out, slots bound, unwind
 * directory. ERR_REFUSED when a field would overflow; ERR_BUSY when the directory has no room for the tables of kept images.
 */
int stage_relocate(struct stage *s, struct err *e) MUST_CHECK;

/* Bytes from the region's start to its end, mapped or not. */
static inline uint64_t region_span(const struct region *r)
{
	return r->plan->data_offset + r->data_mapped;
}

/*
 * A new mapping begins with this until it is complete: with it, or with the content that the journal knows, it is ours. Whatever else an undo finds
 * at its place, after a tool was killed, is the target's own.
 */
#define STAGE_MARK "RePaveM1"
int stage_mark(const struct target *t, raddr mapping, struct err *e) MUST_CHECK;

/* Writes the bytes into the mappings, which must exist, and reads them back. ERR_IO when they differ. */
int stage_write(const struct stage *s, struct err *e) MUST_CHECK;

/* The region whose code holds `address`, or NULL. */
const struct region *stage_region_of(const struct stage *s, raddr address);

static inline raddr region_text(const struct region *r, uint32_t text_offset)
{
	return (raddr){r->bias + r->plan->text_base + text_offset};
}

static inline raddr region_image(const struct region *r, uint32_t region_offset)
{
	return (raddr){r->code.v + region_offset};
}

#endif
