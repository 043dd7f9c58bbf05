#include "apply/modes.h"

#include "apply/inject.h"
#include "apply/tracee.h"

#include <errno.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#ifndef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
#define PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211 /* Linux 6.4 */
#endif
#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif
#define USER_CODE_SEGMENT 0x33 /* __USER_CS of arch/x86/include/asm/segment.h */
#define READ_LDT 0
#define LDT_ENTRY_SIZE 8

bool modes_is_plain(const struct user_regs_struct *registers)
{
	return registers->cs == USER_CODE_SEGMENT;
}

bool modes_is_dispatched(pid_t tid)
{
	struct {
		uint64_t mode, selector, offset, length;
	} dispatch = {0};
	return tracee_request(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, sizeof dispatch, (uintptr_t)&dispatch) == 0 && dispatch.mode;
}

bool modes_get_rseq(pid_t tid, struct modes_rseq *ret_rseq)
{
	return ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, (void *)sizeof *ret_rseq, ret_rseq) >= 0;
}

int modes_refuse_threads(const struct tracees *s, struct err *e)
{
	for (uint32_t i = 0; i < s->count; i++) {
		const struct tracee *tracee = &s->list[i];
		if (tracee->state != TRACEE_STOPPED)
			continue;
		if (!modes_is_plain(&tracee->registers))
			return err_set(e, ERR_REFUSED, "process %d: thread %d runs code that is not 64-bit (code segment 0x%x)",
				       s->target->pid, tracee->tid, (unsigned)tracee->registers.cs);
		if (modes_is_dispatched(tracee->tid))
			return err_set(e, ERR_REFUSED, "process %d has system calls dispatched to user space (thread %d)", s->target->pid,
				       tracee->tid);
	}
	return 0;
}

/* Reading an LDT to nowhere fails where there is one; where there is none, no byte is read. */
int modes_refuse_segments(struct inject *i, struct err *e)
{
	static const uint64_t nowhere[6] = {READ_LDT, 0, LDT_ENTRY_SIZE};
	struct err why;
	int64_t result;
	int status = inject_call(i, SYS_modify_ldt, nowhere, &result, &why);
	if (status == -ERR_REFUSED) /* it filters its system calls such that it could not be asked; nor could it make one */
		return 0;
	if (status && e)
		*e = why;
	if (status)
		return status;
	/* The kernel returns 32 bits of it. */
	return (int32_t)result == -EFAULT ? err_set(e, ERR_REFUSED, "process %d has segments of its own (an LDT)", i->target->pid) : 0;
}
