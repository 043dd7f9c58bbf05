/*
 * symbols: what debuggers and profilers are to know of the images in a process, from the journals there.
 *
 * A moved function is called by its name and ".repaved", as compilers name the parts of functions (so demanglers know what to do with it); without a
 * name, by module and address as linked: libx.so+0x1234.repaved. Its code may stand in several pieces; all have the same name.
 */
#ifndef APPLY_SYMBOLS_H
#define APPLY_SYMBOLS_H

#include "apply/file/symbol_file.h"
#include "apply/journal.h"
#include "apply/target.h"
#include "formats/base/vec.h"

struct symbols_image {
	const struct journal_region *region; /* borrowed from the journal */
	const struct journal *journal;	     /* borrowed */
	uint8_t *code, *data;		     /* owned; as they are in the process, or NULL: symbols_read has not been called */
};

struct symbols {
	VEC(struct symbols_image) images; /* oldest journal first */
	VEC(struct symbol) list;	  /* `image` is an index into images */
	struct writer names;
};

/*
 * Names all images that are mapped now, also those that were undone and kept; half made ones are left out. Borrows from the journals, which must
 * outlive it. ERR_MEMORY.
 */
int symbols_init(const struct target *t, const struct journal *journals, uint32_t count, struct symbols *ret_symbols,
		 struct err *e) MUST_CHECK;
void symbols_free(struct symbols *s);

/* The ELF file. Reads code and frames. ERR_REFUSED: the frames in the process are not those that were written. As target_read, symbol_file_write. */
int symbols_write_elf(const struct target *t, struct symbols *s, struct writer *w, struct err *e) MUST_CHECK;
/* What perf reads as /tmp/perf-PID.map: a line "START SIZE NAME" for each symbol, in hexadecimal. A pure function of the journals. ERR_MEMORY. */
int symbols_write_perf(const struct symbols *s, struct writer *w, struct err *e) MUST_CHECK;

/* Images whose journal, of an older version, does not say where their frames are. */
uint32_t symbols_without_frames(const struct symbols *s);

#endif
