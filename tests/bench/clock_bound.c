/*
 * clock_bound MAP EXACT SAMPLES: how near any inference could come to exact counts from clock samples of the same work.
 *
 * Prints two overlaps with the weights of EXACT, an exact profile (callgrind's), of what is left when most is not inferred but told:
 *   1. told how often each block of a function runs for each of its calls, that is all inside of functions. From SAMPLES comes how much runs in
 *      each function;
 *   2. told also how often each call of a function of the same module is made for each call of its caller, and which functions are entered
 *      otherwise: by pointers, from other modules. From SAMPLES comes only how often that happens. The most likely rates are found by
 *      expectation maximisation (Shepp and Vardi 1982), which for samples that follow from rates linearly gets to the global maximum.
 * A clock says where time goes. That it goes to instructions in equal parts is what all inference from samples relies on, and these two have nothing else
 * to rely on. A real inference must find out the rest too.
 */
#include "analyze/layout/callgraph.h"
#include "analyze/layout/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 2000
#define NONE UINT32_MAX
#define LEAST_SHARE 0.01 /* of a function's calls that must come from elsewhere, or it counts as called by the module alone */

/* All by the number of a function that ran, [count]. */
struct bound {
	uint32_t count;
	uint32_t *number;     /* [function_count] or NONE */
	double *calls;	      /* executions of the first block; 1 where that was not seen */
	double *instructions; /* executed */
	double *samples;
	double *ratio; /* [count * count] of row * count + column: calls of the column for each call of the row; then its (1 - ratio)^-1 */
	double *outside; /* calls from elsewhere */
};

static void *zeros(size_t count)
{
	void *p = calloc(count + 1, sizeof(double));
	if (!p) {
		fputs("clock_bound: no memory\n", stderr);
		exit(71);
	}
	return p;
}

static void add_call(struct bound *b, const struct cfg_index *x, uint32_t block, uint32_t callee, uint64_t count)
{
	uint32_t from = b->number[cfg_group_of_block(x, block)], to = b->number[x->group_of_function[callee]];
	if (from != NONE && to != NONE && count)
		b->ratio[(size_t)from * b->count + to] += (double)count / b->calls[from];
}

static uint32_t named(const struct map *map, const char *name)
{
	for (uint32_t f = 0; *name && f < map->function_count; f++)
		if (map->functions[f].block_count && map_function_name(map, f) && !strcmp(map_function_name(map, f), name))
			return f;
	return NONE;
}

static void add_calls(struct bound *b, const struct map *map, const struct cfg_index *x, const struct callgraph *graph,
		      const struct flow *flow)
{
	for (uint32_t i = 0; i < graph->site_count; i++) {
		const struct callgraph_site *s = &graph->sites[i];
		add_call(b, x, s->block, s->callee, s->call == MAP_NONE ? flow->taken[s->block] : flow->block[s->block]);
	}
	/* A library calls its own functions through its linkage table: by name, so an inference could know. */
	for (uint32_t i = 0; i < map->call_count; i++) {
		const struct map_call *call = &map->calls[i];
		if (call->kind != MAP_CALL_IMPORT && call->kind != MAP_TAIL_IMPORT)
			continue;
		uint32_t callee = flow->block[call->block] ? named(map, map->strings + map->imports[call->target].name) : NONE;
		if (callee != NONE)
			add_call(b, x, call->block, callee, flow->block[call->block]);
	}
}

static void gather(struct bound *b, const struct map *map, const struct cfg_index *x, const struct flow *exact, const struct flow *sampled)
{
	double *executed = zeros(map->function_count), *seen = zeros(map->function_count);
	for (uint32_t k = 0; k < map->block_count; k++) {
		executed[cfg_group_of_block(x, k)] += (double)exact->sampled[k];
		seen[cfg_group_of_block(x, k)] += (double)sampled->sampled[k];
	}
	b->number = zeros(map->function_count);
	for (uint32_t g = 0; g < map->function_count; g++)
		b->number[g] = executed[g] > 0 ? b->count++ : NONE;
	b->calls = zeros(b->count);
	b->instructions = zeros(b->count);
	b->samples = zeros(b->count);
	b->outside = zeros(b->count);
	b->ratio = zeros((size_t)b->count * b->count);
	for (uint32_t g = 0; g < map->function_count; g++) {
		uint32_t n = b->number[g];
		if (n == NONE)
			continue;
		uint64_t calls = exact->block[map->functions[g].first_block];
		b->calls[n] = calls ? (double)calls : 1;
		b->instructions[n] = executed[g];
		b->samples[n] = seen[g];
	}
	free(executed);
	free(seen);
}

/* Calls from elsewhere are what the module's own calls do not explain. */
static void find_outside(struct bound *b)
{
	for (uint32_t to = 0; to < b->count; to++) {
		double known = 0;
		for (uint32_t from = 0; from < b->count; from++)
			known += b->calls[from] * b->ratio[(size_t)from * b->count + to];
		b->outside[to] = b->calls[to] - known;
		if (b->outside[to] < LEAST_SHARE * b->calls[to])
			b->outside[to] = 0;
	}
}

static void add_row(double *to, const double *from, double factor, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		to[i] += factor * from[i];
}

/* ratio becomes (1 - ratio)^-1, whose rows say how often each function is called, by whatever chain of calls, for each call of the row's from
   elsewhere. Gauss and Jordan without pivoting: the diagonal is 1 less what recursion takes, and stays above 0. */
static void close_calls(struct bound *b)
{
	uint32_t n = b->count;
	double *inverse = zeros((size_t)n * n);
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < n; k++)
			b->ratio[(size_t)i * n + k] *= -0.999999; /* rounding must not close a cycle */
		b->ratio[(size_t)i * n + i] += 1;
		inverse[(size_t)i * n + i] = 1;
	}
	for (uint32_t i = 0; i < n; i++) {
		double *row = b->ratio + (size_t)i * n, scale = 1 / row[i];
		for (uint32_t k = 0; k < n; k++) {
			row[k] *= scale;
			inverse[(size_t)i * n + k] *= scale;
		}
		for (uint32_t other = 0; other < n; other++) {
			double factor = b->ratio[(size_t)other * n + i];
			if (other == i || factor == 0)
				continue;
			add_row(b->ratio + (size_t)other * n, row, -factor, n);
			add_row(inverse + (size_t)other * n, inverse + (size_t)i * n, -factor, n);
		}
	}
	free(b->ratio);
	b->ratio = inverse;
}

static double share_in_common(const double *a, const double *b, uint32_t count)
{
	double sum_a = 0, sum_b = 0, common = 0;
	for (uint32_t i = 0; i < count; i++) {
		sum_a += a[i];
		sum_b += b[i];
	}
	for (uint32_t i = 0; i < count; i++)
		common += a[i] / sum_a < b[i] / sum_b ? a[i] / sum_a : b[i] / sum_b;
	return common;
}

/* What is expected of each function at these rates. */
static void expect(const struct bound *b, const double *rate, double *ret_weight)
{
	for (uint32_t i = 0; i < b->count; i++)
		ret_weight[i] = 0;
	for (uint32_t i = 0; i < b->count; i++)
		if (rate[i] > 0)
			add_row(ret_weight, b->ratio + (size_t)i * b->count, rate[i], b->count);
	for (uint32_t i = 0; i < b->count; i++)
		ret_weight[i] *= b->instructions[i] / b->calls[i];
}

static double most_likely(struct bound *b)
{
	double *rate = zeros(b->count), *weight = zeros(b->count);
	for (uint32_t i = 0; i < b->count; i++)
		rate[i] = b->outside[i] > 0; /* all the same: their true rates are not told */
	for (int round = 0; round < ROUNDS; round++) {
		expect(b, rate, weight);
		for (uint32_t i = 0; i < b->count; i++) {
			if (!(rate[i] > 0))
				continue;
			double sum = 0, all = 0;
			for (uint32_t k = 0; k < b->count; k++) {
				double per_call = b->ratio[(size_t)i * b->count + k] * b->instructions[k] / b->calls[k];
				all += per_call;
				if (weight[k] > 0)
					sum += per_call * b->samples[k] / weight[k];
			}
			rate[i] *= all > 0 ? sum / all : 0;
		}
	}
	expect(b, rate, weight);
	double common = share_in_common(b->instructions, weight, b->count);
	free(rate);
	free(weight);
	return common;
}

static int infer(const char *path, const struct map *map, struct flow *ret_flow, struct err *e)
{
	struct profile profile;
	int status = profile_read(path, &profile, e);
	if (status)
		return status;
	status = flow_infer(map, &profile, profile_find_module(&profile, &map->module), ret_flow, e);
	profile_free(&profile);
	return status;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	struct map map = {0};
	struct flow exact = {0}, sampled = {0};
	struct cfg_index index = {0};
	struct callgraph graph = {0};
	if (argc != 4) {
		fputs("usage: clock_bound MAP EXACT SAMPLES\n", stderr);
		return 64;
	}
	int status = map_read(argv[1], &map, &e);
	if (!status)
		status = infer(argv[2], &map, &exact, &e);
	if (!status)
		status = infer(argv[3], &map, &sampled, &e);
	if (!status)
		status = cfg_index_init(&index, &map, &e);
	if (!status)
		status = callgraph_init(&graph, &index, &e);
	if (!status) {
		struct bound b = {0};
		gather(&b, &map, &index, &exact, &sampled);
		double inside_told = share_in_common(b.instructions, b.samples, b.count);
		add_calls(&b, &map, &index, &graph, &exact);
		find_outside(&b);
		close_calls(&b);
		printf("%.4f %.4f\n", inside_told, most_likely(&b));
		free(b.number);
		free(b.calls);
		free(b.instructions);
		free(b.samples);
		free(b.ratio);
		free(b.outside);
	} else {
		fprintf(stderr, "clock_bound: %s\n", e.text);
	}
	callgraph_free(&graph);
	cfg_index_free(&index);
	flow_free(&exact);
	flow_free(&sampled);
	map_free(&map);
	return status ? 1 : 0;
}
