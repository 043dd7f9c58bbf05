/*
 * addr: the three kinds of address, as types, because mixing them is this field's own class of bug.
 *
 * vaddr  an address as linked: what the ELF file says. Equal in every process and file.
 * raddr  an address in the target process now: vaddr + load bias of the module.
 * foff   an offset in a file.
 * Conversions happen only in the functions named here and in the ELF segment table (analyze/elf/image.h).
 */
#ifndef FORMATS_BASE_ADDR_H
#define FORMATS_BASE_ADDR_H

#include <stdint.h>

typedef struct {
	uint64_t v;
} vaddr;

typedef struct {
	uint64_t v;
} raddr;

typedef struct {
	uint64_t v;
} foff;

/* `bias` is raddr minus vaddr of the same byte: what the loader added (0 for a non-PIE executable). Wraps modulo 2^64. */
static inline raddr raddr_of_vaddr(vaddr a, uint64_t bias)
{
	return (raddr){a.v + bias};
}

static inline vaddr vaddr_of_raddr(raddr a, uint64_t bias)
{
	return (vaddr){a.v - bias};
}

#endif
