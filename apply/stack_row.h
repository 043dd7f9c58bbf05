/*
 * stack_row: the unwind row in force at one PC, straight from a copy of .eh_frame, without allocating.
 */
#ifndef APPLY_STACK_ROW_H
#define APPLY_STACK_ROW_H

#include "apply/expression.h"
#include "apply/stack_modules.h"

#include <stdbool.h>
#include <stdint.h>

enum stack_rule_kind {
	STACK_RULE_SAME, /* unspecified or same value */
	STACK_RULE_UNDEFINED,
	STACK_RULE_OFFSET,     /* saved at CFA + offset */
	STACK_RULE_VALUE,      /* is CFA + offset; for the CFA: register + offset */
	STACK_RULE_REGISTER,   /* is in register `offset` */
	STACK_RULE_EXPRESSION, /* saved where the expression says */
	STACK_RULE_VALUE_EXPRESSION,
};

struct stack_rule {
	uint8_t kind, cfa_register; /* cfa_register: only in the CFA's rule */
	uint32_t size;		    /* of the expression */
	union {
		int64_t offset;
		const uint8_t *expression; /* borrowed from the module's bytes */
	};
};

struct stack_row {
	struct stack_rule cfa, registers[EXPRESSION_REGISTERS];
	bool signal_frame; /* the frame was pushed by the kernel: its caller's PC is exact, not a return address */
};

/* Row at `pc` (target address) of the FDE at `fde`; false when the FDE does not cover pc or cannot be read. */
bool stack_row_find(const struct stack_module *module, uint64_t fde, uint64_t pc, struct stack_row *ret_row);

#endif
