/*
 * Random functions of random instructions, mapped, laid out at random, emitted: what the emitter makes the validator proves; and when one byte
 * of the image, or one bit of what the plan says of it, is changed, the validator refuses it, or plan_validate does before.
 *
 * The input: 8 bytes of seed for the shape, the layout and the change, then bytes that instructions are taken from where both decoders agree.
 */
#include "analyze/code/insn.h"
#include "analyze/code/map_build.h"
#include "analyze/emit/emit.h"
#include "analyze/emit/validate.h"
#include "analyze/layout/random.h"
#include "formats/base/bytes.h"
#include "tests/fuzz/must.h"

#include <string.h>

#define BASE 0x40000000u
#define TEXT 8192u
#define FUNCTIONS 6u
#define BLOCKS 12u /* per function */
#define INSNS 4u   /* per block */
#define CHANGES 12u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	uint64_t seed;
	struct reader input;
	struct insn_second *second;
	uint8_t text[TEXT];
	uint32_t used, last; /* bytes of code; start of the last instruction */
	uint32_t blocks[FUNCTIONS * BLOCKS + 1], block_count;
	struct image_segment segment;
	struct image_fde fdes[FUNCTIONS];
	struct image_range range;
	struct image image;
};

/* A branch whose displacement is filled in when all blocks have their places. */
struct hole {
	uint32_t field, size, first, count; /* leads to one of the blocks [first, first + count) */
};

static uint32_t pick(struct world *w, uint32_t below)
{
	return (uint32_t)random_below(&w->seed, below);
}

/* An instruction out of the input, or a nop; what it refers to relative to rip is in the text. */
static void put_insn(struct world *w)
{
	struct insn one, two;
	size_t left = reader_left(&w->input);
	const uint8_t *p = w->input.data + w->input.position;
	uint8_t *to = w->text + w->used;
	w->last = w->used;
	if (!left || insn_decode(p, left, (vaddr){BASE}, &one) || insn_second_decode(w->second, p, left, (vaddr){BASE}, &two) ||
	    one.length != two.length || (one.kind != INSN_PLAIN && one.kind != INSN_SYSCALL && one.kind != INSN_CALL_INDIRECT)) {
		(void)read_u8(&w->input);
		w->text[w->used++] = 0x90;
		return;
	}
	memcpy(to, read_bytes(&w->input, one.length), one.length);
	w->used += one.length;
	if (one.rip_field)
		store_u32(to + one.rip_field, pick(w, TEXT) - w->used);
}

static void put_branch(struct world *w, struct hole *holes, uint32_t *count, const uint8_t *opcode, uint32_t size, struct hole hole)
{
	memcpy(w->text + w->used, opcode, size);
	w->used += size;
	hole.field = w->used;
	w->used += hole.size;
	holes[(*count)++] = hole;
}

/* A block of function `f`, which owns blocks [first, first + count). */
static void put_block(struct world *w, struct hole *holes, uint32_t *hole_count, uint32_t first, uint32_t count, bool last)
{
	const struct hole near = {.size = 4, .first = first, .count = count}, far = {.size = 4, .first = 0, .count = UINT32_MAX},
			  brief = {.size = 1, .first = first, .count = count};
	for (uint32_t n = pick(w, INSNS + 1); n; n--)
		put_insn(w);
	switch (last ? 9 + pick(w, 2) : pick(w, 12)) {
	case 0:
	case 1:
	case 2:
		put_branch(w, holes, hole_count, (const uint8_t[]){0x0f, (uint8_t)(0x80 | pick(w, 16))}, 2, near);
		break;
	case 3:
		put_branch(w, holes, hole_count, (const uint8_t[]){(uint8_t)(0x70 | pick(w, 16))}, 1, brief);
		break;
	case 4:
		put_branch(w, holes, hole_count, (const uint8_t[]){0xe9}, 1, near);
		break;
	case 5:
		put_branch(w, holes, hole_count, (const uint8_t[]){(uint8_t)(0xe0 | pick(w, 4))}, 1, brief);
		break;
	case 6:
	case 7:
		put_branch(w, holes, hole_count, (const uint8_t[]){0xe8}, 1, far);
		break;
	case 8:
		memcpy(w->text + w->used, "\xff\xe0", 2);
		w->used += 2;
		break;
	case 9:
		w->text[w->used++] = 0xc3;
		break;
	case 10: /* a tail call */
		put_branch(w, holes, hole_count, (const uint8_t[]){0xe9}, 1, far);
		break;
	}
}

/* Now and then a branch leads into an instruction, where code overlaps itself. */
static void fill_holes(struct world *w, const struct hole *holes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct hole *h = &holes[i];
		uint32_t among = h->count < w->block_count ? h->count : w->block_count;
		uint32_t to = w->blocks[h->first + pick(w, among)] + (pick(w, 64) ? 0 : pick(w, 4));
		int64_t distance = (int64_t)to - (h->field + h->size);
		if (h->size == 4)
			store_u32(w->text + h->field, (uint32_t)distance);
		else if (distance == (int8_t)distance)
			w->text[h->field] = (uint8_t)distance;
		else
			w->text[h->field] = 0; /* to the next block */
	}
}

static void make_text(struct world *w)
{
	struct hole holes[FUNCTIONS * BLOCKS];
	uint32_t hole_count = 0, functions = 1 + pick(w, FUNCTIONS);
	memset(w->text, 0xcc, sizeof w->text);
	for (uint32_t f = 0; f < functions; f++) {
		uint32_t first = w->block_count, count = 1 + pick(w, BLOCKS);
		w->used += pick(w, 2) ? -w->used & 15 : 0;
		w->fdes[f].start = BASE + w->used;
		for (uint32_t b = 0; b < count; b++) {
			w->blocks[w->block_count++] = w->used;
			put_block(w, holes, &hole_count, first, count, b + 1 == count);
		}
		w->fdes[f].size = BASE + w->used - w->fdes[f].start;
	}
	fill_holes(w, holes, hole_count);
	w->segment = (struct image_segment){BASE, TEXT, 0, TEXT, true, false, true};
	w->range = (struct image_range){BASE, TEXT};
	w->image =
	    (struct image){.file = {.data = w->text, .size = TEXT},
			   .identity = {.build_id = {9}, .build_id_size = 20, .text_hash = 3, .file_size = TEXT, .path = (char *)"w"},
			   .segments = &w->segment,
			   .segment_count = 1,
			   .fdes = w->fdes,
			   .fde_count = functions,
			   .code_ranges = &w->range,
			   .code_range_count = 1,
			   .text_base = BASE,
			   .text_size = TEXT,
			   .load_low = BASE,
			   .load_high = BASE + TEXT,
			   .pie = true};
}

static void shuffle(struct world *w, const struct map *map, struct layout *layout)
{
	uint32_t keep = 1 + pick(w, 8);
	layout->count = 0;
	for (uint32_t i = 0; i < map->block_count; i++)
		if (pick(w, 8) < keep && map->functions[map_function_of_block(map, i)].grade != MAP_UNTOUCHABLE)
			layout->blocks[layout->count++] = i;
	for (size_t i = layout->count; i > 1; i--) {
		size_t k = pick(w, (uint32_t)i);
		uint32_t block = layout->blocks[k];
		layout->blocks[k] = layout->blocks[i - 1];
		layout->blocks[i - 1] = block;
	}
}

static bool proven(const struct world *w, struct plan_module *m, struct err *e)
{
	struct plan plan = {.modules = m, .module_count = 1, .options = (char *)""};
	return !plan_validate(&plan, "plan", e) && !validate_module(&w->image, m, e);
}

static bool is_padding(const struct plan_module *m, uint32_t at)
{
	for (uint32_t i = 0; i < m->run_count; i++)
		if (at - m->runs[i].image < m->runs[i].image_size)
			return false;
	return true;
}

/* Changes one byte; only what nothing executes may be anything. Padding is int3, so that may not either. */
static void check_changed_code(const struct world *w, struct plan_module *m, uint32_t at, uint8_t flip)
{
	m->code[at] ^= flip;
	if (proven(w, m, NULL)) {
		fprintf(stderr, "byte 0x%x of the image may be %02x for %02x%s\n", at, m->code[at], m->code[at] ^ flip,
			is_padding(m, at) ? " (padding)" : "");
		abort();
	}
	m->code[at] ^= flip;
}

static void check_changed_number(const struct world *w, struct plan_module *m, uint32_t *number, uint32_t flip, const char *what)
{
	*number ^= flip;
	if (proven(w, m, NULL)) {
		fprintf(stderr, "%s may be 0x%x for 0x%x\n", what, *number, *number ^ flip);
		abort();
	}
	*number ^= flip;
}

static void check_changes(struct world *w, struct plan_module *m)
{
	for (unsigned n = 0; n < CHANGES; n++) {
		uint32_t flip = 1u << pick(w, pick(w, 2) ? 8 : 32);
		check_changed_code(w, m, pick(w, m->code_size), (uint8_t)(1 + pick(w, 255)));
		if (m->relocation_count)
			check_changed_number(w, m, &m->relocations[pick(w, m->relocation_count)], flip, "a relocation");
		if (m->patch_count) {
			struct plan_patch *p = &m->patches[pick(w, m->patch_count)];
			check_changed_number(w, m, &p->target, flip, "the target of a patch");
			p->original[pick(w, sizeof p->original)] ^= 1;
			MUST(!proven(w, m, NULL));
			return; /* the byte stays changed */
		}
	}
}

static void emit_and_check(struct world *w, const struct map *map)
{
	struct layout layout = {.blocks = calloc(map->block_count + 1, sizeof *layout.blocks)};
	struct emit_options options = emit_options_default();
	struct emit_report report;
	struct plan_module module;
	struct err e = {0};
	MUST(layout.blocks);
	shuffle(w, map, &layout);
	options.function_alignment = 1u << pick(w, 6);
	options.reentry_everywhere = pick(w, 2);
	options.counting = pick(w, 4) == 0;
	options.count_exits = !options.counting && pick(w, 4) == 0;
	options.reentry_seed = pick(w, 2) ? 1 + pick(w, 1000) : 0;
	if (emit_module_with(&w->image, map, NULL, &layout, &options, &module, &report, &e)) {
		fprintf(stderr, "not emitted: %s\n", e.text);
		abort();
	}
	if (module.code_size && !proven(w, &module, &e)) {
		fprintf(stderr, "not proven: %s\n", e.text);
		abort();
	}
	if (module.code_size)
		check_changes(w, &module);
	emit_report_free(&report);
	plan_module_free(&module);
	layout_free(&layout);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct insn_second *second;
	struct map map;
	if (!second)
		MUST(second = insn_second_new());
	struct world *w = calloc(1, sizeof *w);
	MUST(w);
	w->input = reader_of(data, size);
	w->second = second;
	w->seed = read_u64(&w->input);
	make_text(w);
	MUST(!map_build(&w->image, 1, &map, NULL));
	emit_and_check(w, &map);
	map_free(&map);
	free(w);
	return 0;
}
