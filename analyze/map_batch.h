/*
 * map_batch: many ELF files to many map files, in parallel, without doing again what is done.
 */
#ifndef ANALYZE_MAP_BATCH_H
#define ANALYZE_MAP_BATCH_H

#include "analyze/code/map_stats.h"
#include "analyze/elf/libraries.h"
#include "formats/base/err.h"

#include <stdbool.h>

struct batch_job {
	char *path;	   /* owned */
	char *output;	   /* owned; NULL: the map is made and thrown away */
	bool in_directory; /* output is a directory until the build-id is known */
	bool up_to_date;
	int status; /* 0 or negated error code, with `error` filled */
	struct err error;
	struct map_stats stats;
	uint32_t blocks, calls, tables;
	double seconds;
	uint64_t size; /* of the file: large ones first */
};

struct batch {
	unsigned threads; /* 0: one per processor */
	bool force;	  /* map again what is up to date */
	struct batch_job *jobs;
	size_t count;
	struct libraries libraries; /* of the whitelist */
	double seconds;
	uint64_t peak_kib; /* of this process */
};

int batch_add(struct batch *batch, const char *path, struct err *e) MUST_CHECK;
/* Adds each program listed in the file (one per line; empty lines and those that start with # are skipped) and all libraries it links. */
int batch_add_whitelist(struct batch *batch, const char *file, struct err *e) MUST_CHECK;
/* All maps go to `directory` (made if missing) as NAME-BUILDID.rmap; the hash of the text stands in for a missing build-id. */
int batch_use_directory(struct batch *batch, const char *directory, struct err *e) MUST_CHECK;
/* Runs all jobs; what fails is recorded in its job. ERR_MEMORY. */
int batch_run(struct batch *batch, struct err *e) MUST_CHECK;
void batch_free(struct batch *batch);

#endif
