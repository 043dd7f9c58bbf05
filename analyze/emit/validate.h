/*
 * validate: proof that a plan module does what the original does. Independent of the emitter: decodes with Capstone, knows nothing of layouts
 * or maps; it believes only the ELF file.
 *
 * The relation it proves is "image offset i stands for original offset o". Every instruction boundary of the image must stand for one of the
 * original, and every way out of it (next instruction, branch, call target) must lead to what stands for the original's way out: inside the
 * image, or at that very place in the original code. By induction the image does what the original does. It checks:
 *
 *   identity    the file is the plan's (build-id, hash), the spans are its, the hash of each function
 *   runs        they cover the code but for int3 padding; COPY is equal byte for byte apart from displacements; REWRITTEN is the same branch
 *               or call in another form or sense; INSERTED is one jump to its counterpart; DELETED was a jump to what follows
 *   counters    an instruction that changes nothing but its counter, the five flags of an increment where a search through the original code
 *               finds each of them overwritten before it is read, r11 before an indirect call, and a register that the
 *               original overwrites next; and what follows stands for the same. It counts what the counter's entry says: a block, which
 *               leads straight there; the edge of the one branch that leads there; the call that stands there. Each counter has one
 *               place that feeds it
 *   edges       as above; between functions only to the other's entry; never into the bytes behind the start of a patch
 *   fields      a displacement out of the region is in `relocations`, all others are not
 *   slots       each ff 15 / ff 25 that stands for a direct call or jump goes through the slot of the stub that was called
 *   functions   `entry` stands for the function's start and its 5 bytes are the function's
 *   patches     inside their function, expected bytes are the file's, target stands for the place, all boundaries in the 5 bytes have a copy,
 *               and nothing reaches the 4 bytes behind the first: no direct branch anywhere in the module (by a new walk over all FDE ranges),
 *               no return address, no restarted system call, no code pointer in data, no landing pad
 *
 * Not proven, and taken from the map: that no jump table or computed goto leads into a patch. Unwind data is not judged here.
 */
#ifndef ANALYZE_EMIT_VALIDATE_H
#define ANALYZE_EMIT_VALIDATE_H

#include "analyze/elf/image.h"
#include "formats/plan.h"

/* 0: proven. ERR_NO: not isomorphic, with module, image offset, original vaddr and what differs. ERR_MISMATCH: the plan is for another file.
   ERR_MEMORY. */
int validate_module(const struct image *image, const struct plan_module *module, struct err *e) MUST_CHECK;

#endif
