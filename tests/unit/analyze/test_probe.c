/*
 * Where a counting image counts, and what is worked out from it: random graphs are walked at random, the counters hold what they would, and
 * the completed counts must be what was walked.
 */
#include "analyze/emit/emit.h"
#include "analyze/emit/validate.h"
#include "analyze/layout/complete.h"
#include "tests/unit/analyze/coded_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BLOCKS (CODED_FUNCTIONS * CODED_BLOCKS)

/* A walk keeps to the rules of an image: what runs in the original is not counted, a patch leads into the image. */
struct walk {
	const struct map *map;
	uint64_t seed;
	bool there[BLOCKS], patched[BLOCKS], open[BLOCKS];   /* open: may be entered in the original by a table, uncounted */
	uint64_t block[BLOCKS], taken[BLOCKS], next[BLOCKS]; /* of the image */
};

static void look_at_plan(struct walk *w, const struct plan_module *p)
{
	for (uint32_t i = 0; i < p->run_count; i++)
		for (uint32_t b = 0; b < w->map->block_count; b++)
			w->there[b] |= p->runs[i].original_size &&
				       w->map->blocks[b].start < p->runs[i].original + p->runs[i].original_size &&
				       p->runs[i].original < w->map->blocks[b].start + w->map->blocks[b].size;
	for (uint32_t i = 0; i < p->patch_count; i++)
		w->patched[map_block_at(w->map, p->patches[i].at)] = true;
	for (uint32_t i = 0; i < w->map->table_target_count; i++)
		w->open[w->map->table_targets[i]] |= !w->patched[w->map->table_targets[i]];
}

/* Does the copy of `from` lead to the copy of `to`? Never into the middle of another function. */
static bool leads_inside(const struct walk *w, uint32_t from, uint32_t to)
{
	uint32_t f = map_function_of_block(w->map, from), g = map_function_of_block(w->map, to);
	return w->there[to] && (f == g || w->map->functions[g].first_block == to);
}

static void walk_once(struct walk *w, uint32_t block)
{
	bool inside = w->patched[block] && w->there[block];
	for (unsigned step = 0;; step++) {
		const struct map_block *b = &w->map->blocks[block];
		bool tired = step > 100, table = b->terminator == MAP_JUMP_INDIRECT;
		uint32_t to = b->taken;
		w->block[block] += inside;
		if (b->terminator == MAP_RETURN)
			return;
		if (table) {
			uint32_t t = 0;
			while (w->map->tables[t].block != block)
				t++;
			to = w->map->table_targets[w->map->tables[t].first + (tired ? 0 : random_below(&w->seed, 3))];
		} else if (b->next != MAP_NONE && (b->taken == MAP_NONE || tired || random_below(&w->seed, 3))) {
			to = b->next;
			w->next[block] += inside;
		} else {
			w->taken[block] += inside;
		}
		inside = inside && !table && leads_inside(w, block, to) ? true : w->patched[to] && w->there[to];
		block = to;
	}
}

static int by_address(const void *va, const void *vb)
{
	const struct profile_count *a = va, *b = vb;
	return a->address < b->address ? -1 : a->address > b->address;
}

static int by_ends(const void *va, const void *vb)
{
	const struct profile_edge *a = va, *b = vb;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	return a->to < b->to ? -1 : a->to > b->to;
}

struct readings {
	struct profile profile;
	struct module_identity module;
	struct profile_count counts[2 * BLOCKS];
	struct profile_edge edges[2 * BLOCKS];
};

/* What apply/count.c would write. */
static void read_counters(const struct walk *w, const struct plan_module *p, struct readings *r)
{
	memset(r, 0, sizeof *r);
	r->module = w->map->module;
	r->profile = (struct profile){
	    .info.source = PROFILE_EXACT, .modules = &r->module, .module_count = 1, .counts = r->counts, .edges = r->edges};
	for (uint32_t i = 0; i < p->counter_count; i++) {
		const struct plan_counter *c = &p->counters[i];
		uint32_t b = map_block_at(w->map, c->from);
		const struct map_block *block = &w->map->blocks[b];
		if (c->kind == PLAN_COUNTER_EDGE) {
			assert_int_equal(block->terminator, MAP_BRANCH);
			assert_int_equal(c->from, block->start + block->size - 6);
			bool next = w->map->blocks[block->next].start == c->to;
			assert_true(next || w->map->blocks[block->taken].start == c->to);
			uint64_t value = next ? w->next[b] : w->taken[b];
			if (value)
				r->edges[r->profile.edge_count++] = (struct profile_edge){
				    .from = CODED_VADDR + c->from, .to = CODED_VADDR + c->to, .count = value, .kind = PROFILE_EDGE_JUMP};
		} else if (c->kind != PLAN_COUNTER_TARGET && w->block[b]) {
			assert_int_equal(c->from, block->start);
			r->counts[r->profile.count_count++] =
			    (struct profile_count){CODED_VADDR + c->from, c->kind == PLAN_COUNTER_SEEN ? 1 : w->block[b], 0};
		}
	}
	if (r->profile.count_count)
		qsort(r->counts, r->profile.count_count, sizeof *r->counts, by_address);
	if (r->profile.edge_count)
		qsort(r->edges, r->profile.edge_count, sizeof *r->edges, by_ends);
}

static struct plan_module emit_counting(struct coded_map *c, uint64_t seed, unsigned keep, bool count_exits)
{
	struct layout layout = {.blocks = malloc((c->map.block_count + 1) * sizeof *layout.blocks)};
	struct emit_options options = emit_options_default();
	struct emit_report report;
	struct plan_module module;
	struct err e = {0};
	assert_non_null(layout.blocks);
	for (uint32_t b = 0; b < c->map.block_count; b++)
		if (!layout.count || random_below(&seed, 100) < keep)
			layout.blocks[layout.count++] = b;
	options.counting = !count_exits;
	options.count_exits = count_exits;
	options.reentry_everywhere = true;
	options.reentry_maximum = 1000;
	if (emit_module_with(&c->image, &c->map, NULL, &layout, &options, &module, &report, &e))
		fail_msg("%s", e.text);
	assert_int_equal(report.dropped_count, 0);
	emit_report_free(&report);
	layout_free(&layout);
	if (validate_module(&c->image, &module, &e))
		fail_msg("%s", e.text);
	return module;
}

struct outcome {
	unsigned graphs, guessed;
	unsigned ways, unsure; /* out of the image */
};

/* A branch that leaves the image is counted right, or known not to be. Blocks that a table leads to run in the original as well. */
static void compare_ways_out(const struct walk *w, const struct complete *c, struct outcome *o)
{
	for (uint32_t b = 0; b < w->map->block_count; b++) {
		const struct map_block *block = &w->map->blocks[b];
		for (unsigned next = 0; next < 2 && w->there[b] && block->terminator == MAP_BRANCH; next++) {
			if (leads_inside(w, b, next ? block->next : block->taken) || block->next == block->taken)
				continue;
			o->ways++;
			o->unsure += c->unsure[b] >> next & 1;
			if (!(c->unsure[b] >> next & 1))
				assert_int_equal(next ? c->next[b] : c->taken[b], next ? w->next[b] : w->taken[b]);
		}
	}
}

static void compare(const struct walk *w, const struct complete *c, uint64_t seed, const char *what)
{
	for (uint32_t b = 0; b < w->map->block_count; b++) {
		if (!w->there[b])
			continue;
		if (!w->open[b] && c->block[b] != w->block[b])
			fail_msg("%s, seed %lu: block %u ran %lu times, completed to %lu", what, (unsigned long)seed, b,
				 (unsigned long)w->block[b], (unsigned long)c->block[b]);
		uint8_t terminator = w->map->blocks[b].terminator;
		if ((terminator == MAP_BRANCH || terminator == MAP_JUMP) && c->taken[b] != w->taken[b])
			fail_msg("%s, seed %lu: branch of block %u taken %lu times, completed to %lu", what, (unsigned long)seed, b,
				 (unsigned long)w->taken[b], (unsigned long)c->taken[b]);
	}
}

/* What has a counter of its own is never guessed. */
static void compare_counted(const struct walk *w, const struct plan_module *p, const struct complete *c)
{
	for (uint32_t i = 0; i < p->counter_count; i++) {
		uint32_t b = map_block_at(w->map, p->counters[i].from);
		if (p->counters[i].kind == PLAN_COUNTER_BLOCK && !w->open[b])
			assert_int_equal(c->block[b], w->block[b]);
		if (p->counters[i].kind == PLAN_COUNTER_EDGE && w->map->blocks[w->map->blocks[b].next].start != p->counters[i].to)
			assert_int_equal(c->taken[b], w->taken[b]);
	}
}

/* One graph: emits, walks, completes. When nothing had to be guessed the result is exact. */
static void one_graph(struct outcome *o, uint64_t seed, enum coded_flags flags, bool parts, unsigned keep)
{
	static struct coded_map c;
	static struct walk w;
	static struct readings r;
	struct complete complete;
	struct err e = {0};
	coded_map_make(&c, seed, 1 + (uint32_t)(seed % (flags == CODED_MIXED ? 3 : CODED_FUNCTIONS)), flags, parts);
	struct plan_module plan = emit_counting(&c, seed, keep, keep < 70);
	memset(&w, 0, sizeof w);
	w.map = &c.map;
	w.seed = seed ^ 0x5555;
	look_at_plan(&w, &plan);
	for (unsigned i = 0; i < 300; i++)
		walk_once(&w, c.functions[random_below(&w.seed, c.map.function_count)].first_block);
	read_counters(&w, &plan, &r);
	if (complete_counts(&c.map, &plan, &r.profile, 0, &complete, &e))
		fail_msg("%s", e.text);
	if (!complete.guessed) {
		compare(&w, &complete, seed, flags == CODED_COUNTABLE ? "countable" : "mixed");
		assert_int_equal(complete.negative, 0);
	}
	compare_counted(&w, &plan, &complete);
	compare_ways_out(&w, &complete, o);
	o->graphs++;
	o->guessed += complete.guessed != 0;
	complete_free(&complete);
	plan_module_free(&plan);
}

static void countable_graphs_are_exact(void **state)
{
	(void)state;
	struct outcome o = {0};
	for (uint64_t seed = 1; seed <= 1000; seed++)
		one_graph(&o, seed, CODED_COUNTABLE, false, seed % 2 ? 100 : 70);
	assert_int_equal(o.guessed, 0);
}

static void split_functions_are_exact(void **state)
{
	(void)state;
	struct outcome o = {0};
	for (uint64_t seed = 1; seed <= 1000; seed++)
		one_graph(&o, seed, CODED_COUNTABLE, true, seed % 2 ? 100 : 70);
	assert_in_range(o.guessed, 0, 15); /* a branch with one way to the middle of a part, the other to its start */
}

static void live_flags_are_exact_or_guessed(void **state)
{
	(void)state;
	struct outcome o = {0};
	for (uint64_t seed = 1; seed <= 2000; seed++)
		one_graph(&o, seed, CODED_MIXED, seed % 2, seed % 3 ? 100 : 70);
	assert_in_range(o.guessed, 100, o.graphs - 500); /* both happen often enough to say something */
}

/* Images with much left out: nearly all ways out have counters of their own, whatever the flags. */
static void ways_out_are_exact(void **state)
{
	(void)state;
	struct outcome o = {0};
	for (uint64_t seed = 1; seed <= 500; seed++)
		one_graph(&o, seed, CODED_MIXED, seed % 2, 60);
	assert_in_range(o.ways, 1000, 1000000);
	assert_in_range(o.unsure, 1, o.ways / 20);
	o = (struct outcome){0};
	for (uint64_t seed = 1; seed <= 300; seed++)
		one_graph(&o, seed, CODED_COUNTABLE, seed % 2, 60);
	assert_int_equal(o.unsure, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(countable_graphs_are_exact),
	    cmocka_unit_test(split_functions_are_exact),
	    cmocka_unit_test(live_flags_are_exact_or_guessed),
	    cmocka_unit_test(ways_out_are_exact),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
