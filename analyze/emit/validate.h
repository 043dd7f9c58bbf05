/*
 * validate: proof that a plan module does what the original does. Independent of the emitter: decodes with Capstone, knows nothing of layouts.
 *
 * For every run it decodes image and original side by side and requires equal instructions modulo branch sense, form and displacement, and
 * that every edge of the image leads to the counterpart of where the original edge leads (inside the image or in the original code), never
 * into the interior of a patch. See the function comments in validate.c for the list of what is checked.
 */
#ifndef ANALYZE_EMIT_VALIDATE_H
#define ANALYZE_EMIT_VALIDATE_H

#include "analyze/elf/image.h"
#include "formats/plan.h"

/* 0: proven. ERR_NO: not isomorphic, with module, image offset, original vaddr and what differs. ERR_MISMATCH: the plan is for another file. */
int validate_module(const struct image *image, const struct plan_module *module, struct err *e) MUST_CHECK;

#endif
