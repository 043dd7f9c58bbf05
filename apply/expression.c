#include "apply/expression.h"

#include "formats/base/bytes.h"

enum { STACK_SIZE = 64, OPERATIONS_MAX = 1000 };

enum {
	OP_ADDR = 0x03,
	OP_DEREF = 0x06,
	OP_CONST1U = 0x08,
	OP_CONST1S,
	OP_CONST2U,
	OP_CONST2S,
	OP_CONST4U,
	OP_CONST4S,
	OP_CONST8U,
	OP_CONST8S,
	OP_CONSTU,
	OP_CONSTS,
	OP_DUP,
	OP_DROP,
	OP_OVER,
	OP_PICK,
	OP_SWAP,
	OP_ROT,
	OP_ABS = 0x19,
	OP_AND,
	OP_DIV,
	OP_MINUS,
	OP_MOD,
	OP_MUL,
	OP_NEG,
	OP_NOT,
	OP_OR,
	OP_PLUS,
	OP_PLUS_UCONST,
	OP_SHL,
	OP_SHR,
	OP_SHRA,
	OP_XOR,
	OP_BRA,
	OP_EQ,
	OP_GE,
	OP_GT,
	OP_LE,
	OP_LT,
	OP_NE,
	OP_SKIP,
	OP_LIT0 = 0x30,
	OP_LIT31 = 0x4f,
	OP_BREG0 = 0x70,
	OP_BREG31 = 0x8f,
	OP_BREGX = 0x92,
	OP_DEREF_SIZE = 0x94,
	OP_NOP = 0x96,
};

struct evaluation {
	const struct expression_machine *machine;
	struct reader code;
	uint64_t stack[STACK_SIZE];
	unsigned depth;
	bool failed;
};

static void push(struct evaluation *ev, uint64_t value)
{
	if (ev->depth == STACK_SIZE)
		ev->failed = true;
	else
		ev->stack[ev->depth++] = value;
}

static uint64_t pop(struct evaluation *ev)
{
	if (!ev->depth) {
		ev->failed = true;
		return 0;
	}
	return ev->stack[--ev->depth];
}

static void push_copy(struct evaluation *ev, unsigned index)
{
	if (index >= ev->depth)
		ev->failed = true;
	else
		push(ev, ev->stack[ev->depth - 1 - index]);
}

static void push_register(struct evaluation *ev, uint64_t number, int64_t offset)
{
	if (number >= EXPRESSION_REGISTERS)
		ev->failed = true;
	else
		push(ev, ev->machine->registers[number] + (uint64_t)offset);
}

static void push_memory(struct evaluation *ev, uint64_t address, unsigned size)
{
	uint8_t bytes[8] = {0};
	if (size < 1 || size > 8 || !ev->machine->read(ev->machine->context, address, bytes, size))
		ev->failed = true;
	else
		push(ev, load_u64(bytes));
}

static void jump(struct evaluation *ev, int16_t distance)
{
	int64_t to = (int64_t)ev->code.position + distance;
	if (to < 0 || (uint64_t)to > ev->code.size)
		ev->failed = true;
	else
		ev->code.position = (size_t)to;
}

static void permute(struct evaluation *ev, uint8_t op)
{
	unsigned needed = op == OP_ROT ? 3 : 2;
	if (ev->depth < needed) {
		ev->failed = true;
		return;
	}
	uint64_t *top = &ev->stack[ev->depth - 1], first = top[0];
	if (op == OP_SWAP) {
		top[0] = top[-1];
		top[-1] = first;
	} else { /* the top becomes the third */
		top[0] = top[-1];
		top[-1] = top[-2];
		top[-2] = first;
	}
}

static uint64_t divide(struct evaluation *ev, uint8_t op, uint64_t left, uint64_t right)
{
	if (!right || (op == OP_DIV && left == (uint64_t)1 << 63 && right == UINT64_MAX)) {
		ev->failed = true;
		return 0;
	}
	return op == OP_MOD ? left % right : (uint64_t)((int64_t)left / (int64_t)right);
}

static uint64_t shift(uint8_t op, uint64_t left, uint64_t right)
{
	if (op == OP_SHRA)
		return (uint64_t)((int64_t)left >> (right > 63 ? 63 : right));
	if (right > 63)
		return 0;
	return op == OP_SHL ? left << right : left >> right;
}

static void binary(struct evaluation *ev, uint8_t op)
{
	uint64_t right = pop(ev), left = pop(ev), value = 0;
	int64_t signed_left = (int64_t)left, signed_right = (int64_t)right;
	switch (op) {
	case OP_AND:
		value = left & right;
		break;
	case OP_DIV:
	case OP_MOD:
		value = divide(ev, op, left, right);
		break;
	case OP_MINUS:
		value = left - right;
		break;
	case OP_MUL:
		value = left * right;
		break;
	case OP_OR:
		value = left | right;
		break;
	case OP_PLUS:
		value = left + right;
		break;
	case OP_SHL:
	case OP_SHR:
	case OP_SHRA:
		value = shift(op, left, right);
		break;
	case OP_XOR:
		value = left ^ right;
		break;
	case OP_EQ:
		value = left == right;
		break;
	case OP_GE:
		value = signed_left >= signed_right;
		break;
	case OP_GT:
		value = signed_left > signed_right;
		break;
	case OP_LE:
		value = signed_left <= signed_right;
		break;
	case OP_LT:
		value = signed_left < signed_right;
		break;
	case OP_NE:
		value = left != right;
		break;
	default:
		ev->failed = true;
		return;
	}
	push(ev, value);
}

static void constant(struct evaluation *ev, uint8_t op)
{
	struct reader *code = &ev->code;
	switch (op) {
	case OP_CONST1U:
		push(ev, read_u8(code));
		break;
	case OP_CONST1S:
		push(ev, (uint64_t)(int8_t)read_u8(code));
		break;
	case OP_CONST2U:
		push(ev, read_u16(code));
		break;
	case OP_CONST2S:
		push(ev, (uint64_t)(int16_t)read_u16(code));
		break;
	case OP_CONST4U:
		push(ev, read_u32(code));
		break;
	case OP_CONST4S:
		push(ev, (uint64_t)(int32_t)read_u32(code));
		break;
	case OP_CONSTU:
		push(ev, read_uleb(code));
		break;
	case OP_CONSTS:
		push(ev, (uint64_t)read_sleb(code));
		break;
	default:
		push(ev, read_u64(code));
		break; /* ADDR, CONST8U, CONST8S */
	}
}

static void other(struct evaluation *ev, uint8_t op)
{
	struct reader *code = &ev->code;
	switch (op) {
	case OP_DEREF:
		push_memory(ev, pop(ev), 8);
		break;
	case OP_DEREF_SIZE:
		push_memory(ev, pop(ev), read_u8(code));
		break;
	case OP_DUP:
		push_copy(ev, 0);
		break;
	case OP_DROP:
		pop(ev);
		break;
	case OP_OVER:
		push_copy(ev, 1);
		break;
	case OP_PICK:
		push_copy(ev, read_u8(code));
		break;
	case OP_SWAP:
	case OP_ROT:
		permute(ev, op);
		break;
	case OP_ABS: {
		uint64_t value = pop(ev);
		push(ev, (int64_t)value < 0 ? -value : value);
		break;
	}
	case OP_NEG:
		push(ev, -pop(ev));
		break;
	case OP_NOT:
		push(ev, ~pop(ev));
		break;
	case OP_PLUS_UCONST:
		push(ev, pop(ev) + read_uleb(code));
		break;
	case OP_SKIP:
		jump(ev, (int16_t)read_u16(code));
		break;
	case OP_BRA: {
		int16_t distance = (int16_t)read_u16(code);
		if (pop(ev))
			jump(ev, distance);
		break;
	}
	case OP_BREGX: {
		uint64_t number = read_uleb(code);
		push_register(ev, number, read_sleb(code));
		break;
	}
	case OP_NOP:
		break;
	default:
		binary(ev, op);
		break;
	}
}

static void step(struct evaluation *ev)
{
	uint8_t op = read_u8(&ev->code);
	if (op >= OP_LIT0 && op <= OP_LIT31)
		push(ev, op - OP_LIT0);
	else if (op >= OP_BREG0 && op <= OP_BREG31)
		push_register(ev, op - OP_BREG0, read_sleb(&ev->code));
	else if (op == OP_ADDR || (op >= OP_CONST1U && op <= OP_CONSTS))
		constant(ev, op);
	else
		other(ev, op);
}

bool expression_evaluate(const struct expression_machine *machine, const uint8_t *bytes, size_t size, bool push_initial, uint64_t initial,
			 uint64_t *ret_value)
{
	struct evaluation ev = {.machine = machine, .code = reader_of(bytes, size)};
	if (push_initial)
		push(&ev, initial);
	for (unsigned count = 0; ev.code.position < ev.code.size; count++) {
		if (count == OPERATIONS_MAX)
			return false;
		step(&ev);
		if (ev.failed || ev.code.failed)
			return false;
	}
	uint64_t value = pop(&ev);
	if (ev.failed)
		return false;
	*ret_value = value;
	return true;
}
