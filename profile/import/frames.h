/*
 * frames: the code ranges that .eh_frame describes (FDEs), found through the search table of .eh_frame_hdr: all that stock, stripped files say
 * about where their functions are. Only the ranges: unwinding is not its business. Spec: LSB Core, "Exception Frames".
 */
#ifndef PROFILE_IMPORT_FRAMES_H
#define PROFILE_IMPORT_FRAMES_H

#include "formats/base/elfhead.h"

#include <stddef.h>
#include <stdint.h>

struct frame {
	uint64_t start, size; /* vaddr, bytes */
};

/*
 * Ranges sorted by start, one per start; malloc'ed. None when the file has no table in the one form that linkers write. An entry that cannot be
 * read is left out. ERR_MEMORY.
 */
int frames_read(const uint8_t *file, size_t size, const struct elfhead *head, struct frame **ret_frames, size_t *ret_count,
		struct err *e) MUST_CHECK;

#endif
