/*
 * import_oracle: what must hold of whatever an importer accepts: it is a valid profile that encodes and decodes to itself, and its totals are those
 * the importer says. Nothing is looked up in the file system: the root does not exist.
 */
#ifndef TESTS_FUZZ_IMPORT_ORACLE_H
#define TESTS_FUZZ_IMPORT_ORACLE_H

#include "profile/import/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void oracle_same(const struct profile *p)
{
	struct profile again;
	struct writer once = {0}, twice = {0};
	struct err e = {0};
	if (profile_encode(p, &once, &e) || profile_decode(once.data, once.size, "again", &again, &e) ||
	    profile_encode(&again, &twice, &e)) {
		fprintf(stderr, "accepted, but: %s\n", e.text);
		abort();
	}
	if (once.size != twice.size || memcmp(once.data, twice.data, once.size))
		abort();
	if (again.sample_count != p->sample_count || again.branch_count != p->branch_count || again.edge_count != p->edge_count ||
	    again.count_count != p->count_count || again.module_count != p->module_count)
		abort();
	profile_free(&again);
	writer_free(&once);
	writer_free(&twice);
}

/* Saturating, as the tally is. */
static inline uint64_t oracle_sum(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static inline uint64_t oracle_count_total(const struct profile *p)
{
	uint64_t total = 0;
	for (size_t i = 0; i < p->count_count; i++)
		total = oracle_sum(total, p->counts[i].count);
	return total;
}

static inline uint64_t oracle_transfer_total(const struct profile *p)
{
	uint64_t total = 0;
	for (size_t i = 0; i < p->edge_count; i++)
		if (p->edges[i].kind != PROFILE_EDGE_RUN)
			total = oracle_sum(total, p->edges[i].count);
	return total;
}

/* True when the bytes were accepted; then both results are to be freed. */
static inline int oracle_import(const uint8_t *data, size_t size, enum import_format format, const char *elf, struct profile *p,
				struct import_result *r)
{
	struct import_request request = {.data = data, .size = size, .name = "input"};
	struct err e = {0};
	request.files = (struct files_options){.root = "/nonexistent", .given = &elf, .given_count = elf != NULL};
	if (import_read(&request, format, p, r, &e)) {
		if (e.code <= 0 || !e.text[0])
			abort();
		return 0;
	}
	oracle_same(p);
	return 1;
}

#endif
