#include "apply/apply.h"

#include "apply/cgroup.h"
#include "apply/inject.h"
#include "apply/journal.h"
#include "apply/kept.h"
#include "apply/modes.h"
#include "apply/moves.h"
#include "apply/placement.h"
#include "apply/readers.h"
#include "apply/tracee.h"
#include "apply/undo.h"
#include "formats/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRY_PAUSE 20000000ull
#define UNDO_TRIES 20u
#define PLACE_TRIES 4u

struct apply {
	struct target *target;
	const struct apply_options *options;
	struct kept kept;
	struct stage stage;
	struct patch_set patches;
	struct moves moves;
	struct tracees threads;
	struct journal journal;
	struct writer encoded;
	uint8_t *flags;	    /* one per patch of the journal */
	void *stack_buffer; /* MOVES_STACK_MAX */
	struct apply_report report;
	bool patched; /* the journal says so: going back means undo */
};

/* `s` is of the open descriptor that is read afterwards: whatever happens to the path meanwhile, these are the bytes that were judged. */
static int check_plan_file(const struct stat *s, const char *name, struct err *e)
{
	if (!S_ISREG(s->st_mode))
		return err_set(e, ERR_REFUSED, "%s: a plan must be a regular file", name);
	if (s->st_uid && s->st_uid != geteuid())
		return err_set(e, ERR_REFUSED, "%s: owned by user %u; a plan is code and must be owned by root or by you", name, s->st_uid);
	if (s->st_mode & (S_IWGRP | S_IWOTH))
		return err_set(e, ERR_REFUSED, "%s: others may write it (mode %o); a plan is code", name, s->st_mode & 07777);
	return 0;
}

static int read_plan_fd(int fd, bool is_stdin, const char *name, struct plan *ret_plan, struct err *e)
{
	struct stat s;
	struct file_data file;
	if (fstat(fd, &s) < 0)
		return err_set_errno(e, errno, "%s", name);
	/* Whoever runs this tool made the pipe; but what a file on stdin holds may be somebody else's. */
	int status = is_stdin && !S_ISREG(s.st_mode) ? 0 : check_plan_file(&s, name, e);
	if (!status)
		status = file_read_fd(fd, name, &file, e);
	if (status)
		return status;
	status = plan_decode(file.data, file.size, name, ret_plan, e);
	file_data_free(&file);
	return status;
}

int apply_read_plan(const char *path, struct plan *ret_plan, struct err *e)
{
	if (!strcmp(path, "-"))
		return read_plan_fd(STDIN_FILENO, true, "stdin", ret_plan, e);
	/* Not to be kept waiting by a FIFO, which is refused. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	int status = read_plan_fd(fd, false, path, ret_plan, e);
	close(fd);
	return status;
}

void apply_report_free(struct apply_report *r)
{
	free(r->modules);
	*r = (struct apply_report){0};
}

/* What an earlier run left: applied is an answer, a half-done state is taken back. */
static int clear_leftovers(struct apply *a, struct err *e)
{
	struct journal *list;
	uint32_t count;
	int status = journals_load(a->target, &list, &count, e);
	if (status)
		return status;
	const struct journal *live = journals_live(list, count);
	bool half_done = live && live->state != JOURNAL_APPLIED, kept = live && live->state == JOURNAL_UNDOING && live->kept_because[0];
	if (live && !half_done)
		status = err_set(e, ERR_REFUSED, "process %d: a plan is applied already; undo it first", a->target->pid);
	journals_free(list, count);
	if (!status && half_done && !a->options->dry_run) {
		struct undo_options options = {.max_pause = a->options->max_pause, .tries = UNDO_TRIES};
		struct undo_report undone;
		status = undo_process(a->target, &options, &undone, e);
		if (status)
			return err_prefix(e, "taking back what a killed tool left");
		a->report.repaired = !kept || !undone.hooked;
		status = target_refresh(a->target, e);
	}
	return status ? status : kept_load(a->target, &a->kept, e);
}

/* The hooks of a kept image can only go when others come for them. */
static int replace_hooks(struct apply *a, struct err *e)
{
	int status = kept_drop_patches(&a->kept, a->target, &a->patches, e);
	if (status)
		return status;
	const struct patch *missing = patch_replace_hooks(&a->patches, a->kept.for_stage.patches, a->kept.for_stage.patch_count);
	if (!missing)
		return 0;
	return err_set(e, ERR_BUSY,
		       "process %d: an undo could not be finished: %s; and the plan has nothing for what unwinders ask at 0x%" PRIx64,
		       a->target->pid, a->kept.hooked->kept_because, missing->at.v);
}

/*
 * Is one of the plan's hooks made: in libgcc_s, or in libc? That of a static program would be asked too, but undo could not see who is inside its
 * unwinder, which has no table of its frames.
 */
static bool has_hook(const struct apply *a, bool in_libgcc)
{
	for (uint32_t i = 0; i < a->patches.count; i++) {
		const struct patch *p = &a->patches.list[i];
		const char *path = a->stage.regions[p->region].plan->module.path;
		if (p->state == PATCH_WANTED && p->is_hook && strstr(path, in_libgcc ? "/libgcc_s.so" : "/libc.so"))
			return true;
	}
	return false;
}

/* Does the module import libc's look-up, for an unwinder that is linked in? The name stands in its string table, which is in the first mapping. */
static int imports_lookup(const struct apply *a, const struct region *r, bool *ret_imports, struct err *e)
{
	const struct procmap *m = procmaps_find(&a->target->maps, raddr_of_vaddr((vaddr){r->plan->load_low}, r->bias));
	*ret_imports = false;
	return m ? readers_named(a->target, m->start, (size_t)(m->end.v - m->start.v), "_dl_find_object", ret_imports, e) : 0;
}

/* Why the plan's part for a library is not used; NULL: it has none, or its hook cannot be made. */
static const char *why_skipped(const struct apply *a, const char *name)
{
	for (uint32_t i = 0; i < a->stage.skipped_count; i++)
		if (strstr(a->stage.skipped[i].plan->module.path, name))
			return a->stage.skipped[i].reason;
	return NULL;
}

/*
 * Exceptions may be thrown through any moved function, and whoever unwinds must learn of its tables: libgcc_s where it is loaded, libc's look-up where
 * a module brings its own unwinder, and where there is none now, since one may be loaded later, by pthread_cancel or with a plugin.
 */
static int check_unwinding(const struct apply *a, struct err *e)
{
	bool tables = false, libgcc = false, own = false;
	int status = 0;
	for (size_t i = 0; i < a->target->maps.count; i++)
		libgcc |= strstr(a->target->maps.maps[i].path, "/libgcc_s.so") != NULL;
	for (uint32_t i = 0; !status && !own && i < a->stage.region_count; i++) {
		const struct region *r = &a->stage.regions[i];
		tables |= r->plan->fde_count != 0;
		if (r->plan->directory == PLAN_NONE)
			status = imports_lookup(a, r, &own, e);
	}
	if (status || (!tables && !own) || a->options->without_unwind)
		return status;
	bool told = libgcc ? has_hook(a, true) && (!own || has_hook(a, false)) : has_hook(a, false);
	if (told)
		return 0;
	bool asks_libgcc = libgcc && !has_hook(a, true);
	const char *why = why_skipped(a, asks_libgcc ? "/libgcc_s.so" : "/libc.so");
	return err_set(
	    e, ERR_REFUSED,
	    "process %d: the plan has no usable part for %s, which unwinders ask, so exceptions could not pass through moved code "
	    "(%s%splan with its map, or --without-unwind)",
	    a->target->pid, asks_libgcc ? "libgcc_s" : "libc", why ? why : "", why ? "; " : "");
}

static int place_journal(struct apply *a, struct err *e)
{
	const struct stage_kept *kept = &a->kept.for_stage;
	struct placement_range *taken = calloc(kept->place_count + a->stage.region_count + 1, sizeof *taken),
			       *own = taken + kept->place_count;
	if (!taken)
		return err_set(e, ERR_MEMORY, "no memory for %u regions", a->stage.region_count);
	if (kept->place_count)
		memcpy(taken, kept->places, kept->place_count * sizeof *taken);
	for (uint32_t i = 0; i < a->stage.region_count; i++)
		own[i] = (struct placement_range){a->stage.regions[i].code, region_span(&a->stage.regions[i])};
	const struct region *first = &a->stage.regions[0];
	struct placement_want want = {first->code, {first->code.v + first->code_mapped}, a->journal.mapped, PLAN_PAGE};
	int status = placement_find(&a->target->maps, taken, kept->place_count + a->stage.region_count, &want, &a->journal.address, e);
	free(taken);
	return status;
}

static int prepare_journal(struct apply *a, const struct plan *plan, struct err *e)
{
	int status = journal_build(&a->stage, &a->patches, plan->inputs_hash, &a->journal, e);
	if (!status)
		status = kept_note(&a->kept, &a->journal, e);
	if (!status)
		status = journal_encode(&a->journal, &a->encoded, e);
	if (status)
		return status;
	a->journal.total = a->encoded.size;
	a->journal.mapped = journal_mapped_size(a->encoded.size, a->journal.patch_count);
	a->flags = calloc(a->journal.patch_count + 1, 1);
	a->stack_buffer = malloc(MOVES_STACK_MAX);
	if (!a->flags || !a->stack_buffer)
		return err_set(e, ERR_MEMORY, "no memory for the journal");
	memset(a->stack_buffer, 0, MOVES_STACK_MAX);
	return place_journal(a, e);
}

/*
 * All that will be written becomes memory of the target, patched pages too. Were there too little in its cgroup, the kernel would kill it.
 * Twice that, since page tables are needed as well, and so that it can go on.
 */
static int check_memory(const struct apply *a, struct err *e)
{
	uint64_t needed = a->journal.mapped, left = cgroup_memory_left(a->target->pid), page = UINT64_MAX;
	for (uint32_t i = 0; i < a->stage.region_count; i++)
		needed += a->stage.regions[i].plan->code_size + a->stage.regions[i].plan->data_size + a->stage.regions[i].counters_mapped;
	for (uint32_t i = 0; i < a->patches.count; i++) {
		needed += a->patches.list[i].at.v / PLAN_PAGE != page ? PLAN_PAGE : 0;
		page = a->patches.list[i].at.v / PLAN_PAGE;
	}
	if (2 * needed <= left)
		return 0;
	return err_set(e, ERR_REFUSED,
		       "process %d: its cgroup has %" PRIu64 " KB of memory left, %" PRIu64 " KB are needed; raise its limit",
		       a->target->pid, left >> 10, 2 * needed >> 10);
}

/* Everything that can be known and computed without changing the target. */
static int prepare(struct apply *a, const struct plan *plan, struct err *e)
{
	int status = stage_init(a->target, plan, &a->kept.for_stage, &a->stage, e);
	if (!status)
		status = stage_place(&a->stage, e);
	if (!status)
		status = stage_relocate(&a->stage, e);
	if (!status)
		status = patch_set_init(&a->stage, &a->patches, e);
	if (!status)
		status = replace_hooks(a, e);
	if (!status && !patch_count(&a->patches, PATCH_WANTED))
		status = err_set(e, ERR_REFUSED, "process %d: no patch of the plan can be made", a->target->pid);
	if (!status)
		status = check_unwinding(a, e);
	if (!status)
		status = moves_init(&a->stage, &a->moves, e);
	if (!status)
		status = prepare_journal(a, plan, e);
	return status ? status : check_memory(a, e);
}

/*
 * Counters are the one thing of ours that is writable, so undo must be sure that they are: they begin with a magic, written before they become
 * writable. Until the mapping is released it goes when this process dies.
 */
static int map_counters(struct inject *i, const struct region *r, struct err *e)
{
	const uint64_t arguments[6] = {r->counters.v, r->counters_mapped, PROT_READ | PROT_WRITE};
	const struct inject_revert revert = {.number = SYS_munmap, .arguments = {r->counters.v, r->counters_mapped}};
	int64_t result = 0;
	int status = inject_map(i, r->counters, r->counters_mapped, PROT_READ, e);
	if (!status)
		status = target_write(i->target, r->counters, PLAN_COUNTER_MAGIC, sizeof PLAN_COUNTER_MAGIC - 1, e);
	if (!status)
		status = inject_hold(i, SYS_mprotect, arguments, &revert, &result, e);
	if (!status && result)
		return err_set(e, ERR_REFUSED, "process %d: counters cannot be made writable: %s", i->target->pid, strerror((int)-result));
	return status;
}

/* Does the system have huge pages for those who ask? */
static bool offers_huge(void)
{
	char text[64] = "";
	int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	return got > 0 && !strstr(text, "[never]");
}

/*
 * Pages become huge ones as they are first written. MADV_COLLAPSE would make them of others afterwards, but it waits for every CPU to do some work
 * (lru_add_drain_all) while it holds the lock of the target's address space: where a CPU is kept busy by others, the target can map nothing for
 * minutes. A program that forbids itself transparent huge pages (MariaDB) has none here either.
 *
 * Requires a mapping that is held and untouched, and leaves it so: it gets its mark afterwards.
 */
static int ask_huge(struct inject *i, const struct region *r, struct err *e)
{
	const uint64_t arguments[6] = {r->code.v, r->code_mapped, MADV_HUGEPAGE};
	const struct inject_revert revert = {
	    .number = SYS_munmap, .arguments = {r->code.v, r->code_mapped}, .takes_over = true, .earlier = (int64_t)r->code.v};
	struct err why = {0};
	int64_t result;
	int status = inject_hold(i, SYS_madvise, arguments, &revert, &result, &why);
	if (status == -ERR_REFUSED) /* its system call filter is in the way: then without them */
		return 0;
	if (status && e)
		*e = why;
	return status;
}

/* Each mapping is held until the journal speaks of it and it can be told from others: a kill in between leaves nothing behind. */
static int map_all(struct apply *a, struct inject *i, struct err *e)
{
	bool huge = !a->options->no_huge && offers_huge();
	int status = inject_map(i, a->journal.address, a->journal.mapped, PROT_READ, e);
	if (!status)
		status = journal_write(a->target, a->journal.address, &a->encoded, e);
	if (!status)
		status = inject_release(i, e);
	for (uint32_t k = 0; !status && k < a->stage.region_count; k++) {
		const struct region *r = &a->stage.regions[k];
		status = inject_map(i, r->code, r->code_mapped, PROT_READ | PROT_EXEC, e);
		if (!status && huge && plan_code_alignment(r->plan->code_size) == PLAN_REGION_ALIGN)
			status = ask_huge(i, r, e);
		if (!status)
			status = stage_mark(a->target, r->code, e);
		if (!status && r->counters_mapped)
			status = map_counters(i, r, e);
		if (!status && r->data_mapped)
			status = inject_map(i, r->data, r->data_mapped, PROT_READ, e);
		if (!status && r->data_mapped)
			status = stage_mark(a->target, r->data, e);
	}
	return status ? status : inject_release(i, e);
}

/* Lays everything down while the target runs. Nothing of its own is changed but which pages are private. */
static int lay_down(struct apply *a, struct err *e)
{
	struct inject i;
	int status = inject_begin(a->target, &i, e);
	if (status)
		return status;
	/* A program that has just been started, as those whose filter is known, made itself no segments yet. */
	status = a->target->filter_passes ? 0 : modes_refuse_segments(&i, e);
	if (!status)
		status = map_all(a, &i, e);
	inject_end(&i);
	if (!status)
		status = stage_write(&a->stage, e);
	if (!status && !a->target->held) /* otherwise it stands still all the time */
		status = patch_prefault(a->target, &a->patches, e);
	return status;
}

/* The journal's patches are the wanted ones of the set at the time it was built, in the same order. */
static void note_dropped(struct apply *a)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < a->patches.count && n < a->journal.patch_count; i++) {
		if (a->patches.list[i].at.v != a->journal.patches[n].at.v)
			continue;
		a->flags[n++] = a->patches.list[i].state != PATCH_WANTED;
	}
}

/*
 * Without its hooks no exception could pass through moved code. A word that points inside of one that replaces another is no saved PC: the other's jump
 * stands there.
 */
static int check_hooks(struct apply *a, struct err *e)
{
	for (uint32_t i = 0; i < a->patches.count; i++) {
		struct patch *p = &a->patches.list[i];
		if (p->is_hook && p->replaces)
			p->state = PATCH_WANTED;
		if (p->is_hook && p->state == PATCH_PC_INSIDE)
			return err_set(e, ERR_BUSY, "process %d: a saved PC leads to what unwinders ask, at 0x%" PRIx64, a->target->pid,
				       p->at.v);
	}
	/* Hooks are written before threads are moved, so nobody may be inside of one. */
	for (uint32_t i = 0; i < a->threads.count; i++) {
		const struct tracee *tracee = &a->threads.list[i];
		bool moved = tracee->state == TRACEE_STOPPED && tracee->moved_from;
		const struct patch *p = moved ? patch_inside(&a->patches, (raddr){tracee->moved_from}) : NULL;
		if (p && p->is_hook)
			return err_set(e, ERR_BUSY, "process %d: thread %d is where unwinders ask", a->target->pid, tracee->tid);
	}
	return 0;
}

static void forget_dropped(struct apply *a)
{
	for (uint32_t i = 0; i < a->patches.count; i++)
		if (a->patches.list[i].state == PATCH_PC_INSIDE && !a->patches.list[i].for_good)
			a->patches.list[i].state = PATCH_WANTED;
}

static int check_pause(const struct apply *a, struct err *e)
{
	uint64_t elapsed = monotonic_now() - a->threads.stop_begin;
	if (elapsed <= a->options->max_pause)
		return 0;
	return err_set(e, ERR_BUSY, "stopping process %d took %.1f ms, more than --max-pause", a->target->pid, (double)elapsed / 1e6);
}

/* All that happens while the target is stopped. */
static int while_stopped(struct apply *a, struct err *e)
{
	struct apply_report *r = &a->report;
	forget_dropped(a);
	int status = modes_refuse_threads(&a->threads, e);
	if (!status)
		status = patch_compare(a->target, &a->patches, PATCH_BEFORE, e);
	if (status)
		return status;
	r->stacks_cut = moves_drop_saved(&a->patches, &a->threads, a->stack_buffer);
	status = check_pause(a, e);
	if (status)
		return status;
	r->moved = moves_out_of_patches(&a->moves, &a->patches, &a->threads);
	status = check_hooks(a, e);
	note_dropped(a);
	if (!status)
		status = journal_write_flags(a->target, &a->journal, a->flags, e);
	if (!status)
		status = journal_set_state(a->target, &a->journal, JOURNAL_PATCHING, NULL, e);
	if (status) {
		moves_forget(&a->threads);
		return status;
	}
	a->patched = true;
	/*
	 * Hooks first, then threads: whoever is in the image may unwind. Then the other patches: were this process killed between two, no thread may be left
	 * between the bytes of one.
	 */
	status = patch_write(a->target, &a->patches, PATCH_WRITTEN, true, e);
	if (!status)
		status = kept_replaced(a->target, &a->kept, e);
	if (status) {
		moves_forget(&a->threads);
		return status;
	}
	moves_commit(&a->threads);
	status = patch_write(a->target, &a->patches, PATCH_WRITTEN, false, e);
	if (!status)
		status = patch_compare(a->target, &a->patches, PATCH_WRITTEN, e);
	return status ? status : journal_set_state(a->target, &a->journal, JOURNAL_APPLIED, NULL, e);
}

/* The bytes changed between the comparison of whole functions and the stop: somebody else patches this process now. */
static int refuse_change(const struct apply *a, struct err *e)
{
	err_prefix(e, "process %d is being changed by somebody else", a->target->pid);
	if (e)
		e->code = ERR_REFUSED;
	return -ERR_REFUSED;
}

static int stop_and_patch(struct apply *a, struct err *e)
{
	int status = tracees_init(a->target, &a->threads, e);
	uint32_t tries = a->options->tries ? a->options->tries : 1;
	for (uint32_t n = 0; !status && n < tries; n++) {
		if (n)
			monotonic_pause(TRY_PAUSE);
		status = target_refresh(a->target, e);
		if (!status)
			status = tracees_stop(&a->threads, a->options->max_pause, e);
		if (!status) {
			a->report.threads = 0;
			for (uint32_t i = 0; i < a->threads.count; i++)
				a->report.threads += a->threads.list[i].state == TRACEE_STOPPED;
			status = while_stopped(a, e);
			tracees_resume(&a->threads);
			a->report.pause = a->threads.pause;
		}
		a->report.stops++;
		if (!status)
			break;
		if (status == -ERR_BUSY && !a->patched && n + 1 < tries)
			status = 0;
	}
	tracees_fini(&a->threads);
	if (status == -ERR_NO)
		status = refuse_change(a, e);
	return status;
}

/* After a failure: back to what it was, through the journal if there is one. Keeps the first error unless going back fails as well. */
static int go_back(struct apply *a, int status, struct err *e)
{
	struct undo_options options = {.max_pause = 1000000000u, .tries = UNDO_TRIES};
	struct undo_report undone;
	struct err why = {0};
	if (status == -ERR_GONE)
		return status;
	a->target->cut_calls |= a->patched; /* nothing half done for the sake of a call */
	int failed = undo_process(a->target, &options, &undone, &why);
	if (failed == -ERR_REFUSED && !a->patched)
		return status; /* nothing had been mapped */
	if (failed == -ERR_GONE)
		return err_set(e, ERR_GONE, "process %d ended meanwhile", a->target->pid);
	if (failed && a->patched)
		return err_set(e, ERR_INCONSISTENT, "process %d: failed and could not be taken back; run undo: %s", a->target->pid,
			       why.text);
	if (a->patched && e) {
		e->code = ERR_ROLLED_BACK;
		return -ERR_ROLLED_BACK;
	}
	return a->patched ? -ERR_ROLLED_BACK : status;
}

static int fill_modules(struct apply *a, struct err *e)
{
	const struct stage *s = &a->stage;
	struct apply_report *r = &a->report;
	r->modules = calloc(s->region_count + s->skipped_count + 1, sizeof *r->modules);
	if (!r->modules)
		return err_set(e, ERR_MEMORY, "no memory for the report");
	for (uint32_t i = 0; i < s->region_count; i++) {
		const struct region *from = &s->regions[i];
		struct apply_module *m = &r->modules[r->module_count++];
		*m = (struct apply_module){
		    .plan = from->plan,
		    .code = from->code,
		    .bias = from->bias,
		    .code_size = from->plan->code_size,
		    .data_size = from->plan->data_size,
		    .functions = from->plan->function_count,
		    .left_out = from->left_out_count,
		    .bound_slots = from->bound_slots,
		};
		snprintf(m->path, sizeof m->path, "%s", from->plan->module.path);
	}
	for (uint32_t i = 0; i < s->skipped_count; i++) {
		struct apply_module *m = &r->modules[r->module_count++];
		m->plan = s->skipped[i].plan;
		snprintf(m->path, sizeof m->path, "%s", s->skipped[i].plan->module.path);
		snprintf(m->skipped, sizeof m->skipped, "%s", s->skipped[i].reason);
	}
	return 0;
}

static void fill_report(struct apply *a)
{
	struct apply_report *r = &a->report;
	for (unsigned i = 0; i < PATCH_STATE_COUNT; i++)
		r->patches[i] = patch_count(&a->patches, i);
	r->journal_size = a->journal.mapped;
}

static void cleanup(struct apply *a)
{
	moves_free(&a->moves);
	patch_set_free(&a->patches);
	kept_free(&a->kept);
	journal_free(&a->journal);
	writer_free(&a->encoded);
	free(a->flags);
	free(a->stack_buffer);
	stage_free(&a->stage);
}

static int apply_once(struct target *t, const struct plan *plan, const struct apply_options *options, struct apply_report *ret_report,
		      struct err *e)
{
	struct apply a = {.target = t, .options = options};
	uint64_t begin = monotonic_now();
	int status = target_check(t, e);
	if (!status)
		status = clear_leftovers(&a, e);
	if (!status)
		status = prepare(&a, plan, e);
	if (!status)
		status = fill_modules(&a, e);
	if (!status)
		status = tracee_wait_calls(t, e);
	if (!status && !options->dry_run) {
		status = lay_down(&a, e);
		a.report.stage_time = monotonic_now() - begin;
		if (!status)
			status = stop_and_patch(&a, e);
		if (status)
			status = go_back(&a, status, e);
	}
	if (!status) {
		fill_report(&a);
		*ret_report = a.report;
	} else {
		apply_report_free(&a.report);
	}
	cleanup(&a);
	return status;
}

/* A process that maps memory all the time may take the place that was chosen: the next one is likely to stay free. */
int apply_plan(struct target *t, const struct plan *plan, const struct apply_options *options, struct apply_report *ret_report,
	       struct err *e)
{
	t->calls_by = t->calls_cut = 0;
	int status = apply_once(t, plan, options, ret_report, e);
	for (unsigned n = 1; status == -ERR_BUSY && n < PLACE_TRIES; n++) {
		monotonic_pause(TRY_PAUSE);
		status = target_refresh(t, e);
		if (!status)
			status = apply_once(t, plan, options, ret_report, e);
	}
	if (!status)
		ret_report->calls_cut = t->calls_cut;
	return status;
}
