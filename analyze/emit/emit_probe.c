/*
 * Where a counting image counts, so that every block and edge of it is known afterwards.
 *
 * Flow is conserved: what enters a block leaves it. So not every block needs a counter (Knuth and Stevenson, "Optimal measurement points for
 * program frequency counts", 1973): each block is an arc from its head to its end, each edge an arc from an end to a head, all entrances and
 * exits meet in one outside node. Arcs of a spanning tree follow from all others; a tree of greatest weight leaves the cheapest to count.
 * An arc that cannot be counted (flags live throughout the block and no register overwritten in it, or the same where the edge leads) has
 * infinite weight. Where such arcs close a circle one of them stays unknown; its block is only marked as seen.
 *
 * Control comes in where a patch leads (and at entries, which other functions of the image call), and goes out by every edge to what is not in
 * the image, by returns and by all indirect jumps, whose targets are original code. A branch that leaves the image is a rare thing beside the
 * block that ends with it: taken from its block's count, a small number from a large one, it would drown in the increments that threads lose.
 * So these arcs are the lightest of all, and counted themselves wherever they can be.
 */
#include "analyze/code/flags.h"
#include "analyze/emit/emit_work.h"

#include <stdlib.h>
#include <string.h>

enum arc_what { ARC_BLOCK, ARC_EDGE, ARC_DOOR /* in or out: never counted */ };

struct arc {
	uint64_t weight;
	uint32_t a, b;	    /* nodes */
	uint32_t id, order; /* local block or edge; position, to break ties */
	uint8_t what, chosen;
	uint8_t reg; /* the register to count in, or EMIT_NO_REGISTER */
	bool countable, way_out;
};

/* Where a block can be counted: the offset of an instruction, FLAGS_NOWHERE; and how. */
struct place {
	uint32_t offset;
	uint8_t reg;
};

struct chooser {
	struct emitter *m;
	struct cfg_index index;
	struct flags_module module;
	struct cfg cfg;
	struct flags flags;
	struct insn_second *second;
	uint8_t *door; /* [block_count] 1 + offset of the instruction where control comes in from outside; 0: nowhere */
	VEC(struct arc) arcs;
	VEC(uint32_t) parent; /* union and find over nodes */
	VEC(struct place) at; /* [local block] */
};

static int no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "emit: no memory for probes");
}

/* Where the block may be counted first: what comes in through its patch must be counted too. */
static uint32_t first_place(const struct chooser *c, uint32_t block)
{
	return c->door[block] ? c->door[block] - 1u : 0;
}

/* The first instruction of the block that overwrites a register, by both opinions. */
static struct place find_register(const struct chooser *c, uint32_t block)
{
	const struct map_block *b = &c->m->map->blocks[block];
	const uint8_t *bytes = emit_block_bytes(c->m, block);
	for (uint32_t at = 0; at < b->size;) {
		struct insn i;
		if (insn_decode(bytes + at, b->size - at, (vaddr){0}, &i))
			break;
		int reg = i.kind == INSN_PLAIN ? insn_overwrites(bytes + at, i.length) : -1;
		if (reg >= 0 && at >= first_place(c, block) && insn_second_overwrites(c->second, bytes + at, i.length, (unsigned)reg))
			return (struct place){at, (uint8_t)reg};
		at += i.length;
	}
	return (struct place){FLAGS_NOWHERE, EMIT_NO_REGISTER};
}

/* Both opinions must agree. */
static struct place dead_point(const struct chooser *c, uint32_t local)
{
	const struct map *map = c->m->map;
	uint32_t block = c->cfg.block[local], at = flags_dead_point(&c->flags, &c->module, &c->cfg, local, first_place(c, block));
	bool agreed = at != FLAGS_NOWHERE && flags_dead_second(c->second, c->m->image, map_vaddr(map, map->blocks[block].start + at));
	return agreed ? (struct place){at, EMIT_NO_REGISTER} : find_register(c, block);
}

static bool in_image(const struct chooser *c, uint32_t local)
{
	return local != CFG_EXIT && c->m->chunk_of[c->cfg.block[local]] != EMIT_NONE;
}

static uint32_t find(struct chooser *c, uint32_t node)
{
	uint32_t *p = c->parent.data;
	while (p[node] != node)
		node = p[node] = p[p[node]];
	return node;
}

static int add_arc(struct chooser *c, struct arc arc)
{
	arc.order = (uint32_t)c->arcs.count;
	return vec_push(&c->arcs, arc);
}

static uint64_t block_weight(const struct chooser *c, uint32_t local)
{
	return c->m->flow ? c->m->flow->block[c->cfg.block[local]] : 0;
}

static uint64_t edge_weight(const struct chooser *c, const struct cfg_edge *edge)
{
	const struct flow *f = c->m->flow;
	return !f ? 0 : edge->kind == CFG_TAKEN ? f->taken[edge->slot] : edge->kind == CFG_NEXT ? f->next[edge->slot] : 0;
}

/* Does the copy of the block lead to the copy of the next one? Not into the middle of a split part: that is entered in the original. */
static bool stays_inside(const struct chooser *c, const struct cfg_edge *edge)
{
	if (!in_image(c, edge->to) || edge->kind == CFG_TABLE || edge->kind == CFG_LEAVE)
		return false;
	uint32_t from = c->cfg.block[edge->from], to = c->cfg.block[edge->to];
	return c->index.function_of_block[from] == c->index.function_of_block[to] || emit_is_entry(c->m->map, to);
}

/* The block where an edge leads, also in another function; MAP_NONE: none that the map knows. */
static uint32_t destination(const struct chooser *c, const struct cfg_edge *edge)
{
	if (edge->to != CFG_EXIT)
		return c->cfg.block[edge->to];
	return edge->kind == CFG_TAKEN ? c->m->map->blocks[c->cfg.block[edge->from]].taken : MAP_NONE;
}

/* How what stands for block `to` may count before anything of it is executed: flags that are dead there, or what its first instruction overwrites. */
static bool place_before(const struct chooser *c, uint32_t to, uint8_t live, uint8_t *ret_reg)
{
	const struct emitter *m = c->m;
	const struct map_block *b = &m->map->blocks[to];
	const uint8_t *bytes = emit_block_bytes(m, to);
	struct insn i;
	*ret_reg = EMIT_NO_REGISTER;
	if (!live && flags_dead_second(c->second, m->image, map_vaddr(m->map, b->start)))
		return true;
	if (!bytes || insn_decode(bytes, b->size, map_vaddr(m->map, b->start), &i) || i.kind != INSN_PLAIN)
		return false;
	int reg = insn_overwrites(bytes, i.length);
	if (reg < 0 || !insn_second_overwrites(c->second, bytes, i.length, (unsigned)reg))
		return false;
	*ret_reg = (uint8_t)reg;
	return true;
}

/*
 * An edge of its own can be counted after a conditional branch. One that stays in the image, only inside a function: what counts it stands for
 * the code that it leads to, and each function's copy must be its own. One that leaves it, if that code has unwind rows to stand for as well.
 */
static bool edge_countable(const struct chooser *c, const struct cfg_edge *edge, bool inside, uint8_t *ret_reg)
{
	const struct map *map = c->m->map;
	const struct map_block *b = &map->blocks[c->cfg.block[edge->from]];
	const struct emit_chunk *chunk = &c->m->chunks.data[c->m->chunk_of[c->cfg.block[edge->from]]];
	const uint8_t *bytes = emit_block_bytes(c->m, chunk->block) + chunk->body;
	uint32_t to = destination(c, edge);
	if (b->terminator != MAP_BRANCH || edge->kind == CFG_TABLE || to == MAP_NONE)
		return false;
	bool loops = chunk->terminator && (*bytes & 0xfc) == 0xe0; /* loop, loope, loopne, jrcxz */
	bool fits = inside ? c->index.function_of_block[to] == chunk->function
			   : image_fde_at(c->m->image, map_vaddr(map, map->blocks[to].start).v) != SIZE_MAX;
	/* Where both ways lead to the same place a counter of one could not be told from that of the other. */
	bool told_apart = edge->kind == CFG_NEXT || b->taken != b->next;
	return !loops && fits && told_apart && place_before(c, to, flags_live_along(&c->flags, &c->module, &c->cfg, edge), ret_reg);
}

/* Where a branch goes it leaves the image for original code: not by a call, nor to the start of another function that is there. */
static bool leaves_image(const struct chooser *c, const struct cfg_edge *edge)
{
	uint32_t from = c->cfg.block[edge->from], to = destination(c, edge);
	uint32_t function = c->m->chunks.data[c->m->chunk_of[from]].function;
	return to != MAP_NONE && emit_edge_to(c->m, function, c->m->map->blocks[to].start).chunk == EMIT_NONE;
}

static int add_edge_arc(struct chooser *c, uint32_t k)
{
	const struct cfg_edge *edge = &c->cfg.edges[k];
	bool inside = stays_inside(c, edge);
	uint32_t from = edge->from, outside = 2 * c->cfg.count;
	struct arc arc = {
	    .weight = edge_weight(c, edge), .a = 2 * from + 1, .b = inside ? 2 * edge->to : outside, .id = k, .reg = EMIT_NO_REGISTER};
	arc.what = ARC_EDGE;
	arc.way_out = !inside && edge->kind != CFG_TABLE && edge->kind != CFG_LEAVE && leaves_image(c, edge);
	if (inside || arc.way_out)
		arc.countable = edge_countable(c, edge, inside, &arc.reg);
	return add_arc(c, arc);
}

static int add_arcs(struct chooser *c)
{
	uint32_t outside = 2 * c->cfg.count;
	bool failed = false;
	for (uint32_t i = 0; i < c->cfg.count; i++) {
		if (!in_image(c, i))
			continue;
		struct arc block = {.weight = block_weight(c, i), .a = 2 * i, .b = 2 * i + 1, .id = i, .what = ARC_BLOCK};
		block.countable = c->at.data[i].offset != FLAGS_NOWHERE;
		block.reg = c->at.data[i].reg;
		failed |= add_arc(c, block) != 0;
		if (!i || c->door[c->cfg.block[i]])
			failed |= add_arc(c, (struct arc){.a = outside, .b = 2 * i, .id = i, .what = ARC_DOOR}) != 0;
		bool leaves = false;
		for (uint32_t k = c->cfg.first_out[i]; k < c->cfg.first_out[i + 1]; k++) {
			bool indirect = c->cfg.edges[k].kind == CFG_TABLE || c->cfg.edges[k].kind == CFG_LEAVE;
			if (!indirect || !leaves) /* all ways of an indirect jump are one arc */
				failed |= add_edge_arc(c, k) != 0;
			leaves |= indirect;
		}
	}
	return failed ? -1 : 0;
}

/* Heaviest first; what cannot be counted before all others, ways out of the image after them. */
static int compare_arcs(const void *va, const void *vb)
{
	const struct arc *a = va, *b = vb;
	if (a->countable != b->countable)
		return a->countable - b->countable;
	if (a->way_out != b->way_out)
		return a->way_out - b->way_out;
	if (a->weight != b->weight)
		return a->weight > b->weight ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

/* Kruskal: what does not join two parts closes a circle and is chosen. */
static void choose_arcs(struct chooser *c)
{
	qsort(c->arcs.data, c->arcs.count, sizeof *c->arcs.data, compare_arcs);
	for (uint32_t n = 0; n < c->parent.count; n++)
		c->parent.data[n] = n;
	for (size_t i = 0; i < c->arcs.count; i++) {
		struct arc *arc = &c->arcs.data[i];
		uint32_t a = find(c, arc->a), b = find(c, arc->b);
		arc->chosen = a == b;
		c->parent.data[a] = b;
	}
}

/*
 * One edge of a branch that stays in the image has room for a counter, and one that leaves it. When both were chosen and are of a kind their end
 * hangs on the block alone, so the block may be counted instead of one of them.
 */
static int settle_branches(struct chooser *c)
{
	uint32_t *arcs = calloc((size_t)c->cfg.count * 3 + 1, sizeof *arcs); /* [3 * block] arc + 1: inside, way out, the block itself */
	for (size_t i = 0; arcs && i < c->arcs.count; i++)
		if (c->arcs.data[i].what == ARC_BLOCK)
			arcs[3 * c->arcs.data[i].id + 2] = (uint32_t)i + 1;
	for (size_t i = 0; arcs && i < c->arcs.count; i++) {
		struct arc *arc = &c->arcs.data[i];
		if (arc->what != ARC_EDGE || !arc->chosen || !arc->countable)
			continue;
		uint32_t from = c->cfg.edges[arc->id].from, *other = &arcs[3 * from + arc->way_out];
		if (!*other) {
			*other = (uint32_t)i + 1;
			continue;
		}
		struct arc *block = &c->arcs.data[arcs[3 * from + 2] - 1];
		arc->chosen = 0;
		block->chosen = 1; /* when it cannot be counted it is marked as seen, and one edge stays unknown */
	}
	free(arcs);
	return arcs ? 0 : -1;
}

static int add_probe(struct chooser *c, struct emit_probe probe)
{
	return vec_push(&c->m->probes, probe);
}

/* The probe of a chosen arc. False: it has none. */
static bool probe_of(const struct chooser *c, const struct arc *arc, struct emit_probe *ret_probe)
{
	struct emit_probe probe = {.to = PLAN_NONE, .kind = PLAN_COUNTER_SEEN, .size = 7, .reg = EMIT_NO_REGISTER};
	if (arc->what == ARC_DOOR || (arc->what == ARC_EDGE && !arc->countable))
		return false;
	if (arc->countable) {
		probe.kind = arc->what == ARC_BLOCK ? PLAN_COUNTER_BLOCK : PLAN_COUNTER_EDGE;
		probe.reg = arc->reg;
		probe.size = probe.reg == EMIT_NO_REGISTER ? 7 : 18;
	}
	if (arc->what == ARC_BLOCK) {
		probe.block = c->cfg.block[arc->id];
		probe.offset = arc->countable ? c->at.data[arc->id].offset : first_place(c, probe.block);
	} else {
		const struct cfg_edge *edge = &c->cfg.edges[arc->id];
		probe.block = c->cfg.block[edge->from];
		probe.offset = edge->kind == CFG_TAKEN ? UINT32_MAX : UINT32_MAX - 1;
		probe.to = c->m->map->blocks[destination(c, edge)].start;
		probe.way_out = arc->way_out;
	}
	*ret_probe = probe;
	return true;
}

static int add_chosen(struct chooser *c)
{
	bool failed = false;
	for (size_t i = 0; i < c->arcs.count; i++) {
		struct emit_probe probe;
		if (c->arcs.data[i].chosen && probe_of(c, &c->arcs.data[i], &probe))
			failed |= add_probe(c, probe) != 0;
	}
	return failed ? -1 : 0;
}

/* Bytes of the probe for an indirect call or jump through `bytes`, 0 when there is none: other prefixes, or r11 would be needed twice. */
static uint8_t target_probe_size(const uint8_t *bytes, uint32_t length, bool jump)
{
	uint8_t rex = (*bytes & 0xf0) == 0x40 ? *bytes : 0;
	uint32_t opcode = rex ? 1 : 0;
	if (length < opcode + 2 || bytes[opcode] != 0xff || (bytes[opcode + 1] >> 3 & 7) != (jump ? 4 : 2))
		return 0;
	uint8_t modrm = bytes[opcode + 1], rm = modrm & 7;
	if (modrm >> 6 == 3)
		return 7;
	if (jump)
		return 0;
	uint8_t sib = rm == 4 ? bytes[opcode + 2] : 0;
	bool base_r11 = (rex & 1) && (rm == 4 ? (sib & 7) == 3 : rm == 3), index_r11 = rm == 4 && (rex & 2) && (sib >> 3 & 7) == 3;
	return base_r11 || index_r11 ? 0 : (uint8_t)(length + (rex ? 0 : 1) + 7);
}

static int add_target(struct chooser *c, uint32_t block, uint32_t offset, uint32_t length, bool jump)
{
	uint8_t size = target_probe_size(emit_block_bytes(c->m, block) + offset, length, jump);
	if (!size)
		return 0;
	return add_probe(
	    c, (struct emit_probe){
		   .block = block, .offset = offset, .to = PLAN_NONE, .kind = PLAN_COUNTER_TARGET, .reg = EMIT_NO_REGISTER, .size = size});
}

static int add_targets(struct chooser *c, uint32_t block)
{
	const struct map *map = c->m->map;
	const struct map_block *b = &map->blocks[block];
	bool failed = false;
	for (uint32_t i = map_call_from(map, b->start); i < map->call_count && map->calls[i].site < b->start + b->size; i++)
		if (map->calls[i].kind == MAP_CALL_INDIRECT)
			failed |= add_target(c, block, map->calls[i].site - b->start, map->calls[i].size, false) != 0;
	if (b->terminator == MAP_JUMP_INDIRECT && c->index.table_of_block[block] == MAP_NONE) {
		const uint8_t *bytes = emit_block_bytes(c->m, block);
		for (uint32_t at = 0; at < b->size;) {
			struct insn i;
			if (insn_decode(bytes + at, b->size - at, map_vaddr(map, b->start + at), &i))
				break;
			if (at + i.length == b->size)
				failed |= add_target(c, block, at, i.length, true) != 0;
			at += i.length;
		}
	}
	return failed ? -1 : 0;
}

static int choose_in_group(struct chooser *c, uint32_t group, struct err *e)
{
	int status = cfg_load(&c->cfg, &c->index, group, e);
	if (!status)
		status = flags_solve(&c->flags, &c->module, &c->cfg, e);
	if (status)
		return status;
	c->arcs.count = c->at.count = c->parent.count = 0;
	bool failed = vec_reserve(&c->parent, 2 * (size_t)c->cfg.count + 1) != 0;
	c->parent.count = failed ? 0 : 2 * (size_t)c->cfg.count + 1;
	for (uint32_t i = 0; i < c->cfg.count && !failed; i++)
		failed |= vec_push(&c->at, dead_point(c, i)) != 0;
	if (failed || add_arcs(c))
		return no_memory(e);
	choose_arcs(c);
	failed = settle_branches(c) != 0 || add_chosen(c) != 0;
	for (uint32_t i = 0; i < c->cfg.count; i++)
		if (in_image(c, i))
			failed |= add_targets(c, c->cfg.block[i]) != 0;
	return failed ? no_memory(e) : 0;
}

static int compare_probes(const void *va, const void *vb)
{
	const struct emit_probe *a = va, *b = vb;
	if (a->block != b->block)
		return a->block < b->block ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return (a->kind > b->kind) - (a->kind < b->kind);
}

/* Numbers the counters, those of targets last, so that they can be read at once. */
static int number_counters(struct emitter *m)
{
	bool failed = false;
	for (int targets = 0; targets < 2; targets++)
		for (size_t i = 0; i < m->probes.count; i++) {
			struct emit_probe *p = &m->probes.data[i];
			if ((p->kind == PLAN_COUNTER_TARGET) != targets)
				continue;
			const struct map_block *b = &m->map->blocks[p->block];
			struct plan_counter counter = {.from = b->start, .to = p->to, .kind = p->kind};
			if (p->kind == PLAN_COUNTER_TARGET)
				counter.from += p->offset;
			else if (p->kind == PLAN_COUNTER_EDGE)
				counter.from += m->chunks.data[m->chunk_of[p->block]].body;
			p->counter = (uint32_t)m->counters.count;
			failed |= vec_push(&m->counters, counter) != 0;
		}
	return failed ? -1 : 0;
}

/* Probes are sorted by block: those of edges, whose offsets are beyond any, come last. */
static void give_to_chunks(struct emitter *m)
{
	for (size_t i = 0; i < m->probes.count; i++) {
		const struct emit_probe *p = &m->probes.data[i];
		struct emit_chunk *c = &m->chunks.data[m->chunk_of[p->block]];
		if (p->offset == UINT32_MAX) {
			c->probe_taken = (uint32_t)i;
		} else if (p->offset == UINT32_MAX - 1) {
			c->probe_next = (uint32_t)i;
		} else {
			if (!c->probe_count++)
				c->first_probe = (uint32_t)i;
			c->body_image += p->size;
		}
	}
}

static int compare_ways_out(const void *va, const void *vb)
{
	const struct emit_way_out *a = va, *b = vb;
	if (a->to != b->to)
		return a->to < b->to ? -1 : 1;
	return a->probe < b->probe ? -1 : a->probe > b->probe;
}

static int list_ways_out(struct emitter *m)
{
	bool failed = false;
	for (size_t i = 0; i < m->probes.count; i++)
		if (m->probes.data[i].way_out)
			failed |= vec_push(&m->ways_out, ((struct emit_way_out){m->probes.data[i].to, (uint32_t)i})) != 0;
	if (m->ways_out.count)
		qsort(m->ways_out.data, m->ways_out.count, sizeof *m->ways_out.data, compare_ways_out);
	return failed ? -1 : 0;
}

static int choose_all(struct chooser *c, struct err *e)
{
	struct emitter *m = c->m;
	uint8_t *wanted = calloc((size_t)m->map->function_count + 1, 1);
	int status = wanted ? 0 : no_memory(e);
	for (size_t i = 0; !status && i < m->chunks.count; i++)
		wanted[c->index.group_of_function[m->chunks.data[i].function]] = 1;
	for (size_t i = 0; !status && i < m->patches.count; i++) {
		uint32_t block = map_block_at(m->map, m->patches.data[i].at);
		c->door[block] = (uint8_t)(1 + m->patches.data[i].at - m->map->blocks[block].start);
	}
	for (uint32_t g = 0; !status && g < m->map->function_count; g++)
		if (wanted[g])
			status = choose_in_group(c, g, e);
	free(wanted);
	if (status)
		return status;
	if (m->probes.count)
		qsort(m->probes.data, m->probes.count, sizeof *m->probes.data, compare_probes);
	if (number_counters(m) || list_ways_out(m))
		return no_memory(e);
	give_to_chunks(m);
	return 0;
}

int emit_choose_probes(struct emitter *m, struct err *e)
{
	struct chooser c = {.m = m, .door = calloc((size_t)m->map->block_count + 1, 1)};
	c.second = insn_second_new();
	int status = c.door && c.second ? cfg_index_init(&c.index, m->map, e) : no_memory(e);
	if (!status)
		status = flags_module_init(&c.module, m->image, &c.index, e);
	if (!status)
		status = choose_all(&c, e);
	insn_second_free(c.second);
	flags_free(&c.flags);
	flags_module_free(&c.module);
	cfg_free(&c.cfg);
	cfg_index_free(&c.index);
	free(c.door);
	vec_free(&c.arcs);
	vec_free(&c.parent);
	vec_free(&c.at);
	return status;
}
