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
#include <sys/types.h>

struct inject;
struct tracees;
struct user_regs_struct;

/* Does it run 64-bit code in the segment that all 64-bit programs have? */
bool modes_is_plain(const struct user_regs_struct *registers);

/* Are its system calls dispatched to user space? Requires: thread `tid` is traced by the caller and stopped. */
bool modes_is_dispatched(pid_t tid);

/* ERR_REFUSED when a thread is not plain or dispatched. Requires: stopped. Changes nothing. */
int modes_refuse_threads(const struct tracees *s, struct err *e) MUST_CHECK;

/* ERR_REFUSED when the process made itself an LDT: then code may run in other segments at any time. Otherwise as inject_call. */
int modes_refuse_segments(struct inject *i, struct err *e) MUST_CHECK;

#endif
