/*
 * witness: all that a stopped thread has, as it was when it stopped and as it is when it is let go. For tests.
 *
 * With REPAVE_WITNESS in the environment every thread that this process stops is compared: general registers and segment bases, x87 and vector state (XSAVE
 * whole: SSE, AVX, AVX-512, protection keys, AMX, as the machine has them), debug registers, signal mask, the first 1,024 signals that wait for it, in their
 * order with all that they carry, the one whose delivery was interrupted, robust list, registration for restartable sequences, scheduling, the red zone; and where
 * all threads of the process stand still also the signals that wait for the process, the stack above, thread-local storage (errno) and the rseq area. What may be
 * different: the PC where one is moved or brought home, return addresses that undo announces, and rax of a call that is made again or was finished.
 *
 * A difference is told on stderr, and the program exits with 70. Costs about 20 system calls per thread and stop; memory is allocated.
 */
#ifndef APPLY_WITNESS_H
#define APPLY_WITNESS_H

#include "apply/tracee.h"
#include "formats/base/addr.h"

#include <stdint.h>
#include <sys/user.h>

/*
 * The thread has stopped by itself, with the registers `found`. Forgets what it had before: it has run since. Nothing without REPAVE_WITNESS, here and
 * below.
 */
void witness_take(const struct tracee *tracee, const struct user_regs_struct *found);

/* All threads of a process stand still now. When the first of them was taken others still ran, and may have written to its memory: that is read again. */
void witness_all_stand(const struct tracee *list, uint32_t count);

/* All threads are about to go on. What others write is compared only if none has run since witness_all_stand: not after a stop that failed. */
void witness_compare_all(const struct tracee *list, uint32_t count);

/* This one is about to go on; others may have run. Nothing if it was not taken, or compared since. */
void witness_compare(const struct tracee *tracee);

/* Until the next witness_compare_all this word of a stack is expected to be `value`. */
void witness_expect(raddr at, uint64_t value);

/* How many differences were told. */
unsigned witness_differences(void);

#endif
