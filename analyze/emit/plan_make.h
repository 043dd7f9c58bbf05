/*
 * plan_make: from maps and a profile to a plan: flow -> layout -> emit -> unwind -> validate for each module that is worth it.
 *
 * A pure function of (ELF files, maps, profile, options): the same for any number of threads and any order of the maps.
 */
#ifndef ANALYZE_EMIT_PLAN_MAKE_H
#define ANALYZE_EMIT_PLAN_MAKE_H

#include "analyze/emit/emit.h"
#include "formats/profile.h"

#define PLAN_MAKE_MODULES_MAX 64 /* what the directory of the unwind stub has room for */

struct plan_make_options {
	struct layout_options layout;
	struct emit_options emit;
	double minimum_share;	  /* a module with less of the profile's weight is left out */
	uint32_t module_maximum;  /* the heaviest so many; 0: no limit. The unwinder's module does not count */
	const char *const *names; /* when not NULL: only modules whose file name or path is here; ended by NULL */
	unsigned threads;	  /* 0: as many as there are CPUs. No effect on the result */
};

struct plan_make_options plan_make_options_default(void);

enum plan_make_stage {
	PLAN_STAGE_READ,
	PLAN_STAGE_FLOW,
	PLAN_STAGE_LAYOUT,
	PLAN_STAGE_EMIT,
	PLAN_STAGE_UNWIND,
	PLAN_STAGE_VALIDATE,
	PLAN_STAGE_COUNT,
};

/* What became of one map. */
struct plan_make_module {
	struct map map;
	uint64_t map_hash; /* of the map file's bytes */
	uint64_t weight;   /* samples or executions in the profile */
	double share;	   /* of the weight in all modules, mapped or not */
	bool is_hook;	   /* holds a look-up that unwinders use (analyze/emit/stub.h): always planned */
	bool only_hook;	   /* nothing else of it is moved */
	bool planned;
	char reason[300];      /* why not, when it is not planned */
	enum err_code failure; /* the reason was this error; ERR_NONE when it was a choice */
	struct emit_report report;
	double seconds[PLAN_STAGE_COUNT];
};

struct plan_make_result {
	struct plan plan;
	struct plan_make_module *modules; /* heaviest first; those planned are in the order of plan.modules */
	size_t module_count;
	uint64_t weight_total;	  /* in the profile, also outside any module */
	uint64_t weight_unmapped; /* in modules without a map, and outside any */
};

/*
 * Reads the maps and the ELF files they name, and makes the plan. Where a map names a file that is gone or another (one made through
 * /proc/PID/root), the profile's path is tried. `profile_path` may be NULL for a torture layout, which needs none. A module whose file is missing, changed or cannot be handled is left out
 * with the reason. ERR_NO when there is nothing to plan (says why; the error of the heaviest module when that is the reason), ERR_INTERNAL when the validator refuses what was emitted, ERR_MEMORY;
 * ERR_FORMAT and others for a map or a profile that cannot be read.
 */
int plan_make(const char *profile_path, const char *const *map_paths, size_t map_count, const struct plan_make_options *options,
	      struct plan_make_result *ret_result, struct err *e) MUST_CHECK;
void plan_make_result_free(struct plan_make_result *result);
const char *plan_make_stage_name(unsigned stage);

#endif
