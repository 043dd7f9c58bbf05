/* Inside of undo: what its parts share. undo.c says in which order, undo_stop.c what is done while the process stands still, undo_unused.c what may be freed. */
#ifndef APPLY_UNDO_WORK_H
#define APPLY_UNDO_WORK_H

#include "apply/covered.h"
#include "apply/readers.h"
#include "apply/stack.h"
#include "apply/tracee.h"
#include "apply/undo.h"

#define UNDO_RETURNS_MAX (1u << 18)
#define UNDO_STACK_WORDS 1024u /* read at a time */

/* A word on a stack that leads into an image, and what it becomes. */
struct rewrite {
	raddr slot;
	uint64_t value;
};

struct undo {
	struct target *target;
	struct journal *journals;
	uint32_t journal_count;
	struct journal *live;	       /* the one with patches, or NULL */
	struct journal *applied;       /* when reaping, the one to leave alone, or NULL */
	struct journal *half_replaced; /* whose hooks `live` (or `applied`) was replacing when the tool was killed, or NULL */
	struct patch_set patches;
	struct tracees threads;
	struct stack_unwinder *unwinder;
	struct rewrite *rewrites; /* room for UNDO_RETURNS_MAX */
	uint32_t rewrite_count;
	raddr unwinder_low, unwinder_high; /* libgcc_s: who is in there may hold pointers into our tables */
	struct readers readers;		   /* from the second stop on, when `readers_wanted` at the first */
	bool readers_wanted;		   /* a thread holds what may be a pointer into our tables */
	char why_kept[JOURNAL_REASON_SIZE];
	char why_lost[JOURNAL_REASON_SIZE]; /* of the latest stop: whose stack cannot be followed, if it is so with one */
	struct covered covered;		    /* by the walks of the latest stop */
	bool *used;   /* owned, per journal: a word of memory may be a saved PC that leads into its image, or it is left alone */
	bool *pinned; /* owned, per journal: not to be freed, since it or one that goes with it is used */
	char why_pinned[JOURNAL_REASON_SIZE]; /* of the latest: a word of memory may be a saved PC that leads into its image */
	bool look_only;			      /* nothing of the target is changed */
	bool patches_gone, wait;	      /* wait: a little later it may go */
	bool searched;			      /* memory was, and nothing was found; the next stop is to make sure */
	bool clean;			      /* at the latest stop nobody was in an unwinder, or nobody in an image */
	bool entered;			      /* somebody was in an image that is to be freed, at a stop since this was last cleared */
	int unwinding_tid;		      /* a thread that is inside libgcc_s, 0 = none */
	uint64_t stack[UNDO_STACK_WORDS];
};

/* Notes why nothing can be freed; the first reason stays. */
__attribute__((format(printf, 2, 3))) void undo_keep(struct undo *u, const char *format, ...);

/*
 * All that happens in one stop: looks at every thread, takes back the patches, moves home what is in an image, and takes back the hook too and notes
 * the states of the journals when a search has found nothing before and nobody was in an image since. Requires: stopped; allocates nothing.
 * ERR_BUSY: a thread is unwinding (untouched). ERR_REFUSED: bytes that are not ours at a patch (untouched). ERR_INCONSISTENT, ERR_GONE.
 */
int undo_while_stopped(struct undo *u, struct undo_report *report, struct err *e) MUST_CHECK;

/* When reaping: what is applied, and the images whose tables its directory has. */
bool undo_leaves(const struct undo *u, const struct journal *j);
/* Is the hook of the live journal still to be taken back? */
bool undo_has_hook(const struct undo *u);
/* The state of a journal that is not to be freed now, or not yet. */
enum journal_state undo_state_kept(const struct undo *u, const struct journal *j);

/* Stops until nobody's stack is a reason to keep the images, or there is no use in trying again; the reason is in why_kept then. Requires: running. */
int undo_settle(struct undo *u, const struct undo_options *options, struct undo_report *report, struct err *e) MUST_CHECK;

/*
 * Pins what may still be used. A coroutine that goes on during the search takes its PC out of memory, so the threads are looked at once more; if
 * one was in an image since, it is home now, and who knows what it left behind: the search begins again. Requires: running, settled.
 */
int undo_find_unused(struct undo *u, const struct undo_options *options, struct undo_report *report, struct err *e) MUST_CHECK;

#endif
