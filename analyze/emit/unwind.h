/*
 * unwind: .eh_frame, exception tables and the look-up table for the moved fragments of one module.
 *
 * Rows are evaluated from the original CFI at each old address and re-emitted in the new order (DWARF 4, section 6.4; Linux Standard Base 5.0,
 * "Exception Frames"). Landing pads point at the original code, which is legal by state identity.
 */
#ifndef ANALYZE_EMIT_UNWIND_H
#define ANALYZE_EMIT_UNWIND_H

#include "analyze/elf/image.h"
#include "formats/map.h"
#include "formats/plan.h"

/* Fills data, data_offset, data_size, fde_table, fde_count, eh_frame, eh_frame_size and adds relocations of `module`, whose code, runs and
   functions are final. ERR_FORMAT when a CFI program cannot be evaluated (names the address), ERR_MEMORY. */
int unwind_emit(const struct image *image, const struct map *map, struct plan_module *module, struct err *e) MUST_CHECK;

/* Functions whose CFI or LSDA unwind_emit could not handle must not be moved: true when the function of this FDE is fine. Used at map time. */
bool unwind_supported(const struct image *image, const struct image_fde *fde);

#endif
