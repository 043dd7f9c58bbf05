/*
 * modes: threads for which the same instructions elsewhere would not do the same.
 *
 * A thread with another code segment than that of 64-bit programs (32-bit code, a segment of an LDT) has a PC that is no address of what we moved, and
 * cannot make our calls. Where system calls are dispatched to user space (prctl PR_SET_SYSCALL_USER_DISPATCH) those made outside of one range of code become
 * signals, and moved code is outside.
 */
#ifndef APPLY_MODES_H
#define APPLY_MODES_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct inject;
struct tracees;
struct user_regs_struct;

/* Does it run 64-bit code in the segment that all 64-bit programs have? */
bool modes_is_plain(const struct user_regs_struct *registers);

/* Are its system calls dispatched to user space? Requires: thread `tid` is traced by the caller and stopped. */
bool modes_is_dispatched(pid_t tid);

/* What a thread registered for restartable sequences (ptrace_rseq_configuration of linux/ptrace.h, younger than the headers of Debian 12). */
struct modes_rseq {
	uint64_t pointer; /* 0: nothing */
	uint32_t size, signature, flags, pad;
};
/* false: that cannot be told. Requires: as above. */
bool modes_get_rseq(pid_t tid, struct modes_rseq *ret_rseq);

/* ERR_REFUSED when a thread is not plain or dispatched. Requires: stopped. Changes nothing. */
int modes_refuse_threads(const struct tracees *s, struct err *e) MUST_CHECK;

/* ERR_REFUSED when the process made itself an LDT: then code may run in other segments at any time. Otherwise as inject_call. */
int modes_refuse_segments(struct inject *i, struct err *e) MUST_CHECK;

#endif
