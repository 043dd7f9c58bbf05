/*
 * emit: from an ordered list of blocks to one module of a plan: image bytes, relocations, patches, address map, statistics.
 *
 * State identity is the rule (README): every copied instruction has the same effect as the original apart from the instruction pointer. So an
 * edge to a block that is not in the image jumps to the same place in the original code, and nothing else has to be known about it.
 */
#ifndef ANALYZE_EMIT_EMIT_H
#define ANALYZE_EMIT_EMIT_H

#include "analyze/elf/image.h"
#include "analyze/layout/layout.h"
#include "formats/plan.h"

/*
 * Emits `layout`. Before a function is moved Zydis and Capstone must agree on all of it that is copied; one where they do not, and one whose
 * bytes cannot be moved for another reason, is left out (its blocks are dropped) and counted in *ret_dropped. ERR_INTERNAL when a
 * displacement does not fit, ERR_MEMORY. The result has no unwind data yet (unwind_emit adds it).
 */
int emit_module(const struct image *image, const struct map *map, const struct flow *flow, const struct layout *layout,
		struct plan_module *ret_module, uint32_t *ret_dropped, struct err *e) MUST_CHECK;

#endif
