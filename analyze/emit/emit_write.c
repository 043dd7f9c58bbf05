/* Bytes, address map, relocations and slots of the placed chunks. */
#include "analyze/emit/emit_work.h"
#include "analyze/emit/stub.h"

#include <string.h>

#define RUN_MAX UINT16_MAX

static int no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "emit: no memory");
}

/* Appends to the address map; COPY runs of one function that continue each other become one. */
static int add_run(struct emitter *m, struct plan_run run, struct err *e)
{
	struct plan_run *last = m->runs.count > m->function_runs ? &m->runs.data[m->runs.count - 1] : NULL;
	if (last && run.kind == PLAN_RUN_COPY && last->kind == PLAN_RUN_COPY && last->image + last->image_size == run.image &&
	    last->original + last->original_size == run.original && last->image_size + run.image_size <= RUN_MAX) {
		last->image_size = (uint16_t)(last->image_size + run.image_size);
		last->original_size = last->image_size;
		return 0;
	}
	return vec_push(&m->runs, run) ? no_memory(e) : 0;
}

/*
 * Writes the disp32 at region offset `field` so that it leads to `target` when the instruction ends at `end`. Outside the region it depends
 * on where the region stands: a relocation.
 */
static int put_field(struct emitter *m, uint32_t field, uint32_t end, uint64_t target, struct err *e)
{
	bool inside = target - m->region < m->code_size;
	int64_t displacement = (int64_t)(target - (m->region + end));
	if (displacement != (int32_t)displacement)
		return err_set(e, ERR_INTERNAL, "emit: 0x%llx is out of reach of image offset 0x%x", (unsigned long long)target, field);
	store_u32(m->code + field, (uint32_t)displacement);
	if (!inside && vec_push(&m->relocations, field))
		return no_memory(e);
	return 0;
}

static uint64_t edge_address(const struct emitter *m, uint32_t function, struct emit_edge to)
{
	if (to.probe)
		return m->region + m->probes.data[to.probe - 1].image;
	if (to.chunk == EMIT_NONE)
		return m->map->text_base + to.original;
	const struct emit_chunk *c = &m->chunks.data[to.chunk];
	return m->region + c->image - (c->function == function ? 0 : c->lead_stub);
}

static int put_slot(struct emitter *m, uint32_t at, uint8_t modrm, uint32_t import, struct err *e)
{
	struct plan_slot slot = {.at = at, .slot = m->map->imports[import].slot};
	m->code[at] = 0xff;
	m->code[at + 1] = modrm;
	if (vec_push(&m->slots, slot))
		return no_memory(e);
	return put_field(m, at + 2, at + 6, slot.slot, e);
}

static int write_call(struct emitter *m, const struct emit_chunk *c, struct plan_run *run, const struct insn *i, struct err *e)
{
	uint32_t import = emit_import_at(m->map, run->original);
	if (import != EMIT_NONE) {
		run->kind = PLAN_RUN_REWRITTEN;
		run->image_size = 6;
		return put_slot(m, run->image, 0x15, import, e);
	}
	struct emit_edge to = emit_edge_to(m, c->function, map_offset(m->map, (vaddr){i->target}));
	uint32_t end = run->image + i->length;
	return put_field(m, end - 4, end, edge_address(m, c->function, to), e);
}

static int write_instruction(struct emitter *m, const struct emit_chunk *c, const uint8_t *bytes, struct plan_run *run,
			     const struct insn *i, struct err *e)
{
	memcpy(m->code + run->image, bytes, i->length);
	if (i->kind == INSN_CALL)
		return write_call(m, c, run, i, e);
	if (!i->rip_field)
		return 0;
	/* A call or jump through a fixed place: where that cannot change any more, apply makes it direct, as it does for the PLT. */
	bool through = i->length == 6 && bytes[0] == 0xff && (bytes[1] == 0x15 || bytes[1] == 0x25);
	bool inside = i->target >= m->image->load_low && i->target + 8 <= m->image->load_high;
	if (through && inside && vec_push(&m->slots, (struct plan_slot){.at = run->image, .slot = i->target}))
		return no_memory(e);
	return put_field(m, run->image + i->rip_field, run->image + i->length, i->target, e);
}

/* Counters stand in the region, at a distance that never changes: no relocation. */
static void put_counter(struct emitter *m, uint32_t field, uint32_t end, uint32_t counter)
{
	store_u32(m->code + field, m->counter_offset + PLAN_COUNTER_HEADER + counter * PLAN_COUNTER_SIZE - end);
}

static int add_counter_run(struct emitter *m, uint32_t image, uint32_t size, uint32_t original, struct err *e)
{
	return add_run(m, (struct plan_run){.image = image, .image_size = (uint16_t)size, .original = original, .kind = PLAN_RUN_COUNTER},
		       e);
}

static int write_register_probe(struct emitter *m, const struct emit_probe *p, uint32_t image, uint32_t original, struct err *e)
{
	uint8_t *code = m->code + image, high = p->reg >> 3, low = p->reg & 7;
	const uint8_t load[3] = {(uint8_t)(0x48 | high << 2), 0x8b, (uint8_t)(low << 3 | 5)};
	const uint8_t add[4] = {(uint8_t)(0x48 | high << 2 | high), 0x8d, (uint8_t)(0x40 | low << 3 | low), 1};
	const uint8_t store[3] = {load[0], 0x89, load[2]};
	memcpy(code, load, sizeof load);
	put_counter(m, image + 3, image + 7, p->counter);
	memcpy(code + 7, add, sizeof add);
	memcpy(code + 11, store, sizeof store);
	put_counter(m, image + 14, image + 18, p->counter);
	int status = add_counter_run(m, image, 7, original, e);
	if (!status)
		status = add_counter_run(m, image + 7, 4, original, e);
	return status ? status : add_counter_run(m, image + 11, 7, original, e);
}

/*
 * What a probe is in bytes:
 *	BLOCK, EDGE	48 ff 05 disp32			inc qword counter		where the flags are dead
 *	BLOCK, EDGE	48 8b /r disp32			mov reg, counter		where a register is dead, but flags are not
 *			48 8d /r 01			lea reg, [reg + 1]
 *			48 89 /r disp32			mov counter, reg
 *	SEEN		c6 05 disp32 01			mov byte counter, 1
 *	TARGET		48 89 /r disp32			mov counter, reg		before call *reg, jmp *reg
 *			4c 8b /r ...; 4c 89 1d disp32	mov r11, mem; mov counter, r11	before call *mem: r11 is dead where a function is called
 */
static int write_probe(struct emitter *m, const struct emit_probe *p, uint32_t image, uint32_t original, struct err *e)
{
	if (p->reg != EMIT_NO_REGISTER)
		return write_register_probe(m, p, image, original, e);
	uint8_t *code = m->code + image;
	const uint8_t *call = emit_block_bytes(m, p->block) + (p->kind == PLAN_COUNTER_TARGET ? p->offset : 0);
	uint8_t rex = (*call & 0xf0) == 0x40 ? *call : 0, modrm = call[rex ? 2 : 1];
	if (p->kind == PLAN_COUNTER_SEEN) {
		code[0] = 0xc6;
		code[1] = 0x05;
		put_counter(m, image + 2, image + 7, p->counter);
		code[6] = 1;
	} else if (p->kind != PLAN_COUNTER_TARGET) {
		code[0] = 0x48;
		code[1] = 0xff;
		code[2] = 0x05;
		put_counter(m, image + 3, image + 7, p->counter);
	} else if (modrm >> 6 == 3) {
		code[0] = (uint8_t)(0x48 | (rex & 1) << 2);
		code[1] = 0x89;
		code[2] = (uint8_t)((modrm & 7) << 3 | 5);
		put_counter(m, image + 3, image + 7, p->counter);
	} else {
		uint32_t load = p->size - 7u, rest = load - 3;
		code[0] = (uint8_t)(0x4c | (rex & 3));
		code[1] = 0x8b;
		code[2] = (uint8_t)((modrm & 0xc7) | 3 << 3);
		memcpy(code + 3, call + (rex ? 3 : 2), rest);
		int status = 0;
		if ((modrm & 0xc7) == 5) {
			uint64_t end = m->map->text_base + original + (rex ? 3u : 2u) + 4;
			status = put_field(m, image + 3, image + 7, end + (uint64_t)(int64_t)(int32_t)load_u32(code + 3), e);
		}
		if (!status)
			status = add_counter_run(m, image, load, original, e);
		if (status)
			return status;
		code[load] = 0x4c;
		code[load + 1] = 0x89;
		code[load + 2] = 0x1d;
		put_counter(m, image + load + 3, image + load + 7, p->counter);
		return add_counter_run(m, image + load, 7, original, e);
	}
	return add_counter_run(m, image, 7, original, e);
}

/* Those that stand before the instruction at `offset` of the block; *next is the first that was not written yet. */
static int write_probes(struct emitter *m, const struct emit_chunk *c, uint32_t offset, uint32_t *next, uint32_t *image, struct err *e)
{
	int status = 0;
	for (; !status && *next < c->probe_count; ++*next) {
		const struct emit_probe *p = &m->probes.data[c->first_probe + *next];
		if (p->offset != offset)
			break;
		status = write_probe(m, p, *image, m->map->blocks[c->block].start + offset, e);
		*image += p->size;
	}
	return status;
}

static int write_body(struct emitter *m, const struct emit_chunk *c, struct err *e)
{
	const struct map_block *b = &m->map->blocks[c->block];
	const uint8_t *bytes = emit_block_bytes(m, c->block);
	uint32_t image = c->image, probe = 0;
	for (uint32_t at = 0; at < c->body;) {
		struct insn i;
		int status = write_probes(m, c, at, &probe, &image, e);
		if (status)
			return status;
		if (insn_decode(bytes + at, b->size - at, map_vaddr(m->map, b->start + at), &i))
			return err_set(e, ERR_INTERNAL, "emit: an instruction that was checked decodes no more");
		struct plan_run run = {.image = image, .original = b->start + at, .kind = PLAN_RUN_COPY};
		run.image_size = run.original_size = i.length;
		status = write_instruction(m, c, bytes + at, &run, &i, e);
		if (!status)
			status = add_run(m, run, e);
		if (status)
			return status;
		at += i.length;
		image += run.image_size;
	}
	int status = write_probes(m, c, c->body, &probe, &image, e);
	if (status)
		return status;
	return image == c->image + c->body_image && probe == c->probe_count
		   ? 0
		   : err_set(e, ERR_INTERNAL, "emit: block size changed at 0x%x", c->image);
}

static int put_branch(struct emitter *m, const struct emit_chunk *c, const struct emit_tail *t, uint32_t at, struct err *e)
{
	uint8_t *code = m->code + at;
	uint64_t target = edge_address(m, c->function, t->to);
	if (!t->is_long) {
		code[0] = t->kind == EMIT_TAIL_JUMP ? 0xeb : (uint8_t)(0x70 | t->condition);
		code[1] = (uint8_t)(target - (m->region + at + t->size));
		return 0;
	}
	if (t->kind == EMIT_TAIL_JUMP) {
		code[0] = 0xe9;
	} else {
		code[0] = 0x0f;
		code[1] = (uint8_t)(0x80 | t->condition);
	}
	return put_field(m, at + t->size - 4, at + t->size, target, e);
}

static int put_tail(struct emitter *m, const struct emit_chunk *c, unsigned index, uint32_t at, struct err *e)
{
	const struct emit_tail *t = &c->tails[index];
	switch (t->kind) {
	case EMIT_TAIL_SLOT:
		return put_slot(m, at, 0x25, t->import, e);
	case EMIT_TAIL_LOOP: /* the original bytes, displacement over the jump that follows */
		memcpy(m->code + at, emit_block_bytes(m, c->block) + c->body, t->size);
		m->code[at + t->size - 1] = c->tails[index + 1].size;
		return 0;
	case EMIT_TAIL_DELETED:
		return 0;
	}
	return put_branch(m, c, t, at, e);
}

static struct plan_run tail_run(const struct emitter *m, const struct emit_chunk *c, const struct emit_tail *t, uint32_t at)
{
	uint32_t site = m->map->blocks[c->block].start + c->body;
	struct plan_run run = {.image = at, .image_size = t->size, .original = site, .original_size = (uint16_t)c->terminator};
	if (t->inserted) {
		run.kind = PLAN_RUN_INSERTED;
		run.original = t->to.original;
		run.original_size = 0;
	} else if (t->kind == EMIT_TAIL_DELETED) {
		run.kind = PLAN_RUN_DELETED;
	} else if (t->kind == EMIT_TAIL_SLOT || t->kind == EMIT_TAIL_LOOP || t->inverted || t->size != c->terminator) {
		run.kind = PLAN_RUN_REWRITTEN;
	} else {
		run.kind = PLAN_RUN_COPY;
	}
	return run;
}

static int write_stub(struct emitter *m, const struct emit_chunk *c, struct err *e)
{
	if (!c->lead_stub)
		return 0;
	struct plan_run run = {.image = c->image - c->lead_stub, .image_size = c->lead_stub, .kind = PLAN_RUN_STUB};
	run.original = m->map->blocks[c->block].start;
	memcpy(m->code + run.image, m->stub->code, c->lead_stub);
	return add_run(m, run, e);
}

static int write_chunk(struct emitter *m, const struct emit_chunk *c, struct err *e)
{
	int status = write_stub(m, c, e);
	if (!status)
		status = write_body(m, c, e);
	uint32_t at = c->image + c->body_image;
	for (unsigned i = 0; i < c->tail_count && !status; i++) {
		const struct emit_tail *t = &c->tails[i];
		if (t->kind == EMIT_TAIL_PROBE) {
			status = write_probe(m, &m->probes.data[t->import], at, t->to.original, e);
		} else {
			status = put_tail(m, c, i, at, e);
			if (!status)
				status = add_run(m, tail_run(m, c, t, at), e);
		}
		at += c->tails[i].size;
	}
	return status;
}

/*
 * A way out that is counted: its branch leads here, and what stands here is that way as well.
 *	48 ff 05 disp32			inc counter		(or in a register)
 *	e9 rel32			jmp original
 */
static int write_way_out(struct emitter *m, const struct emit_probe *p, struct err *e)
{
	struct plan_run jump = {.image = p->image + p->size, .image_size = 5, .original = p->to, .kind = PLAN_RUN_INSERTED};
	int status = write_probe(m, p, p->image, p->to, e);
	m->code[jump.image] = 0xe9;
	if (!status)
		status = put_field(m, jump.image + 1, jump.image + 5, m->map->text_base + p->to, e);
	return status ? status : add_run(m, jump, e);
}

static int compare_runs(const void *va, const void *vb)
{
	const struct plan_run *a = va, *b = vb;
	if (a->image != b->image)
		return a->image < b->image ? -1 : 1;
	if (a->original != b->original)
		return a->original < b->original ? -1 : 1;
	return (a->image_size > b->image_size) - (a->image_size < b->image_size);
}

int emit_write(struct emitter *m, struct err *e)
{
	m->code = malloc(m->code_size + 1u);
	if (!m->code)
		return err_set(e, ERR_MEMORY, "emit: no memory for %u bytes of code", m->code_size);
	memset(m->code, 0xcc, m->code_size + 1u); /* what no chunk fills stays int3 and belongs to no run */
	for (size_t i = 0; i < m->chunks.count; i++) {
		if (!i || m->chunks.data[i].function != m->chunks.data[i - 1].function)
			m->function_runs = m->runs.count;
		int status = write_chunk(m, &m->chunks.data[i], e);
		if (status)
			return status;
	}
	for (size_t i = 0; i < m->ways_out.count; i++) {
		int status = write_way_out(m, &m->probes.data[m->ways_out.data[i].probe], e);
		if (status)
			return status;
	}
	if (m->runs.count)
		qsort(m->runs.data, m->runs.count, sizeof *m->runs.data, compare_runs);
	return 0;
}
