/* Any bytes as what perf script prints: see import_oracle.h. */
#include "tests/fuzz/import_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct profile p;
	struct import_result r;
	import_detect(data, size);
	if (!oracle_import(data, size, IMPORT_PERF_SCRIPT, NULL, &p, &r))
		return 0;
	uint64_t branches = 0;
	for (size_t i = 0; i < p.sample_count; i++) {
		if (p.samples[i].first_branch != branches || p.samples[i].time_ns > p.info.duration_ns)
			abort();
		branches += p.samples[i].branch_count;
	}
	if (!p.sample_count || branches != p.branch_count || r.modules_unknown != p.module_count)
		abort();
	profile_free(&p);
	import_result_free(&r);
	return 0;
}
