/* Any bytes as a callgrind profile: see import_oracle.h. No object's file is found, so nothing is dropped: all instructions are in the counts. */
#include "tests/fuzz/import_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct profile p;
	struct import_result r;
	if (!oracle_import(data, size, IMPORT_CALLGRIND, NULL, &p, &r))
		return 0;
	/* The reader's sum wraps where the tally stops; below that they are equal. */
	uint64_t total = oracle_count_total(&p);
	if (total < UINT64_MAX / 2 && r.callgrind.instructions < UINT64_MAX / 2 && total != r.callgrind.instructions)
		abort();
	profile_free(&p);
	import_result_free(&r);
	return 0;
}
