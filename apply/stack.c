#include "apply/stack.h"

#include "apply/stack_row.h"
#include "formats/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WINDOW_SIZE = 1 << 15, PAGE = 4096 };
enum { REGISTER_RAX = 0, REGISTER_RDX = 1, REGISTER_RSP = 7, REGISTER_PC = 16 };

struct stack_unwinder {
	pid_t pid;
	struct stack_modules modules;
	uint64_t window_at; /* what `window` holds of the target's memory */
	size_t window_size;
	uint8_t window[WINDOW_SIZE];
};

struct walk {
	struct stack_unwinder *unwinder;
	const struct stack_visitor *visitor;
	uint64_t registers[EXPRESSION_REGISTERS];
	struct stack_frame frame;
	struct stack_result result;
};

int stack_open(pid_t pid, const struct procmaps *maps, struct stack_unwinder **ret_unwinder, struct err *e)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
	int memory = open(path, O_RDONLY | O_CLOEXEC);
	if (memory < 0)
		return errno == ENOENT || errno == ESRCH ? err_set(e, ERR_BUSY, "%s: that thread has just ended; try again", path)
							 : err_set_errno(e, errno, "%s", path);
	struct stack_unwinder *unwinder = calloc(1, sizeof *unwinder);
	int status = unwinder ? stack_modules_read(memory, maps, &unwinder->modules, e) : err_set(e, ERR_MEMORY, "unwinder");
	close(memory);
	if (status) {
		free(unwinder);
		return status;
	}
	unwinder->pid = pid;
	*ret_unwinder = unwinder;
	return 0;
}

void stack_close(struct stack_unwinder *unwinder)
{
	if (unwinder)
		stack_modules_free(&unwinder->modules);
	free(unwinder);
}

static size_t read_remote(pid_t pid, uint64_t address, void *bytes, size_t size)
{
	struct iovec local = {bytes, size}, remote = {(void *)(uintptr_t)address, size};
	ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	return got > 0 ? (size_t)got : 0;
}

/* Stacks are read upwards: a miss refills the window from the page of `address` on, or from less of it where the mapping ends. */
static bool read_stack(void *context, uint64_t address, void *bytes, size_t size)
{
	struct stack_unwinder *u = context;
	if (address - u->window_at >= u->window_size || size > u->window_size - (address - u->window_at)) {
		u->window_at = address & ~(uint64_t)(PAGE - 1);
		u->window_size = 0;
		for (size_t wanted = WINDOW_SIZE; !u->window_size && wanted >= PAGE; wanted /= 2)
			u->window_size = read_remote(u->pid, u->window_at, u->window, wanted);
		size_t skip = (size_t)(address - u->window_at);
		if (skip >= u->window_size || size > u->window_size - skip)
			return false;
	}
	memcpy(bytes, u->window + (address - u->window_at), size);
	return true;
}

static bool read_word(struct walk *walk, uint64_t address, uint64_t *ret_word)
{
	uint8_t bytes[8];
	if (!read_stack(walk->unwinder, address, bytes, sizeof bytes))
		return false;
	*ret_word = load_u64(bytes);
	return true;
}

static bool evaluate(struct walk *walk, const struct stack_rule *rule, bool push_cfa, uint64_t cfa, uint64_t *ret_value)
{
	struct expression_machine machine = {walk->registers, walk->unwinder, read_stack};
	return expression_evaluate(&machine, rule->expression, rule->size, push_cfa, cfa, ret_value);
}

static bool compute_cfa(struct walk *walk, const struct stack_rule *rule, uint64_t *ret_cfa)
{
	if (rule->kind == STACK_RULE_VALUE_EXPRESSION)
		return evaluate(walk, rule, false, 0, ret_cfa);
	*ret_cfa = walk->registers[rule->cfa_register] + (uint64_t)rule->offset;
	return rule->kind == STACK_RULE_VALUE;
}

/* Value of one register in the caller; *ret_slot gets where it was saved, 0 if not in memory. */
static bool recover_register(struct walk *walk, const struct stack_row *row, unsigned number, uint64_t cfa, uint64_t *ret_value,
			     uint64_t *ret_slot)
{
	const struct stack_rule *rule = &row->registers[number];
	*ret_slot = 0;
	switch (rule->kind) {
	case STACK_RULE_OFFSET:
		*ret_slot = cfa + (uint64_t)rule->offset;
		return read_word(walk, *ret_slot, ret_value);
	case STACK_RULE_EXPRESSION:
		return evaluate(walk, rule, true, cfa, ret_slot) && read_word(walk, *ret_slot, ret_value);
	case STACK_RULE_VALUE:
		*ret_value = cfa + (uint64_t)rule->offset;
		return true;
	case STACK_RULE_VALUE_EXPRESSION:
		return evaluate(walk, rule, true, cfa, ret_value);
	case STACK_RULE_REGISTER:
		if (rule->offset < 0 || rule->offset >= EXPRESSION_REGISTERS)
			return false;
		*ret_value = walk->registers[rule->offset];
		return true;
	default: /* unspecified: kept; the stack pointer of the caller is the CFA */
		*ret_value = number == REGISTER_RSP ? cfa : walk->registers[number];
		return true;
	}
}

/*
 * Where a context of glibc's makecontext returns to: code without unwind information that begins by leaving the stack, so nothing is above.
 *
 *	48 89 dc	mov %rbx, %rsp
 *	48 8b 3c 24	mov (%rsp), %rdi	the context that follows
 */
static bool is_start_of_context(struct walk *walk, uint64_t pc)
{
	static const uint8_t start[] = {0x48, 0x89, 0xdc, 0x48, 0x8b, 0x3c, 0x24};
	uint8_t code[sizeof start];
	return walk->frame.is_return && read_remote(walk->unwinder->pid, pc, code, sizeof code) == sizeof code &&
	       !memcmp(code, start, sizeof start);
}

static bool end_walk(struct walk *walk, enum stack_end end)
{
	walk->result.end = end;
	return false;
}

/*
 * A function that uses __builtin_eh_return saves rax and rdx, which no other function restores for its caller: they carry the exception to the
 * handler (GCC's EH_RETURN_DATA_REGNO). So the unwinder is known wherever it is linked in.
 */
static bool is_unwinder(const struct stack_row *row)
{
	return !row->signal_frame && row->registers[REGISTER_RAX].kind == STACK_RULE_OFFSET &&
	       row->registers[REGISTER_RDX].kind == STACK_RULE_OFFSET;
}

/* Replaces registers and frame by those of the caller. False when the walk is over. */
static bool step_out(struct walk *walk)
{
	const struct stack_module *module;
	struct stack_row row;
	uint64_t fde, cfa, slot = 0, caller[EXPRESSION_REGISTERS];
	uint64_t pc = walk->visitor->original(walk->visitor->context, &walk->frame).v;
	uint64_t lookup = walk->frame.is_return ? pc - 1 : pc;
	if (!stack_modules_find(&walk->unwinder->modules, lookup, &module, &fde) || !stack_row_find(module, fde, lookup, &row))
		return end_walk(walk, is_start_of_context(walk, pc) ? STACK_BOTTOM : STACK_NO_CFI);
	walk->result.unwinds |= is_unwinder(&row);
	if (row.registers[REGISTER_PC].kind == STACK_RULE_UNDEFINED)
		return end_walk(walk, STACK_BOTTOM);
	walk->registers[REGISTER_PC] = pc;
	if (!compute_cfa(walk, &row.cfa, &cfa))
		return end_walk(walk, STACK_UNREADABLE);
	for (unsigned i = 0; i < EXPRESSION_REGISTERS; i++) {
		if (!recover_register(walk, &row, i, cfa, &caller[i], &slot))
			return end_walk(walk, STACK_UNREADABLE);
	}
	/* `slot` is that of the last register recovered: the PC. */
	if (!slot)
		return end_walk(walk, STACK_NO_CFI);
	if (!caller[REGISTER_PC])
		return end_walk(walk, STACK_BOTTOM);
	/* Only a signal frame may lead to another stack, at a lower address. */
	if (!row.signal_frame && caller[REGISTER_RSP] <= walk->registers[REGISTER_RSP])
		return end_walk(walk, STACK_LOOP);
	memcpy(walk->registers, caller, sizeof caller);
	walk->frame = (struct stack_frame){
	    .pc = {caller[REGISTER_PC]}, .slot = {slot}, .stack = {caller[REGISTER_RSP]}, .is_return = !row.signal_frame};
	return true;
}

static void load_registers(struct walk *walk, const struct user_regs_struct *regs)
{
	const uint64_t values[EXPRESSION_REGISTERS] = {regs->rax, regs->rdx, regs->rcx, regs->rbx, regs->rsi, regs->rdi,
						       regs->rbp, regs->rsp, regs->r8,	regs->r9,  regs->r10, regs->r11,
						       regs->r12, regs->r13, regs->r14, regs->r15, regs->rip};
	memcpy(walk->registers, values, sizeof values);
	walk->frame = (struct stack_frame){.pc = {regs->rip}, .stack = {regs->rsp}};
}

struct stack_result stack_walk(struct stack_unwinder *unwinder, const struct user_regs_struct *regs, const struct stack_visitor *visitor)
{
	struct walk walk = {.unwinder = unwinder, .visitor = visitor};
	load_registers(&walk, regs);
	unwinder->window_size = 0; /* the target ran since */
	do {
		if (walk.result.frames++ == STACK_FRAMES_MAX) {
			end_walk(&walk, STACK_TOO_DEEP);
			break;
		}
		if (!visitor->frame(visitor->context, &walk.frame)) {
			end_walk(&walk, STACK_STOPPED);
			break;
		}
	} while (step_out(&walk));
	walk.result.pc = walk.frame.pc;
	return walk.result;
}

const char *stack_end_text(enum stack_end end)
{
	static const char *const texts[] = {
	    [STACK_BOTTOM] = "complete",
	    [STACK_NO_CFI] = "no unwind information",
	    [STACK_UNREADABLE] = "stack not readable",
	    [STACK_LOOP] = "frame address does not grow",
	    [STACK_TOO_DEEP] = "too many frames",
	    [STACK_STOPPED] = "stopped",
	};
	return texts[end];
}
