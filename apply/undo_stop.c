#include "apply/fault.h"
#include "apply/moves.h"
#include "apply/undo_work.h"
#include "apply/witness.h"
#include "formats/base/restart.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

static raddr original_of(const struct undo *u, raddr address, bool is_return)
{
	return journals_original(u->journals, u->journal_count, address, is_return);
}

bool undo_leaves(const struct undo *u, const struct journal *j)
{
	const struct journal *half = u->half_replaced;
	return u->applied && (j == u->applied || journal_replaces(u->applied, j) || (half && (j == half || journal_replaces(half, j))));
}

/* An image that is to be freed. */
static bool in_image(const struct undo *u, raddr address)
{
	for (uint32_t i = 0; i < u->journal_count; i++)
		if (!undo_leaves(u, &u->journals[i]) && journal_region_of(&u->journals[i], address))
			return true;
	return false;
}

static void note_entered(struct undo *u, raddr address)
{
	for (uint32_t i = 0; i < u->journal_count; i++)
		u->entered |= !u->used[i] && journal_region_of(&u->journals[i], address);
}

void undo_keep(struct undo *u, const char *format, ...)
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
	undo_keep(u, "thread %d is unwinding its stack", tid);
	u->wait = true;
}

/*
 * Does this place lie in the middle of a jump that stays? Nobody may be sent there. The hook stays when the other patches go: who is at the start of the
 * look-up's copy stays in the image until it is through. When reaping, all patches of what is applied stay.
 */
static bool in_jump(const struct undo *u, raddr home)
{
	const struct patch_set applied = {.list = u->applied ? u->applied->patches : NULL,
					  .count = u->applied ? u->applied->patch_count : 0};
	const struct patch *p = u->live ? patch_inside(&u->patches, home) : NULL;
	return (p && p->is_hook) || patch_inside(&applied, home);
}

struct walk {
	struct undo *undo;
	struct tracee *tracee;
	raddr top;	/* of the stack: the highest slot seen */
	bool in_reader; /* a frame is in a module that may read unwind tables */
};

static bool visit_frame(void *context, const struct stack_frame *frame)
{
	struct walk *w = context;
	struct undo *u = w->undo;
	raddr original = original_of(u, frame->pc, frame->is_return);
	covered_frame(&u->covered, frame);
	if (frame->slot.v > w->top.v)
		w->top = frame->slot;
	w->in_reader |= readers_hold(&u->readers, original.v ? original : frame->pc);
	if (original.v >= u->unwinder_low.v && original.v < u->unwinder_high.v)
		note_unwinding(u, w->tracee->tid);
	if (!frame->slot.v || !in_image(u, (raddr){frame->pc.v - frame->is_return}))
		return true;
	note_entered(u, (raddr){frame->pc.v - frame->is_return});
	raddr home = original_of(u, frame->pc, frame->is_return);
	if (in_jump(u, home)) {
		undo_keep(u, "thread %d goes on where a jump stands now", w->tracee->tid);
		u->wait = true;
		return true;
	}
	if (!home.v || u->rewrite_count == UNDO_RETURNS_MAX) {
		undo_keep(u, "thread %d: no original for the return address 0x%" PRIx64, w->tracee->tid, frame->pc.v);
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
		for (uint32_t i = 0;
		     journal_is_entered(&u->journals[k]) && !undo_leaves(u, &u->journals[k]) && i < u->journals[k].region_count; i++)
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
	bool may_read = !u->readers.list || w.in_reader;
	if (!u->why_kept[0] && !u->clean && may_read && holds_tables(u, tracee, w.top)) {
		undo_keep(u, "thread %d may be reading its unwind tables", tracee->tid);
		u->wait = true;
		u->readers_wanted = true;
	}
	if (result.end == STACK_BOTTOM)
		return;
	snprintf(u->why_lost, sizeof u->why_lost, "thread %d: its stack cannot be followed (%s at 0x%" PRIx64 ")", tracee->tid,
		 stack_end_text(result.end), result.pc.v);
	undo_keep(u, "%s", u->why_lost);
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
		undo_keep(u, "thread %d: no original for its PC 0x%" PRIx64, tracee->tid, pc.v);
		u->wait = true;
		return false;
	}
	if (in_jump(u, home)) {
		undo_keep(u, "thread %d is where a jump stands now", tracee->tid);
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
	u->why_lost[0] = 0;
	u->wait = false;
	u->unwinding_tid = 0;
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

/* Some of the hooks may be of the kept image still; all become the live one's, as if the tool had not been killed among them. */
static int finish_replacing(struct undo *u, struct err *e)
{
	int status = patch_write(u->target, &u->patches, PATCH_WRITTEN, true, e);
	if (!status)
		status = journal_set_state(u->target, u->half_replaced, JOURNAL_REVERTED, NULL, e);
	if (!status)
		u->half_replaced = NULL;
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
	if (!status && u->half_replaced)
		status = finish_replacing(u, e);
	if (!status)
		status = journal_set_state(u->target, j, JOURNAL_UNDOING, NULL, e);
	if (status)
		return status;
	return check_bytes(u, patch_write(u->target, &u->patches, PATCH_ORIGINAL, false, e), e);
}

bool undo_has_hook(const struct undo *u)
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
	for (uint32_t i = 0; i < count; i++)
		witness_expect(u->rewrites[first + i].slot, u->rewrites[first + i].value);
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

enum journal_state undo_state_kept(const struct undo *u, const struct journal *j)
{
	return j == u->live && undo_has_hook(u) ? JOURNAL_UNDOING : JOURNAL_REVERTED;
}

/* What may go now is noted: hook and state. */
static int settle_journals(struct undo *u, struct err *e)
{
	bool unused = u->searched && !u->entered && !u->why_kept[0] && u->live && !u->pinned[u->live - u->journals];
	int status = 0;
	if (!undo_has_hook(u) || unused) {
		status = put_hook_back(u, e);
		if (status)
			return status;
		u->live = NULL;
	}
	for (uint32_t i = 0; !status && i < u->journal_count; i++)
		if (!u->pinned[i] && journal_is_entered(&u->journals[i]))
			status = journal_set_state(u->target, &u->journals[i], undo_state_kept(u, &u->journals[i]),
						   u->why_kept[0] ? u->why_kept : JOURNAL_FREEING, e);
	return status;
}

/*
 * All that happens while the target is stopped. A thread inside the unwinder holds image addresses in a context of its own, where nobody
 * rewrites them; without the hook on _Unwind_Find_FDE it would find no frame for them and end the process. So all threads must be out of it
 * once, before the hook goes, which is when nothing is left that could be unwound.
 */
int undo_while_stopped(struct undo *u, struct undo_report *report, struct err *e)
{
	survey_threads(u, report);
	if (u->look_only)
		return 0;
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
