/*
 * patch: the jumps that lead from original code into the image, written while everything is stopped and taken back one by one.
 *
 *	before	original[5]		anything: whole instructions or a part of them
 *	after	e9 rel32		jmp target
 *
 * Each patch is independent of the others, since the image is complete before the first is written. One that would cross a page is never
 * made: only within a page is a write of five bytes all or nothing when this process is killed during it.
 */
#ifndef APPLY_PATCH_H
#define APPLY_PATCH_H

#include "apply/stage.h"
#include "apply/target.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum patch_state {
	PATCH_WANTED,
	PATCH_LEFT_OUT,	 /* its function differs in memory */
	PATCH_CROSSES,	 /* it lies on two pages */
	PATCH_UNREACHED, /* the target is further than 2 GiB */
	PATCH_PC_INSIDE, /* a saved PC points between its bytes, or a kept image leads there */
	PATCH_STATE_COUNT,
};

struct patch {
	raddr at;
	uint8_t original[PLAN_PATCH_SIZE], written[PLAN_PATCH_SIZE];
	uint8_t state; /* enum patch_state */
	uint8_t kind;  /* enum plan_patch_kind */
	bool is_hook;  /* one that leads what unwinders ask to a stub */
	bool replaces; /* a hook: until it is made the one of a kept image stands there, with the bytes `before` */
	bool for_good; /* dropped whatever the next stop finds */
	bool probed;   /* patch_allow_probes found a breakpoint, or what is left of one */
	uint8_t before[PLAN_PATCH_SIZE];
	uint32_t region, function;
};

#define PATCH_BATCH 512

struct patch_set {
	struct patch *list; /* owned; sorted by at */
	uint32_t count;
	struct iovec *local, *remote; /* owned, PATCH_BATCH each: reading many places with one call */
	uint8_t *read_back;	      /* owned, PATCH_BATCH * PLAN_PATCH_SIZE */
};

/* The patches of all regions, whose addresses are final. ERR_MEMORY, ERR_FORMAT (overlapping patches). Target unchanged. */
int patch_set_init(const struct stage *s, struct patch_set *ret_set, struct err *e) MUST_CHECK;
/* An empty set with room for `count` patches (undo fills it from the journal). */
int patch_set_alloc(uint32_t count, struct patch_set *ret_set, struct err *e) MUST_CHECK;
void patch_set_free(struct patch_set *set);

/* How many are in this state. */
uint32_t patch_count(const struct patch_set *set, enum patch_state state);

/* The wanted patch of which `address` is byte 1 to 4, or NULL. */
struct patch *patch_inside(const struct patch_set *set, raddr address);

/* Makes the pages that will be written private now (copy on write), so that the stop need not. Writes back one byte that is there. */
int patch_prefault(const struct target *t, const struct patch_set *set, struct err *e) MUST_CHECK;

/* PATCH_BEFORE: what apply finds, the original but for hooks that replace others. PATCH_EITHER: any of these. */
enum patch_bytes { PATCH_ORIGINAL, PATCH_BEFORE, PATCH_WRITTEN, PATCH_EITHER };

/* Are the bytes at every wanted patch as said? ERR_NO with the first address that is not. Requires: stopped; allocates nothing. */
int patch_compare(const struct target *t, struct patch_set *set, enum patch_bytes expected, struct err *e) MUST_CHECK;

/*
 * A uprobe that is planted after apply puts its breakpoint (cc) into a patch, and when it goes not what was there but what the file has: the function cannot
 * run then. So where each byte is the original one, the written one or a breakpoint, it is known what is whose, and from here on patch_write puts
 * the original bytes back around the breakpoint and patch_compare takes that for original. ERR_NO with the first address where it is not so; hooks are
 * not forgiven. *ret_breakpoints: patches that have one now. Requires: stopped, and nobody else traces it (a debugger would put back what it found).
 */
int patch_allow_probes(const struct target *t, struct patch_set *set, uint32_t *ret_breakpoints, struct err *e) MUST_CHECK;

/*
 * Hooks of the set at the places of the hooks among `list`, the `count` patches of a kept image's journal, become such as replace them. The first hook that is
 * made there and that the set has none for, or NULL.
 */
const struct patch *patch_replace_hooks(struct patch_set *set, const struct patch *list, uint32_t count);

/* Where the stub in front of _Unwind_Find_FDE stands in the image at `code`; 0 when it has none. The patch that leads there is the hook. */
raddr patch_stub(raddr code, const struct plan_run *runs, uint32_t run_count);
bool patch_leads_to(const struct patch *p, raddr address);

/*
 * Writes `written` (or `original`) of every wanted patch that is a hook, or of every other one. The hook comes first and goes last: were this
 * process killed in between, no frame of the image may stand on a stack that cannot be unwound. Requires: stopped. On failure some are written
 * and some are not.
 */
int patch_write(const struct target *t, const struct patch_set *set, enum patch_bytes bytes, bool hooks, struct err *e) MUST_CHECK;

#endif
