/*
 * validate_work: shared by the parts of validate_module. Private to analyze/emit/validate*.c.
 */
#ifndef ANALYZE_EMIT_VALIDATE_WORK_H
#define ANALYZE_EMIT_VALIDATE_WORK_H

#include "analyze/code/insn.h"
#include "analyze/emit/validate.h"

enum validate_place {
	PLACE_NONE,	/* no instruction starts here */
	PLACE_REAL,	/* starts an instruction of the original (COPY, REWRITTEN) or the stub before one */
	PLACE_INSERTED, /* an added jump */
	PLACE_COUNTED,	/* counters, then an added jump to the same place: a way out that is counted */
};

struct validator {
	const struct image *image;
	const struct plan_module *module;
	struct insn_second *second;
	struct err *e;
	uint32_t *original; /* [code_size] what the boundary stands for */
	uint8_t *place;	    /* [code_size] enum validate_place */
	uint8_t *patched;   /* bit per text byte: inside a patch */
	uint8_t *fed;	    /* [counter_count] something counts in it */
	uint32_t *copies;   /* [patch_count * PLAN_PATCH_SIZE] image offset that stands for each byte of a patch, or PLAN_NONE */
	uint32_t next_relocation, next_slot;
	uint32_t function;		/* index of the function whose code is being checked */
	uint32_t image_at, original_at; /* for messages */
	bool stub_seen;
};

/* ERR_NO naming module, image offset, original vaddr. */
int validate_refuse(const struct validator *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Index of the plan function whose range holds the text offset, or PLAN_NONE. */
uint32_t validate_function_at(const struct plan_module *module, uint32_t original);
/* Index of the patch whose bytes hold the text offset, or PLAN_NONE. */
uint32_t validate_patch_at(const struct validator *v, uint32_t original);
/* Is this text offset behind the first byte of a patch? */
bool validate_interior(const struct validator *v, uint64_t original);
const uint8_t *validate_original_bytes(const struct validator *v, uint32_t original, uint32_t size);

/* Index of the first run at image offset `at`. */
uint32_t validate_first_run_at(const struct plan_module *p, uint32_t at);
/* One COUNTER run. */
int validate_counter(struct validator *v, const struct plan_run *r) MUST_CHECK;
/* If a counter of an edge stands at image offset `at`: may the instruction at v->original_at lead there? Only that whose edge it counts. */
int validate_counted_edge(const struct validator *v, uint32_t at) MUST_CHECK;
/* Something counts in each counter. */
int validate_counters_fed(const struct validator *v) MUST_CHECK;
/* Does image offset `at` stand for `original`, and may control fall to it from the code being checked? */
int validate_falls(const struct validator *v, uint32_t at, uint64_t original) MUST_CHECK;
int validate_consume_relocation(struct validator *v, uint32_t field) MUST_CHECK;
int validate_runs_mark(struct validator *v) MUST_CHECK;
int validate_runs_check(struct validator *v) MUST_CHECK;
int validate_patches(struct validator *v) MUST_CHECK;

#endif
