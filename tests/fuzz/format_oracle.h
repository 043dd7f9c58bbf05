/*
 * format_oracle: what must hold of any bytes: the reader does not crash; what it accepts can be written, and what was written reads and writes
 * the same again. Aborts otherwise.
 */
#ifndef TESTS_FUZZ_FORMAT_ORACLE_H
#define TESTS_FUZZ_FORMAT_ORACLE_H

#include "formats/map.h"
#include "formats/plan.h"
#include "formats/profile.h"
#include "tests/fuzz/reseal.h"

#include <stdio.h>

/* A course goes another way: fuzz_profile.c copies it. */
static inline void oracle_prepare_profile(struct profile *p)
{
	p->course = (struct profile_course){0};
}

static inline void oracle_prepare_map(struct map *m)
{
	(void)m;
}

static inline void oracle_prepare_plan(struct plan *p)
{
	(void)p;
}

#define FORMAT_ORACLE(kind)                                                                                                                \
	/* 1 when the bytes were accepted. */                                                                                              \
	static inline int oracle_##kind(const uint8_t *data, size_t size)                                                                  \
	{                                                                                                                                  \
		struct kind first, second;                                                                                                 \
		struct writer once = {0}, twice = {0};                                                                                     \
		struct err e = {0};                                                                                                        \
		if (kind##_decode(data, size, "input", &first, &e)) {                                                                      \
			if (e.code <= 0 || !e.text[0])                                                                                     \
				abort();                                                                                                   \
			return 0;                                                                                                          \
		}                                                                                                                          \
		oracle_prepare_##kind(&first);                                                                                             \
		if (kind##_encode(&first, &once, &e) || kind##_decode(once.data, once.size, "again", &second, &e) ||                       \
		    kind##_encode(&second, &twice, &e)) {                                                                                  \
			fprintf(stderr, "accepted, but: %s\n", e.text);                                                                    \
			abort();                                                                                                           \
		}                                                                                                                          \
		if (once.size != twice.size || memcmp(once.data, twice.data, once.size))                                                   \
			abort();                                                                                                           \
		kind##_free(&first);                                                                                                       \
		kind##_free(&second);                                                                                                      \
		writer_free(&once);                                                                                                        \
		writer_free(&twice);                                                                                                       \
		return 1;                                                                                                                  \
	}

FORMAT_ORACLE(map)
FORMAT_ORACLE(plan)
FORMAT_ORACLE(profile)

/* As it is, then with all checksums made right. */
static inline void oracle_resealed(int (*oracle)(const uint8_t *data, size_t size), const uint8_t *data, size_t size)
{
	oracle(data, size);
	uint8_t *sealed = malloc(size ? size : 1);
	if (!sealed)
		return;
	if (size)
		memcpy(sealed, data, size);
	reseal(sealed, size);
	oracle(sealed, size);
	free(sealed);
}

#endif
