/*
 * sum: what a profile says in all: samples by address, branches by place, added to the totals it already has.
 */
#ifndef PROFILE_EXPORT_SUM_H
#define PROFILE_EXPORT_SUM_H

#include "formats/base/err.h"
#include "formats/profile.h"

/*
 * `ret_sum` gets only counts and edges (profile_free); module numbers are those of `profile`. Of branch stacks also what ran between two
 * branches (PROFILE_EDGE_RUN). ERR_MEMORY.
 */
int sum_profile(const struct profile *profile, struct profile *ret_sum, struct err *e) MUST_CHECK;

#endif
