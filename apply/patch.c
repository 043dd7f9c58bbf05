#include "apply/patch.h"

#include "formats/base/bytes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u
#define BREAKPOINT 0xcc

int patch_set_alloc(uint32_t count, struct patch_set *ret_set, struct err *e)
{
	struct patch_set set = {
	    .list = calloc(count ? count : 1, sizeof *set.list),
	    .count = count,
	    .local = calloc(PATCH_BATCH, sizeof *set.local),
	    .remote = calloc(PATCH_BATCH, sizeof *set.remote),
	    .read_back = malloc((size_t)PATCH_BATCH * PLAN_PATCH_SIZE),
	};
	if (!set.list || !set.local || !set.remote || !set.read_back) {
		patch_set_free(&set);
		return err_set(e, ERR_MEMORY, "no memory for %u patches", count);
	}
	*ret_set = set;
	return 0;
}

void patch_set_free(struct patch_set *set)
{
	free(set->list);
	free(set->local);
	free(set->remote);
	free(set->read_back);
	*set = (struct patch_set){0};
}

const struct patch *patch_replace_hooks(struct patch_set *set, const struct patch *list, uint32_t count)
{
	const struct patch *missing = NULL;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t k = 0;
		if (!list[i].is_hook || list[i].state != PATCH_WANTED)
			continue;
		while (k < set->count && (set->list[k].at.v != list[i].at.v || !set->list[k].is_hook || set->list[k].state != PATCH_WANTED))
			k++;
		if (k == set->count) {
			missing = missing ? missing : &list[i];
			continue;
		}
		set->list[k].replaces = true;
		memcpy(set->list[k].before, list[i].written, PLAN_PATCH_SIZE);
	}
	return missing;
}

raddr patch_stub(raddr code, const struct plan_run *runs, uint32_t run_count)
{
	for (uint32_t i = 0; i < run_count; i++)
		if (runs[i].kind == PLAN_RUN_STUB)
			return (raddr){code.v + runs[i].image};
	return (raddr){0};
}

bool patch_leads_to(const struct patch *p, raddr address)
{
	return p->at.v + PLAN_PATCH_SIZE + (uint64_t)(int64_t)(int32_t)load_u32(p->written + 1) == address.v;
}

/* `hook`: where the region's hook leads, 0 when it has none. */
static struct patch make_patch(const struct stage *s, uint32_t region, const struct plan_patch *from, raddr hook)
{
	const struct region *r = &s->regions[region];
	struct patch p = {.at = region_text(r, from->at), .kind = from->kind, .region = region, .function = from->function};
	int64_t distance = (int64_t)(region_image(r, from->target).v - (p.at.v + PLAN_PATCH_SIZE));
	memcpy(p.original, from->original, sizeof p.original);
	p.written[0] = 0xe9;
	store_u32(p.written + 1, (uint32_t)distance);
	if (r->left_out[from->function])
		p.state = PATCH_LEFT_OUT;
	else if (p.at.v % PAGE > PAGE - PLAN_PATCH_SIZE)
		p.state = PATCH_CROSSES;
	else if (distance != (int32_t)distance)
		p.state = PATCH_UNREACHED;
	p.is_hook = hook.v && patch_leads_to(&p, hook);
	return p;
}

static int by_address(const void *a, const void *b)
{
	const struct patch *x = a, *y = b;
	return x->at.v < y->at.v ? -1 : x->at.v > y->at.v;
}

int patch_set_init(const struct stage *s, struct patch_set *ret_set, struct err *e)
{
	struct patch_set set;
	uint64_t count = 0;
	for (uint32_t i = 0; i < s->region_count; i++)
		count += s->regions[i].plan->patch_count;
	if (count > UINT32_MAX / 2)
		return err_set(e, ERR_FORMAT, "%" PRIu64 " patches are too many", count);
	int status = patch_set_alloc((uint32_t)count, &set, e);
	if (status)
		return status;
	set.count = 0;
	for (uint32_t i = 0; i < s->region_count; i++) {
		const struct plan_module *plan = s->regions[i].plan;
		raddr hook = {0};
		if (plan->directory != PLAN_NONE)
			hook = patch_stub(s->regions[i].code, plan->runs, plan->run_count);
		for (uint32_t k = 0; k < plan->patch_count; k++)
			set.list[set.count++] = make_patch(s, i, &plan->patches[k], hook);
	}
	qsort(set.list, set.count, sizeof *set.list, by_address);
	for (uint32_t i = 1; !status && i < set.count; i++)
		if (set.list[i].at.v - set.list[i - 1].at.v < PLAN_PATCH_SIZE)
			status = err_set(e, ERR_FORMAT, "patches at 0x%" PRIx64 " overlap", set.list[i].at.v);
	if (status)
		patch_set_free(&set);
	else
		*ret_set = set;
	return status;
}

uint32_t patch_count(const struct patch_set *set, enum patch_state state)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < set->count; i++)
		count += set->list[i].state == state;
	return count;
}

struct patch *patch_inside(const struct patch_set *set, raddr address)
{
	uint32_t low = 0, high = set->count;
	while (low < high) { /* the first patch at or behind address */
		uint32_t middle = low + (high - low) / 2;
		if (set->list[middle].at.v < address.v)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return NULL;
	struct patch *p = &set->list[low - 1];
	return address.v - p->at.v < PLAN_PATCH_SIZE && p->state == PATCH_WANTED ? p : NULL;
}

int patch_prefault(const struct target *t, const struct patch_set *set, struct err *e)
{
	uint64_t last = UINT64_MAX;
	for (uint32_t i = 0; i < set->count; i++) {
		const struct patch *p = &set->list[i];
		if (p->state != PATCH_WANTED || p->at.v / PAGE == last)
			continue;
		uint8_t byte;
		last = p->at.v / PAGE;
		int status = target_read(t, p->at, &byte, 1, e);
		if (!status)
			status = target_write(t, p->at, &byte, 1, e);
		if (status)
			return status;
	}
	return 0;
}

/* Reads the bytes at `count` patches (indices in `batch`) into set->read_back. */
static int read_batch(const struct target *t, struct patch_set *set, const uint32_t *batch, uint32_t count, struct err *e)
{
	for (uint32_t i = 0; i < count; i++) {
		set->local[i] = (struct iovec){set->read_back + i * PLAN_PATCH_SIZE, PLAN_PATCH_SIZE};
		set->remote[i] = (struct iovec){(void *)(uintptr_t)set->list[batch[i]].at.v, PLAN_PATCH_SIZE};
	}
	if (process_vm_readv(t->task, set->local, count, set->remote, count, 0) == (ssize_t)(count * PLAN_PATCH_SIZE))
		return 0;
	/* Code that may be executed but not read. */
	for (uint32_t i = 0; i < count; i++) {
		int status = target_read(t, set->list[batch[i]].at, set->read_back + i * PLAN_PATCH_SIZE, PLAN_PATCH_SIZE, e);
		if (status)
			return status;
	}
	return 0;
}

/* One by one: what was there, what was written, or a breakpoint. */
static bool is_probed(const struct patch *p, const uint8_t *bytes, enum patch_bytes expected)
{
	for (unsigned i = 0; i < PLAN_PATCH_SIZE; i++)
		if (bytes[i] != BREAKPOINT && bytes[i] != p->original[i] && (expected == PATCH_ORIGINAL || bytes[i] != p->written[i]))
			return false;
	return true;
}

static bool as_expected(const struct patch *p, const uint8_t *bytes, enum patch_bytes expected)
{
	if (p->probed && expected != PATCH_WRITTEN)
		return is_probed(p, bytes, expected);
	bool original = !memcmp(bytes, p->original, PLAN_PATCH_SIZE), written = !memcmp(bytes, p->written, PLAN_PATCH_SIZE);
	bool before = p->replaces ? !memcmp(bytes, p->before, PLAN_PATCH_SIZE) : original;
	switch (expected) {
	case PATCH_ORIGINAL:
		return original;
	case PATCH_BEFORE:
		return before;
	case PATCH_WRITTEN:
		return written;
	default:
		return original || before || written;
	}
}

/* A byte of ours may look like a breakpoint. */
static bool is_breakpoint(const struct patch *p, const uint8_t *bytes, unsigned i)
{
	return bytes[i] == BREAKPOINT && p->written[i] != BREAKPOINT && p->original[i] != BREAKPOINT;
}

static bool has_breakpoint(const struct patch *p, const uint8_t *bytes)
{
	bool has = false;
	for (unsigned i = 0; i < PLAN_PATCH_SIZE; i++)
		has |= is_breakpoint(p, bytes, i);
	return has;
}

static int refuse_bytes(const struct patch *p, const uint8_t *b, struct err *e)
{
	return err_set(e, ERR_NO, "the bytes at 0x%" PRIx64 " are %02x %02x %02x %02x %02x, not what was expected%s", p->at.v, b[0], b[1],
		       b[2], b[3], b[4], has_breakpoint(p, b) ? " (a breakpoint or uprobe)" : "");
}

int patch_compare(const struct target *t, struct patch_set *set, enum patch_bytes expected, struct err *e)
{
	uint32_t batch[PATCH_BATCH], filled = 0;
	for (uint32_t i = 0; i <= set->count; i++) {
		if (i < set->count && set->list[i].state == PATCH_WANTED)
			batch[filled++] = i;
		if (!filled || (filled < PATCH_BATCH && i < set->count))
			continue;
		int status = read_batch(t, set, batch, filled, e);
		if (status)
			return status;
		for (uint32_t k = 0; k < filled; k++) {
			const struct patch *p = &set->list[batch[k]];
			const uint8_t *b = set->read_back + k * PLAN_PATCH_SIZE;
			if (!as_expected(p, b, expected))
				return refuse_bytes(p, b, e);
		}
		filled = 0;
	}
	return 0;
}

int patch_allow_probes(const struct target *t, struct patch_set *set, uint32_t *ret_breakpoints, struct err *e)
{
	uint32_t breakpoints = 0;
	int status = 0;
	for (uint32_t i = 0; !status && i < set->count; i++) {
		struct patch *p = &set->list[i];
		uint8_t bytes[PLAN_PATCH_SIZE];
		if (p->state != PATCH_WANTED)
			continue;
		status = target_read(t, p->at, bytes, sizeof bytes, e);
		if (status || as_expected(p, bytes, PATCH_EITHER))
			continue;
		p->probed = !p->is_hook && is_probed(p, bytes, PATCH_EITHER);
		breakpoints += has_breakpoint(p, bytes);
		if (!p->probed)
			status = refuse_bytes(p, bytes, e);
	}
	if (!status)
		*ret_breakpoints = breakpoints;
	return status;
}

/* The breakpoint itself is not written, not even with what it is: whoever made it may be taking it away just now. */
static int write_around(const struct target *t, const struct patch *p, struct err *e)
{
	uint8_t bytes[PLAN_PATCH_SIZE];
	int status = target_read(t, p->at, bytes, sizeof bytes, e);
	for (unsigned i = 0; !status && i < PLAN_PATCH_SIZE; i++)
		if (!is_breakpoint(p, bytes, i) && bytes[i] != p->original[i])
			status = target_write(t, (raddr){p->at.v + i}, &p->original[i], 1, e);
	return status;
}

int patch_write(const struct target *t, const struct patch_set *set, enum patch_bytes bytes, bool hooks, struct err *e)
{
	for (uint32_t i = 0; i < set->count; i++) {
		const struct patch *p = &set->list[i];
		if (p->state != PATCH_WANTED || p->is_hook != hooks)
			continue;
		int status = p->probed && bytes == PATCH_ORIGINAL
				 ? write_around(t, p, e)
				 : target_write(t, p->at, bytes == PATCH_WRITTEN ? p->written : p->original, PLAN_PATCH_SIZE, e);
		if (status)
			return status;
	}
	return 0;
}
