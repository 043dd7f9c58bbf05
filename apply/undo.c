#include "apply/undo.h"

#include "apply/inject.h"
#include "apply/modules.h"
#include "apply/perf_map.h"
#include "apply/release.h"
#include "apply/symbols.h"
#include "apply/undo_work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRY_PAUSE 20000000ull
#define SAME_REASON_TRIES 25u

/* libgcc_s, by name: the only module that walks our unwind tables. */
static void find_unwinder(struct undo *u)
{
	for (size_t i = 0; i < u->target->maps.count; i++) {
		const struct procmap *m = &u->target->maps.maps[i];
		if (!strstr(m->path, "/libgcc_s.so") || !m->execute)
			continue;
		u->unwinder_low = m->start;
		u->unwinder_high = m->end;
		return;
	}
}

/* The library was closed, and its patches with it: what stands there now is none of our business, unless it leads into the image. */
static void forget_patches(struct undo *u, uint32_t region)
{
	for (uint32_t i = 0; i < u->patches.count; i++) {
		struct patch *p = &u->patches.list[i];
		uint8_t bytes[PLAN_PATCH_SIZE];
		if (p->region == region &&
		    (target_read_some(u->target, p->at, bytes, sizeof bytes) != sizeof bytes || memcmp(bytes, p->written, sizeof bytes)))
			p->state = PATCH_LEFT_OUT;
	}
}

static int prepare_patches(struct undo *u, struct err *e)
{
	int status = patch_set_alloc(u->live ? u->live->patch_count : 0, &u->patches, e);
	if (!status && u->live && u->live->patch_count)
		memcpy(u->patches.list, u->live->patches, u->live->patch_count * sizeof *u->patches.list);
	for (uint32_t k = 0; !status && u->live && k < u->live->region_count; k++) {
		const struct journal_region *r = &u->live->regions[k];
		if (!modules_present(u->target, &r->module, r->bias))
			forget_patches(u, k);
	}
	if (!status && u->half_replaced)
		(void)patch_replace_hooks(&u->patches, u->half_replaced->patches, u->half_replaced->patch_count);
	return status;
}

static int prepare(struct undo *u, struct err *e)
{
	u->rewrites = malloc(UNDO_RETURNS_MAX * sizeof *u->rewrites);
	u->pinned = calloc(u->journal_count + 1, sizeof *u->pinned);
	u->used = calloc(u->journal_count + 1, sizeof *u->used);
	if (!u->rewrites || !u->pinned || !u->used)
		return err_set(e, ERR_MEMORY, "no memory for return addresses");
	int status = prepare_patches(u, e);
	if (!status)
		status = covered_init(&u->covered, e);
	if (!status)
		status = tracees_init(u->target, &u->threads, e);
	for (uint32_t k = 0; u->applied && k < u->journal_count; k++)
		u->used[k] = u->pinned[k] = undo_leaves(u, &u->journals[k]);
	find_unwinder(u);
	return status;
}

/* One stop; the unwind tables are read before it. */
static int try_once(struct undo *u, uint64_t limit, struct undo_report *report, struct err *e)
{
	int status = target_refresh(u->target, e);
	if (status)
		return status;
	stack_close(u->unwinder);
	u->unwinder = NULL;
	if (u->readers_wanted)
		status = readers_find(u->target, &u->readers, e);
	if (!status)
		status = stack_open(u->target->task, &u->target->maps, &u->unwinder, e);
	if (!status)
		status = tracees_stop(&u->threads, limit, e);
	if (status)
		return status;
	report->stops++;
	status = undo_while_stopped(u, report, e);
	tracees_resume(&u->threads);
	if (u->threads.pause > report->pause)
		report->pause = u->threads.pause;
	return status;
}

/* Why an image stays, and how often in a row that was the answer. */
struct reason {
	char text[JOURNAL_REASON_SIZE];
	uint32_t times;
};

/* Is there no use in looking again? A thread whose stack cannot be followed may be passing through such a place, as every new thread does. */
static bool stays_so(const struct undo *u, struct reason *last)
{
	last->times = strcmp(last->text, u->why_kept) ? 1 : last->times + 1;
	memcpy(last->text, u->why_kept, sizeof last->text);
	return !u->wait && last->times >= SAME_REASON_TRIES;
}

int undo_settle(struct undo *u, const struct undo_options *options, struct undo_report *report, struct err *e)
{
	uint32_t tries = options->tries ? options->tries : 1;
	struct reason last = {0};
	int status = 0;
	for (uint32_t n = 0; !status && n < tries; n++) {
		if (n)
			monotonic_pause(TRY_PAUSE);
		status = try_once(u, options->max_pause, report, e);
		if (status == -ERR_BUSY && n + 1 < tries)
			status = 0;
		else if (!status && (!u->why_kept[0] || stays_so(u, &last)))
			break;
	}
	if (status == -ERR_BUSY && u->patches_gone) { /* a later stop, only to free the image, failed: it stays */
		undo_keep(u, "not all threads could be stopped once more");
		status = 0;
	}
	return status;
}

static int free_images(struct undo *u, uint32_t tries, struct undo_report *report, struct err *e)
{
	struct release_report released = {0};
	struct err why = {0};
	int status = 0;
	for (uint32_t n = 0; n < tries; n++) {
		if (n)
			monotonic_pause(TRY_PAUSE);
		status = release_images(u->target, u->journals, u->journal_count, u->pinned, &released, &why);
		if (status != -ERR_BUSY)
			break;
	}
	if (status && status != -ERR_BUSY && status != -ERR_REFUSED) {
		if (e)
			*e = why;
		return status;
	}
	report->freed = released.freed;
	report->kept |= status || released.kept[0];
	if (status == -ERR_REFUSED) /* it filters its system calls since it was applied to */
		snprintf(report->kept_because, sizeof report->kept_because, "%.*s", (int)sizeof report->kept_because - 1, why.text);
	else if (status)
		snprintf(report->kept_because, sizeof report->kept_because, "no thread could make the call to unmap it");
	else if (released.kept[0])
		memcpy(report->kept_because, released.kept, sizeof report->kept_because);
	return 0;
}

/* What stays says why in its journal; what is pinned by itself does already. */
static int note_kept(struct undo *u, struct undo_report *report, struct err *e)
{
	int status = 0;
	for (uint32_t k = 0; !status && k < u->journal_count; k++) {
		struct journal *j = &u->journals[k];
		if (journal_is_entered(j) && !u->used[k] && (u->why_kept[0] || u->pinned[k]))
			status = journal_set_state(u->target, j, undo_state_kept(u, j), u->why_kept[0] ? u->why_kept : JOURNAL_TOGETHER, e);
		else if (undo_leaves(u, j) && j->state == JOURNAL_REVERTED)
			status = journal_set_state(u->target, j, JOURNAL_REVERTED, JOURNAL_BY_APPLIED, e);
	}
	report->hooked = undo_has_hook(u);
	const char *why = u->why_kept[0] ? u->why_kept : u->why_pinned;
	if (!why[0])
		return status;
	report->kept = true;
	memcpy(report->kept_because, why, sizeof report->kept_because);
	return status;
}

/* May anybody be in an image that is to be freed? */
static bool any_entered(const struct undo *u)
{
	for (uint32_t k = 0; k < u->journal_count; k++)
		if (journal_is_entered(&u->journals[k]) && !undo_leaves(u, &u->journals[k]))
			return true;
	return false;
}

static int undo_all(struct undo *u, const struct undo_options *options, struct undo_report *report, struct err *e)
{
	bool entered = any_entered(u);
	int status = prepare(u, e);
	if (!status && entered)
		status = undo_settle(u, options, report, e);
	if (!status && entered)
		status = undo_find_unused(u, options, report, e);
	if (!status)
		status = note_kept(u, report, e);
	if (status || u->why_kept[0])
		return status;
	return free_images(u, options->tries ? options->tries : 1, report, e);
}

static int nothing_to_undo(const struct undo *u, bool reap, struct err *e)
{
	int status = inject_clean(u->target, e);
	return status || reap ? status : err_set(e, ERR_REFUSED, "process %d: nothing is applied", u->target->pid);
}

/* What a perf map of ours holds. */
static int expect_map(const struct undo *u, struct writer *ret_contents, struct err *e)
{
	struct symbols symbols;
	int status = symbols_init(u->target, u->journals, u->journal_count, &symbols, e);
	if (status)
		return status;
	status = symbols_write_perf(&symbols, ret_contents, e);
	symbols_free(&symbols);
	return status;
}

/* A map that stays is no reason to say that undo failed. `why` may say already why there are no contents. */
static void remove_map(const struct undo *u, const struct writer *contents, struct err *why, struct undo_report *report)
{
	if (!why->code && contents->size)
		(void)!perf_map_remove(u->target, contents, &report->map_removed, why);
	if (why->code && why->code != ERR_GONE)
		snprintf(report->map_left, sizeof report->map_left, "%.*s", (int)sizeof report->map_left - 1, why->text);
}

static int undo_journals(struct undo *u, const struct undo_options *options, struct undo_report *report, struct err *e)
{
	struct writer map = {0};
	struct err why = {0};
	(void)!expect_map(u, &map, &why);
	int status = undo_all(u, options, report, e);
	if (!status)
		remove_map(u, &map, &why, report);
	writer_free(&map);
	return status;
}

static void close_undo(struct undo *u)
{
	tracees_fini(&u->threads);
	stack_close(u->unwinder);
	patch_set_free(&u->patches);
	covered_free(&u->covered);
	readers_free(&u->readers);
	free(u->rewrites);
	free(u->pinned);
	free(u->used);
	journals_free(u->journals, u->journal_count);
}

int undo_process(struct target *t, const struct undo_options *options, struct undo_report *ret_report, struct err *e)
{
	struct undo u = {.target = t};
	struct undo_report report = {0};
	t->calls_by = t->calls_cut = 0;
	int status = target_refresh(t, e);
	if (!status)
		status = journals_load(t, &u.journals, &u.journal_count, e);
	if (status)
		return status;
	u.live = journals_live(u.journals, u.journal_count);
	u.half_replaced = journals_half_replaced(u.journals, u.journal_count, u.live);
	if (options->reap && u.live && (u.live->state == JOURNAL_APPLIED || u.live->state == JOURNAL_PATCHING)) {
		u.applied = u.live;
		u.live = NULL;
	}
	if (u.journal_count == (u.applied ? 1 : 0))
		status = nothing_to_undo(&u, options->reap, e);
	else if (u.applied) /* its names are in the perf map, which stays */
		status = undo_all(&u, options, &report, e);
	else
		status = undo_journals(&u, options, &report, e);
	close_undo(&u);
	report.calls_cut = t->calls_cut;
	if (!status)
		*ret_report = report;
	return status;
}

/* The looks of an undo, without its deeds. Who is unwinding will have done so some time. */
int undo_rehearse(struct target *t, const struct undo_options *options, struct err *e)
{
	struct undo u = {.target = t, .look_only = true};
	struct undo_report report = {0};
	t->calls_by = 0;
	int status = target_refresh(t, e);
	if (!status)
		status = journals_load(t, &u.journals, &u.journal_count, e);
	if (!status)
		status = prepare(&u, e);
	if (!status)
		status = undo_settle(&u, options, &report, e);
	if (!status && u.why_lost[0])
		status = err_set(e, ERR_REFUSED, "process %d: %s", t->pid, u.why_lost);
	close_undo(&u);
	return status;
}
