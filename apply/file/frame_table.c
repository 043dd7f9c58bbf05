#include "apply/file/frame_table.h"

#include "formats/base/vec.h"

#include <inttypes.h>
#include <string.h>

enum {
	HEADER_SIZE = 12, /* version and three encodings, eh_frame_ptr, fde_count */
	PCREL_SDATA4 = 0x1b,
	UDATA4 = 0x03,
	DATAREL_SDATA4 = 0x3b,
	OMITTED = 0xff,
};

/* A sorted list of {pc, FDE} pairs, each relative to `base`. */
struct entries {
	const uint8_t *bytes;
	uint64_t base;
	uint32_t count;
};

static uint64_t entry_value(const struct entries *t, uint32_t i, unsigned field)
{
	return t->base + (uint64_t)(int64_t)(int32_t)load_u32(t->bytes + 8 * (size_t)i + 4 * field);
}

/* The table that the file has: its entries, and where its .eh_frame begins. No PT_GNU_EH_FRAME: no entries (static programs register theirs). */
static int read_original(const struct elf_file *f, struct entries *ret_table, uint64_t *ret_frames, struct err *e)
{
	const Elf64_Phdr *p = elf_file_segment(f, PT_GNU_EH_FRAME);
	*ret_table = (struct entries){0};
	if (!p)
		return 0;
	if (p->p_filesz < HEADER_SIZE)
		return err_set(e, ERR_FORMAT, "%s: .eh_frame_hdr of %" PRIu64 " bytes", f->name, p->p_filesz);
	const uint8_t *b = f->data + p->p_offset;
	if (b[2] == OMITTED || b[3] == OMITTED)
		return err_set(e, ERR_UNSUPPORTED, "%s: its .eh_frame_hdr has no search table to add to", f->name);
	if (b[0] != 1 || b[1] != PCREL_SDATA4 || b[2] != UDATA4 || b[3] != DATAREL_SDATA4)
		return err_set(e, ERR_UNSUPPORTED,
			       "%s: .eh_frame_hdr of version %u with encodings %02x %02x %02x, expected 1 with 1b 03 3b", f->name, b[0],
			       b[1], b[2], b[3]);
	*ret_frames = p->p_vaddr + 4 + (uint64_t)(int64_t)(int32_t)load_u32(b + 4);
	*ret_table = (struct entries){b + HEADER_SIZE, p->p_vaddr, load_u32(b + 8)};
	if (ret_table->count > (p->p_filesz - HEADER_SIZE) / 8)
		return err_set(e, ERR_FORMAT, "%s: .eh_frame_hdr says %u entries, there is room for %" PRIu64, f->name, ret_table->count,
			       (p->p_filesz - HEADER_SIZE) / 8);
	for (uint32_t i = 1; i < ret_table->count; i++)
		if (entry_value(ret_table, i, 0) < entry_value(ret_table, i - 1, 0))
			return err_set(e, ERR_FORMAT, "%s: entry %u of .eh_frame_hdr is not sorted", f->name, i);
	return 0;
}

static int write_relative(struct writer *w, uint64_t target, uint64_t base, const char *name, struct err *e)
{
	int64_t distance = (int64_t)(target - base);
	if (distance != (int32_t)distance)
		return err_set(e, ERR_REFUSED, "%s: 0x%" PRIx64 " is out of reach of .eh_frame_hdr at 0x%" PRIx64, name, target, base);
	write_u32(w, (uint32_t)distance);
	return 0;
}

int frame_table_write(const struct elf_file *f, const struct plan_module *m, uint64_t region, uint64_t at, struct writer *w, struct err *e)
{
	const struct entries image = {m->data + (m->fde_table - m->data_offset), region, m->fde_count};
	struct entries original;
	uint64_t frames = region + m->eh_frame;
	int status = read_original(f, &original, &frames, e);
	if (status)
		return status;
	if (original.count > UINT32_MAX - image.count)
		return err_set(e, ERR_FORMAT, "%s: too many unwind entries", f->name);
	const uint8_t head[4] = {1, PCREL_SDATA4, UDATA4, DATAREL_SDATA4};
	write_bytes(w, head, sizeof head);
	status = write_relative(w, frames, at + 4, f->name, e);
	write_u32(w, original.count + image.count);
	for (uint32_t i = 0, k = 0; !status && (i < original.count || k < image.count);) {
		bool ours = i == original.count || (k < image.count && entry_value(&image, k, 0) < entry_value(&original, i, 0));
		const struct entries *from = ours ? &image : &original;
		uint32_t index = ours ? k++ : i++;
		status = write_relative(w, entry_value(from, index, 0), at, f->name, e);
		if (!status)
			status = write_relative(w, entry_value(from, index, 1), at, f->name, e);
	}
	return status;
}

/* --- .debug_frame --- */

struct cie {
	uint32_t from, to; /* region offset in the plan's data, offset in the section */
};

struct conversion {
	const struct frame_image *image;
	struct writer *w;
	struct err *e;
	VEC(struct cie) cies; /* few: planners share them */
};

static int malformed(const struct conversion *c, uint32_t at)
{
	return err_set(c->e, ERR_FORMAT, "%s: unwind entry at region offset 0x%x is not as planners write it", c->image->name, at);
}

/* The entry at this region offset, past its length; the id is next. */
static int open_entry(const struct conversion *c, uint32_t at, struct reader *ret_reader)
{
	const struct frame_image *m = c->image;
	if (m->eh_frame_size < 4 || at < m->eh_frame || at - m->eh_frame > m->eh_frame_size - 4)
		return malformed(c, at);
	const uint8_t *bytes = m->data + (at - m->data_offset);
	uint32_t length = load_u32(bytes), left = m->eh_frame_size - (at - m->eh_frame) - 4;
	if (length < 4 || length > left)
		return malformed(c, at);
	*ret_reader = reader_of(bytes + 4, length);
	return 0;
}

static size_t begin_entry(struct conversion *c, uint32_t id)
{
	size_t start = c->w->size;
	write_u32(c->w, 0);
	write_u32(c->w, id);
	return start;
}

static int end_entry(struct conversion *c, size_t start, const struct reader *instructions)
{
	write_bytes(c->w, instructions->data + instructions->position, reader_left(instructions));
	write_pad(c->w, 8, 0);
	if (c->w->failed || c->w->size > UINT32_MAX / 2)
		return err_set(c->e, ERR_MEMORY, "no memory for .debug_frame");
	store_u32(c->w->data + start, (uint32_t)(c->w->size - start - 4));
	return 0;
}

/* {version, "z...", code and data alignment, return register, augmentation data, instructions}: the same without augmentation. */
static int convert_cie(struct conversion *c, uint32_t at, struct cie *ret_cie)
{
	struct reader r;
	int status = open_entry(c, at, &r);
	if (status)
		return status;
	bool is_cie = !read_u32(&r) && read_u8(&r) == 1, relative = false;
	uint8_t letter = read_u8(&r);
	if (!is_cie || letter != 'z')
		return malformed(c, at);
	while ((letter = read_u8(&r)))
		relative |= letter == 'R';
	uint64_t code_align = read_uleb(&r);
	int64_t data_align = read_sleb(&r);
	uint8_t return_register = read_u8(&r);
	read_bytes(&r, read_uleb(&r));
	if (r.failed || !relative)
		return malformed(c, at);
	size_t start = begin_entry(c, UINT32_MAX);
	write_u8(c->w, 1);
	write_u8(c->w, 0);
	write_uleb(c->w, code_align);
	write_sleb(c->w, data_align);
	write_u8(c->w, return_register);
	*ret_cie = (struct cie){at, (uint32_t)start};
	return end_entry(c, start, &r);
}

static int find_cie(struct conversion *c, uint32_t at, struct cie *ret_cie)
{
	for (size_t i = c->cies.count; i-- > 0;) {
		*ret_cie = c->cies.data[i];
		if (ret_cie->from == at)
			return 0;
	}
	int status = convert_cie(c, at, ret_cie);
	if (!status && vec_push(&c->cies, *ret_cie))
		status = err_set(c->e, ERR_MEMORY, "no memory for .debug_frame");
	return status;
}

/* {CIE, pc relative to this field, range, augmentation data, instructions}: pc absolute, no augmentation. */
static int convert_fde(struct conversion *c, uint32_t at)
{
	struct reader r;
	struct cie cie;
	int status = open_entry(c, at, &r);
	if (status)
		return status;
	uint32_t distance = read_u32(&r);
	uint64_t pc = c->image->region + at + 8 + (uint64_t)(int64_t)(int32_t)read_u32(&r);
	uint32_t range = read_u32(&r);
	read_bytes(&r, read_uleb(&r));
	if (r.failed || !distance || distance > at + 4)
		return malformed(c, at);
	status = find_cie(c, at + 4 - distance, &cie);
	if (status)
		return status;
	size_t start = begin_entry(c, cie.to);
	write_u64(c->w, pc);
	write_u64(c->w, range);
	return end_entry(c, start, &r);
}

int frame_table_write_debug(const struct frame_image *image, struct writer *w, struct err *e)
{
	struct conversion c = {.image = image, .w = w, .e = e};
	const uint8_t *table = image->data + (image->fde_table - image->data_offset);
	int status = 0;
	write_pad(w, 8, 0);
	for (uint32_t i = 0; !status && i < image->fde_count; i++)
		status = convert_fde(&c, load_u32(table + 8 * (size_t)i + 4));
	vec_free(&c.cies);
	return status;
}
