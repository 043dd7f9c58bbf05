/*
 * frame_table: unwind information that finds both the original functions and the image.
 *
 * In a live process a stub of ours tells the unwinder about the image. A file needs none: the loader shows every unwinder the table that
 * PT_GNU_EH_FRAME names (Linux Standard Base 5.0, "Exception Frame Header"), so the file gets one with the entries of both. Debuggers do
 * not read that table but walk .eh_frame, which cannot be extended in place; for them the image's frames are written once more as .debug_frame
 * (DWARF 4, section 6.4.1), which is not loaded.
 */
#ifndef APPLY_FILE_FRAME_TABLE_H
#define APPLY_FILE_FRAME_TABLE_H

#include "apply/file/elf_file.h"
#include "formats/base/bytes.h"
#include "formats/plan.h"

/*
 * Appends the merged .eh_frame_hdr, which will stand at vaddr `at`, for the image of `m` at vaddr `region`. ERR_UNSUPPORTED: the file's own
 * table has another encoding, or there is only .eh_frame without a table. ERR_FORMAT: it is malformed or not sorted. ERR_REFUSED: out of reach.
 */
int frame_table_write(const struct elf_file *f, const struct plan_module *m, uint64_t region, uint64_t at, struct writer *w,
		      struct err *e) MUST_CHECK;

/* The frames of one image, as plan.h describes them; the table and the entries lie in `data`. */
struct frame_image {
	const char *name;    /* for messages; borrowed */
	const uint8_t *data; /* borrowed: region offset data_offset and on */
	uint64_t region;     /* address of the image */
	uint32_t data_offset, fde_table, fde_count, eh_frame, eh_frame_size;
};

static inline struct frame_image frame_image_of_plan(const struct plan_module *m, uint64_t region)
{
	return (struct frame_image){m->module.path, m->data,	  region,      m->data_offset,
				    m->fde_table,   m->fde_count, m->eh_frame, m->eh_frame_size};
}

/*
 * Appends the image's frames as .debug_frame; `w` holds what stands before them in the section. ERR_FORMAT: unwind data that are not what
 * plan.h describes; ERR_MEMORY.
 */
int frame_table_write_debug(const struct frame_image *image, struct writer *w, struct err *e) MUST_CHECK;

#endif
