/*
 * thunk: executes single instructions of another program on emulated registers.
 *
 * For each instruction a little function is made: it loads the registers that the instruction names from a register file, executes it and
 * stores them again. An operand in memory is replaced by one behind a register that the instruction leaves free; rsp is replaced by such a
 * register too. So all of the instruction set that works on registers is emulated exactly as this CPU does it, vectors of any size included.
 *
 *   xrstor [file.vectors]          only when it names anything but general registers
 *   push [file.flags]; popf
 *   mov rax, [file.rax] ...        those it names
 *   mov rsi, [file.operand]
 *   add rax, [rsi]                 the instruction; it was add rax, [rsp+rbx*4+8]
 *   mov [file.rax], rax ...
 *   pushf; pop [file.flags]
 *   xsave [file.vectors]; fninit; ldmxcsr [file.host]
 *   ret
 *
 * The instruction comes from a process that may be hostile: op_decode lets only categories through that cannot do more than that.
 */
#ifndef PROFILE_EMULATE_THUNK_H
#define PROFILE_EMULATE_THUNK_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { THUNK_PLACE_MAX = 64 }; /* bytes of an operand in memory */

struct thunk_file {
	uint64_t gpr[16]; /* as encoded in instructions: rax rcx rdx rbx rsp rbp rsi rdi r8... */
	uint64_t flags;
	void *operand; /* the copy of the place in memory */
	uint32_t host_mxcsr;
	_Alignas(64) uint8_t vectors[16384 - 256]; /* XSAVE area, standard format */
};

struct thunks;

/* ERR_ENVIRONMENT: the CPU has no XSAVE, or the kernel does not let us make code; ERR_MEMORY. */
int thunks_new(struct thunks **ret_thunks, struct err *e) MUST_CHECK;
void thunks_free(struct thunks *t);
struct thunk_file *thunks_file(struct thunks *t);

/* What the instruction names. Registers are bits 0..15. */
struct thunk_needs {
	uint32_t read_or_written, written;
	bool flags, vectors;
	uint8_t operand; /* register that takes file.operand, or 16 = none */
	uint8_t stack;	 /* register that stands for rsp, or 16 = none */
};

/* *ret_thunk: for thunk_run. false: no room is left. */
bool thunks_make(struct thunks *t, const struct thunk_needs *needs, const uint8_t *instruction, uint32_t size, uint32_t *ret_thunk);

/*
 * Executes. false: the instruction faulted; registers are then as they were, or those of a part of it. Only one thread may do this, and
 * between thunks_enter and thunks_leave, which catch SIGSEGV, SIGBUS, SIGFPE and SIGILL of the whole process.
 */
bool thunk_run(struct thunks *t, uint32_t thunk);
int thunks_enter(struct thunks *t, struct err *e) MUST_CHECK;
void thunks_leave(struct thunks *t);

#endif
