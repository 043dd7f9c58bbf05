/*
 * Where control goes from each node, who calls each function, and where walks begin.
 *
 * What callgrind leaves out is made up for: it books the instructions of a PLT stub on the caller (see count_stubs in program.c) and names the real
 * callee as the target of the call, so the arc from the stub on is made from the calls of its callers.
 */
#include "analyze/simulate/program_build.h"

#include <stdlib.h>
#include <string.h>

static uint32_t node_of_block(const struct program_build *b, uint16_t module, uint32_t block)
{
	return block == MAP_NONE ? PROGRAM_NONE : b->p->modules[module].node_of_block[block];
}

static int add_transfer(struct program_build *b, uint32_t from, uint32_t to, uint64_t count)
{
	if (!count || from == PROGRAM_NONE || to == PROGRAM_NONE)
		return 0;
	return vec_push(&b->transfers, (struct program_transfer){from, to, count}) ? program_no_memory(b->e) : 0;
}

static const struct map_call *call_of(const struct map *map, const struct program_node *node)
{
	uint32_t end = node->start + node->size, c = map_call_from(map, end > 15 ? end - 15 : 0);
	for (; c < map->call_count && map->calls[c].site < end; c++)
		if (map->calls[c].site >= node->start && map->calls[c].site + map->calls[c].size == end)
			return &map->calls[c];
	return NULL;
}

/* The PLT stub that the node's call or jump goes to, or PROGRAM_NONE. */
static uint32_t stub_of(const struct program_build *b, const struct program_node *node)
{
	const struct map *map = b->p->modules[node->module].map;
	const struct map_call *call = call_of(map, node);
	if (!call || (call->kind != MAP_CALL_IMPORT && call->kind != MAP_TAIL_IMPORT) || map->imports[call->target].stub == MAP_NONE)
		return PROGRAM_NONE;
	uint32_t block = map_block_at(map, map->imports[call->target].stub);
	return block == node->block ? PROGRAM_NONE : node_of_block(b, node->module, block);
}

/* The node whose end goes through an import to another module: the stub's last one, or the node itself. */
static uint32_t gate_of(const struct program_build *b, uint32_t node)
{
	uint32_t stub = stub_of(b, &b->nodes.data[node]);
	return stub == PROGRAM_NONE ? node : stub;
}

static bool wants_evidence(const struct program_node *node)
{
	return node->kind != PROGRAM_RETURN && (node->flags & PROGRAM_INDIRECT);
}

/* One transfer that the profile saw. Direct branches and calls are known better by map and flow. */
static int see_transfer(struct program_build *b, const struct profile_edge *edge)
{
	if (edge->from_module >= b->profile->module_count || edge->to_module >= b->profile->module_count)
		return 0;
	uint32_t from_module = b->module_of[edge->from_module], to_module = b->module_of[edge->to_module];
	if (from_module == PROGRAM_NONE || to_module == PROGRAM_NONE || edge->kind == PROFILE_EDGE_RETURN)
		return 0;
	bool starts = false, ignored;
	uint32_t from = program_node_at(b->p, from_module, edge->from, &ignored), to = program_node_at(b->p, to_module, edge->to, &starts);
	if (from == PROGRAM_NONE || to == PROGRAM_NONE || !starts)
		return 0;
	uint32_t gate = gate_of(b, from);
	if (gate != from && to == gate)
		return 0; /* the call of the stub */
	if (!wants_evidence(&b->nodes.data[gate]))
		return 0;
	b->seen[gate] = 1;
	return add_transfer(b, gate, to, edge->count);
}

static int see_edges(struct program_build *b)
{
	int status = 0;
	const struct profile *p = b->profile;
	for (size_t i = 0; i < p->edge_count && !status; i++)
		status = see_transfer(b, &p->edges[i]);
	for (size_t i = 0; i < p->branch_count && !status; i++) {
		const struct profile_branch *x = &p->branches[i];
		status = see_transfer(b, &(struct profile_edge){x->from, x->to, 1, 0, x->from_module, x->to_module, PROFILE_EDGE_JUMP});
	}
	return status;
}

/* The first node of an exported function of another module with this name. */
static uint32_t exported(const struct program_build *b, const char *name)
{
	for (uint32_t m = 0; *name && m < b->p->module_count; m++) {
		const struct map *map = b->p->modules[m].map;
		for (uint32_t f = 0; f < map->function_count; f++) {
			const char *other = map_function_name(map, f);
			if (other && !strcmp(other, name) && map->functions[f].block_count)
				return node_of_block(b, (uint16_t)m, map->functions[f].first_block);
		}
	}
	return PROGRAM_NONE;
}

/* Where the map alone says that an indirect transfer goes: table targets, an import by name. */
static int guess_indirect(struct program_build *b, uint32_t i)
{
	const struct program_node *node = &b->nodes.data[i];
	const struct program_module *m = &b->p->modules[node->module];
	const struct map *map = m->map;
	const struct map_call *call = call_of(map, node);
	int status = 0;
	if (call && (call->kind == MAP_CALL_IMPORT || call->kind == MAP_TAIL_IMPORT) && map->imports[call->target].name)
		return add_transfer(b, i, exported(b, map->strings + map->imports[call->target].name), b->p->executed[i]);
	for (uint32_t k = 0; k < map->import_count && !call; k++)
		if (map->imports[k].stub != MAP_NONE && map_block_at(map, map->imports[k].stub) == node->block)
			return add_transfer(b, i, exported(b, map->strings + map->imports[k].name), b->p->executed[i]);
	for (uint32_t t = 0; t < map->table_count && !call; t++)
		for (uint32_t k = 0; map->tables[t].block == node->block && k < map->tables[t].count && !status; k++)
			status = add_transfer(b, i, node_of_block(b, node->module, map->table_targets[map->tables[t].first + k]),
					      m->flow.table[map->tables[t].first + k]);
	return status;
}

static int add_call_arc(struct program_build *b, uint32_t i)
{
	const struct program_node *node = &b->nodes.data[i];
	const struct map *map = b->p->modules[node->module].map;
	const struct map_call *call = call_of(map, node);
	uint64_t count = b->p->modules[node->module].flow.block[node->block];
	uint32_t block = call && call->kind == MAP_CALL_DIRECT ? map_block_at(map, call->target) : MAP_NONE;
	if (block == MAP_NONE || map->blocks[block].start != call->target)
		return 0;
	return add_transfer(b, i, node_of_block(b, node->module, block), count);
}

/* The ways on that map and flow know. */
static int add_flow_arcs(struct program_build *b, uint32_t i)
{
	const struct program_node *node = &b->nodes.data[i];
	const struct program_module *m = &b->p->modules[node->module];
	const struct map_block *block = &m->map->blocks[node->block];
	int status = add_transfer(b, i, node_of_block(b, node->module, block->taken), m->flow.taken[node->block]);
	return status ? status : add_transfer(b, i, node_of_block(b, node->module, block->next), m->flow.next[node->block]);
}

static int add_arcs_of(struct program_build *b, uint32_t i)
{
	struct program_node *node = &b->nodes.data[i];
	if (node->kind == PROGRAM_RETURN)
		return 0;
	uint32_t stub = stub_of(b, node);
	if (stub != PROGRAM_NONE)
		return add_transfer(b, i, stub, b->p->executed[i]);
	if (b->seen[i])
		return 0;
	if (node->flags & PROGRAM_INDIRECT)
		return guess_indirect(b, i);
	return node->kind == PROGRAM_CALL ? add_call_arc(b, i) : add_flow_arcs(b, i);
}

static int compare_transfers(const void *va, const void *vb)
{
	const struct program_transfer *a = va, *b = vb;
	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	return a->to < b->to ? -1 : a->to > b->to;
}

/* Sums equal ones and lays them out by node. */
static int make_arcs(struct program_build *b)
{
	struct program *p = b->p;
	if (b->transfers.count)
		qsort(b->transfers.data, b->transfers.count, sizeof *b->transfers.data, compare_transfers);
	p->arcs = calloc(b->transfers.count + 1, sizeof *p->arcs);
	if (!p->arcs)
		return program_no_memory(b->e);
	for (size_t i = 0; i < b->transfers.count; i++) {
		const struct program_transfer *t = &b->transfers.data[i];
		struct program_node *node = &p->nodes[t->from];
		if (i && t[-1].from == t->from && t[-1].to == t->to) {
			p->arcs[p->arc_count - 1].count += t->count;
		} else {
			if (!node->arc_count)
				node->first_arc = p->arc_count;
			node->arc_count++;
			p->arcs[p->arc_count++] = (struct program_arc){.to = t->to, .count = t->count};
		}
		b->arrived[t->to] += t->count;
	}
	return 0;
}

static void set_shares(struct program *p)
{
	for (uint32_t i = 0; i < p->node_count; i++) {
		struct program_node *node = &p->nodes[i];
		struct program_arc *arcs = p->arcs + node->first_arc;
		double total = 0, sum = 0;
		for (uint32_t k = 0; k < node->arc_count; k++)
			total += (double)arcs[k].count;
		for (uint32_t k = 0; k < node->arc_count; k++) {
			sum += (double)arcs[k].count;
			arcs[k].below = k + 1 == node->arc_count ? UINT32_MAX : (uint32_t)(sum / total * 4294967295.0);
		}
		if (!node->arc_count && (node->flags & PROGRAM_INDIRECT))
			node->flags |= PROGRAM_UNKNOWN;
	}
}

/* --- where walks begin, and who called --- */

static bool is_entry(const struct program *p, uint32_t node)
{
	return (p->nodes[node].flags & PROGRAM_ENTRY) &&
	       p->nodes[node].function == map_function_of_block(p->modules[p->nodes[node].module].map, p->nodes[node].block);
}

static int make_pool(struct program_build *b)
{
	struct program *p = b->p;
	uint64_t sum = 0;
	p->pool = calloc(p->node_count + (size_t)1, sizeof *p->pool);
	if (!p->pool)
		return program_no_memory(b->e);
	for (uint32_t i = 0; i < p->node_count; i++)
		if (is_entry(p, i) && p->executed[i] > b->arrived[i]) {
			sum += p->executed[i] - b->arrived[i];
			p->pool[p->pool_count++] = (struct program_start){i, p->executed[i] - b->arrived[i], sum};
		}
	return 0;
}

static bool arrives_from_outside(const struct program *p, uint32_t from, uint32_t to)
{
	const struct program_node *a = &p->nodes[from], *b = &p->nodes[to];
	return is_entry(p, to) && (a->kind == PROGRAM_CALL || a->module != b->module || a->function != b->function);
}

static int make_callers(struct program_build *b)
{
	struct program *p = b->p;
	p->caller_first = calloc(p->node_count + (size_t)2, sizeof *p->caller_first);
	p->callers = calloc(p->arc_count + (size_t)1, sizeof *p->callers);
	if (!p->caller_first || !p->callers)
		return program_no_memory(b->e);
	for (uint32_t i = 0; i < p->node_count; i++)
		for (uint32_t k = 0; k < p->nodes[i].arc_count; k++) {
			uint32_t to = p->arcs[p->nodes[i].first_arc + k].to;
			p->caller_first[to + 2] += arrives_from_outside(p, i, to);
		}
	for (uint32_t i = 0; i < p->node_count; i++)
		p->caller_first[i + 2] += p->caller_first[i + 1];
	for (uint32_t i = 0; i < p->node_count; i++)
		for (uint32_t k = 0; k < p->nodes[i].arc_count; k++) {
			const struct program_arc *arc = &p->arcs[p->nodes[i].first_arc + k];
			if (arrives_from_outside(p, i, arc->to))
				p->callers[p->caller_first[arc->to + 1]++] = (struct program_start){i, arc->count, 0};
		}
	for (uint32_t i = 0; i < p->node_count; i++)
		for (uint32_t k = p->caller_first[i]; k < p->caller_first[i + 1]; k++)
			p->callers[k].sum = p->callers[k].count + (k > p->caller_first[i] ? p->callers[k - 1].sum : 0);
	return 0;
}

static int make_sums(struct program_build *b)
{
	struct program *p = b->p;
	p->executed = calloc(p->node_count + (size_t)1, sizeof *p->executed);
	p->sum = calloc(p->node_count + (size_t)1, sizeof *p->sum);
	if (!p->executed || !p->sum)
		return program_no_memory(b->e);
	double scale = 1, total = 0;
	for (int pass = 0; pass < 2; pass++) {
		uint64_t sum = 0;
		for (uint32_t i = 0; i < p->node_count; i++) {
			p->executed[i] = p->modules[p->nodes[i].module].flow.block[p->nodes[i].block];
			double work = (double)p->executed[i] * p->nodes[i].insns;
			total += pass ? 0 : work;
			sum += (uint64_t)(work * scale);
			p->sum[i] = sum;
		}
		/* Flows from samples are in units of their own: keep the sums far from overflow. */
		scale = total > 1e18 ? 1e18 / total : 1;
		if (scale == 1)
			break;
	}
	return p->node_count && p->sum[p->node_count - 1] ? 0
							  : err_set(b->e, ERR_NO, "nothing of the profile lies in the code of these maps");
}

int program_build_arcs(struct program_build *b)
{
	struct program *p = b->p;
	int status = make_sums(b);
	b->seen = calloc(p->node_count + (size_t)1, sizeof *b->seen);
	b->arrived = calloc(p->node_count + (size_t)1, sizeof *b->arrived);
	if (!status && (!b->seen || !b->arrived))
		status = program_no_memory(b->e);
	if (!status)
		status = see_edges(b);
	for (uint32_t i = 0; i < p->node_count && !status; i++)
		status = add_arcs_of(b, i);
	if (!status)
		status = make_arcs(b);
	if (status)
		return status;
	set_shares(p);
	status = make_callers(b);
	return status ? status : make_pool(b);
}
