/*
 * record_report: what `record` says at its end, for each source of profiles, for people and as JSON.
 */
#ifndef PROFILE_RECORD_REPORT_H
#define PROFILE_RECORD_REPORT_H

#include "formats/base/err.h"
#include "profile/emulate/emulate.h"
#include "profile/exact/exact.h"
#include "profile/record.h"

#include <stdio.h>

/* `name` is that of the profile. */
void report_samples(FILE *out, const struct record_result *r, const char *name);
void report_exact(FILE *out, const struct exact_result *r, const char *name);
void report_emulated(FILE *out, const struct emulate_result *r, const char *name);

/* ERR_MEMORY. */
int report_samples_json(FILE *out, const struct record_result *r, const char *name, struct err *e) MUST_CHECK;
int report_exact_json(FILE *out, const struct exact_result *r, const char *name, struct err *e) MUST_CHECK;
int report_emulated_json(FILE *out, const struct emulate_result *r, const char *name, struct err *e) MUST_CHECK;

#endif
