/*
 * undo: taking a plan back from a process, at any moment, also after a tool was killed half way.
 *
 * First the original bytes, then the PCs of all threads that are in the image, then every return address that leads into it, found by exact
 * unwinding, at last what unwinders ask; each step leaves a process that runs correctly. The image is unmapped only when every stack was walked to its bottom, no other
 * memory holds what could be a saved PC (hidden.h), and a last stop finds that nobody has been in it since; otherwise it stays, with the
 * reason in the journal, and a later undo tries again.
 *
 * Reaping is the second half of it, for images that earlier undos had to keep and what killed tools had begun to map: a plan that is applied now
 * stays as it is.
 */
#ifndef APPLY_UNDO_H
#define APPLY_UNDO_H

#include "apply/journal.h"
#include "apply/target.h"

struct undo_options {
	uint64_t max_pause; /* nanoseconds that stopping may take */
	uint32_t tries;	    /* stops tried before the image is kept; 0 = 1 */
	bool reap;	    /* only what is not applied any more */
};

struct undo_report {
	uint32_t patches;	 /* taken back */
	uint32_t moved, returns; /* PCs moved home, return addresses rewritten */
	uint32_t breakpoints;	 /* of somebody else on patches: they stay, the original code is around them */
	uint32_t threads, stops;
	uint32_t calls_cut; /* calls that a stop made return a part of what they were to write (tracee.h) */
	uint64_t pause;	    /* nanoseconds, of the longest stop */
	uint64_t freed;	    /* bytes unmapped */
	bool kept;	    /* the image stays mapped, nothing leads into it any more but what was in it */
	bool hooked;	    /* and what unwinders ask stays redirected, since a thread that is not followed to its end may be unwound */
	char kept_because[JOURNAL_REASON_SIZE];
	bool map_removed;   /* the perf map (perf_map.h) was ours */
	char map_left[160]; /* why a perf map could not be looked for or removed; empty: there is none of ours any more */
};

/*
 * Takes back whatever the journals of the process say, and frees what can be freed. Requires: target_check'ed, running.
 * ERR_REFUSED: nothing is applied (target untouched; no error when only reaping), or bytes at a patch are not what was written there, nor with
 * breakpoints (patch_allow_probes; untouched, names the address).
 * ERR_BUSY: it could not be stopped in time (untouched). ERR_GONE. ERR_INCONSISTENT: some bytes could not be written back.
 */
int undo_process(struct target *t, const struct undo_options *options, struct undo_report *ret_report, struct err *e) MUST_CHECK;

/*
 * Would an undo find every stack such that it can be followed to its bottom? Stops like one; changes nothing. ERR_REFUSED: no, and whose cannot.
 * Requires: target_check'ed, running. ERR_BUSY, ERR_GONE as above.
 */
int undo_rehearse(struct target *t, const struct undo_options *options, struct err *e) MUST_CHECK;

#endif
