#include "apply/undo.h"

#include "apply/covered.h"
#include "apply/fault.h"
#include "apply/hidden.h"
#include "apply/inject.h"
#include "apply/judge.h"
#include "apply/modules.h"
#include "apply/moves.h"
#include "apply/perf_map.h"
#include "apply/release.h"
#include "apply/stack.h"
#include "apply/symbols.h"
#include "apply/tracee.h"
#include "formats/base/restart.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define RETURNS_MAX (1u << 18)
#define TRY_PAUSE 20000000ull
#define STACK_WORDS 1024u /* read at a time */
#define SAME_REASON_TRIES 6u
#define PIN_TRIES 8u /* searches more than there are images */
#define SEARCH_TRIES 8u

/* A word on a stack that leads into an image, and what it becomes. */
struct rewrite {
	raddr slot;
	uint64_t value;
};

struct undo {
	struct target *target;
	struct journal *journals;
	uint32_t journal_count;
	struct journal *live;	 /* the one with patches, or NULL */
	struct journal *applied; /* when reaping, the one to leave alone, or NULL */
	struct patch_set patches;
	struct tracees threads;
	struct stack_unwinder *unwinder;
	struct rewrite *rewrites; /* room for RETURNS_MAX */
	uint32_t rewrite_count;
	raddr unwinder_low, unwinder_high; /* libgcc_s: who is in there may hold pointers into our tables */
	char why_kept[JOURNAL_REASON_SIZE];
	struct covered covered;		      /* by the walks of the latest stop */
	bool *pinned;			      /* owned, per journal: not to be freed */
	char why_pinned[JOURNAL_REASON_SIZE]; /* of the latest: a word of memory may be a saved PC that leads into its image */
	bool patches_gone, wait;	      /* wait: a little later it may go */
	bool searched;			      /* memory was, and nothing was found; the next stop is to make sure */
	bool clean;			      /* at the latest stop nobody was in an unwinder, or nobody in an image */
	bool entered;			      /* somebody was in an image that is to be freed, at a stop since this was last cleared */
	int unwinding_tid;		      /* a thread that is inside libgcc_s, 0 = none */
	bool blind; /* a stack could not be followed to its end: who knows whether that thread is inside an unwinder */
	uint64_t stack[STACK_WORDS];
};

static raddr original_of(const struct undo *u, raddr address, bool is_return)
{
	return journals_original(u->journals, u->journal_count, address, is_return);
}

/* An image that is to be freed; when reaping, the one that is applied is not. */
static bool in_image(const struct undo *u, raddr address)
{
	for (uint32_t i = 0; i < u->journal_count; i++)
		if (&u->journals[i] != u->applied && journal_region_of(&u->journals[i], address))
			return true;
	return false;
}

static void note_entered(struct undo *u, raddr address)
{
	for (uint32_t i = 0; i < u->journal_count; i++)
		u->entered |= !u->pinned[i] && journal_region_of(&u->journals[i], address);
}

__attribute__((format(printf, 2, 3))) static void keep(struct undo *u, const char *format, ...)
{
	va_list arguments;
	if (u->why_kept[0])
		return;
	va_start(arguments, format);
	vsnprintf(u->why_kept, sizeof u->why_kept, format, arguments);
	va_end(arguments);
}

/* Where no thread's stack has led into an image since all were out of the unwinder, what is unwound now has nothing to do with images. */
static void note_unwinding(struct undo *u, int tid)
{
	u->unwinding_tid = tid;
	if (u->clean)
		return;
	keep(u, "thread %d is unwinding its stack", tid);
	u->wait = true;
}

struct walk {
	struct undo *undo;
	struct tracee *tracee;
	raddr top; /* of the stack: the highest slot seen */
};

static bool visit_frame(void *context, const struct stack_frame *frame)
{
	struct walk *w = context;
	struct undo *u = w->undo;
	raddr original = original_of(u, frame->pc, frame->is_return);
	covered_frame(&u->covered, frame);
	if (frame->slot.v > w->top.v)
		w->top = frame->slot;
	if (original.v >= u->unwinder_low.v && original.v < u->unwinder_high.v)
		note_unwinding(u, w->tracee->tid);
	if (!frame->slot.v || !in_image(u, (raddr){frame->pc.v - frame->is_return}))
		return true;
	note_entered(u, (raddr){frame->pc.v - frame->is_return});
	raddr home = original_of(u, frame->pc, frame->is_return);
	if (!home.v || u->rewrite_count == RETURNS_MAX) {
		keep(u, "thread %d: no original for the return address 0x%" PRIx64, w->tracee->tid, frame->pc.v);
		return true;
	}
	u->rewrites[u->rewrite_count++] = (struct rewrite){frame->slot, home.v};
	return true;
}

static raddr visit_original(void *context, const struct stack_frame *frame)
{
	const struct walk *w = context;
	return original_of(w->undo, frame->pc, frame->is_return);
}

/* Is `word` an address in the unwind data of an image? */
static bool in_tables(const struct undo *u, uint64_t word)
{
	for (uint32_t k = 0; k < u->journal_count; k++)
		for (uint32_t i = 0; &u->journals[k] != u->applied && i < u->journals[k].region_count; i++)
			if (word - u->journals[k].regions[i].data.v < u->journals[k].regions[i].data_mapped)
				return true;
	return false;
}

/* Does the thread hold a pointer into unwind data, in a register or on its stack below `top`? Only an unwinder makes them. */
static bool holds_tables(struct undo *u, const struct tracee *tracee, raddr top)
{
	uint64_t registers[sizeof tracee->registers / 8], at = (tracee->registers.rsp - COVERED_RED_ZONE) & ~7ull;
	bool found = false;
	memcpy(registers, &tracee->registers, sizeof registers);
	for (size_t i = 0; i < sizeof registers / 8; i++)
		found |= in_tables(u, registers[i]);
	while (!found && at < top.v) {
		size_t size = top.v - at < sizeof u->stack ? (size_t)(top.v - at) : sizeof u->stack;
		size_t got = target_read_some(u->target, (raddr){at}, u->stack, size) / 8;
		for (size_t i = 0; i < got; i++)
			found |= in_tables(u, u->stack[i]);
		if (got * 8 < size)
			break;
		at += size;
	}
	return found;
}

/* Collects what on this thread's stack leads into an image. */
static void walk_thread(struct undo *u, struct tracee *tracee)
{
	struct walk w = {.undo = u, .tracee = tracee};
	const struct stack_visitor visitor = {&w, visit_frame, visit_original};
	struct stack_result result = stack_walk(u->unwinder, &tracee->registers, &visitor);
	covered_thread_end(&u->covered, (raddr){tracee->registers.fs_base}, &result);
	if (result.unwinds && !u->unwinding_tid)
		note_unwinding(u, tracee->tid);
	/* One that only looks (backtrace) does not mind that the hook goes, but it reads tables of the image. */
	if (!u->why_kept[0] && !u->clean && holds_tables(u, tracee, w.top)) {
		keep(u, "thread %d may be reading its unwind tables", tracee->tid);
		u->wait = true;
	}
	if (result.end == STACK_BOTTOM)
		return;
	u->blind = true;
	keep(u, "thread %d: its stack cannot be followed (%s at 0x%" PRIx64 ")", tracee->tid, stack_end_text(result.end), result.pc.v);
}

/* A PC in an image goes home; an interrupted call that is to be made again must stand there as well. */
static bool move_home(struct undo *u, struct tracee *tracee, struct undo_report *report)
{
	raddr pc = {tracee->registers.rip};
	bool restarts = restart_by_kernel(&tracee->registers);
	if (!in_image(u, pc) && !(restarts && in_image(u, (raddr){pc.v - 2})))
		return true;
	note_entered(u, pc);
	raddr home = original_of(u, pc, restarts);
	if (!home.v || (restarts && original_of(u, (raddr){pc.v - 2}, false).v != home.v - 2)) {
		keep(u, "thread %d: no original for its PC 0x%" PRIx64, tracee->tid, pc.v);
		u->wait = true;
		return false;
	}
	tracee->registers.rip = home.v;
	tracee->changed = true;
	report->moved++;
	return true;
}

/* Workers of io_uring never are in user mode; the kernel says so by these two (copy_thread in arch/x86/kernel/process.c). */
static bool stays_in_kernel(const struct tracee *tracee)
{
	return !tracee->registers.rip && !tracee->registers.rsp;
}

/* Looks at every stopped thread; changes nothing. */
static void survey_threads(struct undo *u, struct undo_report *report)
{
	u->rewrite_count = 0;
	u->why_kept[0] = 0;
	u->wait = false;
	u->unwinding_tid = 0;
	u->blind = false;
	report->threads = 0;
	covered_begin(&u->covered);
	for (uint32_t i = 0; i < u->threads.count; i++) {
		struct tracee *tracee = &u->threads.list[i];
		if (tracee->state != TRACEE_STOPPED)
			continue;
		report->threads++;
		if (!stays_in_kernel(tracee))
			walk_thread(u, tracee);
	}
}

/* After the walks, which want the registers as they are. Only once the patches go: home may lie inside one. */
static void move_threads(struct undo *u, struct undo_report *report)
{
	for (uint32_t i = 0; i < u->threads.count; i++)
		if (u->threads.list[i].state == TRACEE_STOPPED)
			move_home(u, &u->threads.list[i], report);
}

static int check_bytes(const struct undo *u, int status, struct err *e)
{
	if (status && status != -ERR_GONE)
		return err_set(e, ERR_INCONSISTENT, "process %d: original bytes could not be put back; run undo again", u->target->pid);
	return status;
}

/* All patches but the hook. */
static int put_back(struct undo *u, struct undo_report *report, struct err *e)
{
	struct journal *j = u->live;
	if (!j || j->state == JOURNAL_STAGING)
		return 0;
	/* Original bytes are no surprise in any state: a library that was closed and opened again has them. */
	int status = patch_compare(u->target, &u->patches, PATCH_EITHER, e);
	if (status == -ERR_NO)
		status = patch_allow_probes(u->target, &u->patches, &report->breakpoints, e);
	if (status == -ERR_NO)
		return e ? (e->code = ERR_REFUSED, -ERR_REFUSED) : -ERR_REFUSED;
	if (!status)
		status = journal_set_state(u->target, j, JOURNAL_UNDOING, NULL, e);
	if (status)
		return status;
	return check_bytes(u, patch_write(u->target, &u->patches, PATCH_ORIGINAL, false, e), e);
}

static bool has_hook(const struct undo *u)
{
	bool has = false;
	for (uint32_t i = 0; u->live && u->live->state != JOURNAL_STAGING && i < u->patches.count; i++)
		has |= u->patches.list[i].is_hook && u->patches.list[i].state == PATCH_WANTED;
	return has;
}

/*
 * The hook goes when no frame of the image is left on any stack, a suspended coroutine's included: what is thrown through one would end the process.
 */
static int put_hook_back(struct undo *u, struct err *e)
{
	if (!u->live || u->live->state == JOURNAL_STAGING)
		return 0;
	int status = patch_write(u->target, &u->patches, PATCH_ORIGINAL, true, e);
	if (!status)
		status = patch_compare(u->target, &u->patches, PATCH_ORIGINAL, e);
	return check_bytes(u, status, e);
}

#define WRITE_BATCH 512

/* Stack slots are writable memory, so one call writes many. A slot that is not (a stack made read-only) is written by force. */
static int rewrite_batch(const struct undo *u, uint32_t first, uint32_t count, struct err *e)
{
	struct iovec local[WRITE_BATCH], remote[WRITE_BATCH];
	for (uint32_t i = 0; i < count; i++) {
		struct rewrite *r = &u->rewrites[first + i];
		local[i] = (struct iovec){&r->value, sizeof r->value};
		remote[i] = (struct iovec){(void *)(uintptr_t)r->slot.v, sizeof r->value};
	}
	fault_step();
	if (process_vm_writev(u->target->task, local, count, remote, count, 0) == (ssize_t)(count * sizeof(uint64_t)))
		return 0;
	int status = 0;
	for (uint32_t i = 0; !status && i < count; i++)
		status = target_write(u->target, u->rewrites[first + i].slot, &u->rewrites[first + i].value, sizeof(uint64_t), e);
	return status;
}

static int rewrite_returns(const struct undo *u, struct undo_report *report, struct err *e)
{
	for (uint32_t i = 0; i < u->rewrite_count; i += WRITE_BATCH) {
		uint32_t left = u->rewrite_count - i;
		int status = rewrite_batch(u, i, left < WRITE_BATCH ? left : WRITE_BATCH, e);
		if (status)
			return status;
	}
	report->returns += u->rewrite_count;
	return 0;
}

/* Of a journal that is not to be freed now, or not yet. */
static enum journal_state state_kept(const struct undo *u, const struct journal *j)
{
	return j == u->live && has_hook(u) ? JOURNAL_UNDOING : JOURNAL_REVERTED;
}

/* What may go now is noted: hook and state. */
static int settle_journals(struct undo *u, struct err *e)
{
	bool unused = u->searched && !u->entered && !u->why_kept[0] && u->live && !u->pinned[u->live - u->journals];
	int status = 0;
	if (!has_hook(u) || unused) {
		status = put_hook_back(u, e);
		if (status)
			return status;
		u->live = NULL;
	}
	for (uint32_t i = 0; !status && i < u->journal_count; i++)
		if (!u->pinned[i])
			status = journal_set_state(u->target, &u->journals[i], state_kept(u, &u->journals[i]),
						   u->why_kept[0] ? u->why_kept : JOURNAL_FREEING, e);
	return status;
}

/*
 * All that happens while the target is stopped. A thread inside the unwinder holds image addresses in a context of its own, where nobody
 * rewrites them; without the hook on _Unwind_Find_FDE it would find no frame for them and end the process. So all threads must be out of it
 * once, before the hook goes, which is when nothing is left that could be unwound.
 */
static int while_stopped(struct undo *u, struct undo_report *report, struct err *e)
{
	survey_threads(u, report);
	if (u->unwinding_tid && !u->patches_gone && u->live && u->live->state != JOURNAL_STAGING)
		return err_set(e, ERR_BUSY, "process %d: thread %d is unwinding its stack; try again", u->target->pid, u->unwinding_tid);
	int status = u->patches_gone ? 0 : put_back(u, report, e);
	if (status)
		return status;
	if (!u->patches_gone && u->live && u->live->state != JOURNAL_STAGING)
		report->patches = patch_count(&u->patches, PATCH_WANTED);
	move_threads(u, report);
	u->patches_gone = true;
	moves_commit(&u->threads);
	status = rewrite_returns(u, report, e);
	if (!status)
		status = settle_journals(u, e);
	u->clean = !u->why_kept[0] && !(u->entered && u->unwinding_tid);
	return status;
}

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
		raddr stub = patch_stub(r->code, u->live->runs + r->first_run, r->run_count);
		for (uint32_t i = 0; stub.v && i < u->patches.count; i++)
			u->patches.list[i].is_hook |= patch_leads_to(&u->patches.list[i], stub);
	}
	return status;
}

static int prepare(struct undo *u, struct err *e)
{
	u->rewrites = malloc(RETURNS_MAX * sizeof *u->rewrites);
	u->pinned = calloc(u->journal_count + 1, sizeof *u->pinned);
	if (!u->rewrites || !u->pinned)
		return err_set(e, ERR_MEMORY, "no memory for return addresses");
	int status = prepare_patches(u, e);
	if (!status)
		status = covered_init(&u->covered, e);
	if (!status)
		status = tracees_init(u->target, &u->threads, e);
	if (u->applied)
		u->pinned[u->applied - u->journals] = true;
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
	status = stack_open(u->target->task, &u->target->maps, &u->unwinder, e);
	if (!status)
		status = tracees_stop(&u->threads, limit, e);
	if (status)
		return status;
	report->stops++;
	status = while_stopped(u, report, e);
	tracees_resume(&u->threads);
	if (u->threads.pause > report->pause)
		report->pause = u->threads.pause;
	return status;
}

static uint32_t list_images(const struct undo *u, struct covered_range *images)
{
	uint32_t count = 0;
	for (uint32_t k = 0; k < u->journal_count; k++)
		for (uint32_t n = 0; !u->pinned[k] && n < u->journals[k].region_count; n++) {
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

/* Keeps the image that the word at `found` leads into, and no other. */
static int pin_image(struct undo *u, raddr found, struct err *e)
{
	raddr word;
	int status = target_read(u->target, found, &word.v, sizeof word.v, e);
	uint32_t k = status ? 0 : journal_of(u, word);
	if (status || k == u->journal_count)
		return status; /* it changed meanwhile: it is looked for again */
	u->pinned[k] = true;
	snprintf(u->why_pinned, sizeof u->why_pinned, "a saved PC may lead into it: the word at 0x%" PRIx64 " looks like one", found.v);
	return journal_set_state(u->target, &u->journals[k], state_kept(u, &u->journals[k]), u->why_pinned, e);
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

static bool all_pinned(const struct undo *u)
{
	for (uint32_t k = 0; k < u->journal_count; k++)
		if (!u->pinned[k])
			return false;
	return true;
}

static int pin_images(struct undo *u, struct err *e)
{
	raddr found = {1};
	int status = target_refresh(u->target, e);
	if (!status)
		covered_finish(&u->covered, u->target);
	for (uint32_t n = 0; !status && found.v && !all_pinned(u) && n < u->journal_count + PIN_TRIES; n++) {
		found.v = 0;
		status = search_hidden(u, &found, e);
		if (!status && found.v)
			status = pin_image(u, found, e);
	}
	if (!status && found.v && !all_pinned(u)) /* words come and go: none of the images is safe */
		keep(u, "memory that may hold saved PCs changes too fast");
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

/* Stops until nobody's stack is a reason to keep the images, or there is no use in trying again. */
static int settle(struct undo *u, const struct undo_options *options, struct undo_report *report, struct err *e)
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
		keep(u, "not all threads could be stopped once more");
		status = 0;
	}
	return status;
}

/*
 * Pins what may still be used. A coroutine that goes on during the search takes its PC out of memory, so the threads are looked at once more; if
 * one was in an image since, it is home now, and who knows what it left behind: the search begins again.
 */
static int find_unused(struct undo *u, const struct undo_options *options, struct undo_report *report, struct err *e)
{
	int status = 0;
	u->entered = true;
	for (uint32_t n = 0; !status && !u->why_kept[0] && !all_pinned(u) && u->entered; n++) {
		if (n == SEARCH_TRIES) {
			keep(u, "coroutines keep going on in it");
			break;
		}
		status = pin_images(u, e);
		u->entered = false;
		u->searched = true;
		if (!status && !u->why_kept[0] && !all_pinned(u))
			status = settle(u, options, report, e);
	}
	return status;
}

/* What stays says why in its journal. */
static int note_kept(struct undo *u, struct undo_report *report, struct err *e)
{
	int status = 0;
	for (uint32_t k = 0; !status && u->why_kept[0] && k < u->journal_count; k++)
		if (!u->pinned[k])
			status = journal_set_state(u->target, &u->journals[k], state_kept(u, &u->journals[k]), u->why_kept, e);
	report->hooked = has_hook(u);
	const char *why = u->why_kept[0] ? u->why_kept : u->why_pinned;
	if (!why[0])
		return status;
	report->kept = true;
	memcpy(report->kept_because, why, sizeof report->kept_because);
	return status;
}

static int undo_all(struct undo *u, const struct undo_options *options, struct undo_report *report, struct err *e)
{
	bool only_staged = u->live && u->live->state == JOURNAL_STAGING && u->journal_count == 1;
	int status = prepare(u, e);
	if (!status && only_staged) { /* nothing leads into it; should it stay, it is not in the way of a next one */
		status = journal_set_state(u->target, u->live, JOURNAL_REVERTED, JOURNAL_FREEING, e);
	} else if (!status) {
		status = settle(u, options, report, e);
		if (!status)
			status = find_unused(u, options, report, e);
		if (!status)
			status = note_kept(u, report, e);
	}
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

int undo_process(struct target *t, const struct undo_options *options, struct undo_report *ret_report, struct err *e)
{
	struct undo u = {.target = t};
	struct undo_report report = {0};
	int status = target_refresh(t, e);
	if (!status)
		status = journals_load(t, &u.journals, &u.journal_count, e);
	if (status)
		return status;
	u.live = journals_live(u.journals, u.journal_count);
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
	tracees_fini(&u.threads);
	stack_close(u.unwinder);
	patch_set_free(&u.patches);
	covered_free(&u.covered);
	free(u.rewrites);
	free(u.pinned);
	journals_free(u.journals, u.journal_count);
	if (!status)
		*ret_report = report;
	return status;
}
