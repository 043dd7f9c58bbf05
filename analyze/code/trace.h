/*
 * trace: follows registers backwards through the instructions that a walk has found.
 */
#ifndef ANALYZE_CODE_TRACE_H
#define ANALYZE_CODE_TRACE_H

#include "analyze/code/operation.h"
#include "analyze/code/walk.h"

/* The instruction at `offset`, with what it does to registers; calls and system calls change all caller-saved ones. */
bool trace_operation(const struct walk *w, uint32_t offset, struct operation *ret_operation);

/* Offset of the instruction that control falls through from to `offset`, or MAP_NONE. */
uint32_t trace_before(const struct walk *w, uint32_t offset);

/* Calls `visit` for each way control comes to `offset`: `from` is the instruction before, `taken` whether by a taken branch. False when not all
   ways are known, or as soon as `visit` returns false. */
typedef bool trace_visit(void *context, uint32_t from, bool taken);
bool trace_predecessors(struct walk *w, uint32_t offset, trace_visit *visit, void *context);

/* The one constant address that register `r` holds before `offset` on every path, or 0. */
uint64_t trace_constant(struct walk *w, uint32_t offset, uint8_t r);

/* Does register `r` before `offset` come, on every path, straight from memory, from the stack or from the caller? Then it is no table entry. */
bool trace_loaded(struct walk *w, uint32_t offset, uint8_t r);

/* Number of values the register `r` can have before `offset` (they are 0 ... n - 1), or 0 when nothing proves it. */
uint64_t trace_bound(struct walk *w, uint32_t offset, uint8_t r);

#endif
