#include "profile/emulate/cpu.h"

#include "profile/emulate/op.h"
#include "profile/emulate/thunk.h"

#include <string.h>

enum { CARRY = 1, PARITY = 1 << 2, ADJUST = 1 << 4, ZERO = 1 << 6, SIGN = 1 << 7, DIRECTION = 1 << 10, OVERFLOWED = 1 << 11 };
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
enum { STATUS = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOWED, STRING_MAX = 1 << 20, OPS_MAX = 1 << 20 };

struct cpu {
	struct memory *memory;
	struct thunks *thunks;
	struct thunk_file *file; /* general registers, flags, vectors */
	uint64_t rip, fs_base, gs_base;
	VEC(struct op) ops;
	uint32_t *slots; /* hash of ops by address, index + 1; a power of two, at most half full */
	uint32_t mask;
	cpu_branches *branches;
	bool failed; /* no memory for a branch */
	_Alignas(64) uint8_t bounce[2 * THUNK_PLACE_MAX];
};

int cpu_new(struct memory *memory, struct cpu **ret_cpu, struct err *e)
{
	struct cpu *c = aligned_alloc(64, (sizeof *c + 63) & ~(size_t)63);
	if (!c)
		return err_set(e, ERR_MEMORY, "no memory for emulation");
	*c = (struct cpu){.memory = memory, .mask = 2 * OPS_MAX - 1};
	c->slots = calloc((size_t)c->mask + 1, sizeof *c->slots);
	int status = c->slots ? thunks_new(&c->thunks, e) : err_set(e, ERR_MEMORY, "no memory for emulation");
	if (!status)
		status = thunks_enter(c->thunks, e);
	if (status) {
		cpu_free(c);
		return status;
	}
	c->file = thunks_file(c->thunks);
	*ret_cpu = c;
	return 0;
}

void cpu_free(struct cpu *c)
{
	if (!c)
		return;
	if (c->thunks)
		thunks_leave(c->thunks);
	thunks_free(c->thunks);
	vec_free(&c->ops);
	free(c->slots);
	free(c);
}

void cpu_load(struct cpu *c, const struct user_regs_struct *r, const void *vectors, size_t size)
{
	const uint64_t gpr[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				  r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
	memcpy(c->file->gpr, gpr, sizeof gpr);
	c->file->flags = r->eflags;
	c->rip = r->rip;
	c->fs_base = r->fs_base;
	c->gs_base = r->gs_base;
	memset(c->file->vectors, 0, sizeof c->file->vectors);
	memcpy(c->file->vectors, vectors, size < sizeof c->file->vectors ? size : sizeof c->file->vectors);
}

void cpu_store(const struct cpu *c, struct user_regs_struct *r)
{
	const uint64_t *g = c->file->gpr;
	r->rax = g[0], r->rcx = g[1], r->rdx = g[2], r->rbx = g[3], r->rsp = g[4], r->rbp = g[5], r->rsi = g[6], r->rdi = g[7];
	r->r8 = g[8], r->r9 = g[9], r->r10 = g[10], r->r11 = g[11], r->r12 = g[12], r->r13 = g[13], r->r14 = g[14], r->r15 = g[15];
	r->eflags = (r->eflags & ~(uint64_t)(STATUS | DIRECTION)) | (c->file->flags & (STATUS | DIRECTION));
	r->rip = c->rip;
}

void cpu_store_vectors(const struct cpu *c, void *ret_vectors, size_t size)
{
	memcpy(ret_vectors, c->file->vectors, size < sizeof c->file->vectors ? size : sizeof c->file->vectors);
}

const char *cpu_end_name(enum cpu_end end)
{
	static const char *const names[CPU_ENDS] = {"limit", "system call", "instruction not emulated", "memory not readable", "fault"};
	return end < CPU_ENDS ? names[end] : "unknown";
}

/* --- operands --- */

static uint64_t effective(const struct cpu *c, const struct op_place *p)
{
	uint64_t address = p->displacement;
	if (p->base != OP_NO_REGISTER)
		address += c->file->gpr[p->base];
	if (p->index != OP_NO_REGISTER)
		address += c->file->gpr[p->index] * p->scale;
	return address + (p->segment == 1 ? c->fs_base : p->segment == 2 ? c->gs_base : 0);
}

static bool load_word(struct cpu *c, uint64_t address, uint64_t *ret_value)
{
	return memory_load(c->memory, (raddr){address}, ret_value, sizeof *ret_value);
}

static bool push(struct cpu *c, uint64_t value)
{
	if (!memory_store(c->memory, (raddr){c->file->gpr[RSP] - 8}, &value, sizeof value))
		return false;
	c->file->gpr[RSP] -= 8;
	return true;
}

static bool pop(struct cpu *c, uint64_t *ret_value)
{
	if (!load_word(c, c->file->gpr[RSP], ret_value))
		return false;
	c->file->gpr[RSP] += 8;
	return true;
}

/* The 64-bit value of a register, place or immediate. */
static bool operand(struct cpu *c, const struct op *op, uint64_t *ret_value)
{
	if (op->has_place)
		return load_word(c, effective(c, &op->place), ret_value);
	*ret_value = op->reg == OP_NO_REGISTER ? (uint64_t)op->immediate : c->file->gpr[op->reg];
	return true;
}

static bool holds(uint64_t flags, unsigned condition)
{
	bool sign_differs = !(flags & SIGN) != !(flags & OVERFLOWED), yes = false;
	switch (condition >> 1) {
	case 0:
		yes = flags & OVERFLOWED;
		break;
	case 1:
		yes = flags & CARRY;
		break;
	case 2:
		yes = flags & ZERO;
		break;
	case 3:
		yes = flags & (CARRY | ZERO);
		break;
	case 4:
		yes = flags & SIGN;
		break;
	case 5:
		yes = flags & PARITY;
		break;
	case 6:
		yes = sign_differs;
		break;
	case 7:
		yes = sign_differs || (flags & ZERO);
		break;
	}
	return yes != (condition & 1);
}

/* --- instructions --- */

static enum cpu_end run_native(struct cpu *c, const struct op *op)
{
	raddr at = {0};
	bool split = false;
	if (op->has_place) {
		at.v = effective(c, &op->place);
		split = at.v % MEMORY_PAGE + op->size > MEMORY_PAGE;
		/* The copy keeps its place within 64 bytes: vector instructions may demand it. */
		c->file->operand = split ? c->bounce + at.v % 64 : memory_at(c->memory, at);
		if (!c->file->operand || (split && !memory_load(c->memory, at, c->file->operand, op->size)))
			return CPU_MEMORY;
	}
	if (!thunk_run(c->thunks, op->thunk))
		return CPU_FAULT;
	if (split && op->writes_place && !memory_store(c->memory, at, c->file->operand, op->size))
		return CPU_MEMORY;
	return CPU_LIMIT;
}

/* Would the quotient fit? A fault of the thread itself is never forecast. */
static bool may_divide(struct cpu *c, const struct op *op)
{
	uint64_t divisor = 0;
	uint8_t size = op->size ? op->size : 8;
	if (op->has_place && !memory_load(c->memory, (raddr){effective(c, &op->place)}, &divisor, size))
		return false;
	return !op->has_place || divisor != 0; /* the rest faults, and is caught */
}

static bool step_string(struct cpu *c, const struct op *op, uint64_t *ret_a, uint64_t *ret_b)
{
	uint64_t *g = c->file->gpr, step = c->file->flags & DIRECTION ? -(uint64_t)op->size : op->size;
	bool source = op->condition == OP_MOVS || op->condition == OP_LODS || op->condition == OP_CMPS;
	bool reads_target = op->condition == OP_SCAS || op->condition == OP_CMPS;
	*ret_a = g[RAX];
	*ret_b = 0;
	if (source && !memory_load(c->memory, (raddr){g[RSI]}, ret_a, op->size))
		return false;
	if (reads_target && !memory_load(c->memory, (raddr){g[RDI]}, ret_b, op->size))
		return false;
	if ((op->condition == OP_MOVS || op->condition == OP_STOS) && !memory_store(c->memory, (raddr){g[RDI]}, ret_a, op->size))
		return false;
	if (op->condition == OP_LODS)
		memcpy(&g[RAX], ret_a, op->size);
	if (op->condition == OP_LODS && op->size == 4)
		g[RAX] &= UINT32_MAX;
	g[RSI] += source ? step : 0;
	g[RDI] += op->condition == OP_LODS ? 0 : step;
	return true;
}

static void compare(struct cpu *c, uint64_t a, uint64_t b, unsigned size)
{
	unsigned shift = 64 - 8 * size;
	uint64_t flags = c->file->flags & ~(uint64_t)STATUS, result;
	a <<= shift;
	b <<= shift;
	result = a - b;
	flags |= a < b ? CARRY : 0;
	flags |= result ? 0 : ZERO;
	flags |= result >> 63 ? SIGN : 0;
	flags |= ((a ^ b) & (a ^ result)) >> 63 ? OVERFLOWED : 0;
	flags |= __builtin_parityll(result >> shift & 0xff) ? 0 : PARITY;
	flags |= ((a >> shift ^ b >> shift ^ result >> shift) & 16) ? ADJUST : 0;
	c->file->flags = flags;
}

static enum cpu_end run_string(struct cpu *c, const struct op *op)
{
	bool compares = op->condition == OP_SCAS || op->condition == OP_CMPS;
	uint64_t a = 0, b = 0, *left = &c->file->gpr[RCX];
	for (uint32_t n = 0; op->repeat == OP_ONCE ? !n : *left != 0; n++) {
		if (n == STRING_MAX || !step_string(c, op, &a, &b))
			return CPU_MEMORY;
		if (compares)
			compare(c, a, b, op->size);
		if (op->repeat != OP_ONCE)
			--*left;
		if (compares && op->repeat != OP_ONCE && !(c->file->flags & ZERO) == (op->repeat == OP_REP))
			break;
	}
	return CPU_LIMIT;
}

static bool loop_taken(struct cpu *c, const struct op *op)
{
	uint64_t *rcx = &c->file->gpr[RCX];
	if (op->condition == OP_RCX_ZERO)
		return !*rcx;
	--*rcx;
	bool zero = c->file->flags & ZERO;
	return *rcx && (op->condition == OP_LOOP_RCX || zero == (op->condition == OP_LOOP_EQUAL));
}

static void run_lea(struct cpu *c, const struct op *op)
{
	struct op_place place = op->place;
	place.segment = 0;
	uint64_t value = effective(c, &place), *reg = &c->file->gpr[op->reg];
	*reg = op->size == 8 ? value : op->size == 4 ? (uint32_t)value : (*reg & ~(uint64_t)UINT16_MAX) | (uint16_t)value;
}

static void run_clock(struct cpu *c, const struct op *op)
{
	unsigned processor;
	uint64_t now = op->condition ? __builtin_ia32_rdtscp(&processor) : __builtin_ia32_rdtsc();
	c->file->gpr[RAX] = (uint32_t)now;
	c->file->gpr[RDX] = now >> 32;
	if (op->condition)
		c->file->gpr[RCX] = processor;
}

/* The stack; what it leaves in *ret_to is where control goes. */
static bool run_stack(struct cpu *c, const struct op *op, uint64_t *ret_to)
{
	uint64_t value, after = op->address + op->length;
	switch (op->kind) {
	case OP_CALL:
		*ret_to = op->target;
		return push(c, after);
	case OP_CALL_TO:
		return operand(c, op, ret_to) && push(c, after);
	case OP_RETURN:
		if (!pop(c, ret_to))
			return false;
		c->file->gpr[RSP] += (uint64_t)op->immediate;
		return true;
	case OP_PUSH:
		return operand(c, op, &value) && push(c, value);
	case OP_POP:
		return pop(c, &value) && (c->file->gpr[op->reg] = value, true);
	case OP_PUSH_FLAGS:
		return push(c, c->file->flags);
	case OP_POP_FLAGS:
		if (!pop(c, &value))
			return false;
		c->file->flags = (c->file->flags & ~(uint64_t)(STATUS | DIRECTION)) | (value & (STATUS | DIRECTION));
		return true;
	default: /* OP_LEAVE */
		if (!load_word(c, c->file->gpr[RBP], &value))
			return false;
		c->file->gpr[RSP] = c->file->gpr[RBP] + 8;
		c->file->gpr[RBP] = value;
		return true;
	}
}

/* One instruction. CPU_LIMIT: done, *ret_to is where control goes, changed only by what transfers it. */
static enum cpu_end run_op(struct cpu *c, const struct op *op, uint64_t *ret_to)
{
	switch (op->kind) {
	case OP_NATIVE:
		return run_native(c, op);
	case OP_DIVIDE:
		return may_divide(c, op) ? run_native(c, op) : CPU_FAULT;
	case OP_NOP:
		return CPU_LIMIT;
	case OP_LEA:
		run_lea(c, op);
		return CPU_LIMIT;
	case OP_JUMP:
		*ret_to = op->target;
		return CPU_LIMIT;
	case OP_BRANCH:
		if (holds(c->file->flags, op->condition))
			*ret_to = op->target;
		return CPU_LIMIT;
	case OP_LOOP:
		if (loop_taken(c, op))
			*ret_to = op->target;
		return CPU_LIMIT;
	case OP_JUMP_TO:
		return operand(c, op, ret_to) ? CPU_LIMIT : CPU_MEMORY;
	case OP_STRING:
		return run_string(c, op);
	case OP_CLOCK:
		run_clock(c, op);
		return CPU_LIMIT;
	case OP_DIRECTION:
		c->file->flags = (c->file->flags & ~(uint64_t)DIRECTION) | (op->condition ? DIRECTION : 0);
		return CPU_LIMIT;
	case OP_SYSCALL:
		return CPU_SYSCALL;
	case OP_UNKNOWN:
		return CPU_UNKNOWN;
	default:
		return run_stack(c, op, ret_to) ? CPU_LIMIT : CPU_MEMORY;
	}
}

/* --- the course --- */

static uint32_t decode_at(struct cpu *c, uint64_t address)
{
	uint8_t bytes[16];
	struct op op;
	uint32_t size = sizeof bytes;
	/* The last instruction of a mapping may end with it. */
	while (size && !memory_load(c->memory, (raddr){address}, bytes, size))
		size = size > MEMORY_PAGE - address % MEMORY_PAGE ? (uint32_t)(MEMORY_PAGE - address % MEMORY_PAGE) : 0;
	if (!size || c->ops.count == OPS_MAX)
		return OP_NONE;
	op_decode(c->thunks, (raddr){address}, bytes, size, &op);
	return vec_push(&c->ops, op) ? OP_NONE : (uint32_t)c->ops.count - 1;
}

static uint32_t op_at(struct cpu *c, uint64_t address)
{
	for (uint32_t i = (uint32_t)(address * 0x9e3779b97f4a7c15u >> 32) & c->mask;; i = (i + 1) & c->mask) {
		uint32_t known = c->slots[i];
		if (known && c->ops.data[known - 1].address == address)
			return known - 1;
		if (known)
			continue;
		uint32_t made = decode_at(c, address);
		c->slots[i] = made == OP_NONE ? 0 : made + 1;
		return made;
	}
}

/* The op where control goes next, remembered in the one it comes from. */
static uint32_t follow(struct cpu *c, uint32_t from, uint64_t to)
{
	struct op *op = &c->ops.data[from];
	bool falls = to == op->address + op->length;
	uint32_t *known = falls ? &op->next : &op->taken;
	if (*known != OP_NONE && c->ops.data[*known].address == to)
		return *known;
	uint32_t found = op_at(c, to);
	op = &c->ops.data[from]; /* the array may have moved */
	*(falls ? &op->next : &op->taken) = found;
	return found;
}

static void note_branch(struct cpu *c, uint64_t from, uint64_t to)
{
	c->failed |= vec_push(c->branches, (struct cpu_branch){{from}, {to}}) != 0;
}

int cpu_run(struct cpu *c, uint64_t limit, cpu_branches *branches, enum cpu_end *ret_end, uint64_t *ret_executed, struct err *e)
{
	enum cpu_end end = CPU_LIMIT;
	uint64_t executed = 0;
	uint32_t at = op_at(c, c->rip);
	c->branches = branches;
	while (executed < limit && end == CPU_LIMIT && !c->failed) {
		if (at == OP_NONE) {
			end = CPU_MEMORY;
			break;
		}
		uint64_t address = c->ops.data[at].address, after = address + c->ops.data[at].length, to = after;
		end = run_op(c, &c->ops.data[at], &to);
		if (end != CPU_LIMIT)
			break;
		executed++;
		c->rip = to;
		if (to != after)
			note_branch(c, address, to);
		at = follow(c, at, to);
	}
	*ret_end = end;
	*ret_executed = executed;
	return c->failed ? err_set(e, ERR_MEMORY, "no memory for branches") : 0;
}
