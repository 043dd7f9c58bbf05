#include "profile/exact/slowdown.h"

/* Does a counter stand at `offset`, or end there? */
static bool at_counter(const struct plan_module *m, uint32_t offset)
{
	uint32_t low = 0, high = m->run_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (m->runs[middle].image <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	for (uint32_t i = low; i-- > 0 && m->runs[i].image + m->runs[i].image_size >= offset;)
		if (m->runs[i].kind == PLAN_RUN_COUNTER)
			return true;
	return false;
}

bool slowdown_translate(void *context, raddr address, raddr *ret_original)
{
	struct slowdown *s = context;
	for (uint32_t i = 0; i < s->region_count; i++) {
		const struct slowdown_region *r = &s->regions[i];
		uint64_t offset = address.v - r->code.v;
		if (offset >= r->plan->code_size)
			continue;
		s->image++;
		s->counting += at_counter(r->plan, (uint32_t)offset);
		*ret_original = address; /* only counted, not kept: where the module stands does not matter */
		return false;
	}
	return false;
}

double slowdown_factor(const struct slowdown *s, uint64_t samples)
{
	return samples > s->counting ? (double)samples / (double)(samples - s->counting) : 1;
}
