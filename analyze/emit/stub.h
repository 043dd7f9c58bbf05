/*
 * stub: machine code that stands in front of the image copy of _Unwind_Find_FDE, so that the unwinder finds the moved code.
 *
 * The entry patch of `const fde *_Unwind_Find_FDE(void *pc, struct dwarf_eh_bases *bases)` (libgcc_s) leads to the stub, which is placed
 * immediately before the copy of the function's first instruction. When pc lies in none of the regions of the directory (formats/plan.h) it
 * falls through into that copy with stack, callee-saved and argument registers as at entry; only rax, r10, r11 and flags are lost. Otherwise
 * it looks pc up in the region's sorted table, fills bases {tbase 0, dbase 0, func = start of the FDE's range} and returns the FDE, or NULL
 * when no FDE covers pc. It takes no lock, calls nothing and writes nothing but *bases; so every boundary in it maps to the function's start.
 *
 * Taking it back: while a thread is inside libgcc_s's unwinder, that holds image addresses and pointers into the unwind data in a context of
 * its own, which no walk over return addresses finds; without stub and data it would end in std::terminate(). So undo must first let every
 * thread leave: none may have a frame in the module of _Unwind_Find_FDE at the moment when patches and data are taken away.
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

/* Constant data; never NULL. */
const struct stub *stub_find_fde(void);

#endif
