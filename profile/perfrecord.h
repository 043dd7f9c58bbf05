/*
 * perfrecord: one record of the kernel's perf ring buffer (or of a perf.data file), decoded field by field from untrusted bytes.
 *
 * The layout is linux/perf_event.h, "enum perf_event_type". Owns no memory and reads no ring.
 */
#ifndef PROFILE_PERFRECORD_H
#define PROFILE_PERFRECORD_H

#include "formats/base/err.h"

#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the event that writes the records was opened. */
struct perfrecord_format {
	uint64_t sample_type, branch_sample_type, read_format;
	bool sample_id_all; /* other records end with {tid, time, id, ...} of sample_type */
};

enum { PERFRECORD_BUILD_ID_MAX = 20, PERFRECORD_BRANCH_SIZE = 24 };

struct perfrecord_branch {
	uint64_t from, to;
	bool mispredicted;
};

struct perfrecord {
	uint32_t type; /* PERF_RECORD_...; other types than those below are passed with nothing but this, `misc` and identity filled */
	uint16_t misc;
	uint32_t pid, tid;
	uint64_t time, id; /* 0 when sample_type does not have them */
	/* PERF_RECORD_SAMPLE */
	uint64_t address, period;
	uint64_t branch_count;
	const uint8_t *branches; /* into the record; see perfrecord_branch_at. Newest first */
	/* PERF_RECORD_MMAP, PERF_RECORD_MMAP2: pid and tid are those of the process that mapped */
	uint64_t map_start, map_length, map_offset, map_inode;
	uint32_t map_protection, map_device_major, map_device_minor;
	const uint8_t *build_id; /* into the record, NULL if absent */
	uint8_t build_id_size;
	const char *text; /* file name of a mapping, name of PERF_RECORD_COMM: into the record, NUL-terminated */
	/* PERF_RECORD_FORK, PERF_RECORD_EXIT */
	uint32_t parent_pid, parent_tid;
	/* PERF_RECORD_LOST, PERF_RECORD_LOST_SAMPLES */
	uint64_t lost;
};

/*
 * Decodes the record that starts at `data`; `size` bytes are there. *ret_size is its length (a multiple of 8, at least 8). ERR_FORMAT when
 * it is cut, when its fields pass its end, or when sample_type has a field this reader cannot step over.
 */
int perfrecord_decode(const struct perfrecord_format *format, const void *data, size_t size, struct perfrecord *ret_record,
		      size_t *ret_size, struct err *e) MUST_CHECK;

/* Branch `index` < branch_count of a decoded sample. */
struct perfrecord_branch perfrecord_branch_at(const struct perfrecord *record, uint64_t index);

#endif
