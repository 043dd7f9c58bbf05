/*
 * gather: samples of several processes, as they come out of a file, into a profile.
 *
 * Addresses arrive as the processes saw them and are turned into (module, vaddr) at once, so mappings and samples must arrive in order of time.
 */
#ifndef PROFILE_IMPORT_GATHER_H
#define PROFILE_IMPORT_GATHER_H

#include "formats/base/err.h"
#include "formats/base/vec.h"
#include "formats/profile.h"
#include "profile/import/files.h"
#include "profile/import/spaces.h"

#include <stdint.h>

enum { GATHER_BRANCHES_MAX = UINT16_MAX };

struct gather {
	struct files *files;   /* borrowed */
	struct spaces *spaces; /* owned */
	VEC(struct profile_sample) samples;
	VEC(struct profile_branch) branches;
	uint64_t first_time, last_time; /* of samples */
};

/* A sample as the process saw it. */
struct gather_sample {
	uint64_t time; /* ns, any origin */
	uint64_t address;
	uint32_t pid, tid;
	bool elsewhere; /* the address is none of the process's own: guest or kernel */
};

int gather_init(struct gather *g, struct files *files, struct err *e) MUST_CHECK;
void gather_free(struct gather *g);

/* A new mapping; `map->path` is borrowed for the call. `execute` false: whatever was mapped there is gone. */
int gather_map(struct gather *g, uint32_t pid, const struct files_mapping *map, bool execute, struct err *e) MUST_CHECK;
/* A branch of the sample that the next gather_sample adds; newest first. */
int gather_branch(struct gather *g, uint32_t pid, const struct profile_branch *raw, struct err *e) MUST_CHECK;
/* Takes all branches added since the last sample. ERR_FORMAT for more than GATHER_BRANCHES_MAX. */
int gather_sample(struct gather *g, const struct gather_sample *sample, struct err *e) MUST_CHECK;
/* Forgets the branches added since the last sample. */
void gather_drop(struct gather *g);

/* Moves samples, branches and modules into `profile`; times become those since the first sample. */
int gather_finish(struct gather *g, struct profile *profile, struct err *e) MUST_CHECK;

#endif
