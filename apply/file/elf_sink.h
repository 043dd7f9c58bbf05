/*
 * elf_sink: a plan into a copy of an ELF file. Format of what is added: apply/file/file.md.
 *
 * The same bytes that a live process gets, at another address: the image is appended as two segments (r-x code, r-- data) above everything the
 * file loads, and the patches are written into the file's code after comparing what was there. Nothing that the file had moves, so every
 * address in it stays true; only the program headers go to a new place, since where they are there is no room for more.
 */
#ifndef APPLY_FILE_ELF_SINK_H
#define APPLY_FILE_ELF_SINK_H

#include "apply/file/elf_file.h"
#include "formats/plan.h"

#define ELF_SINK_NOTE_OWNER "repave"
#define ELF_SINK_NOTE_TYPE 0x5250u

struct elf_sink_result {
	uint8_t *data; /* the new file; owned */
	size_t size;
	const struct plan_module *module; /* borrowed from the plan: the one that this file is */
	vaddr code;			  /* where the image stands, as linked */
	uint32_t entries, reentries;	  /* patches written */
	uint32_t frames;		  /* entries of the unwind table */
	uint64_t overlay;		  /* bytes behind the file's own contents: kept in place, and repeated at the end */
	bool has_sections;		  /* tools find the new code by name */
};

/*
 * `plan` is validated (plan_read). ERR_REFUSED: no module of the plan is this file, bytes differ from what the plan was made from (names the
 * address), the plan is laid in already, counts, or cannot reach; the loader changes the file's code; too many program headers.
 * ERR_FORMAT, ERR_UNSUPPORTED: see frame_table.h. ERR_MEMORY. The result borrows nothing from `in`.
 */
int elf_sink_build(const struct elf_file *in, const struct plan *plan, struct elf_sink_result *ret_result, struct err *e) MUST_CHECK;
void elf_sink_result_free(struct elf_sink_result *r);

#endif
