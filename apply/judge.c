#include "apply/judge.h"

#include "formats/base/bytes.h"

enum { USER_CODE_SELECTOR = 0x33 };

/* One step of unwinding. */
struct step {
	const struct judge *judge;
	bool innermost_seen, plausible;
	raddr slot; /* of the return address above */
};

static bool see_frame(void *context, const struct stack_frame *frame)
{
	struct step *step = context;
	if (!step->innermost_seen) {
		step->innermost_seen = true;
		return true;
	}
	const struct procmap *m = procmaps_find(&step->judge->target->maps, frame->pc);
	step->plausible = m && m->execute;
	step->slot = frame->slot;
	return false;
}

static raddr see_original(void *context, const struct stack_frame *frame)
{
	const struct step *step = context;
	raddr home = journals_original(step->judge->journals, step->judge->journal_count, frame->pc, true);
	return home.v ? home : frame->pc;
}

/* From `word` with this stack pointer, and a frame pointer that far above. False: there is no frame above that it could return to. */
static bool step_out(const struct judge *judge, raddr word, uint64_t stack, uint64_t frame_pointer, struct step *ret_step)
{
	struct step step = {.judge = judge};
	const struct user_regs_struct registers = {.rip = word.v, .rsp = stack, .rbp = stack + frame_pointer};
	const struct stack_visitor visitor = {&step, see_frame, see_original};
	struct stack_result result = stack_walk(judge->unwinder, &registers, &visitor);
	*ret_step = step;
	return step.plausible || result.end != STACK_STOPPED;
}

/* struct sigcontext: flags and selectors follow the PC. */
static bool in_signal_frame(const struct judge *judge, raddr where)
{
	uint8_t bytes[24];
	if (target_read_some(judge->target, where, bytes, sizeof bytes) != sizeof bytes)
		return false;
	uint64_t flags = load_u64(bytes + 8);
	return (flags & 2) && flags < 1u << 22 && bytes[16] == USER_CODE_SELECTOR && !bytes[17];
}

/* A row that goes by the frame pointer gives another place for each value of it: that cannot be judged here. */
static bool may_return(const struct judge *judge, raddr word, uint64_t stack)
{
	struct step low, high;
	return step_out(judge, word, stack, 0, &low) || step_out(judge, word, stack, 4096, &high) || low.slot.v != high.slot.v;
}

/* A PC that was saved together with the stack pointer (ucontext, the jmp_buf of somebody's own setjmp) goes on on that stack. */
static bool is_saved_with_stack(const struct judge *judge, raddr where, raddr word)
{
	uint8_t bytes[24];
	if (target_read_some(judge->target, (raddr){where.v - 8}, bytes, sizeof bytes) != sizeof bytes)
		return false;
	for (size_t i = 0; i < sizeof bytes; i += 16) {
		const raddr stack = {load_u64(bytes + i)};
		const struct procmap *m = stack.v % 8 ? NULL : procmaps_find(&judge->target->maps, stack);
		if (m && m->write && may_return(judge, word, stack.v))
			return true;
	}
	return false;
}

/* Bytes of ff /2 with this operand, but for prefixes. */
static unsigned call_size(uint8_t modrm, uint8_t sib)
{
	unsigned mod = modrm >> 6, has_sib = mod != 3 && (modrm & 7) == 4;
	if (mod == 0 && ((modrm & 7) == 5 || (has_sib && (sib & 7) == 5)))
		return 6 + has_sib;
	return 2 + has_sib + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

bool judge_follows_call(const uint8_t before[JUDGE_CALL_SIZE])
{
	const uint8_t *end = before + JUDGE_CALL_SIZE;
	if (end[-5] == 0xe8)
		return true;
	for (int size = 2; size <= 7; size++)
		if (end[-size] == 0xff && (end[1 - size] >> 3 & 7) == 2 &&
		    call_size(end[1 - size], size > 2 ? end[2 - size] : 0) == (unsigned)size)
			return true;
	return false;
}

/* What cannot be read cannot be told. */
static bool is_after_call(const struct judge *judge, raddr word)
{
	uint8_t before[JUDGE_CALL_SIZE];
	return target_read_some(judge->target, (raddr){word.v - sizeof before}, before, sizeof before) != sizeof before ||
	       judge_follows_call(before);
}

bool judge_may_live(const struct judge *judge, raddr where, raddr word)
{
	bool inside = false, returns = false;
	for (uint32_t i = 0; i < judge->journal_count; i++) {
		inside |= journal_region_of(&judge->journals[i], word) && journal_original(&judge->journals[i], word, false).v;
		returns |=
		    journal_region_of(&judge->journals[i], (raddr){word.v - 1}) && journal_original(&judge->journals[i], word, true).v;
	}
	if ((inside && in_signal_frame(judge, where)) || (returns && is_after_call(judge, word) && may_return(judge, word, where.v + 8)))
		return true;
	return (inside || returns) && is_saved_with_stack(judge, where, word);
}
