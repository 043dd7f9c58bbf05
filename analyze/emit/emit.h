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

/* Why a function of the layout was not moved. X(name, text). */
#define EMIT_DROPS(X)                                                                                                                      \
	X(GRADE, "the map says it must be left alone")                                                                                     \
	X(UNDECODABLE, "an instruction to copy does not decode")                                                                           \
	X(DISAGREE, "the two decoders disagree on an instruction")                                                                         \
	X(UNSUPPORTED, "an instruction to copy cannot be moved")                                                                           \
	X(PREFIXED, "a branch has a prefix that its other form cannot carry")                                                              \
	X(INCONSISTENT, "the map's blocks do not match its instructions")

enum emit_drop {
#define X(name, text) EMIT_DROP_##name,
	EMIT_DROPS(X)
#undef X
	    EMIT_DROP_COUNT
};

struct emit_dropped {
	uint32_t function; /* index in the map */
	uint32_t at;	   /* text offset of the instruction, or of the function */
	uint8_t reason;	   /* enum emit_drop */
};

struct emit_report {
	struct emit_dropped *dropped; /* sorted by function */
	size_t dropped_count;
};

struct emit_options {
	uint32_t function_alignment; /* of entry blocks in the image, a power of 2; 0 or 1: none */
	uint32_t reentry_maximum;    /* re-entry patches per function */
	double reentry_share;	     /* a re-entry must take at least this share of all block executions of the module */
	bool reentry_everywhere;     /* torture: at every place that can take one, up to the maximum, whatever the flow says */
	uint64_t reentry_seed;	     /* not 0: with the above, which they are, and how many of each function, is drawn by it */
	bool counting;		     /* a counting image: what ran how often, see emit_probe.c; re-entries at all targets of jump tables */
	bool count_exits;	     /* the same counters in the image as it is: how often it is left, and where */
};

/* The options that emit_module uses. */
struct emit_options emit_options_default(void);

/*
 * Emits `layout`. Before a function is moved Zydis and Capstone must agree on all of it that is copied; one where they do not, and one whose
 * bytes cannot be moved for another reason, is left out (its blocks are dropped) and counted in *ret_dropped. ERR_INTERNAL when a
 * displacement does not fit, ERR_MEMORY. The result has no unwind data yet (unwind_emit adds it).
 *
 * Blocks that a patch overwrites in part and that the layout lacks are added at the end of the image. Branches between functions lead to the
 * entry of the other function's copy or to the original code, never into the middle of the copy, so that a function can be left out later.
 */
int emit_module(const struct image *image, const struct map *map, const struct flow *flow, const struct layout *layout,
		struct plan_module *ret_module, uint32_t *ret_dropped, struct err *e) MUST_CHECK;

/* The same with options, and the functions left out by name. emit_report_free the report. */
int emit_module_with(const struct image *image, const struct map *map, const struct flow *flow, const struct layout *layout,
		     const struct emit_options *options, struct plan_module *ret_module, struct emit_report *ret_report,
		     struct err *e) MUST_CHECK;
void emit_report_free(struct emit_report *report);
const char *emit_drop_text(unsigned reason);

#endif
