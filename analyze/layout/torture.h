/*
 * torture: random layouts of all that can be moved, to test what is made of layouts.
 *
 * Each function draws which of its blocks stay out, so that control leaves the image at random places: none, one in 16, one in 4, half. Of one
 * function in four the blocks are scattered over the whole image; the blocks of the others stand together, each followed by the one it falls
 * into, by the one it jumps to, or by any, so that branches are turned round, vanish, and are short.
 */
#ifndef ANALYZE_LAYOUT_TORTURE_H
#define ANALYZE_LAYOUT_TORTURE_H

#include "analyze/layout/cfg.h"
#include "analyze/layout/layout.h"

/* The layout that options->torture_seed stands for, of the functions in options' range. ERR_MEMORY. layout_free the result. */
int torture_layout(const struct cfg_index *index, const struct layout_options *options, struct layout *ret_layout,
		   struct err *e) MUST_CHECK;

#endif
