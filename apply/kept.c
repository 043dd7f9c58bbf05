#include "apply/kept.h"

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

/* Where the library was closed, and the hook with it, there is nothing to be replaced. */
static void forget_closed(struct kept *k, const struct target *t)
{
	for (uint32_t i = 0; i < k->hooked->patch_count; i++) {
		struct patch *p = &k->hooked->patches[i];
		uint8_t bytes[PLAN_PATCH_SIZE];
		if (p->is_hook &&
		    (target_read_some(t, p->at, bytes, sizeof bytes) != sizeof bytes || memcmp(bytes, p->written, sizeof bytes)))
			p->state = PATCH_LEFT_OUT;
	}
}

static int list_tables(struct kept *k, struct err *e)
{
	uint32_t regions = 0, count = 0;
	for (uint32_t i = 0; i < k->count; i++)
		regions += k->journals[i].region_count;
	k->tables = calloc(regions + 1, sizeof *k->tables);
	if (!k->tables)
		return err_set(e, ERR_MEMORY, "no memory for the tables of kept images");
	for (uint32_t i = 0; i < k->count; i++)
		for (uint32_t n = 0; may_be_used(k, &k->journals[i]) && n < k->journals[i].region_count; n++) {
			const struct journal_region *r = &k->journals[i].regions[n];
			if (r->fde_count)
				k->tables[count++] =
				    (struct stage_table){r->code, {r->code.v + r->code_size}, {r->code.v + r->fde_table}, r->fde_count};
		}
	k->for_stage = (struct stage_kept){k->hooked->patches, k->hooked->patch_count, k->tables, count};
	return 0;
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
	if (k.hooked) {
		forget_closed(&k, t);
		status = list_tables(&k, e);
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
	*k = (struct kept){0};
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
