/*
 * export: a profile in the formats of other tools.
 *
 * Each appends text to `w` (owned by the caller); the same profile gives the same bytes.
 */
#ifndef PROFILE_EXPORT_EXPORT_H
#define PROFILE_EXPORT_EXPORT_H

#include "formats/base/bytes.h"
#include "formats/base/err.h"
#include "formats/map.h"
#include "formats/profile.h"
#include "profile/import/functions.h"

#include <stddef.h>
#include <stdint.h>

struct export_result {
	uint64_t lines;
	uint64_t weight;  /* branches, samples or executions that were written */
	uint64_t outside; /* of the module, but in no function: left out (fdata) */
};

/*
 * BOLT's fdata, of the one module that `functions` describes. From branch stacks or edges: "1 FROM OFFSET 1 TO OFFSET MISPREDICTED COUNT", what
 * comes from or goes to other modules as "0 [unknown] 0". Without either the no_lbr form: "1 NAME OFFSET COUNT". Only taken branches are
 * written: llvm-bolt works out the fall-throughs itself. ERR_MISMATCH when the profile has no such module; ERR_MEMORY.
 */
int export_fdata(const struct profile *profile, const struct functions *functions, struct writer *w, struct export_result *ret_result,
		 struct err *e) MUST_CHECK;

/* "MODULE;FUNCTION WEIGHT" lines, heaviest first, as flame graph tools read; functions by the maps, without one by their page. */
int export_folded(const struct profile *profile, const struct map *maps, size_t map_count, struct writer *w,
		  struct export_result *ret_result, struct err *e) MUST_CHECK;

/*
 * Everything that has a total, in lines of words: "module NUMBER BUILD-ID PATH", "at MODULE ADDRESS COUNT", "edge KIND MODULE ADDRESS MODULE
 * ADDRESS COUNT MISPREDICTED"; "-" for no module. Sorted by module and address.
 */
int export_text(const struct profile *profile, struct writer *w, struct export_result *ret_result, struct err *e) MUST_CHECK;

#endif
