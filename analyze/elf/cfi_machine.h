/*
 * cfi_machine: the interpreter of call frame instructions; private to analyze/elf/cfi*.c.
 */
#ifndef ANALYZE_ELF_CFI_MACHINE_H
#define ANALYZE_ELF_CFI_MACHINE_H

#include "analyze/elf/cfi.h"
#include "formats/base/bytes.h"
#include "formats/base/vec.h"

enum { CFI_REMEMBER_DEPTH = 16, CFI_ROWS_MAX = 1 << 16 };

struct cfi_row_list {
	VEC(struct cfi_row) rows;
};

struct cfi_machine {
	const struct cfi_cie *cie;
	struct reader r; /* at the first instruction; its size ends the program */
	uint64_t base;	 /* vaddr of r.data */
	uint64_t entry;	 /* vaddr of the CIE or FDE, for messages */
	uint64_t end;	 /* rows from here on are not wanted */
	struct cfi_row row;
	const struct cfi_row *initial; /* for DW_CFA_restore; NULL while the CIE's own instructions run */
	bool advanced;
	unsigned depth;
	struct cfi_row *remembered; /* room for CFI_REMEMBER_DEPTH, not initialised */
};

/* Runs the program; adds each finished row to `rows` (may be NULL). The last row is left in machine->row and not added. */
int cfi_machine_run(struct cfi_machine *machine, struct cfi_row_list *rows, struct err *e) MUST_CHECK;

/* Reader over the entry at vaddr `entry` (a CIE or FDE), positioned after its id field and ending with it; *ret_base is the vaddr of its data. */
int cfi_open_entry(const struct image *image, uint64_t entry, struct reader *ret_body, uint64_t *ret_base, struct err *e) MUST_CHECK;

#endif
