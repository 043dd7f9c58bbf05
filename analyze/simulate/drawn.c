#include "analyze/simulate/drawn.h"

#include "analyze/layout/random.h"

#include <stdlib.h>

#define STACK_MAX 1024 /* frames drawn at the start of an episode */

struct drawn {
	const struct program *p;
	struct follow *f;
	uint64_t seed;
	uint64_t *executed; /* [node_count] */
	uint64_t episode;   /* in PROGRAM_INSN_UNIT */
};

struct drawn_options drawn_options_default(void)
{
	return (struct drawn_options){.seed = 1, .instructions = 100000000, .episode = 1000000};
}

/* The start that holds `value`, 0 <= value < the last sum. */
static uint32_t start_at(const struct program_start *starts, uint32_t count, uint64_t value)
{
	uint32_t low = 0, high = count - 1;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (starts[middle].sum > value)
			high = middle;
		else
			low = middle + 1;
	}
	return starts[low].node;
}

static uint32_t node_at_sum(const struct program *p, uint64_t value)
{
	uint32_t low = 0, high = p->node_count - 1;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (p->sum[middle] > value)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Times that the function was entered by nobody known. The pool is in the order of the nodes. */
static uint64_t unexplained(const struct program *p, uint32_t entry)
{
	uint32_t low = 0, high = p->pool_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (p->pool[middle].node < entry)
			low = middle + 1;
		else
			high = middle;
	}
	return low < p->pool_count && p->pool[low].node == entry ? p->pool[low].count : 0;
}

/* The node that called the function of `node`, or jumped to it; PROGRAM_NONE: nobody is known. */
static uint32_t draw_caller(struct drawn *c, uint32_t node)
{
	const struct program *p = c->p;
	const struct program_module *m = &p->modules[p->nodes[node].module];
	const struct map_function *f = &m->map->functions[p->nodes[node].function];
	uint32_t entry = f->block_count ? m->node_of_block[f->first_block] : PROGRAM_NONE;
	if (entry == PROGRAM_NONE)
		return PROGRAM_NONE;
	uint32_t first = p->caller_first[entry], count = p->caller_first[entry + 1] - first;
	uint64_t known = count ? p->callers[first + count - 1].sum : 0, all = known + unexplained(p, entry);
	return known && random_below(&c->seed, all) < known ? start_at(p->callers + first, count, random_below(&c->seed, known))
							    : PROGRAM_NONE;
}

/* A node and a stack as a stopped thread would be found. `value` chooses the node. */
static void begin_episode(struct drawn *c, uint64_t value)
{
	uint32_t stack[STACK_MAX], depth = 0, node = node_at_sum(c->p, value), at = node;
	for (int step = 0; step < STACK_MAX; step++) {
		at = draw_caller(c, at);
		if (at == PROGRAM_NONE)
			break;
		if (c->p->nodes[at].kind == PROGRAM_CALL && c->p->nodes[at].next != PROGRAM_NONE)
			stack[depth++] = at;
	}
	c->f->depth = 0;
	while (depth--) {
		/* What is in the image is executed there, as a rule. */
		bool in_image = c->f->machine->place->nodes[stack[depth]].image != 0;
		follow_push(c->f, c->p->nodes[stack[depth]].next, in_image);
	}
	follow_start(c->f, node);
}

static uint32_t draw_arc(struct drawn *c, const struct program_node *node)
{
	const struct program_arc *arcs = c->p->arcs + node->first_arc;
	if (node->arc_count == 1)
		return arcs->to;
	uint32_t low = 0, high = node->arc_count - 1, value = (uint32_t)(random_next(&c->seed) >> 32);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (arcs[middle].below > value)
			high = middle;
		else
			low = middle + 1;
	}
	return arcs[low].to;
}

/* One node on; false when the course ends here. */
static bool go_on(struct drawn *c)
{
	const struct program *p = c->p;
	const struct program_node *node = &p->nodes[c->f->last];
	if (node->arc_count)
		follow_arc(c->f, draw_arc(c, node));
	else if ((node->flags & PROGRAM_UNKNOWN) && p->pool_count)
		follow_arc(c->f, start_at(p->pool, p->pool_count, random_below(&c->seed, p->pool[p->pool_count - 1].sum)));
	else if (node->kind == PROGRAM_CALL && node->next != PROGRAM_NONE)
		follow_over(c->f);
	else
		return follow_return(c->f);
	return true;
}

static void run_until(struct drawn *c, uint64_t insns)
{
	while (c->f->machine->insns < insns) {
		c->executed[c->f->last]++;
		/*
		 * The outermost function returned. That of a real program does so once, or is a thread that starts anew; here as a rule a gap in
		 * what is known of callers is to blame, so beginning at the functions without callers would show them far too often.
		 */
		if (!go_on(c))
			begin_episode(c, random_below(&c->seed, c->p->sum[c->p->node_count - 1]));
	}
}

static double deviation(const struct drawn *c)
{
	const struct program *p = c->p;
	double executed = 0, wanted = 0, difference = 0;
	for (uint32_t i = 0; i < p->node_count; i++) {
		executed += (double)c->executed[i] * p->nodes[i].insns;
		wanted += (double)p->executed[i] * p->nodes[i].insns;
	}
	for (uint32_t i = 0; i < p->node_count; i++) {
		double off = (double)c->executed[i] * p->nodes[i].insns / executed - (double)p->executed[i] * p->nodes[i].insns / wanted;
		difference += off < 0 ? -off : off;
	}
	return difference / 2;
}

static void run_episodes(struct drawn *c, const struct drawn_options *o, uint64_t episodes)
{
	struct machine *m = c->f->machine;
	uint64_t whole = c->p->sum[c->p->node_count - 1], part = whole / episodes;
	for (uint64_t i = 0; i < episodes; i++) {
		machine_pause(m);
		begin_episode(c, part * i + (part ? random_below(&c->seed, part) : 0));
		run_until(c, m->insns + c->episode / 3);
		machine_resume(m);
		run_until(c, m->insns + c->episode);
		if (o->progress)
			o->progress(o->context, i + 1, episodes);
	}
}

int drawn_run(const struct drawn_options *options, struct follow *f, struct drawn_result *ret_result, struct err *e)
{
	struct drawn c = {.p = f->program, .f = f, .seed = options->seed, .episode = options->episode * PROGRAM_INSN_UNIT};
	uint64_t episodes = options->instructions / options->episode;
	c.executed = calloc(c.p->node_count + (size_t)1, sizeof *c.executed);
	if (!c.executed)
		return err_set(e, ERR_MEMORY, "simulate: no memory for %u nodes", c.p->node_count);
	run_episodes(&c, options, episodes ? episodes : 1);
	*ret_result = (struct drawn_result){.episodes = episodes ? episodes : 1, .deviation = deviation(&c)};
	free(c.executed);
	return 0;
}
