/*
 * dump: what repave-dump prints of each kind of file. `all` prints every record, otherwise a summary.
 */
#ifndef DUMP_DUMP_H
#define DUMP_DUMP_H

#include "dump/out.h"
#include "formats/container.h"
#include "formats/map.h"
#include "formats/plan.h"
#include "formats/profile.h"

void dump_module(struct out *o, const char *name, const struct module_identity *module);
void dump_map(struct out *o, const struct map *m, bool all);
void dump_profile(struct out *o, const struct profile *p, bool all);
/* The recorded course, which no struct profile holds, from the file that the profile was decoded from. */
int dump_course(struct out *o, const struct container *c, struct err *e) MUST_CHECK;
void dump_plan(struct out *o, const struct plan *p, bool all);
/* Header and chunks of a checked container. */
void dump_container(struct out *o, const struct container *c);

/* Reads `path` ("-": stdin), whatever kind it is, and prints it. Errors of the reader; ERR_FORMAT when it is none of ours; ERR_IO. */
int dump_file(const char *path, FILE *file, bool json, bool all, bool header, struct err *e) MUST_CHECK;

#endif
