/*
 * unwind_parts: the stages of unwind_emit; private to analyze/emit/unwind*.c.
 */
#ifndef ANALYZE_EMIT_UNWIND_PARTS_H
#define ANALYZE_EMIT_UNWIND_PARTS_H

#include "analyze/elf/cfi.h"
#include "analyze/emit/unwind.h"
#include "formats/base/bytes.h"
#include "formats/base/vec.h"

/* A maximal range of the image made of consecutive runs of one original FDE. */
struct unwind_fragment {
	const struct image_fde *fde;
	uint32_t first_run, end_run; /* [first_run, end_run) */
	uint32_t start, end;	     /* region offsets */
	uint32_t lsda;		     /* region offset of its exception table, 0 = none */
};

/* A CIE already written, and what it was made from. */
struct unwind_cie {
	uint64_t original; /* vaddr */
	uint32_t at;	   /* region offset */
	struct cfi_cie cie;
};

struct unwind {
	const struct image *image;
	struct plan_module *module;
	struct writer data; /* [data_offset, ...) of the region */
	VEC(uint32_t) relocations;
	VEC(struct unwind_fragment) fragments;
	VEC(struct unwind_cie) cies;
	struct err *e;
};

/* Region offset of the next byte of data. */
static inline uint32_t unwind_position(const struct unwind *u)
{
	return u->module->data_offset + (uint32_t)u->data.size;
}

static inline uint64_t unwind_original(const struct unwind *u, const struct plan_run *run)
{
	return u->module->text_base + run->original;
}

/* Writes a pcrel|sdata4 pointer to a vaddr of the module, with its relocation; 0 is written as it is and means none. */
int unwind_write_module_pointer(struct unwind *u, uint64_t target) MUST_CHECK;

/* Writes the CIE for fragments of `fde`, unless an equal one is there; *ret_cie is valid until the next call. */
int unwind_write_cie(struct unwind *u, const struct image_fde *fde, const struct unwind_cie **ret_cie) MUST_CHECK;
/* Writes the FDE of `fragment`; *ret_at is its region offset. */
int unwind_write_fde(struct unwind *u, const struct unwind_fragment *fragment, uint32_t *ret_at) MUST_CHECK;
/* Writes the exception table of `fragment`, whose FDE has one, and sets fragment->lsda. */
int unwind_write_lsda(struct unwind *u, struct unwind_fragment *fragment) MUST_CHECK;

/* Call frame instructions that turn row `from` into row `to` (starts ignored). `data_align` is the CIE's. */
void unwind_write_difference(struct writer *w, const struct cfi_row *from, const struct cfi_row *to, int64_t data_align);

#endif
