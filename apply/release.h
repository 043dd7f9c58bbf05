/*
 * release: unmapping images that nothing refers to any more, and with each its journal, last.
 *
 * What stands at a place that a journal names need not be ours: a tool may have been killed before it was mapped, or after it was unmapped, and the
 * process may have mapped something of its own there since. So nothing is unmapped that does not prove itself: by the mark of an image that
 * was never completed, by the hash of one that was, by the magic of counters.
 */
#ifndef APPLY_RELEASE_H
#define APPLY_RELEASE_H

#include "apply/journal.h"
#include "apply/target.h"

struct release_report {
	uint64_t freed;			/* bytes unmapped */
	char kept[JOURNAL_REASON_SIZE]; /* not empty: why something that was ours stays, with its journal, which says so too */
};

/*
 * Unmaps what `journals` name, but for those of which `pinned` says no. Requires: running. ERR_BUSY: no thread could make the call, ERR_REFUSED as
 * inject_begin: all is mapped still; ERR_GONE, ERR_MEMORY, ERR_IO: part of it may be.
 */
int release_images(struct target *t, struct journal *journals, uint32_t count, const bool *pinned, struct release_report *ret_report,
		   struct err *e) MUST_CHECK;

#endif
