/*
 * profile_chunks: the chunks of a profile, shared by the whole-file encoder, the stream and the decoder. Spec: formats/profile.md.
 */
#ifndef FORMATS_PROFILE_CHUNKS_H
#define FORMATS_PROFILE_CHUNKS_H

#include "formats/base/vec.h"
#include "formats/profile.h"
#include "formats/section.h"

#define PROFILE_CHUNK_INFO CONTAINER_TAG('I', 'N', 'F', 'O')
#define PROFILE_CHUNK_MODULES CONTAINER_TAG('M', 'O', 'D', 'U')
#define PROFILE_CHUNK_SAMPLES CONTAINER_TAG('S', 'A', 'M', 'P')
#define PROFILE_CHUNK_COUNTS CONTAINER_TAG('C', 'N', 'T', 'S')
#define PROFILE_CHUNK_EDGES CONTAINER_TAG('E', 'D', 'G', 'E')

#define PROFILE_CHUNK_SAMPLES_MAX 65536u      /* samples in one chunk */
#define PROFILE_CHUNK_BRANCHES_MAX (1u << 20) /* branches in one chunk */
#define PROFILE_CHUNK_RECORDS_MAX (1u << 20)  /* counts or edges in one chunk */
#define PROFILE_PER_STORED_BYTE 16u	      /* samples and branches together, at most: bounds memory by file size */
#define PROFILE_TIME_UNIT_NS 1000u

enum profile_chunk_flag {
	PROFILE_TIME_BACKWARD = 1u << 0, /* some sample is earlier than the one before: time differences are zigzag */
	PROFILE_HAS_BRANCHES = 1u << 1,
};

void profile_put_info(struct container_writer *cw, struct writer *w, const struct profile_info *info);
void profile_put_modules(struct container_writer *cw, struct writer *w, const struct module_identity *modules, size_t count);
/* At most PROFILE_CHUNK_SAMPLES_MAX samples and PROFILE_CHUNK_BRANCHES_MAX branches. `branches` is what first_branch indexes. */
void profile_put_samples(struct container_writer *cw, struct writer *w, const struct profile_sample *samples, size_t count,
			 const struct profile_branch *branches);

/* Counts and edges, in as many chunks as they take. */
void profile_put_totals(struct container_writer *cw, struct writer *w, const struct profile_count *counts, size_t count_count,
			const struct profile_edge *edges, size_t edge_count);

/* What the decoder has so far. */
struct profile_growing {
	struct profile_info info;
	bool has_info;
	VEC(struct module_identity) modules;
	VEC(struct profile_sample) samples;
	VEC(struct profile_branch) branches;
	VEC(struct profile_count) counts;
	VEC(struct profile_edge) edges;
};

int profile_get_samples(const struct container *c, struct section *s, struct profile_growing *g, struct err *e) MUST_CHECK;

/* What must hold of any profile, read or written: indices in range, counts and edges sorted and unique, known kinds. */
int profile_validate(const struct profile *p, const char *name, struct err *e) MUST_CHECK;
/* The same for its samples, branches, counts and edges alone. */
int profile_validate_records(const struct profile *p, const char *name, struct err *e) MUST_CHECK;

#endif
