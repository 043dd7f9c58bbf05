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
#define PROFILE_CHUNK_COURSE CONTAINER_TAG('C', 'O', 'U', 'R')

#define PROFILE_CHUNK_SAMPLES_MAX 65536u      /* samples in one chunk */
#define PROFILE_CHUNK_BRANCHES_MAX (1u << 20) /* branches in one chunk */
#define PROFILE_CHUNK_RECORDS_MAX (1u << 20)  /* counts or edges in one chunk */
#define PROFILE_CHUNK_STEPS_MAX (1u << 20)    /* steps in one chunk */
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

/* A dictionary of addresses. `places` are sorted by module and address, unique; `column` is scratch for `count` values. */
void profile_put_places(struct writer *raw, const struct profile_place *places, size_t count, uint64_t *column);
/* At least one and at most `limit` places, in modules below `modules`. *ret_places is malloc'ed. ERR_FORMAT, ERR_MEMORY. */
int profile_get_places(const struct container *c, struct section *s, size_t modules, size_t limit, struct profile_place **ret_places,
		       size_t *ret_count, struct err *e) MUST_CHECK;
int profile_compare_places(const void *place, const void *other);

/* A course on its way into a chunk. Start with {0}; profile_course_free. */
struct profile_course_pending {
	VEC(struct profile_place) places; /* each once, in the order of their coming */
	VEC(uint32_t) steps;
	VEC(struct profile_window) windows;
	uint32_t *slots; /* [slot_count] hash table: index of a place + 1, 0 = free */
	size_t slot_count;
};
/* Steps of one window; together with those that are pending at most PROFILE_CHUNK_STEPS_MAX. 0, or -1 when memory is out: then none is added. */
int profile_course_add(struct profile_course_pending *c, const struct profile_window *window, const struct profile_place *steps,
		       size_t count) MUST_CHECK;
/* One chunk of all that is pending, which must be something; nothing is pending then. */
void profile_put_course(struct container_writer *cw, struct writer *w, struct profile_course_pending *c);
void profile_course_free(struct profile_course_pending *c);

/* What the decoder has so far. */
struct profile_growing {
	struct profile_info info;
	bool has_info;
	VEC(struct module_identity) modules;
	VEC(struct profile_sample) samples;
	VEC(struct profile_branch) branches;
	VEC(struct profile_count) counts;
	VEC(struct profile_edge) edges;
	struct profile_course course;
	VEC(struct profile_place) places; /* of one chunk, as steps and windows are */
	VEC(uint32_t) steps;
	VEC(struct profile_window) windows;
	uint64_t last_window_ns; /* of all chunks */
};

int profile_get_samples(const struct container *c, struct section *s, struct profile_growing *g, struct err *e) MUST_CHECK;
int profile_get_course(const struct container *c, struct section *s, struct profile_growing *g, struct err *e) MUST_CHECK;

/* What must hold of any profile, read or written: indices in range, counts and edges sorted and unique, known kinds. */
int profile_validate(const struct profile *p, const char *name, struct err *e) MUST_CHECK;
/* The same for its samples, branches, counts and edges alone. */
int profile_validate_records(const struct profile *p, const char *name, struct err *e) MUST_CHECK;

#endif
