#include "apply/finish.h"

#include "apply/inject.h"
#include "apply/modes.h"
#include "formats/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/major.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define CALL_MAX 0x7ffff000u /* bytes that one call transfers at most (linux/fs.h, MAX_RW_COUNT) */
#define PIECES_MAX 1024u     /* UIO_MAXIOV */
#define CALL_STOP (SIGTRAP | 0x80)
#define LOOK_NANOSECONDS 50000u
#define END_NANOSECONDS 200000000u
#define LIMIT_NANOSECONDS 10000000000ull
#define STUCK_NANOSECONDS 20000000ull

/* What is left of a call: another one, and how much it is to transfer. */
struct rest {
	uint64_t number, arguments[6], bytes;
};

struct finish {
	struct tracee *tracee;
	struct user_regs_struct original;
	uint64_t done;
	struct rest rest;
	raddr stub;
	bool stays; /* stopped, when it is over */
	bool in_call, over, is_short;
};

static uint64_t at_most(uint64_t bytes)
{
	return bytes < CALL_MAX ? bytes : CALL_MAX;
}

/* Of a vector, the piece that holds a byte, from that byte on, and how much there is from there to the end of all. */
struct piece {
	uint64_t index, at, size, left;
	bool is_whole;
};

/* false: byte `done` is in none, or that cannot be read. */
static bool find_piece(const struct target *t, uint64_t vector, uint64_t count, uint64_t done, struct piece *ret_piece)
{
	struct piece piece = {0};
	uint64_t before = 0;
	for (uint64_t i = 0; i < count && i < PIECES_MAX; i++) {
		uint8_t bytes[16];
		if (target_read_some(t, (raddr){vector + i * sizeof bytes}, bytes, sizeof bytes) != sizeof bytes)
			return false;
		uint64_t base = load_u64(bytes), size = load_u64(bytes + 8);
		if (size > CALL_MAX)
			return false;
		if (!piece.size && before + size > done)
			piece = (struct piece){i, base + (done - before), before + size - done, 0, before == done};
		before += size;
	}
	piece.left = before - done;
	*ret_piece = piece;
	return piece.size && before <= CALL_MAX;
}

/* What is left of writev is a write of the rest of a piece, then a writev of the others. */
static bool find_rest_of_vector(const struct target *t, const struct user_regs_struct *r, uint64_t done, struct rest *ret_rest)
{
	struct piece p;
	if (!find_piece(t, r->rsi, r->rdx, done, &p))
		return false;
	if (p.is_whole)
		*ret_rest = (struct rest){SYS_writev, {r->rdi, r->rsi + p.index * sizeof(struct iovec), r->rdx - p.index}, p.left};
	else
		*ret_rest = (struct rest){SYS_write, {r->rdi, p.at, p.size}, p.size};
	return true;
}

/* What is left of a message to a stream goes piece by piece; what comes with it (descriptors, say) went with its first byte. */
static bool find_rest_of_message(const struct target *t, const struct user_regs_struct *r, uint64_t done, struct rest *ret_rest)
{
	struct piece p;
	uint8_t message[offsetof(struct msghdr, msg_control)];
	if (r->rdx & MSG_DONTWAIT || target_read_some(t, (raddr){r->rsi}, message, sizeof message) != sizeof message ||
	    !find_piece(t, load_u64(message + offsetof(struct msghdr, msg_iov)), load_u64(message + offsetof(struct msghdr, msg_iovlen)),
			done, &p))
		return false;
	*ret_rest = (struct rest){SYS_sendto, {r->rdi, p.at, p.size, r->rdx}, p.size};
	return true;
}

/* false: nothing is left of the call that the thread made, or it is none that can be finished. */
static bool find_rest(const struct target *t, const struct user_regs_struct *r, uint64_t done, struct rest *ret_rest)
{
	struct rest rest = {r->orig_rax, {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9}, 0};
	bool found = true;
	switch (r->orig_rax) {
	case SYS_sendto:
		found = !(r->r10 & MSG_DONTWAIT);
		/* fall through */
	case SYS_write:
	case SYS_read: /* from a device that never ends */
		rest.bytes = at_most(r->rdx) - done;
		rest.arguments[1] += done;
		rest.arguments[2] = rest.bytes;
		found &= done < at_most(r->rdx);
		break;
	case SYS_sendfile: /* the offsets are in the file, or where the program has them, and have gone on */
		rest.bytes = rest.arguments[3] = at_most(r->r10) - done;
		found = done < at_most(r->r10);
		break;
	case SYS_getrandom:
		rest.bytes = rest.arguments[1] = at_most(r->rsi) - done;
		rest.arguments[0] += done;
		found = done < at_most(r->rsi);
		break;
	case SYS_pwritev2: /* to what has no offsets, without flags: writev */
		found = !r->r9 && r->r10 == UINT64_MAX && find_rest_of_vector(t, r, done, &rest);
		break;
	case SYS_writev:
		found = find_rest_of_vector(t, r, done, &rest);
		break;
	case SYS_sendmsg:
		found = find_rest_of_message(t, r, done, &rest);
		break;
	default:
		return false;
	}
	/* A filter may let the program make one call and not the other. */
	if (!found || (t->seccomp_filter && rest.number != r->orig_rax))
		return false;
	*ret_rest = rest;
	return true;
}

static bool is_terminal(dev_t device)
{
	unsigned kind = major(device);
	return kind == TTY_MAJOR || kind == TTYAUX_MAJOR ||
	       (kind >= UNIX98_PTY_SLAVE_MAJOR && kind < UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT);
}

/* /dev/zero, /dev/random, /dev/urandom (drivers/char/mem.c, devlist) */
static bool is_endless(dev_t device)
{
	return major(device) == MEM_MAJOR && (minor(device) == 5 || minor(device) == 8 || minor(device) == 9);
}

/* Does what the call is made on take or give bytes in pieces, and is it waited for until all are transferred? */
static bool waits(const struct target *t, const struct user_regs_struct *r)
{
	bool sockets_only = r->orig_rax == SYS_sendto || r->orig_rax == SYS_sendmsg || r->orig_rax == SYS_sendfile;
	char path[64], text[512];
	struct stat status;
	unsigned flags;
	if (r->orig_rax == SYS_getrandom)
		return true;
	snprintf(path, sizeof path, "/proc/%d/fd/%d", t->pid, (int)r->rdi);
	if (stat(path, &status))
		return false;
	if (r->orig_rax == SYS_read)
		return S_ISCHR(status.st_mode) && is_endless(status.st_rdev);
	if (!S_ISSOCK(status.st_mode) &&
	    (sockets_only || !(S_ISFIFO(status.st_mode) || (S_ISCHR(status.st_mode) && is_terminal(status.st_rdev)))))
		return false;
	snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", t->pid, (int)r->rdi);
	if (target_read_text(path, text, sizeof text) < 0)
		return false;
	const char *field = strstr(text, "flags:\t");
	return field && sscanf(field + 7, "%o", &flags) == 1 && !(flags & O_NONBLOCK);
}

/* Is there a signal that it does not block? */
static bool has_signal(const struct target *t, pid_t tid)
{
	static const char *const names[] = {"\nSigPnd:\t", "\nShdPnd:\t", "\nSigBlk:\t"};
	char path[64], text[4096];
	uint64_t sets[3] = {0};
	snprintf(path, sizeof path, "/proc/%d/task/%d/status", t->pid, tid);
	if (target_read_text(path, text, sizeof text) < 0)
		return true;
	for (unsigned i = 0; i < 3; i++) {
		const char *field = strstr(text, names[i]);
		if (!field || sscanf(field + strlen(names[i]), "%" SCNx64, &sets[i]) != 1)
			return true;
	}
	return (sets[0] | sets[1]) & ~sets[2];
}

bool finish_is_cut(const struct target *t, const struct tracee *tracee)
{
	const struct user_regs_struct *r = &tracee->registers;
	struct rest rest;
	uint8_t code[2];
	if (tracee->signal || tracee->held || (int64_t)r->rax <= 0 || !find_rest(t, r, r->rax, &rest))
		return false;
	if (target_read_some(t, (raddr){r->rip - 2}, code, sizeof code) != sizeof code || memcmp(code, (uint8_t[]){0x0f, 0x05}, 2))
		return false;
	return modes_is_plain(r) && !modes_is_dispatched(tracee->tid) && waits(t, r) && !has_signal(t, tracee->tid);
}

void finish_stub_encode(const struct user_regs_struct *r, uint64_t done, uint8_t *code)
{
	static const uint8_t call[] = {0x0f, 0x05, 0x48, 0x89, 0xc1, 0x48, 0x0f, 0xc9, 0x89, 0xc9, 0xe3, 0x05, 0xb8, 0, 0, 0, 0};
	uint8_t *p = code;
	memset(code, 0, INJECT_STUB_SIZE);
	memcpy(p, call, sizeof call);
	p = inject_put_move(p + sizeof call, 0x48, 0xb9, done);
	memcpy(p, (uint8_t[]){0x48, 0x8d, 0x04, 0x08}, 4);
	inject_put_home(p + 4, r, r->rip);
	memcpy(code + INJECT_CODE_SIZE, INJECT_MAGIC, sizeof INJECT_MAGIC - 1);
}

/* The thread is behind its call, as if that had returned what is done. It goes on, or stays stopped for its tracer. */
static void go_home(struct finish *f)
{
	f->tracee->registers = f->original;
	f->tracee->registers.rax = f->done;
	f->tracee->changed = true;
	f->tracee->cut = false;
	f->over = true;
	if (!f->stays)
		tracee_detach(f->tracee);
	else if (tracee_request(PTRACE_SETREGS, f->tracee->tid, 0, (uintptr_t)&f->tracee->registers))
		f->tracee->state = TRACEE_GONE;
}

/* Sends the thread to its stub, whose part of the work is written there first. */
static bool begin_rest(const struct target *t, struct finish *f)
{
	uint8_t code[INJECT_STUB_SIZE];
	struct user_regs_struct r = f->original;
	finish_stub_encode(&f->original, f->done, code);
	if (target_write(t, f->stub, code, sizeof code, NULL))
		return false;
	r.rax = f->rest.number;
	r.rdi = f->rest.arguments[0];
	r.rsi = f->rest.arguments[1];
	r.rdx = f->rest.arguments[2];
	r.r10 = f->rest.arguments[3];
	r.r8 = f->rest.arguments[4];
	r.r9 = f->rest.arguments[5];
	r.rip = f->stub.v;
	r.orig_rax = (unsigned long long)-1;
	f->in_call = false;
	return !tracee_request(PTRACE_SETREGS, f->tracee->tid, 0, (uintptr_t)&r) && !tracee_request(PTRACE_SYSCALL, f->tracee->tid, 0, 0);
}

/* It stopped: on its way into the call, or out of it, or a signal came before. Transfers are never undone, so what came out of it counts. */
static void take_stop(const struct target *t, struct finish *f)
{
	bool at_border = f->tracee->signal == CALL_STOP;
	if (at_border)
		f->tracee->signal = 0;
	if (at_border && !f->in_call) {
		f->in_call = true;
		f->over = tracee_request(PTRACE_SYSCALL, f->tracee->tid, 0, 0) != 0;
		return;
	}
	int64_t result = at_border ? (int64_t)f->tracee->registers.rax : 0;
	f->done += result > 0 ? (uint64_t)result : 0;
	bool whole = result > 0 && (uint64_t)result == f->rest.bytes;
	struct rest rest;
	bool more = find_rest(t, &f->original, f->done, &rest);
	if (whole && more) {
		f->rest = rest;
		f->over = !begin_rest(t, f); /* a thread that cannot be told anything was killed */
		return;
	}
	f->is_short = more && !f->tracee->signal && !has_signal(t, f->tracee->tid);
	go_home(f);
}

static void look(const struct target *t, struct finish *f)
{
	int stop;
	int status = tracee_wait(f->tracee, 0, &stop, NULL);
	if (!status)
		take_stop(t, f);
	else if (status == -ERR_GONE)
		f->over = true;
}

uint64_t finish_deadline(const struct target *t)
{
	return monotonic_now() + (t->calls_stuck ? STUCK_NANOSECONDS : LIMIT_NANOSECONDS);
}

/* *ret_finish is the call of this thread, on its way. */
static void begin(const struct target *t, struct tracee *tracee, bool stays, raddr stub, struct finish *ret_finish)
{
	struct finish *f = ret_finish;
	*f = (struct finish){
	    .tracee = tracee, .stays = stays, .stub = stub, .original = tracee->registers, .done = tracee->registers.rax, .is_short = true};
	if (tracee_request(PTRACE_SETOPTIONS, tracee->tid, 0, PTRACE_O_TRACESYSGOOD) || !find_rest(t, &f->original, f->done, &f->rest) ||
	    !begin_rest(t, f))
		go_home(f);
}

/* Zeros that nobody uses, for as many stubs as fit; how many. */
static uint32_t find_stubs(const struct target *t, uint32_t wanted, raddr *ret_room)
{
	static const uint8_t zeros[FINISH_MAX * INJECT_STUB_SIZE];
	uint8_t bytes[sizeof zeros];
	for (uint32_t n = wanted; n; n--) {
		size_t size = n * INJECT_STUB_SIZE;
		if (!inject_find_room(t, size, ret_room, NULL) && target_read_some(t, *ret_room, bytes, size) == size &&
		    !memcmp(bytes, zeros, size))
			return n;
	}
	return 0;
}

static struct tracee *next_cut(struct tracee *list, uint32_t count, uint32_t *at)
{
	while (*at < count) {
		struct tracee *tracee = &list[(*at)++];
		if (tracee->state == TRACEE_STOPPED && tracee->cut)
			return tracee;
	}
	return NULL;
}

/* In `stubs` slots of `room`, one after the other; how many came home with a part only. */
static uint32_t run(const struct target *t, struct tracee *list, uint32_t count, bool stays, uint64_t deadline, raddr room, uint32_t stubs)
{
	static const uint8_t zeros[FINISH_MAX * INJECT_STUB_SIZE];
	struct finish slots[FINISH_MAX];
	uint32_t next = 0, active, is_short = 0;
	struct tracee *waiting = next_cut(list, count, &next);
	bool told = false;
	for (uint32_t k = 0; k < stubs; k++)
		slots[k].over = true;
	do {
		bool late = monotonic_now() >= deadline;
		active = 0;
		for (uint32_t k = 0; k < stubs; k++) {
			struct finish *f = &slots[k];
			if (f->over && waiting && !late) {
				begin(t, waiting, stays, (raddr){room.v + k * INJECT_STUB_SIZE}, f);
				waiting = next_cut(list, count, &next);
			} else if (!f->over && late && !told)
				tracee_request(PTRACE_INTERRUPT, f->tracee->tid, 0, 0);
			else if (!f->over)
				look(t, f);
			else
				continue;
			is_short += f->over && f->is_short;
			active += !f->over;
		}
		told |= late;
		if (active)
			monotonic_pause(LOOK_NANOSECONDS);
	} while ((active || (waiting && !told)) && monotonic_now() < deadline + END_NANOSECONDS);
	/* Who did not even stop comes home by its stub, and a later inject_clean finds that. */
	if (!active)
		(void)!target_write(t, room, zeros, stubs * INJECT_STUB_SIZE, NULL); /* or the process is gone */
	return is_short + active;
}

uint32_t finish_calls(const struct target *t, struct tracee *list, uint32_t count, uint64_t deadline)
{
	uint32_t cut = 0, at = 0, is_short = 0, stubs;
	struct tracee *tracee;
	raddr room;
	while (next_cut(list, count, &at))
		cut++;
	stubs = cut ? find_stubs(t, cut < FINISH_MAX ? cut : FINISH_MAX, &room) : 0;
	if (stubs)
		is_short = run(t, list, count, false, deadline, room, stubs);
	for (at = 0; (tracee = next_cut(list, count, &at)); is_short++)
		tracee_detach(tracee);
	return is_short;
}

int finish_call(const struct target *t, struct tracee *tracee, uint64_t deadline, bool *ret_short, struct err *e)
{
	raddr room;
	tracee->cut = true;
	*ret_short = !find_stubs(t, 1, &room) || run(t, tracee, 1, true, deadline, room, 1);
	tracee->cut = false;
	if (tracee->state == TRACEE_GONE)
		return err_set(e, ERR_GONE, "thread %d ended", tracee->tid);
	if (tracee->state != TRACEE_STOPPED)
		return err_set(e, ERR_BUSY, "thread %d did not stop in time", tracee->tid);
	return tracee_settle(tracee, END_NANOSECONDS, e);
}
