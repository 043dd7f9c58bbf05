#include "apply/count.h"

#include "apply/children.h"
#include "apply/tracee.h"
#include "formats/base/bytes.h"
#include "formats/base/vec.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define READING_PAUSE_NS 1000000 /* between two looks at where indirect calls went */
#define UNDO_TRIES 50u
#define SITE_OF_SLOT (1u << 31)
#define SITE_BOUND (1u << 30)
#define SITE_OFFSET (SITE_BOUND - 1)

/* One module that is counted. */
struct counted {
	const struct plan_module *plan;
	uint64_t bias;
	raddr code, counters;  /* of the region; of the first counter */
	uint32_t first_target; /* counters of kind TARGET come last */
	uint64_t *values;      /* owned, [counter_count] */
};

struct reading {
	/* Index of the counted module that holds the call; its counter, or SITE_OF_SLOT | text offset, and SITE_BOUND when it was made direct. */
	uint32_t module, counter;
	uint32_t to_module; /* PROFILE_NO_MODULE: none of the plan */
	uint32_t to;	    /* text offset */
	uint64_t count;
};

struct count {
	struct target *target;
	const struct plan *plan;
	const struct count_options *options;
	struct counted *modules;
	uint32_t module_count;
	VEC(struct reading) readings; /* a hash table: see slot_of; count 0 = free */
	size_t used;
	struct count_result *result;
	uint64_t since; /* clock ticks after boot when it began */
};

void count_result_free(struct count_result *r)
{
	profile_free(&r->profile);
	apply_report_free(&r->apply);
	*r = (struct count_result){0};
}

static int no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "no memory for the counters");
}

static int open_modules(struct count *c, struct err *e)
{
	const struct apply_report *r = &c->result->apply;
	c->modules = calloc(r->module_count + 1, sizeof *c->modules);
	if (!c->modules)
		return no_memory(e);
	for (uint32_t i = 0; i < r->module_count; i++) {
		const struct apply_module *from = &r->modules[i];
		if (from->skipped[0] || !from->plan->counter_count)
			continue;
		struct counted *m = &c->modules[c->module_count++];
		*m =
		    (struct counted){.plan = from->plan, .bias = from->bias, .code = from->code, .first_target = from->plan->counter_count};
		m->counters.v = from->code.v + plan_counter_at(from->plan, 0);
		while (m->first_target && from->plan->counters[m->first_target - 1].kind == PLAN_COUNTER_TARGET)
			m->first_target--;
		m->values = calloc(from->plan->counter_count, sizeof *m->values);
		if (!m->values)
			return no_memory(e);
		c->result->counters += from->plan->counter_count;
	}
	return 0;
}

static struct reading *slot_of(struct count *c, const struct reading *key)
{
	uint64_t hash =
	    ((uint64_t)key->module << 48 ^ (uint64_t)key->counter << 32 ^ (uint64_t)key->to_module << 26 ^ key->to) * 0x9e3779b97f4a7c15u;
	size_t mask = c->readings.count - 1;
	for (size_t i = (size_t)(hash >> 32) & mask;; i = (i + 1) & mask) {
		struct reading *r = &c->readings.data[i];
		if (!r->count ||
		    (r->module == key->module && r->counter == key->counter && r->to_module == key->to_module && r->to == key->to))
			return r;
	}
}

static int grow_readings(struct count *c, struct err *e)
{
	struct count bigger = {0};
	size_t size = c->readings.count ? c->readings.count * 2 : 4096;
	if (vec_reserve(&bigger.readings, size))
		return no_memory(e);
	memset(bigger.readings.data, 0, size * sizeof *bigger.readings.data);
	bigger.readings.count = size;
	for (size_t i = 0; i < c->readings.count; i++)
		if (c->readings.data[i].count)
			*slot_of(&bigger, &c->readings.data[i]) = c->readings.data[i];
	vec_free(&c->readings);
	c->readings.data = bigger.readings.data;
	c->readings.count = bigger.readings.count;
	c->readings.capacity = bigger.readings.capacity;
	return 0;
}

static int add_reading(struct count *c, struct reading key, struct err *e)
{
	if (c->used * 2 >= c->readings.count) {
		int status = grow_readings(c, e);
		if (status)
			return status;
	}
	struct reading *slot = slot_of(c, &key);
	if (!slot->count) {
		*slot = key;
		c->used++;
	}
	slot->count++;
	return 0;
}

static int note_target(struct count *c, uint32_t module, uint32_t counter, uint64_t address, struct err *e)
{
	for (uint32_t k = 0; k < c->module_count; k++) {
		uint64_t offset = address - c->modules[k].bias - c->modules[k].plan->text_base;
		if (offset < c->modules[k].plan->text_size)
			return add_reading(c, (struct reading){module, counter, k, (uint32_t)offset, 0}, e);
	}
	c->result->elsewhere++;
	return add_reading(c, (struct reading){module, counter, PROFILE_NO_MODULE, 0, 0}, e);
}

/* One look at where all indirect calls went last. */
static int read_targets(struct count *c, struct err *e)
{
	int status = 0;
	for (uint32_t i = 0; !status && i < c->module_count; i++) {
		struct counted *m = &c->modules[i];
		uint32_t first = m->first_target, count = m->plan->counter_count - first;
		if (!count)
			continue;
		status = target_read(c->target, (raddr){m->counters.v + (uint64_t)first * PLAN_COUNTER_SIZE}, m->values + first,
				     (size_t)count * PLAN_COUNTER_SIZE, e);
		for (uint32_t k = first; !status && k < m->plan->counter_count; k++)
			if (m->values[k])
				status = note_target(c, i, k, m->values[k], e);
	}
	c->result->readings++;
	return status;
}

static bool in_image(const struct count *c, uint64_t address)
{
	for (uint32_t i = 0; i < c->module_count; i++)
		if (address - c->modules[i].code.v < c->modules[i].plan->code_size)
			return true;
	return false;
}

/* Did apply make the call or jump at this image offset a direct one into the image? See bind_slot in stage.c. */
static bool is_bound(const struct count *c, const struct counted *m, uint32_t at)
{
	uint8_t code[6];
	raddr where = {m->code.v + at};
	if (target_read_some(c->target, where, code, sizeof code) != sizeof code)
		return false;
	uint32_t end = code[0] == 0x67 && code[1] == 0xe8 ? 6 : code[0] == 0xe9 && code[5] == 0x90 ? 5 : 0;
	return end && in_image(c, where.v + end + (uint64_t)(int64_t)(int32_t)load_u32(code + end - 4));
}

/* Calls through slots that the loader filled go where those lead: one reading says it. */
static int read_slots(struct count *c, uint32_t module, struct err *e)
{
	const struct counted *m = &c->modules[module];
	int status = 0;
	for (uint32_t i = 0; !status && i < m->plan->slot_count; i++) {
		const struct plan_slot *slot = &m->plan->slots[i];
		uint32_t site = plan_run_original(m->plan->runs, m->plan->run_count, slot->at);
		uint64_t address;
		if (site >= SITE_BOUND ||
		    target_read_some(c->target, (raddr){m->bias + slot->slot}, &address, sizeof address) != sizeof address)
			continue;
		status = note_target(c, module, SITE_OF_SLOT | site, address, e);
		if (!status && is_bound(c, m, slot->at))
			status = note_target(c, module, SITE_OF_SLOT | SITE_BOUND | site, address, e);
	}
	return status;
}

static int read_counters(struct count *c, struct err *e)
{
	int status = 0;
	for (uint32_t i = 0; !status && i < c->module_count; i++)
		status = target_read(c->target, c->modules[i].counters, c->modules[i].values,
				     (size_t)c->modules[i].plan->counter_count * PLAN_COUNTER_SIZE, e);
	for (uint32_t i = 0; !status && i < c->module_count; i++)
		status = read_slots(c, i, e);
	return status;
}

static bool told_to_stop(const struct count *c)
{
	struct pollfd p = {.fd = c->options->stop_fd, .events = POLLIN};
	struct timespec pause = {0, READING_PAUSE_NS};
	return ppoll(&p, p.fd >= 0, &pause, NULL) > 0;
}

static int count_while(struct count *c, struct err *e)
{
	uint64_t begin = monotonic_now(), limit = (uint64_t)(c->options->seconds * 1e9);
	int status = 0;
	while (!status && monotonic_now() - begin < limit && !told_to_stop(c))
		status = read_targets(c, e);
	if (!status)
		status = read_counters(c, e);
	c->result->counted_ns = monotonic_now() - begin;
	return status;
}

/* --- the profile --- */

static int compare_counts(const void *va, const void *vb)
{
	const struct profile_count *a = va, *b = vb;
	if (a->module != b->module)
		return a->module < b->module ? -1 : 1;
	return a->address < b->address ? -1 : a->address > b->address;
}

static int compare_edges(const void *va, const void *vb)
{
	const struct profile_edge *a = va, *b = vb;
	if (a->from_module != b->from_module)
		return a->from_module < b->from_module ? -1 : 1;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	if (a->to_module != b->to_module)
		return a->to_module < b->to_module ? -1 : 1;
	if (a->to != b->to)
		return a->to < b->to ? -1 : 1;
	return (a->kind > b->kind) - (a->kind < b->kind);
}

static void add_values(const struct counted *m, uint32_t module, struct profile *p)
{
	for (uint32_t i = 0; i < m->first_target; i++) {
		const struct plan_counter *c = &m->plan->counters[i];
		uint64_t from = m->plan->text_base + c->from;
		if (!m->values[i])
			continue;
		if (c->kind == PLAN_COUNTER_EDGE)
			p->edges[p->edge_count++] = (struct profile_edge){.from = from,
									  .to = m->plan->text_base + c->to,
									  .count = m->values[i],
									  .from_module = module,
									  .to_module = module,
									  .kind = PROFILE_EDGE_JUMP};
		else
			p->counts[p->count_count++] = (struct profile_count){from, m->values[i], module};
	}
}

static void add_targets(const struct count *c, struct profile *p)
{
	for (size_t i = 0; i < c->readings.count; i++) {
		const struct reading *r = &c->readings.data[i];
		if (!r->count)
			continue;
		const struct plan_module *from = c->modules[r->module].plan;
		bool known = r->to_module != PROFILE_NO_MODULE, bound = r->counter & SITE_OF_SLOT && r->counter & SITE_BOUND;
		uint32_t site = r->counter & SITE_OF_SLOT ? r->counter & SITE_OFFSET : from->counters[r->counter].from;
		p->edges[p->edge_count++] = (struct profile_edge){.from = from->text_base + site,
								  .to = known ? c->modules[r->to_module].plan->text_base + r->to : 0,
								  .count = r->count,
								  .from_module = r->module,
								  .to_module = r->to_module,
								  .kind = bound ? PROFILE_EDGE_JUMP : PROFILE_EDGE_CALL};
	}
}

/* A call through a fixed place may have a counter of its own as well. */
static void add_up_edges(struct profile *p)
{
	size_t kept = 0;
	for (size_t i = 1; i < p->edge_count; i++) {
		if (!compare_edges(&p->edges[kept], &p->edges[i]) && p->edges[kept].kind == p->edges[i].kind)
			p->edges[kept].count += p->edges[i].count;
		else
			p->edges[++kept] = p->edges[i];
	}
	p->edge_count = p->edge_count ? kept + 1 : 0;
}

static int describe(const struct count *c, struct profile_info *info, struct err *e)
{
	struct utsname u = {0};
	char name[512];
	uname(&u);
	target_name(c->target->pid, name, sizeof name);
	*info = (struct profile_info){.source = PROFILE_EXACT, .duration_ns = c->result->counted_ns};
	info->event = strdup(COUNT_EVENT);
	info->kernel = strdup(u.release);
	info->cpu = strdup("");
	info->command = strdup(name);
	return info->event && info->kernel && info->cpu && info->command ? 0 : no_memory(e);
}

static int make_profile(struct count *c, struct err *e)
{
	struct profile *p = &c->result->profile;
	size_t counters = c->result->counters;
	p->modules = calloc(c->module_count + 1, sizeof *p->modules);
	p->counts = calloc(counters + 1, sizeof *p->counts);
	p->edges = calloc(counters + c->used + 1, sizeof *p->edges);
	p->complete = true;
	int status = p->modules && p->counts && p->edges ? describe(c, &p->info, e) : no_memory(e);
	for (uint32_t i = 0; !status && i < c->module_count; i++) {
		status = module_copy(&c->modules[i].plan->module, &p->modules[i], e);
		p->module_count += !status;
		if (!status)
			add_values(&c->modules[i], i, p);
	}
	if (status)
		return status;
	add_targets(c, p);
	qsort(p->counts, p->count_count, sizeof *p->counts, compare_counts);
	qsort(p->edges, p->edge_count, sizeof *p->edges, compare_edges);
	add_up_edges(p);
	return 0;
}

static int undo_counting(struct count *c, struct err *e)
{
	struct undo_options options = {.max_pause = c->options->apply.max_pause, .tries = UNDO_TRIES};
	bool cut_calls = c->target->cut_calls;
	int status = target_refresh(c->target, e);
	c->target->cut_calls = true; /* rather than going on counting */
	if (!status)
		status = undo_process(c->target, &options, &c->result->undo, e);
	c->target->cut_calls = cut_calls;
	if (status == -ERR_BUSY)
		status = err_set(e, ERR_INCONSISTENT, "process %d still counts: it could not be stopped; run undo", c->target->pid);
	/* Also when the target has ended: its children may live on. */
	struct err why = {0};
	int failed =
	    children_undo(c->target, c->plan->inputs_hash, c->since, &options, &c->result->children, &c->result->children_left, &why);
	if (failed && !status && e)
		*e = why;
	return status ? status : failed;
}

/* What happens between apply and undo must not keep undo from being done. */
static int count_applied(struct count *c, struct err *e)
{
	struct err undone = {0};
	int status = open_modules(c, e);
	if (!status && c->options->counting)
		c->options->counting(c->options->context, &c->result->apply);
	if (!status)
		status = count_while(c, e);
	int failed = undo_counting(c, status ? &undone : e);
	if (failed && status && failed != -ERR_GONE)
		return err_set(e, ERR_INCONSISTENT, "%.500s", undone.text);
	return status ? status : failed;
}

/* What counts for a second must not stay for good, and be in the way of the plan that is to come. */
static int check_way_back(struct target *t, const struct apply_options *options, struct err *e)
{
	struct undo_options undo = {.max_pause = options->max_pause, .tries = UNDO_TRIES};
	int status = target_check(t, e);
	if (!status)
		status = undo_rehearse(t, &undo, e);
	return status == -ERR_REFUSED ? err_prefix(e, "what counts could not be taken out again") : status;
}

int count_run(struct target *t, const struct plan *plan, const struct count_options *options, struct count_result *ret_result,
	      struct err *e)
{
	struct count_result result = {0};
	struct count c = {.target = t, .plan = plan, .options = options, .result = &result, .since = children_now()};
	if (!plan_counts(plan))
		return err_set(e, ERR_USAGE, "the plan does not count: make one with repave-analyze plan --counting or --count-exits");
	int status = check_way_back(t, &options->apply, e);
	if (!status)
		status = apply_plan(t, plan, &options->apply, &result.apply, e);
	if (!status)
		status = count_applied(&c, e);
	if (!status)
		status = make_profile(&c, e);
	for (uint32_t i = 0; i < c.module_count; i++)
		free(c.modules[i].values);
	free(c.modules);
	vec_free(&c.readings);
	if (status)
		count_result_free(&result);
	else
		*ret_result = result;
	return status;
}
