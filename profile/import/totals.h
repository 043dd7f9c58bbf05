/*
 * totals: profiles of one file that name places without time: BOLT's fdata and its pre-aggregated form.
 *
 * Both become counts and edges of one module. What kind a branch is follows from where it goes: to the start of a function a call, inside one
 * function a jump, anywhere else a return.
 */
#ifndef PROFILE_IMPORT_TOTALS_H
#define PROFILE_IMPORT_TOTALS_H

#include "formats/base/err.h"
#include "formats/profile.h"
#include "profile/import/functions.h"
#include "profile/import/text.h"
#include "profile/tally.h"

#include <stdint.h>

struct totals_result {
	uint64_t lines, unresolved; /* lines; of them, those whose names or files are not in this module: left out or half left out */
	uint64_t memory;	    /* lines about data: not used */
	uint64_t branches, samples; /* sums of what was taken */
};

struct totals {
	const struct functions *functions; /* borrowed */
	struct tally tally;
	struct totals_result result;
	bool has_branches;
	char event[256]; /* "" = not said */
};

/* A place: module 0 is the file; PROFILE_NO_MODULE is anything else, with address 0. */
struct totals_place {
	uint32_t module;
	uint64_t address;
};

void totals_init(struct totals *t, const struct functions *functions);
void totals_free(struct totals *t);
int totals_add_branch(struct totals *t, struct totals_place from, struct totals_place to, const uint64_t count_and_mispredicted[2],
		      struct err *e) MUST_CHECK;
/* Everything from `from` up to the instruction at `to` ran in a row. */
int totals_add_run(struct totals *t, struct totals_place from, struct totals_place to, uint64_t count, struct err *e) MUST_CHECK;
int totals_add_sample(struct totals *t, struct totals_place at, uint64_t count, struct err *e) MUST_CHECK;
/* Makes the profile: branch stacks if there was any branch, else cycles or clock by the name of the event. */
int totals_finish(struct totals *t, struct profile *ret_profile, struct err *e) MUST_CHECK;

/*
 * fdata: lines "TYPE NAME OFFSET TYPE NAME OFFSET MISPREDICTED COUNT", or after a first line "no_lbr [EVENT...]" lines "TYPE NAME OFFSET
 * COUNT". TYPE 1: NAME is a function, 0: something else; 3, 4, 5: data. Offsets in hex. ERR_FORMAT with the line number.
 */
int fdata_read(struct text *text, struct totals *t) MUST_CHECK;
/*
 * Pre-aggregated: "B FROM TO COUNT [MISPREDICTED]", "F|f|r FROM TO COUNT" (run), "T|R FROM TO END COUNT [MISPREDICTED]" (branch and run), "S AT
 * COUNT", "E EVENT". Addresses are hex vaddrs, "BUILDID:" before those of a certain file, "X:" before those of none known.
 */
int aggregated_read(struct text *text, struct totals *t) MUST_CHECK;

#endif
