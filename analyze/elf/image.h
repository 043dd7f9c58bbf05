/*
 * image: one ELF file as the analyser sees it: segments, executable bytes, names, imports, FDEs. Owns the only use of libelf (and libdwarf).
 *
 * Read-only after image_open and safe to share between threads. Only x86-64 ET_EXEC and ET_DYN files are accepted.
 */
#ifndef ANALYZE_ELF_IMAGE_H
#define ANALYZE_ELF_IMAGE_H

#include "formats/base/addr.h"
#include "formats/base/err.h"
#include "formats/base/file.h"
#include "formats/module.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image_segment { /* PT_LOAD */
	uint64_t vaddr, memory_size, offset, file_size;
	bool readable, writable, executable;
};

/* A function symbol of .dynsym or .symtab. */
struct image_symbol {
	uint64_t vaddr, size;
	const char *name; /* borrowed from the file */
	uint8_t is_ifunc, is_global;
};

/* A GOT slot bound by the dynamic linker (JUMP_SLOT, GLOB_DAT) to a function symbol. */
struct image_import {
	uint64_t slot;
	const char *name; /* borrowed */
};

/* An 8-byte word of data that holds a code address once the module is loaded. */
struct image_pointer {
	uint64_t place, value; /* vaddrs: of the word, and of the code it denotes */
};

/* One FDE of .eh_frame. */
struct image_fde {
	uint64_t start, size; /* vaddr, bytes of the range it describes */
	uint64_t fde, cie;    /* vaddr of the FDE's and its CIE's length field */
	uint64_t lsda;	      /* vaddr of its exception table, 0 = none */
	uint64_t personality; /* vaddr the CIE's personality pointer denotes (of the indirection slot when indirect), 0 = none */
	uint8_t lsda_encoding, personality_encoding, signal_frame;
};

struct image_range {
	uint64_t start, size;
};

struct image {
	struct file_data file;
	struct module_identity identity;
	struct image_segment *segments;
	struct image_symbol *symbols; /* sorted by (vaddr, global first, name) */
	struct image_import *imports; /* sorted by slot */
	struct image_fde *fdes;	      /* sorted by start */
	/* vaddrs in executable segments that stand in data (relative relocations, .init_array; in non-PIE also aligned
					 words of data segments), sorted, unique */
	uint64_t *code_pointers;
	struct image_pointer *pointers; /* where those addresses stand, sorted by place. Without relocations (pie == false) a guess */
	uint64_t *init_fini;		/* the entry point, DT_INIT, DT_FINI and all of the init and fini arrays; sorted, unique */
	uint64_t *resolvers;		/* IFUNC resolvers; sorted, unique */
	size_t pointer_count, init_fini_count, resolver_count;
	size_t segment_count, symbol_count, import_count, fde_count, code_pointer_count;
	uint64_t text_base, text_size;	  /* executable span, vaddr and bytes */
	uint64_t load_low, load_high;	  /* span of all PT_LOADs */
	uint64_t eh_frame, eh_frame_size; /* vaddr, bytes; 0 if none */
	/* sections of code (inside executable segments); the segments themselves without section headers */
	struct image_range *code_ranges;
	size_t code_range_count;
	uint64_t rseq, rseq_size;	      /* vaddr, bytes of the section __rseq_cs; 0 if none */
	const char **needed;		      /* DT_NEEDED names, in file order; borrowed names, owned array */
	const char *runpath, *rpath, *soname; /* borrowed, NULL if absent */
	const char *interpreter;	      /* PT_INTERP, borrowed, NULL if absent */
	size_t needed_count;
	bool pie, is_go;
};

/* Opens and reads `path`. ERR_MISSING/PERMISSION/IO, ERR_FORMAT (not ELF, damaged: offset named), ERR_UNSUPPORTED (class, machine, type). */
int image_open(const char *path, struct image *ret_image, struct err *e) MUST_CHECK;
void image_close(struct image *image);

/* Borrowed pointer to the file bytes behind [address, address + size), or NULL if any of it is not backed by the file. */
const uint8_t *image_bytes(const struct image *image, vaddr address, size_t size);
/* Like image_bytes for as many bytes as the segment holds from `address`; *ret_left gets their number. */
const uint8_t *image_bytes_left(const struct image *image, vaddr address, size_t *ret_left);
/* In an executable segment, and backed by the file? */
bool image_executable(const struct image *image, vaddr address);
/* Symbol covering `address` exactly at its start, or NULL. */
const struct image_symbol *image_symbol_at(const struct image *image, vaddr address);
const struct image_import *image_import_at(const struct image *image, uint64_t slot);
/* The code address the data word at `place` holds, or 0. */
uint64_t image_pointer_at(const struct image *image, uint64_t place);
/* Index of the first pointer whose place is >= `place` (pointer_count if none). */
size_t image_pointer_from(const struct image *image, uint64_t place);
/* Index of the last FDE whose range holds `address`, or SIZE_MAX. */
size_t image_fde_at(const struct image *image, uint64_t address);

/* Sorts an array of addresses and removes doubles; returns the new count. */
size_t image_sort_unique(uint64_t *values, size_t count);

#endif
