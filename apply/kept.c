#include "apply/kept.h"

#include "apply/modules.h"
#include "formats/base/bytes.h"

#include <inttypes.h>

#include <stdlib.h>
#include <string.h>

/*
 * May a frame of this image stand on a stack? Of one that was only kept together with others none can, but of that which is hooked: threads go through its copy
 * of what unwinders ask.
 */
static bool may_be_used(const struct kept *k, const struct journal *j)
{
	return j == k->hooked || (journal_replaces(k->hooked, j) && strcmp(j->kept_because, JOURNAL_TOGETHER));
}

/* Where the library was closed, and perhaps opened again, there is nothing to be replaced. */
static void forget_closed(struct kept *k, const struct target *t)
{
	for (uint32_t i = 0; i < k->hooked->patch_count; i++) {
		struct patch *p = &k->hooked->patches[i];
		const struct journal_region *r = &k->hooked->regions[p->region];
		uint8_t bytes[PLAN_PATCH_SIZE];
		bool there = modules_present(t, &r->module, r->bias) && target_read_some(t, p->at, bytes, sizeof bytes) == sizeof bytes;
		if (p->is_hook && (!there || !memcmp(bytes, p->original, sizeof bytes)))
			p->state = PATCH_LEFT_OUT;
	}
}

static void add_place(struct kept *k, raddr start, uint64_t size)
{
	if (size)
		k->places[k->for_stage.place_count++] = (struct placement_range){start, size};
}

/* Also those of images that a killed tool had begun to map or to unmap, whatever is there now. */
static void list_places(struct kept *k)
{
	for (uint32_t i = 0; i < k->count; i++)
		for (uint32_t n = 0; n < k->journals[i].region_count; n++) {
			const struct journal_region *r = &k->journals[i].regions[n];
			add_place(k, r->code, r->code_mapped);
			add_place(k, r->data, r->data_mapped);
			add_place(k, r->counters, r->counters_mapped);
		}
	k->for_stage.places = k->places;
}

static int list_tables(struct kept *k, const struct target *t, struct err *e)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < k->count; i++)
		for (uint32_t n = 0; may_be_used(k, &k->journals[i]) && n < k->journals[i].region_count; n++) {
			const struct journal_region *r = &k->journals[i].regions[n];
			if (r->functions && !r->function_count)
				return err_set(e, ERR_BUSY, "process %d: what an older version kept must go first: undo", t->pid);
			if (r->fde_count)
				k->tables[count++] =
				    (struct stage_table){r->code, {r->code.v + r->code_size}, {r->code.v + r->fde_table}, r->fde_count};
		}
	k->for_stage.tables = k->tables;
	k->for_stage.table_count = count;
	k->for_stage.patches = k->hooked->patches;
	k->for_stage.patch_count = k->hooked->patch_count;
	return 0;
}

static int alloc_lists(struct kept *k, struct err *e)
{
	uint32_t regions = 0;
	for (uint32_t i = 0; i < k->count; i++)
		regions += k->journals[i].region_count;
	k->tables = calloc(regions + 1, sizeof *k->tables);
	k->places = calloc((size_t)regions * 3 + 1, sizeof *k->places);
	return k->tables && k->places ? 0 : err_set(e, ERR_MEMORY, "no memory for what earlier undos kept");
}

int kept_load(const struct target *t, struct kept *ret_kept, struct err *e)
{
	struct kept k = {0};
	int status = journals_load(t, &k.journals, &k.count, e);
	if (status)
		return status;
	k.hooked = journals_live(k.journals, k.count);
	if (k.hooked && k.hooked->state != JOURNAL_UNDOING)
		k.hooked = NULL;
	status = alloc_lists(&k, e);
	if (!status)
		list_places(&k);
	if (!status && k.hooked) {
		forget_closed(&k, t);
		status = list_tables(&k, t, e);
	}
	if (status)
		kept_free(&k);
	else
		*ret_kept = k;
	return status;
}

void kept_free(struct kept *k)
{
	journals_free(k->journals, k->count);
	free(k->tables);
	free(k->places);
	*k = (struct kept){0};
}

/* Whatever may be the distance of a branch to the inside of a patch, at any place: that this also finds some that are none does no harm. */
static uint32_t drop_led_to(struct patch_set *set, raddr code, const uint8_t *bytes, uint64_t size)
{
	uint64_t first = set->list[0].at.v, span = set->list[set->count - 1].at.v + PLAN_PATCH_SIZE - first;
	uint32_t dropped = 0;
	for (uint64_t i = 0; i + 4 <= size; i++) {
		raddr to = {code.v + i + 4 + (uint64_t)(int64_t)(int32_t)load_u32(bytes + i)};
		struct patch *p = to.v - first < span ? patch_inside(set, to) : NULL;
		if (!p)
			continue;
		p->state = PATCH_PC_INSIDE;
		p->for_good = true;
		dropped++;
	}
	return dropped;
}

int kept_drop_patches(const struct kept *k, const struct target *t, struct patch_set *set, struct err *e)
{
	int status = 0;
	for (uint32_t i = 0; set->count && i < k->count; i++)
		for (uint32_t n = 0; !status && journal_is_entered(&k->journals[i]) && n < k->journals[i].region_count; n++) {
			const struct journal_region *r = &k->journals[i].regions[n];
			uint8_t *bytes = malloc(r->code_size + 1);
			if (!bytes)
				return err_set(e, ERR_MEMORY, "no memory for %" PRIu64 " bytes of a kept image", r->code_size);
			status = target_read(t, r->code, bytes, r->code_size, e);
			if (!status)
				drop_led_to(set, r->code, bytes, r->code_size);
			free(bytes);
		}
	return status;
}

int kept_note(const struct kept *k, struct journal *j, struct err *e)
{
	uint32_t count = 0;
	j->replaced = calloc(JOURNAL_REPLACED_MAX, sizeof *j->replaced);
	if (!j->replaced)
		return err_set(e, ERR_MEMORY, "no memory for the journal");
	for (uint32_t i = 0; k->hooked && i < k->count; i++) {
		if (!may_be_used(k, &k->journals[i]))
			continue;
		if (count == JOURNAL_REPLACED_MAX)
			return err_set(e, ERR_BUSY, "%u images of earlier undos are still in use", count);
		j->replaced[count++] = k->journals[i].address;
	}
	j->replaced_count = count;
	return 0;
}

int kept_replaced(const struct target *t, struct kept *k, struct err *e)
{
	return k->hooked ? journal_set_state(t, k->hooked, JOURNAL_REVERTED, NULL, e) : 0;
}
