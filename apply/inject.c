#include "apply/inject.h"

#include "apply/filter.h"
#include "apply/finish.h"
#include "apply/modes.h"
#include "formats/base/elfhead.h"
#include "formats/base/restart.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ATTACH_LIMIT 2000000000ull
#define CALL_LIMIT 2000000000ull
#define CLEAN_LIMIT 1000000000ull
#define CANDIDATES_MAX 256
#define SIGNALS_MAX 1000 /* signals passed on while one call is tried */
#define ERESTART_RESTARTBLOCK 516

uint8_t *inject_put_move(uint8_t *p, uint8_t rex, uint8_t opcode, uint64_t value)
{
	*p++ = rex;
	*p++ = opcode;
	memcpy(p, &value, sizeof value);
	return p + sizeof value;
}

void inject_put_home(uint8_t *p, const struct user_regs_struct *r, uint64_t pc)
{
	p = inject_put_move(p, 0x48, 0xb9, r->rcx);
	p = inject_put_move(p, 0x49, 0xbb, r->r11);
	p = inject_put_move(p, 0x48, 0xbf, r->rdi);
	p = inject_put_move(p, 0x48, 0xbe, r->rsi);
	p = inject_put_move(p, 0x48, 0xba, r->rdx);
	p = inject_put_move(p, 0x49, 0xba, r->r10);
	p = inject_put_move(p, 0x49, 0xb8, r->r8);
	p = inject_put_move(p, 0x49, 0xb9, r->r9);
	memcpy(p, (uint8_t[]){0xff, 0x25, 0, 0, 0, 0}, 6);
	memcpy(p + 6, &pc, sizeof pc);
}

/* Without a call to take back `expected` is something that no call returns. */
static uint8_t *put_revert(uint8_t *p, const struct inject_revert *revert)
{
	const struct inject_revert none = {.expected = INT64_MIN};
	if (!revert || !revert->number)
		revert = &none;
	p = inject_put_move(p, 0x48, 0xb9, (uint64_t)0 - (uint64_t)revert->expected);
	memcpy(p, (uint8_t[]){0x48, 0x8d, 0x0c, 0x08, 0xe3, 0x12}, 6);
	p = inject_put_move(p + 6, 0x48, 0xb9, (uint64_t)0 - (uint64_t)(revert->takes_over ? revert->earlier : revert->expected));
	memcpy(p, (uint8_t[]){0x48, 0x8d, 0x0c, 0x08, 0xe3, 0x02, 0xeb, 0x20}, 8);
	p = inject_put_move(p + 8, 0x48, 0xb8, revert->number);
	p = inject_put_move(p, 0x48, 0xbf, revert->arguments[0]);
	p = inject_put_move(p, 0x48, 0xbe, revert->arguments[1]);
	*p++ = 0x0f;
	*p++ = 0x05;
	return p;
}

void inject_stub_encode(const struct user_regs_struct *r, const struct inject_revert *revert, uint8_t code[INJECT_STUB_SIZE])
{
	uint64_t rax = r->rax, pc = r->rip;
	/* Without a tracer nobody restarts the interrupted call, so the stub makes it again (as the kernel would). */
	if (restart_by_kernel(r)) {
		rax = (int64_t)r->rax == -ERESTART_RESTARTBLOCK ? SYS_restart_syscall : r->orig_rax;
		pc -= 2;
	}
	uint8_t *p = code;
	*p++ = 0x0f;
	*p++ = 0x05;
	p = put_revert(p, revert);
	p = inject_put_move(p, 0x48, 0xb8, rax);
	inject_put_home(p, r, pc);
	memcpy(code + INJECT_CODE_SIZE, INJECT_MAGIC, sizeof INJECT_MAGIC - 1);
}

/* The ELF header mapping of the file that `m` maps, or NULL. */
static const struct procmap *header_of(const struct procmaps *maps, const struct procmap *m)
{
	for (const struct procmap *h = m; h >= maps->maps; h--)
		if (h->inode == m->inode && h->device_major == m->device_major && h->device_minor == m->device_minor && !h->offset)
			return h;
	return NULL;
}

/* Room behind the end of the segment in its last page: code that is mapped but belongs to nobody. */
static bool find_tail(const struct target *t, const struct procmap *m, uint64_t size, raddr *ret_stub)
{
	const struct procmap *header = header_of(&t->maps, m);
	struct elf_source source;
	struct elfhead head;
	uint64_t bias;
	if (!header)
		return false;
	source = elf_source_of_fd(t->mem_fd, header->start.v);
	if (elfhead_read(&source, m->path, &head, NULL) || !elfhead_bias(&head, m->start, (foff){m->offset}, &bias))
		return false;
	for (uint32_t i = 0; i < head.segment_count; i++) {
		const struct elf_segment *s = &head.segments[i];
		if (s->type != ELFHEAD_LOAD || !(s->flags & ELFHEAD_EXECUTE) || s->memory_size != s->file_size)
			continue;
		uint64_t end = (s->address.v + bias + s->file_size + 15) & ~(uint64_t)15;
		if (end >= m->start.v && end < m->end.v && m->end.v - end >= size && m->end.v - end < 4096) {
			ret_stub->v = end;
			return true;
		}
	}
	return false;
}

enum room { ROOM_NONE, ROOM_USED, ROOM_ZERO, ROOM_STUB };

static bool is_zero(const uint8_t *bytes, uint64_t size)
{
	uint8_t used = 0;
	for (uint64_t i = 0; i < size; i++)
		used |= bytes[i];
	return !used;
}

/* What stands in the room that `m` leaves, if it does. */
static enum room look_at_room(const struct target *t, const struct procmap *m, uint64_t size, raddr *ret_room)
{
	uint8_t bytes[4096];
	if (!m->execute || !m->read || m->shared || !m->inode || size > sizeof bytes || !find_tail(t, m, size, ret_room) ||
	    target_read_some(t, *ret_room, bytes, size) != size)
		return ROOM_NONE;
	if (size >= INJECT_STUB_SIZE && !memcmp(bytes + INJECT_CODE_SIZE, INJECT_MAGIC, sizeof INJECT_MAGIC - 1))
		return ROOM_STUB;
	return is_zero(bytes, size) ? ROOM_ZERO : ROOM_USED;
}

/* The best room, no better than wanted; zeros are preferred, since they need not be remembered by anybody. */
static enum room find_room(const struct target *t, uint64_t size, enum room best_wanted, raddr *ret_room)
{
	enum room best = ROOM_NONE;
	for (size_t k = 0; k < t->maps.count && best < best_wanted; k++) {
		raddr room;
		enum room found = look_at_room(t, &t->maps.maps[k], size, &room);
		if (found <= best || found > best_wanted)
			continue;
		best = found;
		*ret_room = room;
	}
	return best;
}

int inject_find_room(const struct target *t, uint64_t size, raddr *ret_room, struct err *e)
{
	if (find_room(t, size, ROOM_ZERO, ret_room) != ROOM_NONE)
		return 0;
	return err_set(e, ERR_REFUSED, "process %d: no executable segment leaves %" PRIu64 " bytes free in its last page", t->pid, size);
}

/* All threads stopped. Zeros were there before, or they would have gone elsewhere. Several stand one behind the other (finish.h). */
static int remove_stubs(const struct tracees *s, raddr stub, struct err *e)
{
	static const uint8_t zeros[FINISH_MAX * INJECT_STUB_SIZE];
	uint8_t bytes[sizeof zeros];
	size_t got = target_read_some(s->target, stub, bytes, sizeof bytes), size = 0;
	while (size + INJECT_STUB_SIZE <= got && !memcmp(bytes + size + INJECT_CODE_SIZE, INJECT_MAGIC, sizeof INJECT_MAGIC - 1))
		size += INJECT_STUB_SIZE;
	for (uint32_t i = 0; i < s->count; i++)
		if (s->list[i].state == TRACEE_STOPPED && s->list[i].registers.rip - stub.v < size)
			return err_set(e, ERR_BUSY, "thread %d was stopped while a killed tool had it make a call; let it run on",
				       s->list[i].tid);
	return target_write(s->target, stub, zeros, size, e);
}

int inject_clean(struct target *t, struct err *e)
{
	struct tracees threads;
	raddr stub;
	if (find_room(t, INJECT_STUB_SIZE, ROOM_STUB, &stub) != ROOM_STUB)
		return 0;
	int status = tracees_init(t, &threads, e);
	if (status)
		return status;
	status = tracees_stop(&threads, CLEAN_LIMIT, e);
	if (!status)
		status = remove_stubs(&threads, stub, e);
	tracees_fini(&threads);
	return status;
}

static int find_stub(struct inject *i, struct err *e)
{
	int status = inject_clean(i->target, e);
	if (!status)
		status = inject_find_room(i->target, sizeof i->saved, &i->stub, e);
	if (!status)
		status = target_read(i->target, i->stub, i->saved, sizeof i->saved, e);
	i->on_zeros = !status && is_zero(i->saved, sizeof i->saved);
	return status;
}

/* Is the thread inside a restartable sequence? Sending it elsewhere and back would look like an uninterrupted run to it. */
static bool in_rseq(const struct target *t, const struct tracee *tracee)
{
	struct modes_rseq registered;
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} section;
	uint64_t current;
	if (!modes_get_rseq(tracee->tid, &registered) || !registered.pointer)
		return false;
	if (target_read_some(t, (raddr){registered.pointer + 8}, &current, sizeof current) != sizeof current || !current)
		return false;
	if (target_read_some(t, (raddr){current}, &section, sizeof section) != sizeof section)
		return true;
	return tracee->registers.rip - section.start < section.length;
}

static bool in_call(const struct tracee *tracee)
{
	return (int64_t)tracee->registers.orig_rax >= 0;
}

static int set_options(const struct target *t, const struct tracee *tracee, struct err *e)
{
	uintptr_t options = PTRACE_O_TRACESYSGOOD | (t->seccomp_filter ? PTRACE_O_SUSPEND_SECCOMP : 0);
	if (!tracee_request(PTRACE_SETOPTIONS, tracee->tid, 0, options))
		return 0;
	if (t->seccomp_filter && errno == EPERM)
		return err_set(e, ERR_REFUSED,
			       "process %d filters its system calls (seccomp); suspending the filter needs CAP_SYS_ADMIN and no filter on "
			       "this tool itself",
			       t->pid);
	return err_set_errno(e, errno, "thread %d: ptrace options", tracee->tid);
}

/* Sleeping uninterruptibly: attaching would have to wait. */
static bool unreachable(const struct target *t, pid_t tid)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", t->pid, tid);
	if (target_read_text(path, text, sizeof text) < 0)
		return true;
	char *state = strrchr(text, ')');
	return !state || strchr("DZX", state[2]);
}

/* Would the stub run there as it should? */
static bool is_fit(const struct tracee *tracee)
{
	return modes_is_plain(&tracee->registers) && !modes_is_dispatched(tracee->tid);
}

/* In a call that a stop would cut short? Then another thread is better; in the last pass such calls have been waited for. */
static bool is_busy(const struct target *t, pid_t tid, unsigned pass, bool *ret_any)
{
	if (pass == 2 || tid == t->held || !restart_cut_call(t->pid, tid))
		return false;
	*ret_any = true;
	return true;
}

/* Its call is finished first, and it stays stopped. */
static int finish_cut(struct inject *i, struct err *e)
{
	bool is_short;
	int status = finish_call(i->target, &i->tracee, finish_deadline(i->target), &is_short, e);
	i->target->calls_cut += !status && is_short;
	return status;
}

/* A thread blocked in a call is the best choice (it is in no restartable sequence and loses nothing); otherwise any outside of one. */
static int choose_thread(struct inject *i, struct err *e)
{
	bool unfit = false, busy = false;
	pid_t tids[CANDIDATES_MAX];
	uint32_t count = tracee_list(i->target, tids, CANDIDATES_MAX);
	if (!count)
		return err_set(e, ERR_GONE, "process %d ended", i->target->pid);
	for (unsigned pass = 0; pass < 3 && (pass < 2 || busy); pass++) {
		if (pass == 2) {
			int status = tracee_wait_calls(i->target, e);
			if (status)
				return status;
		}
		for (uint32_t k = 0; k < count; k++) {
			if (unreachable(i->target, tids[k]) || is_busy(i->target, tids[k], pass, &busy))
				continue;
			int status = tracee_attach(i->target, tids[k], ATTACH_LIMIT, &i->tracee, e);
			if (status == -ERR_GONE)
				continue;
			if (status)
				return status;
			if (finish_is_cut(i->target, &i->tracee)) {
				status = finish_cut(i, e);
				if (status == -ERR_GONE)
					continue;
				if (status)
					return status;
			}
			bool fit = is_fit(&i->tracee);
			if (fit && !i->tracee.signal && (in_call(&i->tracee) || (pass && !in_rseq(i->target, &i->tracee))))
				return 0;
			unfit |= !fit;
			tracee_detach(&i->tracee);
		}
	}
	int status = target_alive(i->target, e);
	if (!status)
		status = target_thawed(i->target, e);
	if (status)
		return status;
	return unfit ? err_set(e, ERR_REFUSED, "process %d runs code that is not 64-bit, or has its system calls dispatched to user space",
			       i->target->pid)
		     : err_set(e, ERR_BUSY, "process %d: no thread can make a call for us now", i->target->pid);
}

static int write_stub(struct inject *i, const struct inject_revert *revert, struct err *e)
{
	inject_stub_encode(&i->original, revert, i->stub_code);
	if (!i->on_zeros) /* nobody could put back what was there: it must not be taken for a stub */
		memcpy(i->stub_code + INJECT_CODE_SIZE, i->saved + INJECT_CODE_SIZE, INJECT_STUB_SIZE - INJECT_CODE_SIZE);
	i->stub_written = true;
	int status = target_write(i->target, i->stub, i->stub_code, sizeof i->stub_code, e);
	if (status == -ERR_IO)
		return err_set(e, ERR_ENVIRONMENT,
			       "this kernel does not let a tracer write to read-only memory (see proc_mem.force_override)");
	return status;
}

int inject_begin(struct target *t, struct inject *ret_inject, struct err *e)
{
	struct inject i = {.target = t};
	int status = find_stub(&i, e);
	if (!status)
		status = choose_thread(&i, e);
	if (status)
		return status;
	i.original = i.tracee.registers;
	status = set_options(t, &i.tracee, e);
	if (!status)
		status = write_stub(&i, NULL, e);
	if (status)
		inject_end(&i);
	else
		*ret_inject = i;
	return status;
}

/* Back to a stop from which the kernel itself restarts an interrupted call: that of PTRACE_INTERRUPT. No instruction of the target runs. */
static int come_home(struct inject *i, struct err *e)
{
	int stop;
	int status = 0;
	if (!i->away)
		return 0;
	if (tracee_request(PTRACE_INTERRUPT, i->tracee.tid, 0, 0) || tracee_request(PTRACE_CONT, i->tracee.tid, 0, 0))
		status = err_set(e, ERR_GONE, "thread %d ended", i->tracee.tid);
	if (!status)
		status = tracee_wait(&i->tracee, monotonic_now() + CALL_LIMIT, &stop, e);
	if (!status && tracee_request(PTRACE_SETREGS, i->tracee.tid, 0, (uintptr_t)&i->original))
		status = err_set(e, ERR_GONE, "thread %d ended", i->tracee.tid);
	if (!status)
		i->away = false;
	return status;
}

/* A signal came while the thread was on its way: give it its registers, let it take the signal, and take the thread again as it is then. */
static int pass_signal(struct inject *i, struct err *e)
{
	if ((i->away || i->tracee.changed) && tracee_request(PTRACE_SETREGS, i->tracee.tid, 0, (uintptr_t)&i->original))
		return err_set(e, ERR_GONE, "thread %d ended", i->tracee.tid);
	i->away = i->tracee.changed = false;
	int status = tracee_settle(&i->tracee, CALL_LIMIT, e);
	if (status)
		return status;
	i->original = i->tracee.registers;
	return 0;
}

static int start_call(struct inject *i, long number, const uint64_t a[6], struct err *e)
{
	struct user_regs_struct r = i->original;
	r.rax = (uint64_t)number;
	r.rdi = a[0];
	r.rsi = a[1];
	r.rdx = a[2];
	r.r10 = a[3];
	r.r8 = a[4];
	r.r9 = a[5];
	r.rip = i->stub.v;
	r.orig_rax = (unsigned long long)-1;
	if (tracee_request(PTRACE_SETREGS, i->tracee.tid, 0, (uintptr_t)&r))
		return err_set(e, ERR_GONE, "thread %d ended", i->tracee.tid);
	i->away = true;
	return 0;
}

/* Runs to the next entry into or exit from a system call. 1: there, 0: a signal came first. */
static int next_call_stop(struct inject *i, struct err *e)
{
	int stop;
	if (tracee_request(PTRACE_SYSCALL, i->tracee.tid, 0, 0))
		return err_set(e, ERR_GONE, "thread %d ended", i->tracee.tid);
	int status = tracee_wait(&i->tracee, monotonic_now() + CALL_LIMIT, &stop, e);
	if (status)
		return status;
	if (i->tracee.signal == (SIGTRAP | 0x80)) {
		i->tracee.signal = 0;
		return 1;
	}
	if (i->tracee.signal)
		return 0;
	return err_set(e, ERR_BUSY, "process %d is being stopped by job control", i->target->pid);
}

/*
 * Filters are suspended only while this process lives. Were it killed, the thread would make the call, or the one that takes it back, under them: it must
 * not be killed for that.
 */
static int check_filter(const struct inject *i, long number, const uint64_t arguments[6], struct err *e)
{
	struct seccomp_data call = {.nr = (int)number, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = i->stub.v + 2};
	bool forbids = false;
	memcpy(call.args, arguments, sizeof call.args);
	int status = i->target->seccomp_filter ? filter_forbids(i->tracee.tid, &call, &forbids, e) : 0;
	if (!status && forbids)
		return err_set(
		    e, ERR_REFUSED,
		    "process %d would be killed by its own system call filter (seccomp, call %ld) if this tool were killed meanwhile",
		    i->target->pid, number);
	return status;
}

static int check_filters(const struct inject *i, long number, const uint64_t arguments[6], const struct inject_revert *revert,
			 struct err *e)
{
	int status = check_filter(i, number, arguments, e);
	if (status || !revert || !revert->number)
		return status;
	const uint64_t back[6] = {revert->arguments[0], revert->arguments[1]};
	return check_filter(i, (long)revert->number, back, e);
}

int inject_hold(struct inject *i, long number, const uint64_t arguments[6], const struct inject_revert *revert, int64_t *ret_result,
		struct err *e)
{
	int checked = check_filters(i, number, arguments, revert, e);
	if (checked)
		return checked;
	for (int signals = 0; signals < SIGNALS_MAX; signals++) {
		int status = write_stub(i, revert, e);
		if (!status)
			status = start_call(i, number, arguments, e);
		if (!status)
			status = next_call_stop(i, e);
		if (status == 0) { /* a signal before the call */
			status = pass_signal(i, e);
			if (status)
				return status;
			continue;
		}
		if (status > 0)
			status = next_call_stop(i, e);
		if (status < 0)
			return status;
		if (status == 0 || i->tracee.registers.rip != i->stub.v + 2)
			return err_set(e, ERR_INTERNAL, "thread %d: the injected call did not end where it should", i->tracee.tid);
		*ret_result = (int64_t)i->tracee.registers.rax;
		return 0;
	}
	return err_set(e, ERR_BUSY, "thread %d receives signals faster than it can be used", i->tracee.tid);
}

int inject_release(struct inject *i, struct err *e)
{
	return come_home(i, e);
}

int inject_call(struct inject *i, long number, const uint64_t arguments[6], int64_t *ret_result, struct err *e)
{
	int status = inject_hold(i, number, arguments, NULL, ret_result, e);
	return status ? status : come_home(i, e);
}

void inject_end(struct inject *i)
{
	struct err ignored; /* the thread is dead then, and so is its process or soon */
	if (come_home(i, &ignored) && i->away)
		i->tracee.changed = false;
	if (!i->away) {
		i->tracee.registers = i->original;
		i->tracee.changed = true;
	}
	if (i->stub_written && !i->away && target_write(i->target, i->stub, i->saved, sizeof i->saved, &ignored))
		i->stub_written = false;
	tracee_detach(&i->tracee);
}

/* mmap(2); what may be done about it. */
static const char *why_not_mapped(int reason)
{
	switch (reason) {
	case EAGAIN:
		return " (it locks all its memory, mlockall, and may lock no more: raise its RLIMIT_MEMLOCK, prlimit --memlock)";
	case ENOMEM:
		return " (a limit is reached: raise its RLIMIT_AS, prlimit --as, or vm.max_map_count)";
	case EACCES:
	case EPERM:
		return " (a security module allows it no new executable memory)";
	default:
		return "";
	}
}

int inject_map(struct inject *i, raddr address, uint64_t size, int protection, struct err *e)
{
	int64_t result;
	const uint64_t arguments[6] = {
	    address.v, size, (uint64_t)protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, (uint64_t)-1, 0,
	};
	const struct inject_revert revert = {.expected = (int64_t)address.v, .number = SYS_munmap, .arguments = {address.v, size}};
	int status = inject_hold(i, SYS_mmap, arguments, &revert, &result, e);
	if (status)
		return status;
	if (result == (int64_t)address.v)
		return 0;
	int reason = result < 0 && result > -4096 ? (int)-result : EINVAL;
	if (reason == EEXIST)
		return err_set(e, ERR_BUSY, "process %d mapped something at 0x%" PRIx64 " just now", i->target->pid, address.v);
	return err_set(e, ERR_REFUSED, "process %d: mapping %" PRIu64 " bytes at 0x%" PRIx64 ": %s%s", i->target->pid, size, address.v,
		       strerror(reason), why_not_mapped(reason));
}

int inject_unmap(struct inject *i, raddr address, uint64_t size, struct err *e)
{
	int64_t result;
	const uint64_t arguments[6] = {address.v, size};
	int status = inject_call(i, SYS_munmap, arguments, &result, e);
	if (status)
		return status;
	return result ? err_set(e, ERR_IO, "process %d: unmapping 0x%" PRIx64 ": %s", i->target->pid, address.v, strerror((int)-result))
		      : 0;
}
