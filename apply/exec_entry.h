/*
 * exec_entry: a program that was just executed, brought to its entry point with its libraries mapped.
 *
 * The kernel tells the loader in the auxiliary vector (AT_ENTRY, on the stack) where the program begins. Before the loader runs, that word is led to
 * a stub in the unused tail of a segment, as inject.h uses it:
 *
 *	48 b8 imm64			mov rax, entry
 *	48 a3 imm64			mov [auxiliary vector], rax	as the kernel wrote it
 *	49 89 d0			mov r8, rdx
 *	b8 0e 00 00 00			mov eax, rt_sigprocmask
 *	bf 01 00 00 00			mov edi, SIG_UNBLOCK
 *	48 8d 35 disp32			lea rsi, [set]
 *	48 8d 54 24 f8			lea rdx, [rsp - 8]		the old mask; nothing is below the stack yet
 *	41 ba 08 00 00 00		mov r10d, 8
 *	0f 05				syscall
 *	b8 ba 00 00 00			mov eax, gettid
 *	0f 05				syscall
 *	89 c7				mov edi, eax
 *	be 17 00 00 00			mov esi, SIGURG
 *	b8 c8 00 00 00			mov eax, tkill
 *	0f 05				syscall		<- a traced thread stops behind this
 *	b8 0e 00 00 00			mov eax, rt_sigprocmask
 *	bf 02 00 00 00			mov edi, SIG_SETMASK
 *	48 8d 74 24 f8			lea rsi, [rsp - 8]
 *	31 d2				xor edx, edx
 *	0f 05				syscall
 *	4c 89 c2			mov rdx, r8
 *	ff 25 00 00 00 00 imm64		jmp *(next 8 bytes)	to the entry point
 *	set: imm64			SIGURG
 *
 * A signal that is ignored by default stops a traced thread and does nothing to another, so if this process dies at any moment the program begins
 * as if nothing had been. (A breakpoint would kill it then; one in a debug register stays when its tracer is gone. Tracing the loader's system
 * calls up to one of the stub would do, and costs two stops for each: 8 ms for cc1plus, 20 ms for mariadbd on a loaded machine.) What the stub
 * leaves changed is unspecified at an entry point (System V ABI for x86-64, 3.4.1): rdx and the stack are not. A static program is at its entry
 * point from the start.
 */
#ifndef APPLY_EXEC_ENTRY_H
#define APPLY_EXEC_ENTRY_H

#include "apply/target.h"
#include "apply/tracee.h"

#define EXEC_STUB_SIZE 118

struct exec_entry {
	raddr entry, word; /* where the program begins; where the auxiliary vector says so */
	raddr stub;	   /* 0: it is there already */
	uint8_t saved[EXEC_STUB_SIZE];
};

/*
 * Requires: target.held stopped by its execve, `tracee` with its registers; target_check'ed. Sets the stub up, unless it is not needed. ERR_REFUSED: no room
 * for it. On failure the target is unchanged.
 */
int exec_entry_begin(const struct target *t, const struct tracee *tracee, struct exec_entry *ret_entry, struct err *e) MUST_CHECK;

/* Does the thread stand where the stub stops it? */
bool exec_entry_reached(const struct exec_entry *entry, const struct user_regs_struct *registers);

/*
 * Requires: exec_entry_reached, or no stub needed. Removes the stub and leaves the thread stopped with its PC at the entry point, having executed
 * nothing of the program. Without a stub the thread may stand at its execve. ERR_GONE, ERR_BUSY (it gets signals faster than they can be passed on).
 */
int exec_entry_arrive(const struct target *t, struct tracee *tracee, const struct exec_entry *entry, struct err *e) MUST_CHECK;

/*
 * What the thread does when it is let go, instead of going on: by code written over its next instructions, for a program that has not begun
 * and never will. exit: ends with `status`; programs of 32 bits too. again: executes the same file with the same arguments and
 * environment once more; the thread must be stopped by its execve. ERR_REFUSED: what runs is not what was executed, but its interpreter.
 */
int exec_entry_exit(const struct target *t, const struct tracee *tracee, int status, struct err *e) MUST_CHECK;
int exec_entry_again(const struct target *t, const struct tracee *tracee, struct err *e) MUST_CHECK;

/*
 * Before it goes on the thread waits for the end of its child `helper`, which must be about to end, so that no zombie is left. The code for it
 * stays in the tail of a segment.
 */
int exec_entry_reap(const struct target *t, struct tracee *tracee, pid_t helper, struct err *e) MUST_CHECK;

#endif
