/*
 * perfscript_line: one line of `perf script`, taken apart.
 */
#ifndef PROFILE_IMPORT_PERFSCRIPT_LINE_H
#define PROFILE_IMPORT_PERFSCRIPT_LINE_H

#include "profile/import/files.h"
#include "profile/import/text.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * [COMM] [PID[/TID]] [[CPU]] [SECONDS.FRACTION:] [PERIOD] [EVENT:] [IP SYMBOL (FILE)] [FROM/TO/P/...]...
 */
struct perfscript_line {
	bool has_header; /* something that only the first line of a sample has: a time or an event */
	bool has_pid, has_ip, has_time;
	uint32_t pid, tid;
	uint64_t time_ns, period, ip;
	struct slice event;    /* without its colon; empty if not printed */
	struct slice branches; /* from the first branch to the end of the line; empty if there is none */
};

void perfscript_scan(struct slice line, struct perfscript_line *ret_line);

/* One branch off the front: "0x4005d0/0x4005f0/M/-/-/5". 1: *ret_branch filled; 0: no more; -1: not of that form. */
int perfscript_scan_branch(struct slice *branches, struct profile_branch *ret_branch);

enum perfscript_record { PERFSCRIPT_OTHER, PERFSCRIPT_MAP, PERFSCRIPT_FORK, PERFSCRIPT_EXEC, PERFSCRIPT_LOST };

struct perfscript_event {
	enum perfscript_record kind;
	uint32_t pid, parent;
	uint64_t lost;
	bool execute;
	struct files_mapping map; /* but for its path and build-id: */
	struct slice path;
	uint8_t build_id[20];
};

/* Of a line that has PERF_RECORD_ in it. False: it begins like one that matters, but is not of its form. */
bool perfscript_scan_event(struct slice line, struct perfscript_event *ret_event);

#endif
