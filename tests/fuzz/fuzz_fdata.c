/*
 * Any bytes as fdata and as pre-aggregated lines, of this very program: see import_oracle.h. Totals are those of the lines, and fdata that is
 * written from it reads as the same totals.
 */
#include "profile/export/export.h"
#include "tests/fuzz/import_oracle.h"

static void check_export(const struct profile *p)
{
	struct functions *functions;
	struct export_result exported;
	struct profile again;
	struct import_result r;
	struct writer w = {0};
	if (functions_read("/proc/self/exe", &functions, NULL) || export_fdata(p, functions, &w, &exported, NULL))
		abort();
	if (!oracle_import(w.data, w.size, IMPORT_FDATA, "/proc/self/exe", &again, &r) || r.totals.unresolved)
		abort();
	uint64_t before = p->edge_count ? oracle_transfer_total(p) : oracle_count_total(p);
	uint64_t after = p->edge_count ? oracle_transfer_total(&again) : oracle_count_total(&again);
	/* What lies in no function is left out; several such places become one "unknown". */
	if (before < UINT64_MAX / 2 && oracle_sum(after, exported.outside) != before)
		abort();
	profile_free(&again);
	import_result_free(&r);
	functions_free(functions);
	writer_free(&w);
}

static void check(const uint8_t *data, size_t size, enum import_format format)
{
	struct profile p;
	struct import_result r;
	if (!oracle_import(data, size, format, "/proc/self/exe", &p, &r))
		return;
	if (r.totals.branches < UINT64_MAX / 2 && oracle_transfer_total(&p) != r.totals.branches)
		abort();
	if (r.totals.samples < UINT64_MAX / 2 && oracle_count_total(&p) != r.totals.samples)
		abort();
	check_export(&p);
	profile_free(&p);
	import_result_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check(data, size, IMPORT_FDATA);
	check(data, size, IMPORT_AGGREGATED);
	return 0;
}
