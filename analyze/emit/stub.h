/*
 * stub: machine code that stands in front of the image copy of a function by which unwinders look up code, so that they find the moved code.
 *
 * There are two, and each gets the stub where its module is in the plan:
 *	_dl_find_object (glibc 2.35, in libc)	asked by the unwinder of GCC 12 and later, wherever that stands: in libgcc_s, also in one that is
 *						loaded only after the plan was applied (pthread_cancel, a C++ library), and linked into a module
 *	_Unwind_Find_FDE (libgcc_s)		the unwinder's own look-up; for older ones, which walk dl_iterate_phdr
 *
 * The entry patch leads to the stub, which is placed immediately before the copy of the function's first instruction. When pc (the first
 * argument) lies in none of the regions of the directory (formats/plan.h) it falls through into that copy with stack, callee-saved and
 * argument registers as at entry; only rax, r10, r11 and flags are lost. Otherwise
 *	_Unwind_Find_FDE(pc, bases)	looks pc up in the region's sorted table, fills bases {tbase 0, dbase 0, func = start of the FDE's
 *					range} and returns the FDE, or NULL when no FDE covers pc
 *	_dl_find_object(pc, result)	fills result {flags 0, the region's code, no link map, its .eh_frame_hdr} and returns 0
 * It takes no lock, calls nothing and writes nothing but what the second argument points to; so every boundary in it maps to the
 * function's start.
 *
 * Taking it back: while a thread is inside the unwinder, that holds image addresses and pointers into the unwind data in a context of its
 * own, which no walk over return addresses finds; without stub and data it would end in std::terminate(). So undo must first let every
 * thread leave: none may have a frame of the unwinder at the moment when patches and data are taken away.
 */
#ifndef ANALYZE_EMIT_STUB_H
#define ANALYZE_EMIT_STUB_H

#include <stddef.h>
#include <stdint.h>

struct stub {
	const uint8_t *code;	/* position independent apart from the one field below */
	size_t size;		/* bytes, <= PLAN_STUB_SIZE_MAX */
	size_t directory_field; /* offset in code of a disp32: directory address minus address of the field's end. unwind_emit sets it */
};

/* Layout of what the stub reads: directory entries (formats/plan.h), in target addresses, ended by one whose code_start is 0. */
#define STUB_DIRECTORY_ENTRY_SIZE 32

#define STUB_FIND_OBJECT "_dl_find_object"

/* The stub that belongs before the function of this name (constant data), or NULL. */
const struct stub *stub_of(const char *function);

#endif
