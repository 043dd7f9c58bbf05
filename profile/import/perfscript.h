/*
 * perfscript: reads what `perf script` prints: samples with `-F ...ip...` and `brstack`, mappings with --show-mmap-events, forks and execs with
 * --show-task-events.
 *
 * A sample is one line, or a line and its call chain (of which only the first place counts). The process is known when pids are printed, else
 * there may be only one. Mappings must come before what lies in them, as perf prints them. Lines of other events are counted and left out.
 */
#ifndef PROFILE_IMPORT_PERFSCRIPT_H
#define PROFILE_IMPORT_PERFSCRIPT_H

#include "formats/base/err.h"
#include "formats/profile.h"
#include "profile/import/files.h"
#include "profile/import/text.h"

#include <stdbool.h>
#include <stdint.h>

struct perfscript_result {
	uint64_t lines, mappings;
	uint64_t lost;	  /* samples, by lines about them */
	uint64_t without; /* samples without an address: left out */
};

/*
 * ERR_FORMAT with the line number; ERR_UNSUPPORTED: symbols in place of addresses, instructions in place of branches (brstackinsn alone), no
 * mappings at all, or several processes without pids; ERR_MEMORY.
 */
int perfscript_read(struct text *text, struct files *files, struct profile *ret_profile, struct perfscript_result *ret_result) MUST_CHECK;

/* Does the line look like one of perf script's? For recognising the format. */
bool perfscript_is_line(struct slice line);

#endif
