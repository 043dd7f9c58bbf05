#include "profile/export/export.h"

#include "profile/export/sum.h"
#include "profile/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct export_fdata {
	const struct profile *sum;
	const struct functions *functions;
	uint32_t module;
	struct writer *w;
	struct export_result result;
};

static void put(struct writer *w, const char *text)
{
	write_bytes(w, text, strlen(text));
}

/* The function that holds a place of our module; NULL for any other place. */
static const struct function *function_of(const struct export_fdata *x, uint32_t module, uint64_t address)
{
	return module == x->module ? functions_at(x->functions, (vaddr){address}) : NULL;
}

static void put_place(struct export_fdata *x, const struct function *function, uint64_t address)
{
	char offset[32];
	if (!function) {
		put(x->w, "0 [unknown] 0");
		return;
	}
	put(x->w, "1 ");
	functions_put_name(function, true, x->w);
	snprintf(offset, sizeof offset, " %" PRIx64, address - function->start);
	put(x->w, offset);
}

static void put_line_end(struct export_fdata *x, const char *numbers, uint64_t weight)
{
	put(x->w, numbers);
	x->result.lines++;
	x->result.weight = tally_sum(x->result.weight, weight);
}

static void forget(uint32_t *module, uint64_t *address)
{
	*module = PROFILE_NO_MODULE;
	*address = 0;
}

/* What is not in one of the functions is one place, "unknown", wherever it is: then equal lines are one. */
static int join_unknown(struct export_fdata *x, struct profile *ret_joined, struct err *e)
{
	struct tally tally = {0};
	int status = 0;
	for (size_t i = 0; i < x->sum->edge_count && !status; i++) {
		struct profile_edge edge = x->sum->edges[i];
		bool ours = edge.from_module == x->module || edge.to_module == x->module;
		if (!ours || edge.kind == PROFILE_EDGE_RUN)
			continue;
		bool from = function_of(x, edge.from_module, edge.from), to = function_of(x, edge.to_module, edge.to);
		edge.kind = PROFILE_EDGE_JUMP;
		if (!from)
			forget(&edge.from_module, &edge.from);
		if (!to)
			forget(&edge.to_module, &edge.to);
		if (from || to)
			status = tally_add_edge(&tally, &edge, e);
		else
			x->result.outside = tally_sum(x->result.outside, edge.count);
	}
	if (!status)
		tally_finish(&tally, NULL, ret_joined);
	tally_free(&tally);
	return status;
}

static int put_edges(struct export_fdata *x, struct err *e)
{
	char numbers[64];
	struct profile joined = {0};
	int status = join_unknown(x, &joined, e);
	if (status)
		return status;
	for (size_t i = 0; i < joined.edge_count; i++) {
		const struct profile_edge *edge = &joined.edges[i];
		put_place(x, function_of(x, edge->from_module, edge->from), edge->from);
		put(x->w, " ");
		put_place(x, function_of(x, edge->to_module, edge->to), edge->to);
		snprintf(numbers, sizeof numbers, " %" PRIu64 " %" PRIu64 "\n", edge->mispredicted, edge->count);
		put_line_end(x, numbers, edge->count);
	}
	profile_free(&joined);
	return 0;
}

static void put_counts(struct export_fdata *x, const char *event)
{
	char numbers[32];
	put(x->w, "no_lbr ");
	for (const char *c = event; *c; c++)
		if (*c > ' ')
			write_u8(x->w, (uint8_t)*c);
	put(x->w, ":\n");
	for (size_t i = 0; i < x->sum->count_count; i++) {
		const struct profile_count *count = &x->sum->counts[i];
		const struct function *function = function_of(x, count->module, count->address);
		if (!function) {
			if (count->module == x->module)
				x->result.outside = tally_sum(x->result.outside, count->count);
			continue;
		}
		put_place(x, function, count->address);
		snprintf(numbers, sizeof numbers, " %" PRIu64 "\n", count->count);
		put_line_end(x, numbers, count->count);
	}
}

int export_fdata(const struct profile *p, const struct functions *functions, struct writer *w, struct export_result *ret_result,
		 struct err *e)
{
	struct profile sum;
	const struct module_identity *module = functions_module(functions);
	struct export_fdata x = {.sum = &sum, .functions = functions, .module = profile_find_module(p, module), .w = w};
	if (x.module == PROFILE_NO_MODULE)
		return err_set(e, ERR_MISMATCH, "the profile is of other files than %s", module->path);
	int status = sum_profile(p, &sum, e);
	if (status)
		return status;
	if (sum.edge_count)
		status = put_edges(&x, e);
	else
		put_counts(&x, p->info.event);
	profile_free(&sum);
	if (status)
		return status;
	*ret_result = x.result;
	return w->failed ? err_set(e, ERR_MEMORY, "no memory for the text") : 0;
}
