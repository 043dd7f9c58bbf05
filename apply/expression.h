/*
 * expression: DWARF location expressions as unwind tables use them (DWARF 4, section 2.5), evaluated over registers and target memory.
 */
#ifndef APPLY_EXPRESSION_H
#define APPLY_EXPRESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPRESSION_REGISTERS 17 /* rax rdx rcx rbx rsi rdi rbp rsp r8-r15 RA: the DWARF numbers of x86-64 (psABI, figure 3.36) */

struct expression_machine {
	const uint64_t *registers; /* [EXPRESSION_REGISTERS] */
	void *context;
	bool (*read)(void *context, uint64_t address, void *bytes, size_t size); /* target memory */
};

/*
 * Evaluates `size` untrusted bytes with `initial` pushed first when push_initial is set (the CFA, for register rules). Bounded: at most 1000
 * operations and 64 stack entries. False for an unknown operation, a stack fault, or unreadable memory.
 */
bool expression_evaluate(const struct expression_machine *machine, const uint8_t *bytes, size_t size, bool push_initial, uint64_t initial,
			 uint64_t *ret_value);

#endif
