#include "analyze/elf/cfi_machine.h"
#include "analyze/elf/cfi_pointer.h"

#include <string.h>

static int bad(uint64_t cie, enum err_code code, const char *what, struct err *e)
{
	return err_set(e, code, ".eh_frame: CIE at 0x%lx: %s", (unsigned long)cie, what);
}

int cfi_open_entry(const struct image *image, uint64_t entry, struct reader *ret_body, uint64_t *ret_base, struct err *e)
{
	size_t left;
	const uint8_t *bytes = image_bytes_left(image, (vaddr){entry}, &left);
	if (!bytes)
		return err_set(e, ERR_FORMAT, ".eh_frame: entry at 0x%lx is not in the file", (unsigned long)entry);
	struct reader r = reader_of(bytes, left);
	uint64_t length = read_u32(&r);
	if (length == UINT32_MAX)
		length = read_u64(&r);
	if (r.failed || length > reader_left(&r) || length < 4)
		return err_set(e, ERR_FORMAT, ".eh_frame: entry at 0x%lx leaves its segment", (unsigned long)entry);
	r.size = r.position + length;
	(void)read_u32(&r); /* 0, or distance to the CIE; 4 bytes even when the length takes 8 */
	*ret_body = r;
	*ret_base = entry;
	return 0;
}

static void read_augmentation(struct reader *r, uint64_t base, const uint8_t *letters, struct cfi_cie *cie)
{
	for (; *letters && !r->failed; letters++) {
		switch (*letters) {
		case 'R':
			cie->fde_encoding = read_u8(r);
			break;
		case 'L':
			cie->lsda_encoding = read_u8(r);
			break;
		case 'P':
			cie->personality_encoding = read_u8(r);
			cie->personality = cfi_pointer_read(r, base, cie->personality_encoding);
			break;
		case 'S':
			cie->signal_frame = 1;
			break;
		default:
			r->failed = true;
		}
	}
}

static int read_fields(struct reader *r, uint64_t base, struct cfi_cie *cie, struct err *e)
{
	cie->version = read_u8(r);
	const uint8_t *letters = r->data + r->position;
	while (read_u8(r) != 0)
		;
	if (r->failed || (cie->version != 1 && cie->version != 3))
		return bad(base, ERR_UNSUPPORTED, "unknown version", e);
	cie->code_align = read_uleb(r);
	cie->data_align = read_sleb(r);
	cie->return_register = cie->version == 1 ? read_u8(r) : read_uleb(r);
	cie->lsda_encoding = cie->personality_encoding = CFI_POINTER_OMIT;
	cie->augmented = *letters == 'z';
	if (*letters && !cie->augmented)
		return bad(base, ERR_UNSUPPORTED, "unknown augmentation", e);
	if (cie->augmented) {
		uint64_t length = read_uleb(r);
		size_t end = r->position + length;
		if (length > reader_left(r))
			return bad(base, ERR_FORMAT, "augmentation leaves the entry", e);
		read_augmentation(r, base, letters + 1, cie);
		if (r->failed || r->position > end)
			return bad(base, ERR_UNSUPPORTED, "unknown augmentation", e);
		r->position = end;
	}
	if (r->failed || !cie->code_align || !cie->data_align || cie->code_align > 16 || cie->data_align < -64 || cie->data_align > 64)
		return bad(base, ERR_FORMAT, "alignment factors out of range", e);
	if (cie->return_register != CFI_RETURN_ADDRESS)
		return bad(base, ERR_UNSUPPORTED, "the return address is not register 16", e);
	return 0;
}

int cfi_read_cie(const struct image *image, uint64_t cie_vaddr, struct cfi_cie *ret_cie, struct err *e)
{
	struct reader r;
	struct cfi_cie cie = {0};
	uint64_t base;
	int status = cfi_open_entry(image, cie_vaddr, &r, &base, e);
	if (!status)
		status = read_fields(&r, base, &cie, e);
	if (status)
		return status;
	cie.instructions = r.data + r.position;
	cie.instructions_size = (uint32_t)reader_left(&r);
	struct cfi_row remembered[CFI_REMEMBER_DEPTH];
	struct cfi_machine machine = {.remembered = remembered, .cie = &cie, .r = r, .base = base, .entry = cie_vaddr, .end = 1};
	status = cfi_machine_run(&machine, NULL, e);
	if (status)
		return status;
	if (machine.advanced)
		return bad(cie_vaddr, ERR_UNSUPPORTED, "initial instructions move the location", e);
	cie.initial = machine.row;
	*ret_cie = cie;
	return 0;
}
