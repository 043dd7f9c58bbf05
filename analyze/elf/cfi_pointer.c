#include "analyze/elf/cfi_pointer.h"

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

uint64_t cfi_pointer_read(struct reader *r, uint64_t base, uint8_t encoding)
{
	uint64_t at = base + r->position;
	uint64_t value = read_form(r, encoding & CFI_POINTER_FORM);
	uint8_t relative = encoding & CFI_POINTER_BASE;
	if (relative && relative != CFI_POINTER_PCREL)
		r->failed = true;
	if (r->failed || !value)
		return 0;
	return relative ? value + at : value;
}

unsigned cfi_pointer_size(uint8_t encoding)
{
	switch (encoding & CFI_POINTER_FORM) {
	case 0x00:
	case 0x04:
	case 0x0c:
		return 8;
	case 0x03:
	case 0x0b:
		return 4;
	case 0x02:
	case 0x0a:
		return 2;
	default:
		return 0;
	}
}
