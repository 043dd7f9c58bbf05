#include "apply/hidden.h"
#include "apply/judge.h"
#include "apply/undo_work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PIN_TRIES 8u /* searches more than there are images */
#define SEARCH_TRIES 8u

static uint32_t list_images(const struct undo *u, struct covered_range *images)
{
	uint32_t count = 0;
	for (uint32_t k = 0; k < u->journal_count; k++)
		for (uint32_t n = 0; !u->used[k] && journal_is_entered(&u->journals[k]) && n < u->journals[k].region_count; n++) {
			const struct journal_region *r = &u->journals[k].regions[n];
			images[count++] = (struct covered_range){r->code, {r->code.v + r->code_mapped}};
		}
	return count;
}

/* Notes a mapping of ours, unless the process has put one of its own there. */
static void add_ours(const struct undo *u, raddr address, uint64_t mapped, struct covered_range *ours, uint32_t *count)
{
	const struct procmap *m = procmaps_find(&u->target->maps, address);
	if (m && !m->inode && !m->shared && !m->write && m->read)
		ours[(*count)++] = (struct covered_range){address, {address.v + mapped}};
}

/* Journals tell where images are, and so have words that lead into them. */
static uint32_t list_ours(const struct undo *u, struct covered_range *ours)
{
	uint32_t count = 0;
	for (uint32_t k = 0; k < u->journal_count; k++) {
		const struct journal *j = &u->journals[k];
		add_ours(u, j->address, j->mapped, ours, &count);
		for (uint32_t n = 0; n < j->region_count; n++) {
			add_ours(u, j->regions[n].code, j->regions[n].code_mapped, ours, &count);
			add_ours(u, j->regions[n].data, j->regions[n].data_mapped, ours, &count);
		}
	}
	return count;
}

static bool may_live(void *context, raddr where, raddr word)
{
	return judge_may_live(context, where, word);
}

/* The journal into whose image `word` leads, or journal_count. */
static uint32_t journal_of(const struct undo *u, raddr word)
{
	uint32_t k = 0;
	while (k < u->journal_count && !journal_region_of(&u->journals[k], word) &&
	       !journal_region_of(&u->journals[k], (raddr){word.v - 1}))
		k++;
	return k;
}

/* Keeps the image that the word at `found` leads into. */
static int pin_image(struct undo *u, raddr found, struct err *e)
{
	raddr word;
	bool there = target_read_some(u->target, found, &word.v, sizeof word.v) == sizeof word.v;
	uint32_t k = there ? journal_of(u, word) : u->journal_count;
	if (k == u->journal_count || u->used[k])
		return 0; /* it changed or went meanwhile, perhaps into what is applied: it is looked for again */
	u->used[k] = true;
	snprintf(u->why_pinned, sizeof u->why_pinned, "a saved PC may lead into it: the word at 0x%" PRIx64 " looks like one", found.v);
	return journal_set_state(u->target, &u->journals[k], undo_state_kept(u, &u->journals[k]), u->why_pinned, e);
}

/*
 * Stacks that no thread is on right now were not walked: coroutines. Looked for while the target runs. *ret_found: a word that leads into an
 * image that is not pinned, 0 when there is none.
 */
static int search_hidden(struct undo *u, raddr *ret_found, struct err *e)
{
	uint32_t region_count = 0;
	for (uint32_t k = 0; k < u->journal_count; k++)
		region_count += u->journals[k].region_count;
	struct covered_range *images = calloc(region_count + 1, sizeof *images);
	struct covered_range *ours = calloc((uint64_t)region_count * 2 + u->journal_count, sizeof *ours);
	struct judge judge = {u->target, u->journals, u->journal_count, u->unwinder};
	int status = images && ours ? target_refresh(u->target, e) : err_set(e, ERR_MEMORY, "no memory to search for saved PCs");
	if (!status) {
		const struct hidden_search search = {.images = images,
						     .ours = ours,
						     .image_count = list_images(u, images),
						     .ours_count = list_ours(u, ours),
						     .covered = &u->covered,
						     .judge = {&judge, may_live}};
		status = hidden_find(u->target, &search, ret_found, e);
	}
	free(images);
	free(ours);
	return status;
}

static bool all_used(const struct undo *u)
{
	for (uint32_t k = 0; k < u->journal_count; k++)
		if (!u->used[k] && journal_is_entered(&u->journals[k]))
			return false;
	return true;
}

/*
 * The live image whose hooks stand and those that it replaced are freed together: through its directory the frames of all are found, and what unwinders ask
 * must not look at tables that are gone.
 */
static void pin(struct undo *u)
{
	bool hooked = undo_has_hook(u), together = false;
	for (uint32_t k = 0; hooked && k < u->journal_count; k++)
		together |= u->used[k] && (&u->journals[k] == u->live || journal_replaces(u->live, &u->journals[k]));
	for (uint32_t k = 0; k < u->journal_count; k++)
		u->pinned[k] = u->used[k] || (together && (&u->journals[k] == u->live || journal_replaces(u->live, &u->journals[k])));
}

static int pin_images(struct undo *u, struct err *e)
{
	raddr found = {1};
	int status = target_refresh(u->target, e);
	if (!status)
		covered_finish(&u->covered, u->target);
	for (uint32_t n = 0; !status && found.v && !all_used(u) && n < u->journal_count + PIN_TRIES; n++) {
		found.v = 0;
		status = search_hidden(u, &found, e);
		if (!status && found.v)
			status = pin_image(u, found, e);
	}
	pin(u);
	if (!status && found.v && !all_used(u)) /* words come and go: none of the images is safe */
		undo_keep(u, "memory that may hold saved PCs changes too fast");
	return status;
}

int undo_find_unused(struct undo *u, const struct undo_options *options, struct undo_report *report, struct err *e)
{
	int status = 0;
	u->entered = true;
	for (uint32_t n = 0; !status && !u->why_kept[0] && !all_used(u) && u->entered; n++) {
		if (n == SEARCH_TRIES) {
			undo_keep(u, "coroutines keep going on in it");
			break;
		}
		status = pin_images(u, e);
		u->entered = false;
		u->searched = true;
		if (!status && !u->why_kept[0] && !all_used(u))
			status = undo_settle(u, options, report, e);
	}
	return status;
}
