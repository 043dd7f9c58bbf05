/*
 * symbol_file: an ELF file for debuggers that says of code which belongs to no file what it is: bytes, names and frames, at their addresses.
 *
 * Sections: .text for each image (its real bytes, so it can be disassembled), .debug_frame (frame_table.h) for all, .symtab. No program headers:
 * nothing loads it. To gdb it is given by `add-symbol-file FILE`, without an address.
 */
#ifndef APPLY_FILE_SYMBOL_FILE_H
#define APPLY_FILE_SYMBOL_FILE_H

#include "apply/file/frame_table.h"
#include "formats/base/addr.h"

/* `size` bytes of code that belong to one function. */
struct symbol {
	raddr start;
	uint64_t size;
	uint32_t image; /* index */
	uint32_t name;	/* offset into the names */
};

struct symbol_file_image {
	raddr code;
	const uint8_t *bytes; /* borrowed */
	uint64_t size;
	struct frame_image frames; /* fde_count 0: none */
};

struct symbol_file {
	const struct symbol_file_image *images;
	const struct symbol *symbols;
	const uint8_t *names; /* begins with a zero, each name ends with one */
	uint32_t image_count, symbol_count, names_size;
};

/* Appends the file to `w`, which must be empty. ERR_FORMAT: see frame_table_write_debug. ERR_UNSUPPORTED: too many images. ERR_MEMORY. */
int symbol_file_write(const struct symbol_file *f, struct writer *w, struct err *e) MUST_CHECK;

#endif
