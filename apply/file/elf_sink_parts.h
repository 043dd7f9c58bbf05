/*
 * elf_sink_parts: what the units of elf_sink share: the new file while it is put together.
 *
 *	[0, in->size)	the old file, patched; its program headers are dead
 *	(hole)
 *	code		r-x segment: the image
 *	(hole)		up to the plan's data_offset
 *	data		r-- segment: the plan's data, .eh_frame_hdr, program headers, note
 *	tail		not loaded: .debug_frame, section names, section headers, the overlay once more
 */
#ifndef APPLY_FILE_ELF_SINK_PARTS_H
#define APPLY_FILE_ELF_SINK_PARTS_H

#include "apply/file/elf_sink.h"
#include "formats/base/bytes.h"

/* A piece of `data` or `tail`. */
struct elf_sink_piece {
	size_t at, size;
};

struct elf_sink {
	const struct elf_file *in;
	const struct plan *plan;
	const struct plan_module *m;
	uint64_t region;    /* vaddr of the image */
	uint8_t *code;	    /* owned: the image's code, relocated */
	struct writer data; /* first m->data_size bytes: the plan's data, relocated */
	struct writer tail;
	struct elf_sink_piece frame_table, segments, note; /* in data */
	uint32_t segment_count;
	struct elf_sink_piece headers; /* of the sections, in tail; size 0: they stay where they are */
	uint16_t section_count;
	struct err *e;
};

static inline uint64_t elf_sink_data_vaddr(const struct elf_sink *s)
{
	return s->region + s->m->data_offset;
}

/* Files and memory differ by one constant, so that what computes from e_phoff (old kernels, static programs) is right. */
static inline uint64_t elf_sink_offset(const struct elf_sink *s, uint64_t address)
{
	return address - s->in->load_base;
}

/* File offset of the first byte of `tail`. */
static inline uint64_t elf_sink_tail_offset(const struct elf_sink *s)
{
	return elf_sink_offset(s, elf_sink_data_vaddr(s)) + s->data.size;
}

/* Appends program headers and note to `data`. ERR_REFUSED: more program headers than live tools read. */
int elf_sink_write_segments(struct elf_sink *s) MUST_CHECK;
/* Appends all of `tail`. */
int elf_sink_write_tail(struct elf_sink *s) MUST_CHECK;

#endif
