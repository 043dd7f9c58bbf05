/* Any bytes as a map: see format_oracle.h. */
#include "tests/fuzz/format_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	oracle_resealed(oracle_map, data, size);
	return 0;
}
