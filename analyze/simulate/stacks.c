#include "analyze/simulate/stacks.h"

#define RANGE_MAX 4096 /* nodes run through between two branches; more is a broken record */

/*
 * Stacks of hardware have at most 32 branches. Of long ones (emulated windows) the first quarter brings into the caches what the thread had there
 * when it began, and is not counted.
 */
#define LONG_STACK 1000u

struct replay {
	const struct profile *profile;
	struct follow *f;
	struct stacks_result *result;
};

static uint32_t node_at(const struct replay *r, uint32_t module, uint64_t address)
{
	const struct program *p = r->f->program;
	bool starts;
	for (uint32_t m = 0; m < p->module_count; m++)
		if (p->modules[m].profile_index == module && module != PROFILE_NO_MODULE)
			return program_node_at(p, m, address, &starts);
	return PROGRAM_NONE;
}

/* From the node executed last straight on to the one that holds the branch `from`. */
static void run_to(const struct replay *r, uint32_t end)
{
	const struct program *p = r->f->program;
	for (int steps = 0; steps < RANGE_MAX && r->f->last != end; steps++) {
		const struct program_node *node = &p->nodes[r->f->last];
		const struct program_module *m = &p->modules[node->module];
		uint32_t follower = node->next; /* a call of which no branch was recorded */
		if (node->kind == PROGRAM_FLOW) {
			uint32_t next = m->map->blocks[node->block].next;
			follower = next == MAP_NONE ? PROGRAM_NONE : m->node_of_block[next];
		}
		if (follower == PROGRAM_NONE || p->nodes[end].module != node->module || p->nodes[end].start < node->start) {
			r->f->last = PROGRAM_NONE;
			return;
		}
		if (node->kind == PROGRAM_CALL)
			follow_over(r->f);
		else
			follow_arc(r->f, follower);
	}
}

static void replay_sample(const struct replay *r, const struct profile_sample *s)
{
	uint32_t counted = s->branch_count >= LONG_STACK ? s->branch_count - s->branch_count / 4u : s->branch_count;
	follow_forget(r->f);
	if (counted < s->branch_count)
		machine_pause(r->f->machine);
	/* Newest first in the file. */
	for (uint32_t k = s->branch_count; k-- > 0;) {
		if (k + 1 == counted && counted < s->branch_count)
			machine_resume(r->f->machine);
		const struct profile_branch *b = &r->profile->branches[s->first_branch + k];
		uint32_t from = node_at(r, b->from_module, b->from), to = node_at(r, b->to_module, b->to);
		if (from != PROGRAM_NONE && r->f->last != PROGRAM_NONE)
			run_to(r, from);
		if (from == PROGRAM_NONE || r->f->last != from)
			r->f->last = PROGRAM_NONE;
		r->result->branches++;
		r->result->outside += (from == PROGRAM_NONE) + (to == PROGRAM_NONE);
		if (to == PROGRAM_NONE)
			r->f->last = PROGRAM_NONE;
		else
			follow_to(r->f, to);
	}
}

void stacks_replay(const struct profile *profile, uint64_t instructions, struct follow *f, struct stacks_result *ret_result)
{
	*ret_result = (struct stacks_result){0};
	struct replay r = {profile, f, ret_result};
	uint64_t limit = instructions * PROGRAM_INSN_UNIT, before;
	do {
		before = f->machine->insns;
		for (size_t i = 0; i < profile->sample_count; i++)
			if (profile->samples[i].branch_count) {
				ret_result->samples++;
				replay_sample(&r, &profile->samples[i]);
			}
	} while (f->machine->insns < limit && f->machine->insns > before);
}
