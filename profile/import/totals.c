#include "profile/import/totals.h"

#include <stdlib.h>
#include <string.h>

void totals_init(struct totals *t, const struct functions *functions)
{
	*t = (struct totals){.functions = functions};
}

void totals_free(struct totals *t)
{
	tally_free(&t->tally);
}

static enum profile_edge_kind kind_of(const struct totals *t, struct totals_place from, struct totals_place to)
{
	if (to.module == PROFILE_NO_MODULE)
		return PROFILE_EDGE_CALL;
	const struct function *target = functions_at(t->functions, (vaddr){to.address});
	const struct function *source = from.module == PROFILE_NO_MODULE ? NULL : functions_at(t->functions, (vaddr){from.address});
	if (target && target == source)
		return PROFILE_EDGE_JUMP;
	if (target && target->start == to.address)
		return PROFILE_EDGE_CALL;
	return target ? PROFILE_EDGE_RETURN : PROFILE_EDGE_JUMP;
}

int totals_add_branch(struct totals *t, struct totals_place from, struct totals_place to, const uint64_t counts[2], struct err *e)
{
	struct profile_edge edge = {
	    .from = from.address,
	    .to = to.address,
	    .from_module = from.module,
	    .to_module = to.module,
	    .count = counts[0],
	    .mispredicted = counts[1] < counts[0] ? counts[1] : counts[0],
	    .kind = (uint8_t)kind_of(t, from, to),
	};
	t->has_branches = true;
	t->result.branches = tally_sum(t->result.branches, counts[0]);
	return tally_add_edge(&t->tally, &edge, e);
}

int totals_add_run(struct totals *t, struct totals_place from, struct totals_place to, uint64_t count, struct err *e)
{
	struct profile_edge edge = {
	    .from = from.address,
	    .to = to.address,
	    .from_module = from.module,
	    .to_module = to.module,
	    .count = count,
	    .kind = PROFILE_EDGE_RUN,
	};
	t->has_branches = true;
	return tally_add_edge(&t->tally, &edge, e);
}

int totals_add_sample(struct totals *t, struct totals_place at, uint64_t count, struct err *e)
{
	struct profile_count sample = {.address = at.address, .module = at.module, .count = count};
	t->result.samples = tally_sum(t->result.samples, count);
	return tally_add_count(&t->tally, &sample, e);
}

int totals_finish(struct totals *t, struct profile *ret_profile, struct err *e)
{
	bool clock = strstr(t->event, "clock") != NULL;
	struct profile p = {.complete = true};
	p.info = (struct profile_info){
	    .source = t->has_branches ? PROFILE_BRANCH_STACKS
		      : clock	      ? PROFILE_CLOCK
				      : PROFILE_CYCLES,
	    .event = strdup(t->event[0] ? t->event : "unknown"),
	    .kernel = strdup(""),
	    .cpu = strdup(""),
	    .command = strdup(""),
	};
	p.modules = calloc(1, sizeof *p.modules);
	int status = 0;
	if (!p.modules || !p.info.event || !p.info.kernel || !p.info.cpu || !p.info.command)
		status = err_set(e, ERR_MEMORY, "no memory for a profile");
	else
		status = module_copy(functions_module(t->functions), &p.modules[0], e);
	if (status) {
		profile_free(&p);
		return status;
	}
	p.module_count = 1;
	tally_finish(&t->tally, NULL, &p);
	*ret_profile = p;
	return 0;
}
