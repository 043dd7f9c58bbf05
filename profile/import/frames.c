#include "profile/import/frames.h"

#include "formats/base/bytes.h"

#include <stdlib.h>
#include <string.h>

/* DW_EH_PE: low four bits the size, the next three what it is relative to. */
enum {
	FORM_MASK = 0x0f,
	FORM_ABSOLUTE = 0,
	FORM_UDATA2 = 2,
	FORM_UDATA4 = 3,
	FORM_UDATA8 = 4,
	FORM_SDATA2 = 10,
	FORM_SDATA4 = 11,
	FORM_SDATA8 = 12
};
enum { BASE_MASK = 0x70, BASE_NONE = 0, BASE_PC = 0x10, BASE_DATA = 0x30 };
enum { TABLE_ENCODING = BASE_DATA | FORM_SDATA4 };

struct image {
	const uint8_t *file;
	size_t size;
	const struct elfhead *head;
};

/* A reader of the file from the byte at `address` to the end of its segment; failed when no segment has it. */
static struct reader reader_at(const struct image *m, uint64_t address)
{
	for (uint32_t i = 0; i < m->head->segment_count; i++) {
		const struct elf_segment *s = &m->head->segments[i];
		uint64_t in = address - s->address.v;
		if (s->type != ELFHEAD_LOAD || address < s->address.v || in >= s->file_size)
			continue;
		if (s->offset + in >= m->size)
			break;
		uint64_t left = s->file_size - in, there = m->size - (s->offset + in);
		return reader_of(m->file + s->offset + in, (size_t)(left < there ? left : there));
	}
	return (struct reader){.failed = true};
}

static uint64_t read_form(struct reader *r, unsigned encoding)
{
	switch (encoding & FORM_MASK) {
	case FORM_ABSOLUTE:
	case FORM_UDATA8:
	case FORM_SDATA8:
		return read_u64(r);
	case FORM_UDATA4:
		return read_u32(r);
	case FORM_SDATA4:
		return (uint64_t)(int64_t)(int32_t)read_u32(r);
	case FORM_UDATA2:
		return read_u16(r);
	case FORM_SDATA2:
		return (uint64_t)(int64_t)(int16_t)read_u16(r);
	default:
		r->failed = true;
		return 0;
	}
}

/* A pointer at `address`, absolute or relative to itself. */
static uint64_t read_pointer(struct reader *r, unsigned encoding, uint64_t address)
{
	uint64_t here = address + r->position, value = read_form(r, encoding);
	switch (encoding & BASE_MASK) {
	case BASE_NONE:
		return value;
	case BASE_PC:
		return value + here;
	default:
		r->failed = true;
		return 0;
	}
}

/* How the CIE at `address` says that code pointers are written; -1 when it cannot be read. */
static int encoding_of(const struct image *m, uint64_t address)
{
	struct reader r = reader_at(m, address);
	uint32_t length = read_u32(&r), id = read_u32(&r);
	uint8_t version = read_u8(&r);
	const char *augmentation = r.failed ? NULL : (const char *)r.data + r.position;
	if (length == UINT32_MAX || id || (version != 1 && version != 3) || !augmentation || !memchr(augmentation, 0, reader_left(&r)))
		return -1;
	read_bytes(&r, strlen(augmentation) + 1);
	read_uleb(&r);
	read_sleb(&r);
	if (version == 1)
		read_u8(&r);
	else
		read_uleb(&r);
	if (*augmentation != 'z')
		return r.failed ? -1 : FORM_ABSOLUTE;
	read_uleb(&r);
	int encoding = FORM_ABSOLUTE;
	for (const char *c = augmentation + 1; *c && !r.failed; c++) {
		if (*c == 'R')
			encoding = read_u8(&r);
		else if (*c == 'L')
			read_u8(&r);
		else if (*c == 'P')
			read_form(&r, read_u8(&r));
		else if (*c != 'S' && *c != 'B')
			return -1;
	}
	return r.failed ? -1 : encoding;
}

static bool read_frame(const struct image *m, uint64_t address, struct frame *ret_frame)
{
	struct reader r = reader_at(m, address);
	uint32_t length = read_u32(&r), back = read_u32(&r);
	if (r.failed || length == UINT32_MAX || !back)
		return false;
	int encoding = encoding_of(m, address + 4 - back);
	if (encoding < 0)
		return false;
	ret_frame->start = read_pointer(&r, (unsigned)encoding, address);
	ret_frame->size = read_form(&r, (unsigned)encoding & FORM_MASK);
	return !r.failed && ret_frame->size && ret_frame->start + ret_frame->size > ret_frame->start;
}

static int by_start(const void *left, const void *right)
{
	const struct frame *a = left, *b = right;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->size < b->size ? -1 : a->size > b->size;
}

static size_t sort_unique(struct frame *frames, size_t count)
{
	size_t kept = 0;
	qsort(frames, count, sizeof *frames, by_start);
	for (size_t i = 0; i < count; i++) {
		if (kept && frames[kept - 1].start == frames[i].start)
			frames[kept - 1] = frames[i]; /* the longer one */
		else
			frames[kept++] = frames[i];
	}
	return kept;
}

/* The header: version, three encodings, pointer to .eh_frame, number of entries; then {code, frame} relative to the header. */
int frames_read(const uint8_t *file, size_t size, const struct elfhead *head, struct frame **ret_frames, size_t *ret_count, struct err *e)
{
	struct image m = {file, size, head};
	const struct elf_segment *table = NULL;
	for (uint32_t i = 0; i < head->segment_count; i++)
		if (head->segments[i].type == ELFHEAD_EH_FRAME_HDR)
			table = &head->segments[i];
	struct reader r = table ? reader_at(&m, table->address.v) : (struct reader){.failed = true};
	uint8_t version = read_u8(&r), pointer = read_u8(&r), number = read_u8(&r), encoding = read_u8(&r);
	read_form(&r, pointer);
	uint64_t count = read_form(&r, number);
	if (r.failed || version != 1 || encoding != TABLE_ENCODING)
		count = 0;
	if (count > reader_left(&r) / 8)
		count = reader_left(&r) / 8;
	struct frame *frames = calloc((size_t)count + 1, sizeof *frames);
	if (!frames)
		return err_set(e, ERR_MEMORY, "no memory for %zu frames", (size_t)count);
	size_t kept = 0;
	for (uint64_t i = 0; i < count; i++) {
		read_u32(&r);
		uint64_t address = table->address.v + (uint64_t)(int64_t)(int32_t)read_u32(&r);
		kept += read_frame(&m, address, &frames[kept]);
	}
	*ret_count = sort_unique(frames, kept);
	*ret_frames = frames;
	return 0;
}
