/*
 * journal: what was done to a process, kept in that process, so that any later version can tell and take it back with only the pid.
 * Format: apply/journal.md. It stands in a mapping of its own (anonymous, private, read-only) that begins with the magic.
 */
#ifndef APPLY_JOURNAL_H
#define APPLY_JOURNAL_H

#include "apply/patch.h"
#include "apply/stage.h"
#include "apply/target.h"
#include "formats/base/bytes.h"
#include "formats/module.h"

#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_MAGIC "RePaveJ1"
#define JOURNAL_MAJOR 1
#define JOURNAL_MAJOR_REPLACING 2 /* of one that replaces others: a reader of version 1 would free them one by one */
#define JOURNAL_MINOR 3
#define JOURNAL_REASON_SIZE 128
#define JOURNAL_FREEING "about to be freed" /* the reason until the image is gone or a better one is known */
/* The reason of one that nobody is in, and that nothing leads to but what unwinders ask. */
#define JOURNAL_TOGETHER "frames of another kept image are found by way of this one, or of this one by way of that"
#define JOURNAL_BY_APPLIED "its frames are found by way of the plan that is applied; it goes with that"
#define JOURNAL_REPLACED_MAX 64u

/* X(name, text): in this order in the format */
#define JOURNAL_STATES(X)                                                                                                                  \
	X(STAGING, "staging")	/* mappings may exist; nothing of the target's own is changed */                                           \
	X(PATCHING, "patching") /* the image is complete; any subset of the patches may be written */                                      \
	X(APPLIED, "applied")                                                                                                              \
	X(UNDOING, "undoing")	  /* any subset of the patches may be written */                                                           \
	X(REVERTED, "reverted")	  /* no patch is written; the image is still mapped for the reason given */                                \
	X(UNMAPPING, "unmapping") /* as STAGING; nobody is in the image, and nothing leads to it */

enum journal_state {
#define X(name, text) JOURNAL_##name,
	JOURNAL_STATES(X)
#undef X
	    JOURNAL_STATE_COUNT
};

struct journal_region {
	struct module_identity module; /* build-id and path */
	uint64_t bias, text_base, text_size;
	raddr code, data;
	uint64_t code_mapped, code_size, code_hash, data_mapped, data_size, data_hash;
	raddr counters;		  /* of a counting image */
	uint64_t counters_mapped; /* 0: none */
	uint32_t functions, left_out;
	uint32_t first_run, run_count; /* into runs */
	/* Since 1.2, zero before. As in formats/plan.h, region offsets into the data. */
	uint32_t fde_table, fde_count, eh_frame, eh_frame_size;
	uint32_t first_function, function_count; /* into functions */
};

/* A function that has code in an image. Sorted by start within its region. */
struct journal_function {
	uint32_t start, size; /* text offset, bytes of the original */
	uint32_t name;	      /* offset into strings; 0: none */
};

struct journal {
	raddr address;
	uint64_t mapped, total; /* bytes of its mapping; of header and body */
	enum journal_state state;
	char kept_because[JOURNAL_REASON_SIZE];
	uint64_t applied_at, start_time, plan_hash; /* seconds since 1970, clock ticks as in target.h, plan inputs_hash */
	char version[32];
	struct journal_region *regions;
	struct patch *patches; /* sorted; PATCH_WANTED, or PATCH_PC_INSIDE for one that was not made; `function` is not kept */
	struct plan_run *runs;
	struct journal_function *functions;
	char *strings; /* NULL when string_size is 0; else it begins and ends with a zero */
	/* Journals of kept images whose hooks this one's have replaced: its directory has their tables too. Since 1.3. */
	raddr *replaced;
	uint32_t region_count, patch_count, run_count, function_count, string_size, replaced_count;
	uint32_t dropped[PATCH_STATE_COUNT]; /* patches that were not made, by reason */
};

/* Builds the journal of an apply that is about to begin (state STAGING); `patches` is copied. */
int journal_build(const struct stage *s, const struct patch_set *patches, uint64_t plan_hash, struct journal *ret_journal,
		  struct err *e) MUST_CHECK;
void journal_free(struct journal *j);

int journal_encode(const struct journal *j, struct writer *w, struct err *e) MUST_CHECK;
/* Validates bytes that the target may have altered: sizes before allocation, checksum, ranges. ERR_FORMAT, ERR_UNSUPPORTED. */
int journal_decode(const void *data, size_t size, struct journal *ret_journal, struct err *e) MUST_CHECK;

/* May it have patches? Not when it is STAGING, REVERTED or UNMAPPING. */
bool journal_is_live(const struct journal *j);
/*
 * May anybody be in its image? When it is STAGING or UNMAPPING, nobody; and what it names may be gone, and the place be the program's own by now: then no address
 * belongs to it, to the functions below.
 */
bool journal_is_entered(const struct journal *j);

/*
 * All journals of the process, oldest first; patches that are hooks are marked. At most one of them is live
 * (ERR_INCONSISTENT), but for one that is UNDOING while another that is PATCHING replaces it: the tool was killed meanwhile. Zero is no error. Requires:
 * target_refresh'ed.
 */
int journals_load(const struct target *t, struct journal **ret_list, uint32_t *ret_count, struct err *e) MUST_CHECK;
void journals_free(struct journal *list, uint32_t count);
/* The one that may have patches (of two, the one that replaces the other), else one that is STAGING, or NULL. */
struct journal *journals_live(struct journal *list, uint32_t count);
/* The one whose hooks `live` had begun to replace when the tool was killed, or NULL. */
struct journal *journals_half_replaced(struct journal *list, uint32_t count, const struct journal *live);
bool journal_replaces(const struct journal *j, const struct journal *older);

/* Writes an encoded journal into its mapping: the body first and then the header, so that a reader finds all of it or nothing. */
int journal_write(const struct target *t, raddr address, const struct writer *encoded, struct err *e) MUST_CHECK;
/* Bytes of the mapping for an encoded journal of this size. */
uint64_t journal_mapped_size(uint64_t encoded_size, uint32_t patch_count);

/* Notes which patches are not going to be made: one byte each, behind the body. `flags` has one byte per patch of the journal. */
int journal_write_flags(const struct target *t, const struct journal *j, const uint8_t *flags, struct err *e) MUST_CHECK;

/* One write each, in this order: the reason, then the state, so a reader never sees a state without its reason. */
int journal_set_state(const struct target *t, struct journal *j, enum journal_state state, const char *kept_because,
		      struct err *e) MUST_CHECK;

const char *journal_state_text(enum journal_state state);

/* The place in original code that corresponds to an address in the image; 0 when there is none. `is_return`: a return address. */
raddr journal_original(const struct journal *j, raddr image, bool is_return);
/* The region whose code mapping holds `address`, or NULL. */
const struct journal_region *journal_region_of(const struct journal *j, raddr address);
/* As journal_original, for the journal that `image` belongs to; `image` itself when it belongs to none. */
raddr journals_original(const struct journal *list, uint32_t count, raddr image, bool is_return);

#endif
