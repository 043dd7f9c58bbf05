/*
 * cpu: works out what a stopped thread would execute next, without executing it there.
 *
 * Starts from the thread's registers and a copy-on-touch view of its memory and follows the instructions until a system call, a limit, or
 * something that is not emulated. What other threads do meanwhile is not seen, so the course is a forecast: right as long as the thread does not
 * race with others.
 */
#ifndef PROFILE_EMULATE_CPU_H
#define PROFILE_EMULATE_CPU_H

#include "formats/base/addr.h"
#include "formats/base/err.h"
#include "formats/base/vec.h"
#include "profile/emulate/memory.h"

#include <stdint.h>
#include <sys/user.h>

/* Why a course ended. */
enum cpu_end {
	CPU_LIMIT,   /* as many instructions as wanted */
	CPU_SYSCALL, /* rip is at a syscall instruction that was not executed */
	CPU_UNKNOWN, /* rip is at an instruction that is not emulated */
	CPU_MEMORY,  /* rip is at an instruction that touches memory that is not there */
	CPU_FAULT,   /* rip is at an instruction that faulted, or divides by zero */
	CPU_ENDS,
};

/* A taken transfer of control, calls and returns included. */
struct cpu_branch {
	raddr from, to;
};

typedef VEC(struct cpu_branch) cpu_branches;

struct cpu;

/* Emulates in `memory` (borrowed). Errors of thunks_new; ERR_MEMORY. */
int cpu_new(struct memory *memory, struct cpu **ret_cpu, struct err *e) MUST_CHECK;
void cpu_free(struct cpu *c);

/* Puts the thread's state in. `vectors`: its XSAVE area as PTRACE_GETREGSET gives it, `size` bytes. */
void cpu_load(struct cpu *c, const struct user_regs_struct *registers, const void *vectors, size_t size);
/* The general registers, rip and status flags as they are now; the rest of `registers` is left as it is. */
void cpu_store(const struct cpu *c, struct user_regs_struct *registers);
/* The same state for the vectors: `size` bytes at `ret_vectors`. */
void cpu_store_vectors(const struct cpu *c, void *ret_vectors, size_t size);

/*
 * Runs at most `limit` instructions, appends to `branches`. *ret_end: why it ended, *ret_executed: instructions (a repeated string
 * instruction is one). All instruction bytes are taken from memory once and then remembered: code that changes needs a new cpu. ERR_MEMORY.
 */
int cpu_run(struct cpu *c, uint64_t limit, cpu_branches *branches, enum cpu_end *ret_end, uint64_t *ret_executed, struct err *e) MUST_CHECK;

/* One word for each enum cpu_end. */
const char *cpu_end_name(enum cpu_end end);

#endif
