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

/* From a return to `word` at `where`, with a frame pointer that far above. False: there is no frame above that it could return to. */
static bool step_out(const struct judge *judge, raddr where, raddr word, uint64_t frame_pointer, raddr *ret_slot)
{
	struct step step = {.judge = judge};
	const struct user_regs_struct registers = {.rip = word.v, .rsp = where.v + 8, .rbp = where.v + 8 + frame_pointer};
	const struct stack_visitor visitor = {&step, see_frame, see_original};
	struct stack_result result = stack_walk(judge->unwinder, &registers, &visitor);
	*ret_slot = step.slot;
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
static bool may_return(const struct judge *judge, raddr where, raddr word)
{
	raddr low, high;
	return step_out(judge, where, word, 0, &low) || step_out(judge, where, word, 4096, &high) || low.v != high.v;
}

bool judge_may_live(const struct judge *judge, raddr where, raddr word)
{
	bool inside = false, returns = false;
	for (uint32_t i = 0; i < judge->journal_count; i++) {
		inside |= journal_region_of(&judge->journals[i], word) && journal_original(&judge->journals[i], word, false).v;
		returns |=
		    journal_region_of(&judge->journals[i], (raddr){word.v - 1}) && journal_original(&judge->journals[i], word, true).v;
	}
	if (inside && (!returns || in_signal_frame(judge, where)))
		return true;
	return returns && may_return(judge, where, word);
}
