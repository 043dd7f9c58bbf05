#include "apply/filter.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif
#define FILTERS_MAX 1024

struct machine {
	uint32_t a, x, memory[BPF_MEMWORDS];
	uint32_t answer;
	bool done;
};

static bool calculate(struct machine *m, uint16_t operation, uint32_t with)
{
	switch (operation) {
	case BPF_ADD:
		m->a += with;
		break;
	case BPF_SUB:
		m->a -= with;
		break;
	case BPF_MUL:
		m->a *= with;
		break;
	case BPF_OR:
		m->a |= with;
		break;
	case BPF_AND:
		m->a &= with;
		break;
	case BPF_XOR:
		m->a ^= with;
		break;
	case BPF_NEG:
		m->a = 0 - m->a;
		break;
	case BPF_LSH:
		m->a <<= with & 31;
		break;
	case BPF_RSH:
		m->a >>= with & 31;
		break;
	case BPF_DIV: /* by an X of zero: the program ends with 0 */
		m->done = !with;
		m->a = with ? m->a / with : 0;
		break;
	default:
		return false;
	}
	return true;
}

static bool load(struct machine *m, const struct sock_filter *f, const struct seccomp_data *call)
{
	uint32_t value = f->k;
	switch (BPF_MODE(f->code)) {
	case BPF_IMM:
		break;
	case BPF_LEN:
		value = sizeof *call;
		break;
	case BPF_MEM:
		if (f->k >= BPF_MEMWORDS)
			return false;
		value = m->memory[f->k];
		break;
	case BPF_ABS:
		if (BPF_CLASS(f->code) != BPF_LD || f->k > sizeof *call - 4 || f->k % 4)
			return false;
		memcpy(&value, (const char *)call + f->k, 4);
		break;
	default:
		return false;
	}
	*(BPF_CLASS(f->code) == BPF_LD ? &m->a : &m->x) = value;
	return true;
}

/* How many instructions it skips. */
static uint32_t jump(const struct machine *m, const struct sock_filter *f)
{
	uint32_t with = BPF_SRC(f->code) == BPF_X ? m->x : f->k;
	switch (BPF_OP(f->code)) {
	case BPF_JA:
		return f->k;
	case BPF_JEQ:
		return m->a == with ? f->jt : f->jf;
	case BPF_JGT:
		return m->a > with ? f->jt : f->jf;
	case BPF_JGE:
		return m->a >= with ? f->jt : f->jf;
	default:
		return m->a & with ? f->jt : f->jf; /* BPF_JSET */
	}
}

/* Everything but jumps. */
static bool step(struct machine *m, const struct sock_filter *f, const struct seccomp_data *call)
{
	switch (BPF_CLASS(f->code)) {
	case BPF_LD:
	case BPF_LDX:
		return load(m, f, call);
	case BPF_ST:
	case BPF_STX:
		if (f->k >= BPF_MEMWORDS)
			return false;
		m->memory[f->k] = BPF_CLASS(f->code) == BPF_ST ? m->a : m->x;
		return true;
	case BPF_ALU:
		return calculate(m, BPF_OP(f->code), BPF_SRC(f->code) == BPF_X ? m->x : f->k);
	case BPF_RET:
		m->answer = BPF_RVAL(f->code) == BPF_A ? m->a : f->k;
		m->done = true;
		return true;
	default: /* BPF_MISC */
		*(BPF_MISCOP(f->code) == BPF_TAX ? &m->x : &m->a) = BPF_MISCOP(f->code) == BPF_TAX ? m->a : m->x;
		return true;
	}
}

uint32_t filter_answer(const struct sock_filter *code, uint32_t size, const struct seccomp_data *call)
{
	struct machine m = {0};
	for (uint64_t at = 0; at < size; at++) {
		if (BPF_CLASS(code[at].code) == BPF_JMP)
			at += jump(&m, &code[at]);
		else if (!step(&m, &code[at], call))
			break;
		if (m.done)
			return m.answer;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

static bool harmless(uint32_t answer)
{
	switch (answer & SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_ALLOW:
	case SECCOMP_RET_LOG:
	case SECCOMP_RET_ERRNO:
	case SECCOMP_RET_TRACE: /* nobody traces it: ENOSYS */
		return true;
	default:
		return false;
	}
}

int filter_forbids(pid_t tid, const struct seccomp_data *call, bool *ret_forbids, struct err *e)
{
	static struct sock_filter code[BPF_MAXINSNS];
	bool forbids = false;
	for (uintptr_t i = 0; !forbids && i < FILTERS_MAX; i++) {
		long size = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)i, NULL);
		if (size > 0 && size <= BPF_MAXINSNS)
			size = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)i, code);
		if (size < 0 && errno == ENOENT)
			break;
		if (size <= 0 || size > BPF_MAXINSNS)
			return err_set(e, ERR_ENVIRONMENT, "thread %d: its system call filter (seccomp) cannot be read", tid);
		forbids = !harmless(filter_answer(code, (uint32_t)size, call));
	}
	*ret_forbids = forbids;
	return 0;
}
