#include "profile/emulate/thunk.h"

#include <cpuid.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NO_REGISTER = 16, RSP = 4, THUNK_SIZE_MAX = 512, CODE_SIZE = 64 << 20 };

#define CALLEE_SAVED (1u << 3 | 1u << 5 | 0xf000u) /* rbx rbp r12-r15 */
/* x87, SSE, AVX and AVX-512; protection keys and tiles stay ours. */
#define COMPONENTS 0xe7u
#define MASK_ALL_SSE 0x1f80u
#define MASK_ALL_X87 0x3fu
#define STATUS_FLAGS 0x8d5u

struct thunks {
	struct thunk_file *file; /* right behind the code, so that it is reached relative to rip */
	uint8_t *code;		 /* as it is executed */
	uint8_t *writable;	 /* the same memory: nothing is ever writable and executable at one address */
	uint32_t used;
	uint32_t components;
	struct sigaction old[4];
	stack_t old_stack;
	void *signal_stack;
};

static const int caught[4] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static sigjmp_buf fault_point;
static volatile sig_atomic_t fault_armed;

static int map_code(struct thunks *t, struct err *e)
{
	int fd = memfd_create("repave-thunks", MFD_CLOEXEC);
	if (fd < 0)
		return err_set_errno(e, errno, "memfd_create");
	uint8_t *at = MAP_FAILED;
	if (!ftruncate(fd, CODE_SIZE))
		at = mmap(NULL, CODE_SIZE + sizeof *t->file, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at != MAP_FAILED) {
		t->file = (struct thunk_file *)(at + CODE_SIZE);
		t->code = mmap(at, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
		t->writable = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	int failure = errno;
	close(fd);
	if (at == MAP_FAILED || t->code == MAP_FAILED || t->writable == MAP_FAILED)
		return err_set(e, ERR_ENVIRONMENT, "no executable memory for emulation: %s", strerror(failure));
	return 0;
}

static int read_components(struct thunks *t, struct err *e)
{
	unsigned a, b, c, d, low, high;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return err_set(e, ERR_ENVIRONMENT, "emulation needs a CPU and a kernel with XSAVE");
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	t->components = low & COMPONENTS;
	__cpuid_count(0xd, 0, a, b, c, d);
	if (b > sizeof t->file->vectors)
		return err_set(e, ERR_ENVIRONMENT, "the vector registers of this CPU take %u bytes, more than is known", b);
	return 0;
}

int thunks_new(struct thunks **ret_thunks, struct err *e)
{
	struct thunks *t = calloc(1, sizeof *t);
	if (!t)
		return err_set(e, ERR_MEMORY, "no memory for emulation");
	t->code = t->writable = MAP_FAILED;
	int status = read_components(t, e);
	if (!status)
		status = map_code(t, e);
	if (status) {
		thunks_free(t);
		return status;
	}
	__asm__ volatile("stmxcsr %0" : "=m"(t->file->host_mxcsr));
	*ret_thunks = t;
	return 0;
}

void thunks_free(struct thunks *t)
{
	if (!t)
		return;
	if (t->file)
		munmap((uint8_t *)t->file - CODE_SIZE, CODE_SIZE + sizeof *t->file);
	if (t->writable != MAP_FAILED)
		munmap(t->writable, CODE_SIZE);
	free(t);
}

struct thunk_file *thunks_file(struct thunks *t)
{
	return t->file;
}

/* --- making code --- */

struct code {
	struct thunks *t;
	uint8_t bytes[THUNK_SIZE_MAX];
	uint32_t size;
};

static void put(struct code *c, const void *bytes, uint32_t size)
{
	memcpy(c->bytes + c->size, bytes, size);
	c->size += size;
}

#define PUT(c, ...) put(c, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* The displacement that ends an instruction and leads to a member of the register file. */
static void put_member(struct code *c, const void *member)
{
	const uint8_t *after = c->t->code + c->t->used + c->size + 4;
	int32_t displacement = (int32_t)((const uint8_t *)member - after);
	put(c, &displacement, 4);
}

static void put_move(struct code *c, uint8_t opcode, unsigned reg, const void *member)
{
	PUT(c, (uint8_t)(0x48 | (reg >> 3) << 2), opcode, (uint8_t)(0x05 | (reg & 7) << 3));
	put_member(c, member);
}

static void put_load(struct code *c, unsigned reg, const void *member)
{
	put_move(c, 0x8b, reg, member);
}

static void put_store(struct code *c, unsigned reg, const void *member)
{
	put_move(c, 0x89, reg, member);
}

static void put_saved(struct code *c, uint32_t registers, bool push)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned reg = push ? i : 15 - i;
		if (!(registers & CALLEE_SAVED & 1u << reg))
			continue;
		if (reg >= 8)
			PUT(c, 0x41);
		PUT(c, (uint8_t)((push ? 0x50 : 0x58) | (reg & 7)));
	}
}

/* xrstor64 or xsave64 (extension of 0f ae) of the vectors. */
static void put_vectors(struct code *c, uint8_t modrm)
{
	PUT(c, 0xb8);
	put(c, &c->t->components, 4);
	PUT(c, 0x31, 0xd2, 0x48, 0x0f, 0xae, modrm);
	put_member(c, c->t->file->vectors);
}

static void put_before(struct code *c, const struct thunk_needs *n)
{
	struct thunk_file *file = c->t->file;
	if (n->vectors)
		put_vectors(c, 0x2d);
	if (n->flags) {
		PUT(c, 0xff, 0x35); /* push [flags]; popf */
		put_member(c, &file->flags);
		PUT(c, 0x9d);
	}
	for (unsigned r = 0; r < 16; r++)
		if (n->read_or_written & 1u << r)
			put_load(c, r, &file->gpr[r]);
	if (n->operand != NO_REGISTER)
		put_load(c, n->operand, &file->operand);
	if (n->stack != NO_REGISTER)
		put_load(c, n->stack, &file->gpr[RSP]);
}

static void put_after(struct code *c, const struct thunk_needs *n)
{
	struct thunk_file *file = c->t->file;
	for (unsigned r = 0; r < 16; r++)
		if (n->written & 1u << r)
			put_store(c, r, &file->gpr[r]);
	if (n->stack != NO_REGISTER)
		put_store(c, n->stack, &file->gpr[RSP]);
	if (n->flags) {
		PUT(c, 0x9c, 0x8f, 0x05); /* pushf; pop [flags] */
		put_member(c, &file->flags);
	}
	if (!n->vectors)
		return;
	put_vectors(c, 0x25);
	PUT(c, 0xdb, 0xe3, 0x0f, 0xae, 0x15); /* fninit; ldmxcsr */
	put_member(c, &file->host_mxcsr);
	if (c->t->components & 4)
		PUT(c, 0xc5, 0xf8, 0x77); /* vzeroupper */
}

bool thunks_make(struct thunks *t, const struct thunk_needs *needs, const uint8_t *instruction, uint32_t size, uint32_t *ret_thunk)
{
	struct code c = {.t = t};
	uint32_t touched = needs->read_or_written;
	if (needs->operand != NO_REGISTER)
		touched |= 1u << needs->operand;
	if (needs->stack != NO_REGISTER)
		touched |= 1u << needs->stack;
	if (t->used > CODE_SIZE - THUNK_SIZE_MAX)
		return false;
	put_saved(&c, touched, true);
	put_before(&c, needs);
	put(&c, instruction, size);
	put_after(&c, needs);
	put_saved(&c, touched, false);
	PUT(&c, 0xc3);
	memcpy(t->writable + t->used, c.bytes, c.size);
	*ret_thunk = t->used;
	t->used += (c.size + 15) & ~15u;
	return true;
}

/* --- running it --- */

static void on_fault(int number)
{
	if (fault_armed) {
		fault_armed = 0;
		siglongjmp(fault_point, 1);
	}
	signal(number, SIG_DFL); /* our own fault: die of it when the instruction is executed again */
}

int thunks_enter(struct thunks *t, struct err *e)
{
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK | SA_NODEFER};
	t->signal_stack = malloc((size_t)SIGSTKSZ * 4);
	if (!t->signal_stack)
		return err_set(e, ERR_MEMORY, "no memory for a signal stack");
	stack_t stack = {.ss_sp = t->signal_stack, .ss_size = (size_t)SIGSTKSZ * 4};
	if (sigaltstack(&stack, &t->old_stack))
		return err_set_errno(e, errno, "sigaltstack");
	for (unsigned i = 0; i < 4; i++)
		sigaction(caught[i], &action, &t->old[i]);
	return 0;
}

void thunks_leave(struct thunks *t)
{
	if (!t->signal_stack)
		return;
	for (unsigned i = 0; i < 4; i++)
		sigaction(caught[i], &t->old[i], NULL);
	sigaltstack(&t->old_stack, NULL);
	free(t->signal_stack);
	t->signal_stack = NULL;
}

static void mask_exceptions(struct thunk_file *file)
{
	uint16_t x87;
	uint32_t sse;
	memcpy(&x87, file->vectors, sizeof x87);
	memcpy(&sse, file->vectors + 24, sizeof sse);
	x87 |= MASK_ALL_X87;
	sse |= MASK_ALL_SSE;
	memcpy(file->vectors, &x87, sizeof x87);
	memcpy(file->vectors + 24, &sse, sizeof sse);
}

bool thunk_run(struct thunks *t, uint32_t thunk)
{
	uint64_t flags = t->file->flags;
	if (sigsetjmp(fault_point, 0)) {
		__asm__ volatile("fninit; ldmxcsr %0" : : "m"(t->file->host_mxcsr));
		return false;
	}
	mask_exceptions(t->file);
	t->file->flags = (flags & STATUS_FLAGS) | 2;
	fault_armed = 1;
	((void (*)(void))(uintptr_t)(t->code + thunk))();
	fault_armed = 0;
	t->file->flags = (flags & ~(uint64_t)STATUS_FLAGS) | (t->file->flags & STATUS_FLAGS);
	return true;
}
