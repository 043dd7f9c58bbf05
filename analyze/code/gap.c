/*
 * Executable bytes that no FDE covers: hand-written code, linkage stubs, padding. They are not mapped, but what they branch to is noted. Only
 * executable sections are swept where section headers exist: an executable segment may hold tables as well.
 */
#include "analyze/code/build.h"

static int sweep(struct builder *b, uint64_t from, uint64_t to, walk_references *references)
{
	size_t left;
	const uint8_t *bytes = image_bytes_left(b->image, (vaddr){from}, &left);
	struct insn insn;
	if (!bytes || left < to - from)
		return 0;
	for (uint64_t at = 0; at < to - from;) {
		if (insn_decode(bytes + at, to - from - at, (vaddr){from + at}, &insn)) {
			at++;
			continue;
		}
		at += insn.length;
		if (!insn.relative_size || insn.kind == INSN_UNSUPPORTED || insn.target - b->image->text_base >= b->image->text_size)
			continue;
		enum walk_reference_kind kind = insn.kind == INSN_CALL ? WALK_CALL : WALK_BRANCH;
		if (vec_push(references, (struct walk_reference){insn.target, MAP_NONE, kind}))
			return -1;
	}
	return 0;
}

/* [from, to) without what the drafts cover. */
static int sweep_section(struct builder *b, uint64_t from, uint64_t to, walk_references *references)
{
	uint64_t base = b->image->text_base;
	uint32_t low = 0, high = b->draft_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (base + b->drafts[middle].start + b->drafts[middle].size <= from)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < b->draft_count && from < to; low++) {
		uint64_t start = base + b->drafts[low].start;
		if (start >= to)
			break;
		if (start > from && sweep(b, from, start, references))
			return -1;
		if (start + b->drafts[low].size > from)
			from = start + b->drafts[low].size;
	}
	return from < to ? sweep(b, from, to, references) : 0;
}

int gap_sweep(struct builder *b, walk_references *references)
{
	for (size_t i = 0; i < b->image->code_range_count; i++) {
		const struct image_range *r = &b->image->code_ranges[i];
		if (sweep_section(b, r->start, r->start + r->size, references))
			return -1;
	}
	return 0;
}
