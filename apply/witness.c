#include "apply/witness.h"

#include "apply/modes.h"
#include "formats/base/hash.h"
#include "formats/base/vec.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define XSTATE_MAX 16384u /* AMX: about 11 KiB */
#define XSTATE_BV 512u	  /* where the header of an XSAVE area begins */
#define RED_ZONE 128u
#define STACK_SIZE 512u
#define TLS_SIZE 4096u /* below the thread pointer; errno is there, how far depends on what libraries have there */
#define RSEQ_SIZE 32u
#define SIGINFOS 64u	  /* at a time */
#define PENDING_MAX 1024u /* the kernel counts from the first each time: all of 10,000 would take most of a second */
#define SCHED_SIZE 56u	  /* SCHED_ATTR_SIZE_VER1 */

/* Bytes that a thread has. */
struct part {
	const char *name;
	uint64_t at;	       /* their address in the target; 0 = they are in the kernel */
	uint32_t offset, size; /* in witness.bytes */
	bool others_write;     /* only comparable while nobody runs */
};

/* A hash of each siginfo that waits, in order, of as many as PENDING_MAX. */
struct pending {
	VEC(uint64_t) hashes;
};

struct witness {
	pid_t tid; /* 0 = free */
	bool delivers;
	struct user_regs_struct registers;
	struct part parts[16];
	uint32_t part_count;
	VEC(uint8_t) bytes;
	struct pending pending;
};

struct expected {
	uint64_t at, value;
};

static VEC(struct witness) witnesses;
static VEC(struct expected) expectations;
static unsigned differences;
static struct pending of_process; /* what waits for the process */
static bool standing;		  /* since witness_all_stand; not so when a stop failed */

static bool wanted(void)
{
	static int is = -1;
	if (is < 0)
		is = getenv("REPAVE_WITNESS") != NULL;
	return is;
}

/* A test tool that cannot go on must not say that all was equal. */
static void need(bool is)
{
	if (is)
		return;
	fprintf(stderr, "witness: no memory\n");
	abort();
}

/* Room for `size` more bytes, which part_end then makes a part of as many as there are. */
static uint8_t *part_begin(struct witness *w, uint32_t size)
{
	need(!vec_reserve(&w->bytes, size));
	memset(w->bytes.data + w->bytes.count, 0, size);
	return w->bytes.data + w->bytes.count;
}

static void part_end(struct witness *w, const char *name, uint64_t at, uint32_t size, bool others_write)
{
	need(w->part_count < sizeof w->parts / sizeof *w->parts);
	w->parts[w->part_count++] = (struct part){name, at, (uint32_t)w->bytes.count, size, others_write};
	w->bytes.count += size;
}

static void collect_memory(struct witness *w, const char *name, uint64_t at, uint32_t size, bool others_write)
{
	struct iovec local = {part_begin(w, size), size}, remote = {(void *)(uintptr_t)at, size};
	ssize_t got = process_vm_readv(w->tid, &local, 1, &remote, 1, 0);
	part_end(w, name, at, got > 0 ? (uint32_t)got : 0, others_write);
}

/* As much as is mapped, which is the page of its last byte at least. */
static void collect_tls(struct witness *w)
{
	uint64_t end = w->registers.fs_base, begin = end - TLS_SIZE, page = (end - 1) & ~4095ull;
	uint8_t byte;
	struct iovec local = {&byte, 1}, remote = {(void *)(uintptr_t)begin, 1};
	if (begin < page && process_vm_readv(w->tid, &local, 1, &remote, 1, 0) != 1)
		begin = page;
	collect_memory(w, "thread-local storage", begin, (uint32_t)(end - begin), true);
}

/*
 * XSTATE_BV says which parts are in use. A processor may tell by that at any time that one has its initial values, which the kernel writes there as well: so
 * the values are compared, and not how they are told.
 */
static void collect_xstate(struct witness *w)
{
	struct iovec state = {part_begin(w, XSTATE_MAX), XSTATE_MAX};
	long error = ptrace(PTRACE_GETREGSET, w->tid, (void *)(uintptr_t)NT_X86_XSTATE, &state);
	memset((uint8_t *)state.iov_base + XSTATE_BV, 0, sizeof(uint64_t));
	part_end(w, "x87 and vector state", 0, error ? 0 : (uint32_t)state.iov_len, false);
}

static void collect_debug_registers(struct witness *w)
{
	uint64_t *values = (void *)part_begin(w, 8 * sizeof *values);
	for (unsigned i = 0; i < 8; i++)
		if (i != 4 && i != 5) { /* there are none */
			errno = 0;
			values[i] = (uint64_t)ptrace(PTRACE_PEEKUSER, w->tid,
						     (void *)(offsetof(struct user, u_debugreg) + i * sizeof *values), NULL);
		}
	part_end(w, "debug registers", 0, 8 * sizeof *values, false);
}

/* What one call tells in a buffer; nothing if it fails. */
#define COLLECT(w, name, size, call)                                                                                                       \
	do {                                                                                                                               \
		uint8_t *buffer = part_begin(w, size);                                                                                     \
		part_end(w, name, 0, (call) < 0 ? 0 : (size), false);                                                                      \
	} while (0)

static void collect_robust_list(struct witness *w)
{
	void **list = (void *)part_begin(w, 2 * sizeof *list);
	long error = syscall(SYS_get_robust_list, w->tid, list, list + 1);
	part_end(w, "robust list", 0, error ? 0 : 2 * sizeof *list, false);
}

static void collect_rseq(struct witness *w)
{
	struct modes_rseq registered = {0};
	bool is = modes_get_rseq(w->tid, &registered);
	memcpy(part_begin(w, sizeof registered), &registered, sizeof registered);
	part_end(w, "rseq registration", 0, is ? sizeof registered : 0, false);
	if (is && registered.pointer)
		collect_memory(w, "rseq area", registered.pointer, RSEQ_SIZE, true);
}

static void collect_pending(struct pending *pending, pid_t tid, uint32_t flags)
{
	struct __ptrace_peeksiginfo_args which = {0, flags, SIGINFOS};
	siginfo_t infos[SIGINFOS];
	long got;
	pending->hashes.count = 0;
	do {
		memset(infos, 0, sizeof infos);
		got = ptrace(PTRACE_PEEKSIGINFO, tid, &which, infos);
		for (long i = 0; i < got; i++)
			need(!vec_push(&pending->hashes, hash_bytes(&infos[i], sizeof infos[i])));
		which.off += got > 0 ? (uint64_t)got : 0;
	} while (got == SIGINFOS && which.off < PENDING_MAX);
}

static void collect(struct witness *w)
{
	w->part_count = 0;
	w->bytes.count = 0;
	collect_xstate(w);
	collect_debug_registers(w);
	COLLECT(w, "signal mask", sizeof(uint64_t), ptrace(PTRACE_GETSIGMASK, w->tid, (void *)sizeof(uint64_t), buffer));
	if (w->delivers) /* otherwise it tells of the stop itself */
		COLLECT(w, "signal in delivery", sizeof(siginfo_t), ptrace(PTRACE_GETSIGINFO, w->tid, NULL, buffer));
	COLLECT(w, "scheduling", SCHED_SIZE, syscall(SYS_sched_getattr, w->tid, buffer, SCHED_SIZE, 0));
	collect_robust_list(w);
	collect_rseq(w);
	collect_memory(w, "red zone", w->registers.rsp - RED_ZONE, RED_ZONE, false);
	collect_memory(w, "stack", w->registers.rsp, STACK_SIZE, true);
	collect_tls(w);
	collect_pending(&w->pending, w->tid, 0);
}

static struct witness *find(pid_t tid)
{
	for (size_t i = 0; i < witnesses.count; i++)
		if (witnesses.data[i].tid == tid)
			return &witnesses.data[i];
	return NULL;
}

void witness_take(const struct tracee *tracee, const struct user_regs_struct *found)
{
	if (!wanted())
		return;
	struct witness *w = find(tracee->tid);
	if (!w)
		w = find(0);
	if (!w) {
		need(!vec_push(&witnesses, (struct witness){0}));
		w = &witnesses.data[witnesses.count - 1];
	}
	w->tid = tracee->tid;
	w->delivers = tracee->signal;
	w->registers = *found;
	collect(w);
}

static const struct tracee *first_stopped(const struct tracee *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (list[i].state == TRACEE_STOPPED)
			return &list[i];
	return NULL;
}

void witness_all_stand(const struct tracee *list, uint32_t count)
{
	const struct tracee *any = wanted() ? first_stopped(list, count) : NULL;
	standing = true;
	if (any)
		collect_pending(&of_process, any->tid, PTRACE_PEEKSIGINFO_SHARED);
	for (uint32_t i = 0; any && i < count; i++) {
		struct witness *w = list[i].state == TRACEE_STOPPED ? find(list[i].tid) : NULL;
		if (w)
			collect(w);
	}
}

void witness_expect(raddr at, uint64_t value)
{
	if (wanted())
		need(!vec_push(&expectations, (struct expected){at.v, value}));
}

__attribute__((format(printf, 2, 3))) static void differs(pid_t tid, const char *format, ...)
{
	va_list arguments;
	differences++;
	fprintf(stderr, "witness: thread %d: ", tid);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

static const char *const register_names[] = {"r15",    "r14", "r13", "r12",	"rbp",	   "rbx", "r11",      "r10", "r9",
					     "r8",     "rax", "rcx", "rdx",	"rsi",	   "rdi", "orig_rax", "rip", "cs",
					     "eflags", "rsp", "ss",  "fs_base", "gs_base", "ds",  "es",	      "fs",  "gs"};
#define REGISTERS (sizeof register_names / sizeof *register_names)
_Static_assert(sizeof(struct user_regs_struct) == REGISTERS * sizeof(uint64_t), "a name per register");
#define RAX (offsetof(struct user_regs_struct, rax) / sizeof(uint64_t))
#define RIP (offsetof(struct user_regs_struct, rip) / sizeof(uint64_t))

/* In rax of a call that is made again (ERESTARTNOHAND), or whose rest was made. */
static bool may_become(const struct tracee *tracee, int64_t result, int64_t then)
{
	bool is_meant = then == (int64_t)tracee->registers.rax && (int64_t)tracee->registers.orig_rax >= 0;
	return is_meant && ((result == -EINTR && then == -514) || (result > 0 && then > result));
}

static void compare_registers(const struct witness *w, const struct tracee *tracee)
{
	struct user_regs_struct registers;
	uint64_t before[REGISTERS], after[REGISTERS];
	if (ptrace(PTRACE_GETREGS, w->tid, NULL, &registers))
		return; /* killed in its stop */
	memcpy(before, &w->registers, sizeof before);
	memcpy(after, &registers, sizeof after);
	for (size_t i = 0; i < REGISTERS; i++) {
		bool meant = (i == RIP && (tracee->cut || after[i] == tracee->registers.rip)) ||
			     (i == RAX && may_become(tracee, (int64_t)before[i], (int64_t)after[i]));
		if (before[i] != after[i] && !meant)
			differs(w->tid, "%s was 0x%" PRIx64 ", is 0x%" PRIx64, register_names[i], before[i], after[i]);
	}
}

static void expect(struct witness *w, const struct part *p)
{
	for (size_t i = 0; i < expectations.count; i++) {
		uint64_t offset = expectations.data[i].at - p->at;
		if (offset < p->size && p->size - offset >= sizeof(uint64_t))
			memcpy(w->bytes.data + p->offset + offset, &expectations.data[i].value, sizeof(uint64_t));
	}
}

static void compare_part(struct witness *w, const struct witness *now, uint32_t i)
{
	const struct part *p = &w->parts[i], *q = &now->parts[i];
	if (p->at)
		expect(w, p);
	const uint8_t *before = w->bytes.data + p->offset, *after = now->bytes.data + q->offset;
	if (p->size != q->size) {
		differs(w->tid, "%s: were %u bytes, are %u", p->name, p->size, q->size);
		return;
	}
	for (uint32_t k = 0; k < p->size; k++)
		if (before[k] != after[k]) {
			differs(w->tid, "%s: byte %u was 0x%02x, is 0x%02x", p->name, k, before[k], after[k]);
			return;
		}
}

/* More may have come meanwhile; of those that waited none may be missing or have changed places. */
static void compare_pending(pid_t tid, const struct pending *before, const struct pending *now, const char *whose)
{
	size_t count = before->hashes.count;
	if (now->hashes.count < count) {
		differs(tid, "%zu signals waited for the %s, now %zu", count, whose, now->hashes.count);
		count = now->hashes.count;
	}
	for (size_t i = 0; i < count; i++)
		if (before->hashes.data[i] != now->hashes.data[i]) {
			differs(tid, "signal %zu of those that wait for the %s is another one", i, whose);
			return;
		}
}

static bool was_killed(pid_t tid)
{
	siginfo_t info;
	return ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) && errno == ESRCH;
}

static void compare(const struct tracee *tracee, bool all_stand)
{
	static struct witness now;
	struct witness *w = wanted() ? find(tracee->tid) : NULL;
	if (!w)
		return;
	now.tid = w->tid;
	now.delivers = w->delivers;
	now.registers = w->registers;
	collect(&now);
	if (!was_killed(w->tid)) {
		compare_registers(w, tracee);
		for (uint32_t i = 0; i < w->part_count && i < now.part_count; i++)
			if (all_stand || !w->parts[i].others_write)
				compare_part(w, &now, i);
		if (w->part_count != now.part_count)
			differs(w->tid, "%u parts, now %u", w->part_count, now.part_count);
		compare_pending(w->tid, &w->pending, &now.pending, "thread");
	}
	w->tid = 0;
}

/* By any of its threads: it is the process that has them. */
static void compare_pending_of_process(const struct tracee *list, uint32_t count)
{
	static struct pending now;
	const struct tracee *any = wanted() && standing ? first_stopped(list, count) : NULL;
	if (!any)
		return;
	collect_pending(&now, any->tid, PTRACE_PEEKSIGINFO_SHARED);
	if (!was_killed(any->tid))
		compare_pending(any->tid, &of_process, &now, "process");
}

void witness_compare_all(const struct tracee *list, uint32_t count)
{
	compare_pending_of_process(list, count);
	for (uint32_t i = 0; i < count; i++)
		if (list[i].state == TRACEE_STOPPED)
			compare(&list[i], standing);
	standing = false;
	expectations.count = 0;
}

void witness_compare(const struct tracee *tracee)
{
	compare(tracee, false);
}

unsigned witness_differences(void)
{
	return differences;
}
