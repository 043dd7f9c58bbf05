/*
 * flags: where the five status flags that an increment changes (PF AF ZF SF OF; not CF) are dead, so that it may be put there.
 *
 * Liveness backwards over the control-flow graph of one function group. By the ABI flags are dead where a function is entered and where it
 * returns (System V AMD64, 3.2.1), which compilers keep to even between local functions (GCC's -fipa-ra counts fixed registers as
 * clobbered). Handwritten code may not, so every call of the module is looked at: flags are live before a call of a function that *takes*
 * them (reads them first thing), and where a function returns that *gives* them (some caller reads them). At an indirect jump all are live.
 */
#ifndef ANALYZE_CODE_FLAGS_H
#define ANALYZE_CODE_FLAGS_H

#include "analyze/elf/image.h"
#include "analyze/layout/cfg.h"

#include <stdbool.h>

#define FLAGS_NOWHERE UINT32_MAX

struct flags_module {
	const struct image *image;
	const struct cfg_index *index;
	uint8_t *takes; /* [function_count] */
	uint8_t *gives; /* [function_count] by group; part of `takes` */
	bool all_give;	/* somebody reads flags after an indirect call */
};

struct flags {
	uint8_t *live_in; /* [cfg->count] bit sets as in insn_flags */
	size_t capacity;
};

/* `image` and `index` are borrowed. ERR_MEMORY. */
int flags_module_init(struct flags_module *m, const struct image *image, const struct cfg_index *index, struct err *e) MUST_CHECK;
void flags_module_free(struct flags_module *m);

/* Solves one group. A zeroed struct flags is a valid start. ERR_MEMORY. */
int flags_solve(struct flags *f, const struct flags_module *m, const struct cfg *cfg, struct err *e) MUST_CHECK;
void flags_free(struct flags *f);

/* Flags live where an edge leads, as in insn_flags. Of a return and the like: none, that is for the block to say. */
uint8_t flags_live_along(const struct flags *f, const struct flags_module *m, const struct cfg *cfg, const struct cfg_edge *edge);

/* Offset, at least `from`, in local block `block` of the first instruction before which the flags are dead; or FLAGS_NOWHERE. */
uint32_t flags_dead_point(const struct flags *f, const struct flags_module *m, const struct cfg *cfg, uint32_t block, uint32_t from);

/*
 * Is each of the five flags overwritten before it is read on every way from the instruction at `at`? By the ABI they are dead where a function
 * is called or returns. Independent of the above: Capstone, and nothing but the file. False also where the search goes too far.
 */
struct insn_second;
bool flags_dead_second(struct insn_second *second, const struct image *image, vaddr at);

#endif
