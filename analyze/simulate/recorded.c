#include "analyze/simulate/recorded.h"

#include "formats/base/vec.h"
#include "formats/profile.h"

#include <string.h>

#define RUN_MAX 256 /* blocks run through in a row without a branch */
#define STOPPED 1   /* of a walk that has seen enough */

/* A place of the chunk in the program. */
struct spot {
	uint32_t node; /* PROGRAM_NONE: in no map */
	bool starts;   /* it is the first instruction of the node */
};

/* Where a thread is. */
struct walker {
	uint32_t thread;
	uint64_t used; /* number of the window in which it last ran */
	struct follow follow;
	struct machine_at at;
};

struct replay {
	struct machine *machine;
	const struct recorded_options *options;
	struct recorded_result *result;
	uint64_t limit, whole;
	VEC(uint32_t) modules; /* of the profile -> of the program, PROGRAM_NONE: no map */
	VEC(struct spot) spots;
	VEC(struct walker) walkers;
	struct walker *now;
	uint64_t windows;
};

/* Blocks that end without a branch are run through: the step goes on in the next one, up to the step that comes next. */
static void run_through(struct follow *f, uint32_t next)
{
	const struct program *p = f->program;
	for (int steps = 0; steps < RUN_MAX; steps++) {
		const struct program_node *node = &p->nodes[f->last];
		const struct program_module *m = &p->modules[node->module];
		const struct map_block *block = &m->map->blocks[node->block];
		if (node->kind != PROGRAM_FLOW || block->terminator != MAP_FALLS || block->next == MAP_NONE)
			return;
		uint32_t follower = m->node_of_block[block->next];
		if (follower == PROGRAM_NONE || follower == next)
			return;
		follow_arc(f, follower);
	}
}

/* May control come back to the start of the node before anything else is a step? */
static bool may_loop(const struct program *p, uint32_t node)
{
	const struct program_node *n = &p->nodes[node];
	const struct map_block *block = &p->modules[n->module].map->blocks[n->block];
	bool leaves = n->kind == PROGRAM_RETURN || block->terminator == MAP_BRANCH || block->terminator == MAP_JUMP;
	return n->kind == PROGRAM_CALL || !leaves || block->taken == n->block;
}

static void enter(struct replay *r, struct spot s, bool again)
{
	struct follow *f = &r->now->follow;
	if (s.node == PROGRAM_NONE) {
		r->result->outside++;
		f->last = PROGRAM_NONE;
		return;
	}
	/* A repeated string instruction is a step each time. */
	if (again && s.node == f->last && (!s.starts || !may_loop(f->program, s.node))) {
		f->machine->insns += PROGRAM_INSN_UNIT;
		return;
	}
	if (f->last != PROGRAM_NONE && (s.node != f->last || s.starts))
		run_through(f, s.node);
	/* In the middle of the node that was just executed whole: more steps than need be, a system call. */
	if (s.node == f->last && !s.starts)
		return;
	follow_to(f, s.node);
}

/* --- threads --- */

static struct walker *find_walker(struct replay *r, uint32_t thread)
{
	for (size_t i = 0; i < r->walkers.count; i++)
		if (r->walkers.data[i].thread == thread)
			return &r->walkers.data[i];
	return NULL;
}

/* A new one, or that which has not run for longest. */
static int add_walker(struct replay *r, uint32_t thread, struct walker **ret_walker, struct err *e)
{
	struct walker *w = r->walkers.data;
	if (r->walkers.count < RECORDED_THREADS_MAX) {
		struct walker fresh = {0};
		int status = follow_init(&fresh.follow, r->machine, e);
		if (!status && vec_push(&r->walkers, fresh)) {
			follow_free(&fresh.follow);
			status = err_set(e, ERR_MEMORY, "simulate: no memory for a thread");
		}
		if (status)
			return status;
		w = &r->walkers.data[r->walkers.count - 1];
	} else {
		for (size_t i = 1; i < r->walkers.count; i++)
			if (r->walkers.data[i].used < w->used)
				w = &r->walkers.data[i];
		follow_forget(&w->follow);
	}
	w->thread = thread;
	w->at = MACHINE_NOWHERE;
	*ret_walker = w;
	return 0;
}

static int switch_to(struct replay *r, const struct profile_window *window, struct err *e)
{
	if (r->now)
		r->now->at = r->machine->at;
	r->now = find_walker(r, window->thread);
	int status = r->now ? 0 : add_walker(r, window->thread, &r->now, e);
	if (status)
		return status;
	if (window->gap) {
		follow_forget(&r->now->follow);
		r->now->at = MACHINE_NOWHERE;
	}
	r->machine->at = r->now->at;
	r->now->used = ++r->windows;
	return 0;
}

/* --- chunks --- */

static uint32_t module_of(const struct program *p, const struct module_identity *module)
{
	for (uint32_t m = 0; m < p->module_count; m++)
		if (module_same(&p->modules[m].map->module, module))
			return m;
	return PROGRAM_NONE;
}

static int find_spots(struct replay *r, const struct profile *part, struct err *e)
{
	const struct program *p = r->machine->program;
	while (r->modules.count < part->module_count) {
		uint32_t module = module_of(p, &part->modules[r->modules.count]);
		if (vec_push(&r->modules, module))
			return err_set(e, ERR_MEMORY, "simulate: no memory for modules");
	}
	r->spots.count = 0;
	if (vec_reserve(&r->spots, part->place_count))
		return err_set(e, ERR_MEMORY, "simulate: no memory for %zu places", part->place_count);
	for (size_t i = 0; i < part->place_count; i++) {
		const struct profile_place *place = &part->places[i];
		uint32_t module = place->module == PROFILE_NO_MODULE ? PROGRAM_NONE : r->modules.data[place->module];
		struct spot spot = {.node = PROGRAM_NONE};
		if (module != PROGRAM_NONE)
			spot.node = program_node_at(p, module, place->address, &spot.starts);
		r->spots.data[r->spots.count++] = spot;
	}
	return 0;
}

static void replay_window(struct replay *r, const uint32_t *steps, const struct profile_window *window)
{
	uint32_t warm = window->gap ? window->step_count / 4 : 0, i;
	r->result->gaps += window->gap;
	if (warm)
		machine_pause(r->machine);
	for (i = 0; i < window->step_count && r->machine->insns < r->limit; i++) {
		if (warm && i == warm)
			machine_resume(r->machine);
		enter(r, r->spots.data[steps[i]], i && steps[i] == steps[i - 1]);
	}
	if (warm && i <= warm)
		machine_resume(r->machine);
	r->result->steps += i;
}

static int replay_part(void *context, const struct profile *part, struct err *e)
{
	struct replay *r = context;
	int status = find_spots(r, part, e);
	for (size_t i = 0; i < part->window_count && !status; i++) {
		status = switch_to(r, &part->windows[i], e);
		if (!status)
			replay_window(r, part->steps + part->windows[i].first_step, &part->windows[i]);
		if (!status && r->machine->insns >= r->limit)
			status = STOPPED;
	}
	if (part->step_count && r->options->progress)
		r->options->progress(r->options->context, status == STOPPED ? r->whole : part->course.steps, r->whole);
	return status;
}

int recorded_replay(const struct file_data *file, const char *name, uint64_t whole, const struct recorded_options *options,
		    struct machine *machine, struct recorded_result *ret_result, struct err *e)
{
	struct recorded_result result = {0};
	struct replay r = {.machine = machine, .options = options, .result = &result, .whole = whole};
	struct profile rest;
	r.limit = options->instructions ? options->instructions * PROGRAM_INSN_UNIT : UINT64_MAX;
	int status = profile_walk(file->data, file->size, name, replay_part, &r, &rest, e);
	if (!status)
		profile_free(&rest);
	for (size_t i = 0; i < r.walkers.count; i++)
		follow_free(&r.walkers.data[i].follow);
	vec_free(&r.walkers);
	vec_free(&r.modules);
	vec_free(&r.spots);
	if (status && status != STOPPED)
		return status;
	*ret_result = result;
	return 0;
}
