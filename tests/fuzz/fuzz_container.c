/* Any bytes as a container: every chunk that a checked container has must load or be refused, and what it holds must lie in the file. */
#include "tests/fuzz/reseal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void load_all(const uint8_t *data, size_t size)
{
	struct container c;
	struct container_chunk k = {0};
	enum container_kind kind = container_sniff(data, size);
	uint32_t count = 0;
	if (!kind || container_check(data, size, "input", kind, 1, &c, NULL))
		return;
	for (bool more = container_next(&c, NULL, &k); more; more = container_next(&c, &k, &k)) {
		uint8_t *bytes;
		if (k.offset + k.stored_length > size)
			abort();
		count++;
		if (container_load(&c, &k, &bytes, NULL))
			continue;
		if (k.raw_length)
			XXH3_64bits(bytes, (size_t)k.raw_length);
		free(bytes);
	}
	if (count != c.chunk_count)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	load_all(data, size);
	uint8_t *sealed = malloc(size ? size : 1);
	if (!sealed)
		return 0;
	if (size)
		memcpy(sealed, data, size);
	reseal(sealed, size);
	load_all(sealed, size);
	free(sealed);
	return 0;
}
