/*
 * stack_modules: the unwind tables of everything that is mapped in a process, copied before it is stopped.
 */
#ifndef APPLY_STACK_MODULES_H
#define APPLY_STACK_MODULES_H

#include "formats/base/err.h"
#include "formats/base/procmaps.h"

#include <stddef.h>
#include <stdint.h>

/* One mapped ELF file with an .eh_frame_hdr search table. All addresses are target addresses (raddr values). */
struct stack_module {
	uint64_t low, high; /* span of its PT_LOADs */
	uint8_t *bytes;	    /* copy of [bytes_at, bytes_at + size): .eh_frame_hdr and the rest of its segment, .eh_frame included */
	uint64_t bytes_at;
	size_t size;
	uint64_t header; /* address of .eh_frame_hdr: base of the table's offsets */
	size_t table;	 /* offset in bytes of the sorted pairs {int32 pc, int32 fde} */
	size_t count;	 /* pairs */
};

struct stack_modules {
	struct stack_module *modules; /* sorted by low */
	size_t count;
};

/* `memory` is /proc/PID/mem. Files without a table of the usual encodings are left out. ERR_MEMORY, ERR_GONE. */
int stack_modules_read(int memory, const struct procmaps *maps, struct stack_modules *ret_modules, struct err *e) MUST_CHECK;
void stack_modules_free(struct stack_modules *modules);

/* Address of the FDE that may cover pc (the last one that starts at or below it), and its module; false when there is none. */
bool stack_modules_find(const struct stack_modules *modules, uint64_t pc, const struct stack_module **ret_module, uint64_t *ret_fde);

#endif
