/*
 * finish: a call that a stop cut short is finished, so that the program does not see it.
 *
 * A write that waits for room, or is at work, when its thread is told to stop ends with the part of its bytes that is transferred; so do
 * getrandom, and reads of devices that never end. The same thread is made to transfer the rest when all others run again, watched; then it has
 * its registers back, with all bytes in rax, and goes on. (A recv with MSG_WAITALL is left: an error that its rest would meet, and that the
 * kernel says once, could not be given back.)
 * It makes that call in a stub where inject's stand, which does as much by itself should this process die meanwhile: adds up, loads the
 * registers that calls change, and jumps to where the thread was. No flag is touched and no stack used.
 *
 *	stub:	0f 05			syscall			the rest of the call <- the thread is sent here
 *		48 89 c1		mov rcx, rax
 *		48 0f c9		bswap rcx		an error is -4095 to -1, a count below 2^31: what is the upper half?
 *		89 c9			mov ecx, ecx
 *		e3 05			jrcxz add
 *		b8 00 00 00 00		mov eax, 0
 *	add:	48 b9 imm64		mov rcx, done before
 *		48 8d 04 08		lea rax, [rax + rcx]
 *		48 b9 imm64 ...		rcx r11 rdi rsi rdx r10 r8 r9
 *		ff 25 00 00 00 00	jmp *(next 8 bytes)
 *		imm64			behind the syscall instruction of the program
 */
#ifndef APPLY_FINISH_H
#define APPLY_FINISH_H

#include "apply/target.h"
#include "apply/tracee.h"

#include <stdbool.h>
#include <stdint.h>

/* So many at a time, each with its own stub; the others wait their turn. */
#define FINISH_MAX 8

/*
 * Is this thread, in the stop of PTRACE_INTERRUPT, behind a call that the stop ended with a part of its bytes transferred? Not when the descriptor is set
 * not to wait, or a signal is there that would have ended the call as well. Opens files in /proc only for a thread whose write or read returned less
 * than it was asked for.
 */
bool finish_is_cut(const struct target *t, const struct tracee *tracee);

/* Until when calls may take that are finished from now on: ten seconds, or hardly any time where one is stuck and may be cut (target.cut_calls). */
uint64_t finish_deadline(const struct target *t);

/*
 * Has the calls of those of `list` finished that are stopped and `cut`, until monotonic time `deadline`, and lets these threads run. Their PC may have been
 * changed meanwhile. Requires: all others run. How many calls returned only a part after all: they took too long, or there was no room for a stub.
 */
uint32_t finish_calls(const struct target *t, struct tracee *list, uint32_t count, uint64_t deadline);

/* The same for one thread, which is then in the stop of PTRACE_INTERRUPT again. *ret_short: the call returned a part. ERR_GONE, ERR_BUSY as tracee_settle. */
int finish_call(const struct target *t, struct tracee *tracee, uint64_t deadline, bool *ret_short, struct err *e) MUST_CHECK;

/* The bytes of the stub for a thread with `registers`, INJECT_STUB_SIZE (inject.h). `done`: what the call had transferred before. */
void finish_stub_encode(const struct user_regs_struct *registers, uint64_t done, uint8_t *code);

#endif
