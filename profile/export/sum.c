#include "profile/export/sum.h"

#include "profile/tally.h"

static int add_stack(struct tally *tally, const struct profile_branch *branches, unsigned count, struct err *e)
{
	int status = 0;
	for (unsigned i = 0; i < count && !status; i++) {
		const struct profile_branch *b = &branches[i];
		struct profile_edge edge = {b->from, b->to, 1, b->mispredicted, b->from_module, b->to_module, PROFILE_EDGE_JUMP};
		status = tally_add_edge(tally, &edge, e);
		/* Newest first: the one before in the array left from where this one landed. */
		const struct profile_branch *next = i ? b - 1 : NULL;
		if (!status && next && next->from_module == b->to_module && next->from >= b->to) {
			struct profile_edge run = {b->to, next->from, 1, 0, b->to_module, next->from_module, PROFILE_EDGE_RUN};
			status = tally_add_edge(tally, &run, e);
		}
	}
	return status;
}

int sum_profile(const struct profile *p, struct profile *ret_sum, struct err *e)
{
	struct tally tally = {0};
	struct profile sum = {0};
	int status = 0;
	for (size_t i = 0; i < p->sample_count && !status; i++) {
		const struct profile_sample *s = &p->samples[i];
		struct profile_count count = {.address = s->address, .module = s->module, .count = 1};
		status = tally_add_count(&tally, &count, e);
		if (!status)
			status = add_stack(&tally, p->branches + s->first_branch, s->branch_count, e);
	}
	for (size_t i = 0; i < p->count_count && !status; i++)
		status = tally_add_count(&tally, &p->counts[i], e);
	for (size_t i = 0; i < p->edge_count && !status; i++)
		status = tally_add_edge(&tally, &p->edges[i], e);
	if (!status) {
		tally_finish(&tally, NULL, &sum);
		*ret_sum = sum;
	}
	tally_free(&tally);
	return status;
}
