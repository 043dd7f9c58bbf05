/*
 * perfdata_parts: what the sources of perfdata share. Offsets are those of the file, for messages.
 */
#ifndef PROFILE_IMPORT_PERFDATA_PARTS_H
#define PROFILE_IMPORT_PERFDATA_PARTS_H

#include "formats/base/bytes.h"
#include "formats/base/vec.h"
#include "profile/idmap.h"
#include "profile/import/perfdata.h"
#include "profile/perfrecord.h"

struct zstream;

struct perfdata_event {
	struct perfrecord_format format;
	uint32_t type; /* PERF_TYPE_... */
	uint64_t config, period, frequency, samples;
	char name[128];
};

/* A record that matters, in memory that stays. */
struct perfdata_ref {
	uint64_t time;
	const uint8_t *data;
	uint32_t event, number; /* number: in the order of the file, for those of equal time */
};

/*
 * Memory for decompressed records. Chunks never move, so records are used in place:  [ parsed | whole records | part of one ... free ]
 */
struct perfdata_chunk {
	uint8_t *data; /* owned */
	size_t used, parsed;
};

struct perfdata {
	const struct perfdata_input *input;
	struct err *e;
	VEC(struct perfdata_event) events;
	struct idmap ids; /* id of a counter -> events */
	char *kernel, *cpu, *command;
	VEC(struct perfdata_ref) refs;
	VEC(struct perfdata_chunk) chunks;
	struct zstream *stream;
	uint64_t compressed; /* bytes of input so far */
	uint64_t lost, throttled;
	struct perfdata_result result;
	uint64_t offset; /* of the record that is read */
	bool is_pipe;
};

enum { PERFDATA_FEATURE_BUILD_ID = 2, PERFDATA_FEATURE_MAX = 256 };

int perfdata_bad(const struct perfdata *p, uint64_t offset, const char *what);
int perfdata_no_memory(const struct perfdata *p);

/* One perf_event_attr of `size` bytes. */
int perfdata_add_event(struct perfdata *p, const uint8_t *attr, size_t size, uint64_t offset) MUST_CHECK;
/* The last added event is what writes records with these ids. */
int perfdata_add_ids(struct perfdata *p, struct reader *ids) MUST_CHECK;
/* Names the events that have none by type and number. */
void perfdata_name_events(struct perfdata *p);
/* Index of the event that wrote the record, IDMAP_NONE if the file does not describe it. */
int perfdata_event_of(const struct perfdata *p, const uint8_t *record, size_t size, uint32_t *ret_event) MUST_CHECK;
/* The event to take. ERR_USAGE, ERR_UNSUPPORTED. */
int perfdata_choose_event(const struct perfdata *p, uint32_t *ret_event) MUST_CHECK;
/* Has it stacks of all taken branches? */
bool perfdata_has_branches(const struct perfdata_event *event);

/* One feature section, or one record of it in a pipe. */
int perfdata_feature(struct perfdata *p, unsigned feature, const uint8_t *data, size_t size, uint64_t offset) MUST_CHECK;
/* {header, pid, build-id, path}: one entry of the feature, or a record in a pipe. */
int perfdata_build_id(struct perfdata *p, const uint8_t *entry, size_t size, uint64_t offset) MUST_CHECK;

/* All records of the data section, which starts at `offset` of the file. */
int perfdata_records(struct perfdata *p, const uint8_t *data, size_t size, uint64_t offset) MUST_CHECK;
/* Feeds a compressed piece; calls perfdata_take for each record that is whole. */
int perfdata_decompress(struct perfdata *p, const uint8_t *data, size_t size) MUST_CHECK;
/* One record by itself: `size` is its length. */
int perfdata_take(struct perfdata *p, const uint8_t *record, size_t size) MUST_CHECK;

/* Sorted records into a profile. */
int perfdata_make_profile(struct perfdata *p, struct profile *profile) MUST_CHECK;

#endif
