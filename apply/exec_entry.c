#include "apply/exec_entry.h"

#include "apply/inject.h"
#include "formats/base/bytes.h"

#include <elf.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SETTLE_LIMIT 2000000000ull
#define WORDS_MAX (16u << 20) /* arguments and environment: more than the kernel allows */
#define USER_CS 0x33	      /* of 64-bit code: __USER_CS, arch/x86/include/asm/segment.h */
#define STUB_STOP 74	      /* in the stub: behind tkill */
#define STUB_SET 110
#define EXIT_GROUP_32 252
#define REAP_SIZE 46
#define AGAIN_SIZE 49
#define EXIT_SIZE 12

/* What execve leaves on the stack, upwards from the stack pointer: count of arguments, arguments, 0, environment, 0, pairs ended by AT_NULL. */
struct stack_top {
	raddr arguments, environment, auxiliary;
};

struct words {
	const struct target *target;
	raddr at;
	uint64_t cache[512];
	size_t filled, used;
};

/* Reads one word after another, up to the end of a mapping; false there. */
static bool next_word(struct words *w, uint64_t *ret_word)
{
	if (w->used == w->filled) {
		size_t size = sizeof w->cache - w->at.v % sizeof w->cache;
		w->filled = target_read_some(w->target, w->at, w->cache, size) / 8;
		w->used = 0;
	}
	if (w->used == w->filled)
		return false;
	*ret_word = w->cache[w->used++];
	w->at.v += 8;
	return true;
}

static bool skip_list(struct words *w)
{
	uint64_t word = 1;
	for (uint32_t i = 0; word; i++)
		if (i == WORDS_MAX || !next_word(w, &word))
			return false;
	return true;
}

static int find_top(const struct target *t, const struct tracee *tracee, struct stack_top *ret_top, struct err *e)
{
	struct words w = {.target = t, .at = {tracee->registers.rsp}};
	struct stack_top top;
	uint64_t count;
	bool whole = next_word(&w, &count);
	top.arguments = w.at;
	whole = whole && skip_list(&w);
	top.environment = w.at;
	whole = whole && skip_list(&w);
	top.auxiliary = w.at;
	if (!whole)
		return err_set(e, ERR_REFUSED, "process %d: its stack is not that of a new program", t->pid);
	*ret_top = top;
	return 0;
}

/* Finds the value of this type in the auxiliary vector, and where it stands. */
static int find_auxiliary(const struct target *t, const struct stack_top *top, uint64_t type, raddr *ret_where, raddr *ret_value,
			  struct err *e)
{
	struct words w = {.target = t, .at = top->auxiliary};
	uint64_t key, value;
	while (next_word(&w, &key) && next_word(&w, &value) && key != AT_NULL) {
		if (key != type)
			continue;
		ret_where->v = w.at.v - 8;
		ret_value->v = value;
		return 0;
	}
	return err_set(e, ERR_REFUSED, "process %d: its auxiliary vector has no entry %d", t->pid, (int)type);
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t size)
{
	memcpy(p, bytes, size);
	return p + size;
}

static uint8_t *put_u64(uint8_t *p, uint8_t rex, uint8_t opcode, uint64_t value)
{
	*p++ = rex;
	*p++ = opcode;
	return put(p, &value, sizeof value);
}

static uint8_t *put_u32(uint8_t *p, uint8_t opcode, uint32_t value)
{
	*p++ = opcode;
	store_u32(p, value);
	return p + 4;
}

static uint8_t *put_jump(uint8_t *p, raddr to)
{
	p = put(p, (uint8_t[]){0xff, 0x25, 0, 0, 0, 0}, 6);
	return put(p, &to.v, sizeof to.v);
}

static void encode_stub(const struct exec_entry *entry, uint8_t code[EXEC_STUB_SIZE])
{
	uint8_t *p = put_u64(code, 0x48, 0xb8, entry->entry.v);
	p = put_u64(p, 0x48, 0xa3, entry->word.v);
	p = put(p, (uint8_t[]){0x49, 0x89, 0xd0}, 3);
	p = put_u32(p, 0xb8, SYS_rt_sigprocmask);
	p = put_u32(p, 0xbf, SIG_UNBLOCK);
	p = put(p, (uint8_t[]){0x48, 0x8d, 0x35}, 3);
	store_u32(p, (uint32_t)(STUB_SET - (p + 4 - code)));
	p = put(p + 4, (uint8_t[]){0x48, 0x8d, 0x54, 0x24, 0xf8, 0x41, 0xba, 8, 0, 0, 0, 0x0f, 0x05}, 13);
	p = put_u32(p, 0xb8, SYS_gettid);
	p = put(p, (uint8_t[]){0x0f, 0x05, 0x89, 0xc7}, 4);
	p = put_u32(p, 0xbe, SIGURG);
	p = put_u32(p, 0xb8, SYS_tkill);
	p = put(p, (uint8_t[]){0x0f, 0x05}, 2); /* STUB_STOP */
	p = put_u32(p, 0xb8, SYS_rt_sigprocmask);
	p = put_u32(p, 0xbf, SIG_SETMASK);
	p = put(p, (uint8_t[]){0x48, 0x8d, 0x74, 0x24, 0xf8, 0x31, 0xd2, 0x0f, 0x05, 0x4c, 0x89, 0xc2}, 12);
	p = put_jump(p, entry->entry);
	put(p, &(uint64_t){(uint64_t)1 << (SIGURG - 1)}, 8); /* STUB_SET */
}

int exec_entry_begin(const struct target *t, const struct tracee *tracee, struct exec_entry *ret_entry, struct err *e)
{
	struct exec_entry entry = {0};
	struct stack_top top;
	uint8_t code[EXEC_STUB_SIZE];
	int status = find_top(t, tracee, &top, e);
	if (!status)
		status = find_auxiliary(t, &top, AT_ENTRY, &entry.word, &entry.entry, e);
	if (status || entry.entry.v == tracee->registers.rip) {
		*ret_entry = entry;
		return status;
	}
	status = inject_find_room(t, sizeof code, &entry.stub, e);
	if (!status)
		status = target_read(t, entry.stub, entry.saved, sizeof entry.saved, e);
	encode_stub(&entry, code);
	if (!status)
		status = target_write(t, entry.stub, code, sizeof code, e);
	if (!status)
		status = target_write(t, entry.word, &entry.stub.v, sizeof entry.stub.v, e);
	if (!status)
		*ret_entry = entry;
	return status;
}

bool exec_entry_reached(const struct exec_entry *entry, const struct user_regs_struct *registers)
{
	return entry->stub.v && registers->rip == entry->stub.v + STUB_STOP;
}

/* From the stub to the entry point, with what the stub would still have put back. */
static int leave_stub(const struct target *t, struct tracee *tracee, const struct exec_entry *entry, struct err *e)
{
	struct user_regs_struct *r = &tracee->registers;
	uint64_t mask;
	int status = target_read(t, (raddr){r->rsp - sizeof mask}, &mask, sizeof mask, e);
	if (status)
		return status;
	r->rip = entry->entry.v;
	r->rdx = r->r8;
	r->orig_rax = (unsigned long long)-1;
	if (tracee_request(PTRACE_SETSIGMASK, tracee->tid, sizeof mask, (uintptr_t)&mask) ||
	    tracee_request(PTRACE_SETREGS, tracee->tid, 0, (uintptr_t)r))
		return err_set(e, ERR_GONE, "process %d ended", t->pid);
	return target_write(t, entry->stub, entry->saved, sizeof entry->saved, e);
}

int exec_entry_arrive(const struct target *t, struct tracee *tracee, const struct exec_entry *entry, struct err *e)
{
	int status = entry->stub.v ? leave_stub(t, tracee, entry, e) : 0;
	return status ? status : tracee_settle(tracee, SETTLE_LIMIT, e);
}

/*	bf imm32 mov edi, status	b8 e7 00 00 00 mov eax, exit_group	0f 05 syscall	*/
static uint8_t *put_exit(uint8_t *p, int status)
{
	p = put_u32(p, 0xbf, (uint32_t)status);
	p = put_u32(p, 0xb8, SYS_exit_group);
	return put(p, (uint8_t[]){0x0f, 0x05}, 2);
}

/*	bb imm32 mov ebx, status	b8 fc 00 00 00 mov eax, exit_group	cd 80 int 0x80	*/
static uint8_t *put_exit_32(uint8_t *p, int status)
{
	p = put_u32(p, 0xbb, (uint32_t)status);
	p = put_u32(p, 0xb8, EXIT_GROUP_32);
	return put(p, (uint8_t[]){0xcd, 0x80}, 2);
}

int exec_entry_exit(const struct target *t, const struct tracee *tracee, int status, struct err *e)
{
	uint8_t code[EXIT_SIZE];
	if (tracee->registers.cs == USER_CS)
		put_exit(code, status);
	else
		put_exit_32(code, status);
	return target_write(t, (raddr){tracee->registers.rip}, code, sizeof code, e);
}

/* The name by which the program was executed, as this process can open it: relative names begin at its own working directory. */
static int find_file(const struct target *t, const struct stack_top *top, raddr *ret_file, char path[PATH_MAX], struct err *e)
{
	raddr where, file;
	char name[PATH_MAX - 64] = {0};
	int status = find_auxiliary(t, top, AT_EXECFN, &where, &file, e);
	if (status)
		return status;
	target_read_some(t, file, name, sizeof name - 1);
	snprintf(path, PATH_MAX, "/proc/%d/%s/%s", t->pid, name[0] == '/' ? "root" : "cwd", name);
	*ret_file = file;
	return 0;
}

/* An interpreter that was executed for a script, say, would not be executed by the same name and arguments again. */
static int check_file(const struct target *t, const char *path, struct err *e)
{
	char link[64];
	struct stat by_name, running;
	snprintf(link, sizeof link, "/proc/%d/exe", t->pid);
	if (!stat(path, &by_name) && !stat(link, &running) && by_name.st_dev == running.st_dev && by_name.st_ino == running.st_ino)
		return 0;
	return err_set(e, ERR_REFUSED, "process %d runs another file than was executed", t->pid);
}

/*	48 bf imm64 mov rdi, file	48 be imm64 mov rsi, arguments	48 ba imm64 mov rdx, environment	b8 imm32 mov eax, execve
 *	0f 05 syscall			put_exit(126): it was there a moment ago	*/
int exec_entry_again(const struct target *t, const struct tracee *tracee, struct err *e)
{
	struct stack_top top;
	raddr file;
	char path[PATH_MAX];
	uint8_t code[AGAIN_SIZE];
	int status = find_top(t, tracee, &top, e);
	if (!status)
		status = find_file(t, &top, &file, path, e);
	if (!status)
		status = check_file(t, path, e);
	if (status)
		return status;
	uint8_t *p = put_u64(code, 0x48, 0xbf, file.v);
	p = put_u64(p, 0x48, 0xbe, top.arguments.v);
	p = put_u64(p, 0x48, 0xba, top.environment.v);
	p = put_u32(p, 0xb8, SYS_execve);
	p = put(p, (uint8_t[]){0x0f, 0x05}, 2);
	put_exit(p, 126);
	return target_write(t, (raddr){tracee->registers.rip}, code, sizeof code, e);
}

/*	b8 3d 00 00 00 mov eax, wait4	bf imm32 mov edi, helper	31 f6 xor esi, esi	ba 00 00 00 40 mov edx, __WALL
 *	45 31 d2 xor r10d, r10d		0f 05 syscall			48 ba imm64 mov rdx, original	put_jump	*/
int exec_entry_reap(const struct target *t, struct tracee *tracee, pid_t helper, struct err *e)
{
	raddr stub;
	uint8_t code[REAP_SIZE];
	int status = inject_find_room(t, sizeof code, &stub, e);
	if (status)
		return status;
	if (tracee_request(PTRACE_GETREGS, tracee->tid, 0, (uintptr_t)&tracee->registers))
		return err_set(e, ERR_GONE, "process %d ended", t->pid);
	uint8_t *p = put_u32(code, 0xb8, SYS_wait4);
	p = put_u32(p, 0xbf, (uint32_t)helper);
	p = put(p, (uint8_t[]){0x31, 0xf6}, 2);
	p = put_u32(p, 0xba, __WALL);
	p = put(p, (uint8_t[]){0x45, 0x31, 0xd2, 0x0f, 0x05}, 5);
	p = put_u64(p, 0x48, 0xba, tracee->registers.rdx);
	put_jump(p, (raddr){tracee->registers.rip});
	status = target_write(t, stub, code, sizeof code, e);
	tracee->registers.rip = stub.v;
	if (!status && tracee_request(PTRACE_SETREGS, tracee->tid, 0, (uintptr_t)&tracee->registers))
		status = err_set(e, ERR_GONE, "process %d ended", t->pid);
	return status;
}
