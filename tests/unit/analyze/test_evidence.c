/* evidence: a merged profile says the same as what was merged: counted samples, edges and runs, and one module under two identities. */
#include "tests/unit/analyze/random_map.h"

#include "analyze/layout/evidence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLES = 300, DEPTH = 6 };

static uint64_t some_address(struct random_map *r)
{
	const struct map_block *b = &r->map.blocks[random_below(&r->seed, r->map.block_count)];
	return r->map.text_base + b->start + (random_below(&r->seed, 3) ? 0 : b->size - 1);
}

static struct evidence gathered(const struct random_map *r, const struct profile *p)
{
	struct evidence ev;
	struct err e = {0};
	if (evidence_gather(&ev, &r->map, p, 0, &e))
		fail_msg("%s", e.text);
	return ev;
}

static void assert_same_evidence(const struct map *m, struct evidence a, struct evidence b)
{
	size_t size = m->block_count * sizeof *a.weight;
	assert_int_equal(a.kind, b.kind);
	assert_int_equal(a.total, b.total);
	assert_memory_equal(a.weight, b.weight, size);
	assert_memory_equal(a.count, b.count, size);
	assert_memory_equal(a.taken, b.taken, size);
	assert_memory_equal(a.next, b.next, size);
	assert_memory_equal(a.table, b.table, m->table_target_count * sizeof *a.table);
	assert_int_equal(a.arc_count, b.arc_count);
	evidence_free(&a);
	evidence_free(&b);
}

/* Both are the map's module: one with all of its identity, one whose size is not known. */
static void two_identities(const struct map *m, struct module_identity modules[2])
{
	modules[0] = modules[1] = m->module;
	modules[1].file_size = 0;
	assert_true(module_same(&modules[1], &m->module));
}

static void counted_branch_stacks_are_branch_stacks(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct random_map r;
		struct module_identity modules[2];
		struct profile_sample samples[SAMPLES] = {0};
		struct profile_branch branches[SAMPLES * DEPTH] = {0};
		struct profile_count counts[SAMPLES] = {0};
		struct profile_edge edges[2 * SAMPLES * DEPTH] = {0};
		size_t edge_count = 0;
		random_map_make(&r, seed, 3, 20);
		two_identities(&r.map, modules);
		for (uint32_t i = 0; i < SAMPLES; i++) {
			uint32_t module = i % 2;
			samples[i] = (struct profile_sample){.address = some_address(&r), .first_branch = i * DEPTH, .branch_count = DEPTH};
			counts[i] = (struct profile_count){samples[i].address, 1, module};
			for (uint32_t k = 0; k < DEPTH; k++) {
				struct profile_branch *b = &branches[i * DEPTH + k];
				*b = (struct profile_branch){some_address(&r), some_address(&r), 0, 0, 0};
				edges[edge_count++] = (struct profile_edge){b->from, b->to, 1, 0, module, module, PROFILE_EDGE_JUMP};
				if (k)
					edges[edge_count++] =
					    (struct profile_edge){b->to, b[-1].from, 1, 0, module, module, PROFILE_EDGE_RUN};
			}
		}
		struct profile single = {.info.source = PROFILE_BRANCH_STACKS, .modules = modules, .module_count = 1};
		struct profile sum = {.info.source = PROFILE_BRANCH_STACKS, .modules = modules, .module_count = 2};
		single.samples = samples;
		single.sample_count = sum.count_count = SAMPLES;
		single.branches = branches;
		single.branch_count = SAMPLES * DEPTH;
		sum.counts = counts;
		sum.edges = edges;
		sum.edge_count = edge_count;
		struct evidence a = gathered(&r, &single), b = gathered(&r, &sum);
		assert_int_equal(a.kind, EVIDENCE_BRANCHES);
		assert_same_evidence(&r.map, a, b);
		map_free(&r.map);
	}
}

static void counted_samples_are_samples(void **state)
{
	(void)state;
	struct random_map r;
	struct module_identity modules[2];
	struct profile_sample samples[SAMPLES] = {0};
	struct profile_count counts[SAMPLES] = {0};
	random_map_make(&r, 5, 3, 20);
	two_identities(&r.map, modules);
	for (uint32_t i = 0; i < SAMPLES; i++) {
		samples[i].address = counts[i].address = some_address(&r);
		counts[i].count = 1;
		counts[i].module = i % 2;
	}
	struct profile single = {.info.source = PROFILE_CLOCK, .modules = modules, .module_count = 1};
	struct profile sum = {.info.source = PROFILE_CLOCK, .modules = modules, .module_count = 2};
	single.samples = samples;
	single.sample_count = sum.count_count = SAMPLES;
	sum.counts = counts;
	struct evidence a = gathered(&r, &single), b = gathered(&r, &sum);
	assert_int_equal(a.kind, EVIDENCE_SAMPLES);
	assert_same_evidence(&r.map, a, b);
	map_free(&r.map);
}

/* Executions of one block, seen through two identities, add up; within each the lesser of the first two instructions counts. */
static void exact_counts_of_two_identities_add_up(void **state)
{
	(void)state;
	struct random_map r;
	struct module_identity modules[2];
	random_map_make(&r, 6, 2, 10);
	two_identities(&r.map, modules);
	uint64_t at = r.map.text_base + r.map.blocks[1].start;
	struct profile_count counts[] = {{at, 40, 0}, {at + 1, 30, 0}, {at, 7, 1}, {at + 1, 9, 1}};
	struct profile p = {.info.source = PROFILE_EXACT, .modules = modules, .module_count = 2, .counts = counts, .count_count = 4};
	struct evidence ev = gathered(&r, &p);
	assert_int_equal(ev.count[1], 30 + 7);
	assert_int_equal(ev.weight[1], 86);
	evidence_free(&ev);
	map_free(&r.map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(counted_branch_stacks_are_branch_stacks),
	    cmocka_unit_test(counted_samples_are_samples),
	    cmocka_unit_test(exact_counts_of_two_identities_add_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
