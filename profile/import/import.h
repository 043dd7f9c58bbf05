/*
 * import: a profile from a file of another tool, whichever it is.
 */
#ifndef PROFILE_IMPORT_IMPORT_H
#define PROFILE_IMPORT_IMPORT_H

#include "formats/base/err.h"
#include "formats/profile.h"
#include "profile/import/callgrind.h"
#include "profile/import/files.h"
#include "profile/import/perfdata.h"
#include "profile/import/perfscript.h"
#include "profile/import/totals.h"

#include <stddef.h>

/* X(name, name on the command line) */
#define IMPORT_FORMATS(X)                                                                                                                  \
	X(PERF_DATA, "perf.data")                                                                                                          \
	X(PERF_SCRIPT, "perf-script")                                                                                                      \
	X(CALLGRIND, "callgrind")                                                                                                          \
	X(FDATA, "fdata")                                                                                                                  \
	X(AGGREGATED, "pre-aggregated")                                                                                                    \
	X(LACKEY, "lackey") /* not by import_read: lackey.h */

enum import_format {
#define X(name, text) IMPORT_##name,
	IMPORT_FORMATS(X)
#undef X
	    IMPORT_FORMAT_COUNT
};

struct import_request {
	const void *data;
	size_t size;
	const char *name;  /* for messages */
	const char *event; /* perf.data: which event, NULL = the best */
	struct files_options files;
};

struct import_result {
	enum import_format format;
	struct callgrind_result callgrind;
	struct perfdata_result perfdata;
	struct perfscript_result perfscript;
	struct totals_result totals;
	size_t modules_unknown; /* perf: modules whose file could not be read, so that file offsets stand for vaddrs */
	char *unknown_path;	/* one of them; owned, NULL if none */
};

const char *import_format_name(enum import_format format);
/* By its name; IMPORT_FORMAT_COUNT if there is none of that name. */
enum import_format import_format_of_name(const char *name);
/* By content, of which the start is enough. IMPORT_FORMAT_COUNT: none that is known. */
enum import_format import_detect(const void *data, size_t size);

/* Reads it all. Errors of the format's reader; ERR_USAGE when a format needs an ELF file and it is not given. Free both results. */
int import_read(const struct import_request *request, enum import_format format, struct profile *ret_profile,
		struct import_result *ret_result, struct err *e) MUST_CHECK;
void import_result_free(struct import_result *result);

#endif
