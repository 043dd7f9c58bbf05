/*
 * lsda: the exception table (language-specific data area) of one FDE, as GCC and LLVM write it and as the personality routines of libstdc++,
 * libgcc (C cleanups), Rust, Ada and Objective-C read it. Source: "Exception Handling Tables" of the GCC sources (gcc/except.cc,
 * libgcc/unwind-pe.h) and the Itanium C++ ABI, level II.
 *
 * Used by the mapper (call sites and landing pads as blocks) and by unwind (re-emission). Works on hostile input: every bound is checked.
 */
#ifndef ANALYZE_ELF_LSDA_H
#define ANALYZE_ELF_LSDA_H

#include "analyze/elf/image.h"

/* A pc in [start, end) unwinds to `pad` (0: it passes through). A pc in no call site of a function with a table means terminate(). */
struct lsda_call_site {
	uint64_t start, end; /* vaddr; sorted, not overlapping, inside the FDE's range, not empty */
	uint64_t pad;	     /* vaddr of the landing pad, 0 = none; it may lie in another FDE's range (a .cold part) */
	uint64_t action;     /* 0 = cleanup only, else 1 + offset into actions */
};

struct lsda {
	struct lsda_call_site *sites; /* owned */
	uint32_t site_count;
	const uint8_t *actions; /* borrowed: action records, reachable ones all inside actions_size */
	uint32_t actions_size;
	uint64_t *types;	       /* owned: entry i (from 1) at types[i - 1]: vaddr (of the slot when indirect), 0 = catch all */
	uint32_t type_count;	       /* entries that the actions and specifications reach */
	uint8_t type_indirect;	       /* types are addresses of slots that hold the address */
	uint8_t has_types;	       /* the table has a type table (even if empty) */
	const uint8_t *specifications; /* borrowed: lists of exception specifications (negative filters), after the type table's base */
	uint32_t specifications_size;
};

/*
 * Reads the table of `fde` (fde->lsda != 0). ERR_FORMAT: damaged (address and what is wrong named). ERR_UNSUPPORTED: an encoding or order of
 * entries we do not handle. ERR_MEMORY. On failure *ret_lsda is unchanged.
 */
int lsda_read(const struct image *image, const struct image_fde *fde, struct lsda *ret_lsda, struct err *e) MUST_CHECK;
void lsda_free(struct lsda *lsda);

#endif
