/* Nodes: the blocks of all maps, cut behind their calls. The arcs between them are in program_arcs.c. */
#include "analyze/simulate/program_build.h"

#include <stdlib.h>
#include <string.h>

int program_no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "simulate: no memory for the control flow of the profile");
}

static uint64_t insns_of_block(const struct program_module *m, const struct profile *profile, uint32_t b)
{
	const struct map_block *block = &m->map->blocks[b];
	uint64_t listed = (uint64_t)(block->insns ? block->insns : 1) * PROGRAM_INSN_UNIT;
	if (!profile || profile->info.source != PROFILE_EXACT || !profile->count_count)
		return listed;
	/* Executed instructions over executions: more than listed where string instructions repeat. */
	if (!m->flow.sampled[b])
		return 0; /* booked on the caller, see count_stubs */
	double measured = (double)m->flow.sampled[b] / (double)m->flow.block[b] * PROGRAM_INSN_UNIT;
	return measured > (double)listed ? (uint64_t)(measured < 1e9 ? measured : 1e9) : listed;
}

static uint32_t root_function(const struct map *map, uint32_t function)
{
	return map->functions[function].parent < map->function_count ? map->functions[function].parent : function;
}

static int add_node(struct program_build *b, struct program_node node)
{
	if (b->nodes.count >= PROGRAM_NONE - 1 || vec_push(&b->nodes, node))
		return program_no_memory(b->e);
	return 0;
}

static uint8_t kind_of_end(const struct map_block *block)
{
	if (block->terminator == MAP_RETURN || block->terminator == MAP_STOP)
		return PROGRAM_RETURN;
	return PROGRAM_FLOW;
}

/* Cuts block `index` behind its calls. */
static int add_block(struct program_build *b, uint16_t module, uint32_t function, uint32_t index)
{
	struct program_module *m = &b->p->modules[module];
	const struct map *map = m->map;
	const struct map_block *block = &map->blocks[index];
	uint32_t at = block->start, end = block->start + block->size;
	uint64_t insns = insns_of_block(m, b->profile, index), given = 0;
	bool is_tail = false;
	m->node_of_block[index] = (uint32_t)b->nodes.count;
	struct program_node node = {.next = PROGRAM_NONE, .block = index, .module = module, .function = root_function(map, function)};
	node.flags = PROGRAM_FIRST | (block->flags & MAP_BLOCK_ENTRY ? PROGRAM_ENTRY : 0);
	for (uint32_t c = map_call_from(map, at); c < map->call_count && map->calls[c].site < end; c++) {
		const struct map_call *call = &map->calls[c];
		if (call->kind == MAP_TAIL_IMPORT) {
			is_tail = true;
			continue;
		}
		node.start = at;
		node.size = call->site + call->size - at;
		node.insns = (uint32_t)(insns * node.size / block->size);
		node.kind = PROGRAM_CALL;
		at += node.size;
		given += node.insns;
		bool returns = at < end || block->terminator == MAP_FALLS;
		node.next = at < end ? (uint32_t)b->nodes.count + 1 : returns ? PROGRAM_NONE - 1 : PROGRAM_NONE;
		node.flags = (uint8_t)(node.flags | (call->kind == MAP_CALL_DIRECT ? 0 : PROGRAM_INDIRECT));
		int status = add_node(b, node);
		if (status)
			return status;
		node.flags = 0;
		node.next = PROGRAM_NONE;
	}
	if (at == end)
		return 0;
	node.start = at;
	node.size = end - at;
	node.insns = (uint32_t)(insns - given);
	node.kind = kind_of_end(block);
	if (block->terminator == MAP_JUMP_INDIRECT || is_tail)
		node.flags |= PROGRAM_INDIRECT;
	return add_node(b, node);
}

static void mark_stubs(struct program_build *b)
{
	for (uint32_t k = 0; k < b->p->module_count; k++) {
		const struct program_module *m = &b->p->modules[k];
		for (uint32_t i = 0; i < m->map->import_count; i++) {
			uint32_t stub = m->map->imports[i].stub, block = stub == MAP_NONE ? MAP_NONE : map_block_at(m->map, stub);
			if (block != MAP_NONE && m->node_of_block[block] != PROGRAM_NONE)
				b->nodes.data[m->node_of_block[block]].flags |= PROGRAM_STUB;
		}
	}
}

/* A call that ends its block returns to the block after it, whose node comes later. */
static void resolve_next(struct program_build *b)
{
	for (size_t i = 0; i < b->nodes.count; i++) {
		struct program_node *node = &b->nodes.data[i];
		const struct program_module *m = &b->p->modules[node->module];
		if (node->next == PROGRAM_NONE - 1) {
			uint32_t next = m->map->blocks[node->block].next;
			node->next = next == MAP_NONE ? PROGRAM_NONE : m->node_of_block[next];
		}
	}
}

/* callgrind books what a PLT stub executes on its caller (--skip-plt=yes), so that the stub seems not to run. */
static void count_stubs(struct program_module *m)
{
	const struct map *map = m->map;
	for (uint32_t c = 0; c < map->call_count; c++) {
		const struct map_call *call = &map->calls[c];
		bool imports = call->kind == MAP_CALL_IMPORT || call->kind == MAP_TAIL_IMPORT;
		uint32_t block =
		    imports && map->imports[call->target].stub != MAP_NONE ? map_block_at(map, map->imports[call->target].stub) : MAP_NONE;
		if (block == MAP_NONE || block == call->block || m->flow.sampled[block])
			continue;
		if (map->blocks[call->block].insns == 1)
			m->flow.block[call->block] /= 1 + map->blocks[block].insns;
		m->flow.block[block] += m->flow.block[call->block];
	}
}

/* Without a profile all blocks. */
static bool is_wanted(const struct program_module *m, uint32_t block)
{
	return m->map->blocks[block].size && (!m->flow.block || m->flow.block[block]);
}

static int add_module_nodes(struct program_build *b, uint16_t module)
{
	struct program_module *m = &b->p->modules[module];
	const struct map *map = m->map;
	m->node_of_block = malloc((map->block_count + (size_t)1) * sizeof *m->node_of_block);
	if (!m->node_of_block)
		return program_no_memory(b->e);
	memset(m->node_of_block, 0xff, map->block_count * sizeof *m->node_of_block);
	if (b->profile && m->profile_index == PROFILE_NO_MODULE)
		return 0;
	int status = b->profile ? flow_infer(map, b->profile, m->profile_index, &m->flow, b->e) : 0;
	if (b->profile && !status)
		count_stubs(m);
	for (uint32_t f = 0; f < map->function_count && !status; f++)
		for (uint32_t k = 0; k < map->functions[f].block_count && !status; k++)
			if (is_wanted(m, map->functions[f].first_block + k))
				status = add_block(b, module, f, map->functions[f].first_block + k);
	if (!status)
		m->weight = m->flow.sampled_total;
	return status;
}

uint32_t program_node_at(const struct program *p, uint32_t module, uint64_t address, bool *ret_is_start)
{
	const struct program_module *m = &p->modules[module];
	uint32_t offset = map_offset(m->map, (vaddr){address}), block = offset == MAP_NONE ? MAP_NONE : map_block_at(m->map, offset);
	uint32_t node = block == MAP_NONE ? PROGRAM_NONE : m->node_of_block[block];
	if (node == PROGRAM_NONE)
		return node;
	while (node + 1 < p->node_count && offset >= p->nodes[node].start + p->nodes[node].size)
		node++;
	*ret_is_start = p->nodes[node].start == offset;
	return node;
}

static int find_modules(struct program_build *b, const struct map *maps)
{
	struct program *p = b->p;
	for (size_t i = 0; b->profile && i < b->profile->module_count; i++)
		b->module_of[i] = PROGRAM_NONE;
	for (uint32_t m = 0; m < p->module_count; m++) {
		p->modules[m].map = &maps[m];
		p->modules[m].profile_index = b->profile ? profile_find_module(b->profile, &maps[m].module) : PROFILE_NO_MODULE;
		for (uint32_t k = 0; k < m; k++)
			if (module_same(&maps[k].module, &maps[m].module))
				return err_set(b->e, ERR_MISMATCH, "two maps are of the same module: %s and %s", maps[k].module.path,
					       maps[m].module.path);
		if (p->modules[m].profile_index != PROFILE_NO_MODULE)
			b->module_of[p->modules[m].profile_index] = m;
	}
	return 0;
}

static void add_weights(struct program_build *b)
{
	struct program *p = b->p;
	const struct profile *x = b->profile;
	bool exact = x->info.source == PROFILE_EXACT && x->count_count;
	for (size_t i = 0; exact && i < x->count_count; i++)
		p->weight_total += x->counts[i].count;
	if (!exact)
		p->weight_total = x->sample_count;
	for (uint32_t m = 0; m < p->module_count; m++)
		if (p->modules[m].profile_index != PROFILE_NO_MODULE)
			p->weight_inside += p->modules[m].flow.sampled_total - p->modules[m].flow.sampled_outside;
}

int program_init(struct program *p, const struct profile *profile, const struct map *maps, uint32_t map_count, struct err *e)
{
	*p = (struct program){.module_count = map_count};
	struct program_build b = {.p = p, .profile = profile, .e = e};
	p->modules = calloc(map_count + (size_t)1, sizeof *p->modules);
	b.module_of = malloc(((profile ? profile->module_count : 0) + 1) * sizeof *b.module_of);
	int status = p->modules && b.module_of ? find_modules(&b, maps) : program_no_memory(e);
	for (uint32_t m = 0; m < map_count && !status; m++)
		status = add_module_nodes(&b, (uint16_t)m);
	if (!status) {
		resolve_next(&b);
		mark_stubs(&b);
		p->nodes = b.nodes.data;
		p->node_count = (uint32_t)b.nodes.count;
	}
	if (!status && profile) {
		add_weights(&b);
		status = program_build_arcs(&b);
	}
	if (!p->nodes)
		vec_free(&b.nodes);
	vec_free(&b.transfers);
	free(b.module_of);
	free(b.seen);
	free(b.arrived);
	if (status)
		program_free(p);
	return status;
}

void program_free(struct program *p)
{
	for (uint32_t m = 0; p->modules && m < p->module_count; m++) {
		flow_free(&p->modules[m].flow);
		free(p->modules[m].node_of_block);
	}
	free(p->modules);
	free(p->nodes);
	free(p->arcs);
	free(p->executed);
	free(p->sum);
	free(p->pool);
	free(p->caller_first);
	free(p->callers);
	*p = (struct program){0};
}
