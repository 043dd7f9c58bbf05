/*
 * .eh_frame, read by an own bounds-checked reader: libdwarf builds a tree of every CIE and FDE with several allocations each, and it does not
 * give the vaddr of the LSDA and of the personality slot with their encodings. Formats: Linux Standard Base 5.0, "Exception Frames".
 */
#include "analyze/elf/image_parts.h"
#include "formats/base/vec.h"

#include <stdlib.h>
#include <string.h>

enum { PE_OMIT = 0xff, PE_INDIRECT = 0x80, PE_BASE = 0x70, PE_PCREL = 0x10, PE_FORM = 0x0f };

struct cie {
	uint64_t vaddr;
	uint64_t personality;
	uint8_t fde_encoding, lsda_encoding, personality_encoding, signal_frame, augmented;
};

struct frames {
	struct reader r;
	uint64_t base; /* vaddr of r.data */
	VEC(struct image_fde) fdes;
	VEC(struct cie) cies; /* sorted by vaddr: that is how they are read */
};

static uint64_t read_form(struct reader *r, uint8_t form)
{
	switch (form) {
	case 0x00: /* absptr */
	case 0x04: /* udata8 */
	case 0x0c: /* sdata8 */
		return read_u64(r);
	case 0x01:
		return read_uleb(r);
	case 0x02:
		return read_u16(r);
	case 0x03:
		return read_u32(r);
	case 0x09:
		return (uint64_t)read_sleb(r);
	case 0x0a:
		return (uint64_t)(int64_t)(int16_t)read_u16(r);
	case 0x0b:
		return (uint64_t)(int64_t)(int32_t)read_u32(r);
	default:
		r->failed = true;
		return 0;
	}
}

/* An encoded pointer; *ret_null tells a stored zero, which means "none" whatever the base. An indirect one gives the slot's address. */
static uint64_t read_pointer(struct reader *r, uint64_t base, uint8_t encoding, bool *ret_null)
{
	uint64_t at = base + r->position;
	uint64_t value = read_form(r, encoding & PE_FORM);
	*ret_null = value == 0;
	switch (encoding & PE_BASE) {
	case 0:
		return value;
	case PE_PCREL:
		return value + at;
	default: /* textrel, datarel, funcrel, aligned: not used on x86-64 in .eh_frame */
		r->failed = true;
		return 0;
	}
}

/* `r` covers one entry's bytes from after the CIE id to the entry's end. */
static bool read_cie(struct reader *r, uint64_t base, struct cie *cie)
{
	bool null;
	uint8_t version = read_u8(r);
	const uint8_t *augmentation = r->data + r->position;
	while (read_u8(r) != 0 && !r->failed)
		;
	if (r->failed || (version != 1 && version != 3))
		return false;
	(void)read_uleb(r);
	(void)read_sleb(r);
	if (version == 1)
		(void)read_u8(r);
	else
		(void)read_uleb(r);
	cie->lsda_encoding = cie->personality_encoding = PE_OMIT;
	if (*augmentation == 'z')
		(void)read_uleb(r);
	else if (*augmentation)
		return false;
	for (const uint8_t *a = augmentation; *a && !r->failed; a++) {
		if (*a == 'z') {
			cie->augmented = 1;
		} else if (*a == 'R') {
			cie->fde_encoding = read_u8(r);
		} else if (*a == 'L') {
			cie->lsda_encoding = read_u8(r);
		} else if (*a == 'P') {
			cie->personality_encoding = read_u8(r);
			cie->personality = read_pointer(r, base, cie->personality_encoding, &null);
			if (null)
				cie->personality = 0;
		} else if (*a == 'S') {
			cie->signal_frame = 1;
		} else if (*a != 'B') {
			return false;
		}
	}
	return !r->failed;
}

static const struct cie *find_cie(const struct frames *f, uint64_t address)
{
	size_t low = 0, high = f->cies.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (f->cies.data[middle].vaddr < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < f->cies.count && f->cies.data[low].vaddr == address ? &f->cies.data[low] : NULL;
}

static bool read_fde(struct reader *r, uint64_t base, const struct cie *cie, struct image_fde *fde)
{
	bool null;
	fde->start = read_pointer(r, base, cie->fde_encoding, &null);
	fde->size = read_form(r, cie->fde_encoding & PE_FORM & 0x07); /* the same width, never signed, never relative */
	if (cie->augmented) {
		uint64_t length = read_uleb(r);
		if (length > reader_left(r))
			return false;
		if (cie->lsda_encoding != PE_OMIT) {
			fde->lsda = read_pointer(r, base, cie->lsda_encoding, &null);
			if (null)
				fde->lsda = 0;
		}
	}
	fde->personality = cie->personality;
	fde->lsda_encoding = cie->lsda_encoding;
	fde->personality_encoding = cie->personality_encoding;
	fde->signal_frame = cie->signal_frame;
	return !r->failed;
}

/* One entry whose length field stands at `at`; `r` covers the bytes from its id field to its end. */
static int read_entry(struct frames *f, const struct image *image, uint64_t at, struct reader *r, uint64_t r_base, struct err *e)
{
	uint64_t id_at = r_base + r->position;
	uint32_t id = read_u32(r);
	if (r->failed)
		return err_set(e, ERR_FORMAT, ".eh_frame: entry at 0x%lx is too short", (unsigned long)at);
	if (!id) {
		struct cie cie = {.vaddr = at};
		if (!read_cie(r, r_base, &cie))
			return err_set(e, ERR_UNSUPPORTED, ".eh_frame: CIE at 0x%lx is not readable", (unsigned long)at);
		return vec_push(&f->cies, cie) ? err_set(e, ERR_MEMORY, ".eh_frame: no memory") : 0;
	}
	const struct cie *cie = find_cie(f, id_at - id);
	if (!cie)
		return err_set(e, ERR_FORMAT, ".eh_frame: FDE at 0x%lx names a CIE at 0x%lx that is not there", (unsigned long)at,
			       (unsigned long)(id_at - id));
	struct image_fde fde = {.fde = at, .cie = cie->vaddr};
	if (!read_fde(r, r_base, cie, &fde))
		return err_set(e, ERR_FORMAT, ".eh_frame: FDE at 0x%lx is not readable", (unsigned long)at);
	/* An FDE of discarded code has range 0 or start 0; one that leaves the text describes nothing we could touch. */
	if (!fde.size || fde.start - image->text_base >= image->text_size || fde.size > image->text_size - (fde.start - image->text_base))
		return 0;
	if (!image_executable(image, (vaddr){fde.start}) || !image_bytes(image, (vaddr){fde.start}, fde.size))
		return 0;
	return vec_push(&f->fdes, fde) ? err_set(e, ERR_MEMORY, ".eh_frame: no memory") : 0;
}

static int read_entries(struct frames *f, const struct image *image, bool stop_at_terminator, struct err *e)
{
	while (reader_left(&f->r) >= 4) {
		uint64_t at = f->base + f->r.position, length = read_u32(&f->r);
		if (length == 0 && stop_at_terminator)
			break;
		if (length == 0)
			continue;
		if (length == UINT32_MAX)
			length = read_u64(&f->r);
		if (f->r.failed || length > reader_left(&f->r))
			return err_set(e, ERR_FORMAT, ".eh_frame: entry at 0x%lx leaves the section", (unsigned long)at);
		struct reader body = f->r;
		body.size = body.position + length;
		int status = read_entry(f, image, at, &body, f->base, e);
		if (status)
			return status;
		f->r.position += length;
	}
	return 0;
}

static int compare_fdes(const void *a, const void *b)
{
	const struct image_fde *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->size != y->size)
		return x->size < y->size ? -1 : 1;
	return (x->fde > y->fde) - (x->fde < y->fde);
}

/* What the unwinder uses is PT_GNU_EH_FRAME, so it comes first; the section header only tells the size. */
static int locate(const struct image *image, const Elf64_Phdr *header, const struct image_sections *sections, uint64_t *ret_start,
		  uint64_t *ret_size, bool *ret_exact, struct err *e)
{
	const Elf64_Shdr *section = &sections->eh_frame;
	uint64_t start = section->sh_size ? section->sh_addr : 0;
	if (header) {
		const uint8_t *bytes = image_bytes(image, (vaddr){header->p_vaddr}, 4);
		size_t left;
		bool null;
		if (!bytes || bytes[0] != 1)
			return err_set(e, ERR_FORMAT, ".eh_frame_hdr at 0x%lx is not readable", (unsigned long)header->p_vaddr);
		bytes = image_bytes_left(image, (vaddr){header->p_vaddr}, &left);
		struct reader r = reader_of(bytes, left);
		r.position = 4;
		start = read_pointer(&r, header->p_vaddr, bytes[1], &null);
		if (r.failed)
			return err_set(e, ERR_FORMAT, ".eh_frame_hdr at 0x%lx: bad pointer to .eh_frame", (unsigned long)header->p_vaddr);
	}
	size_t left = 0;
	if (start && !image_bytes_left(image, (vaddr){start}, &left))
		return err_set(e, ERR_FORMAT, ".eh_frame at 0x%lx is not in the file", (unsigned long)start);
	*ret_exact = section->sh_size && section->sh_addr == start && section->sh_size <= left;
	*ret_size = *ret_exact ? section->sh_size : left;
	*ret_start = start;
	return 0;
}

int image_read_frames(struct image *image, const Elf64_Phdr *header, const struct image_sections *sections, struct err *e)
{
	struct frames f = {0};
	uint64_t start = 0, size = 0;
	bool exact = false;
	int status = locate(image, header, sections, &start, &size, &exact, e);
	if (status || !start)
		return status;
	f.base = start;
	f.r = reader_of(image_bytes(image, (vaddr){start}, size), size);
	status = read_entries(&f, image, !exact, e);
	if (status) {
		vec_free(&f.fdes);
	} else {
		if (f.fdes.count)
			qsort(f.fdes.data, f.fdes.count, sizeof *f.fdes.data, compare_fdes);
		image->fdes = f.fdes.data;
		image->fde_count = f.fdes.count;
		image->eh_frame = start;
		image->eh_frame_size = exact ? size : f.r.position;
	}
	vec_free(&f.cies);
	return status;
}
