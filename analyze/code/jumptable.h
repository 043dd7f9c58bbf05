/*
 * jumptable: what an indirect jump can reach.
 *
 * Forms: `lea T(%rip),B; movslq (B,I,4),X; add B,X; jmp *X` (GCC and LLVM, position independent), `jmp *T(,I,8)` and `jmp *(B,I,8)`
 * (absolute, also tables of labels), `mov T(,I,4),X32; jmp *X` (absolute, 32 bits). The base must be the same on every path; the number of
 * entries is proven when every path to the load of the entry passes a compare that bounds the index, or an extension that does.
 */
#ifndef ANALYZE_CODE_JUMPTABLE_H
#define ANALYZE_CODE_JUMPTABLE_H

#include "analyze/code/walk.h"

/* Resolves the indirect jump at offset `jump`: adds a table and queues its targets, or notes that its targets are unknown. A jump whose bound is
   not proven is put off unless `guess`. */
void jumptable_resolve(struct walk *w, uint32_t jump, bool guess);
/*
 * Bounds proven with an incomplete graph are proven again with what is known now; those that fail become supersets and may queue more. True
 * when something changed. With `again` false nothing is tried any more and whatever is in doubt loses its proof.
 */
bool jumptable_recheck(struct walk *w, bool again);

#endif
