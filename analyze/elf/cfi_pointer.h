/*
 * cfi_pointer: encoded pointers (DW_EH_PE_*) of .eh_frame and exception tables. Source: Linux Standard Base 5.0, "DWARF Exception Header Encoding".
 */
#ifndef ANALYZE_ELF_CFI_POINTER_H
#define ANALYZE_ELF_CFI_POINTER_H

#include "formats/base/bytes.h"

enum {
	CFI_POINTER_ABSOLUTE = 0x00,
	CFI_POINTER_ULEB = 0x01,
	CFI_POINTER_UDATA4 = 0x03,
	CFI_POINTER_SDATA4 = 0x0b,
	CFI_POINTER_FORM = 0x0f,
	CFI_POINTER_PCREL = 0x10,
	CFI_POINTER_DATAREL = 0x30,
	CFI_POINTER_BASE = 0x70,
	CFI_POINTER_INDIRECT = 0x80,
	CFI_POINTER_OMIT = 0xff,
};

/*
 * The vaddr that an encoded pointer denotes; of the slot when it is indirect. `base` is the vaddr of r->data. A stored zero means "none" whatever
 * the base and gives 0. The reader fails at the end of its data and for encodings that x86-64 does not use (textrel, datarel, funcrel, aligned).
 */
uint64_t cfi_pointer_read(struct reader *r, uint64_t base, uint8_t encoding);

/* Bytes of a pointer of fixed width, 0 for LEB forms and unknown ones. */
unsigned cfi_pointer_size(uint8_t encoding);

#endif
