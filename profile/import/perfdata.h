/*
 * perfdata: reads what `perf record` writes: the file perf.data, or its pipe form (`perf record -o -`), compressed (-z) or not.
 *
 * Layout: tools/perf/Documentation/perf.data-file-format.txt of the kernel, records by linux/perf_event.h (profile/perfrecord.h). Own reader, so
 * that no perf of the right version is needed. Records of several CPUs are put in order of time first, as the kernel only orders them by CPU.
 * Only one event is taken: the one with branch stacks if there is one, else the first that samples time (a clock or a hardware event).
 */
#ifndef PROFILE_IMPORT_PERFDATA_H
#define PROFILE_IMPORT_PERFDATA_H

#include "formats/base/err.h"
#include "formats/profile.h"
#include "profile/import/files.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct perfdata_result {
	uint64_t records;	   /* read, of all kinds */
	uint64_t other_samples;	   /* not taken: of another event, or of none that the file describes */
	uint64_t branches_ignored; /* stacks that do not hold every taken branch (call graph mode, filters) are of no use */
	uint64_t decompressed;	   /* bytes */
};

struct perfdata_input {
	const void *data;
	size_t size;
	const char *name;  /* for messages */
	const char *event; /* name of the event to take, NULL = the best */
	struct files *files;
};

/* Do these bytes begin like a perf.data file, of any endianness or version? */
bool perfdata_is(const void *data, size_t size);

/*
 * Reads it all into a new profile (free it with profile_free). ERR_FORMAT with the file offset; ERR_UNSUPPORTED: other endianness, first
 * version of the format, other architecture, no samples of a usable event; ERR_USAGE: no event of that name; ERR_MEMORY.
 */
int perfdata_read(const struct perfdata_input *input, struct profile *ret_profile, struct perfdata_result *ret_result,
		  struct err *e) MUST_CHECK;

#endif
