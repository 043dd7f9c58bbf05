/*
 * vec: a growable array of any type, 64-bit sizes. The owner frees it with vec_free.
 *
 *   VEC(struct map_block) blocks = {0};
 *   if (vec_push(&blocks, b)) return err_set(e, ERR_MEMORY, ...);
 */
#ifndef FORMATS_BASE_VEC_H
#define FORMATS_BASE_VEC_H

#include <stdint.h>
#include <stdlib.h>

#define VEC(type)                                                                                                                          \
	struct {                                                                                                                           \
		type *data;                                                                                                                \
		size_t count, capacity;                                                                                                    \
	}

/* Makes room for `extra` more elements. 0, or -1 when memory is out (the array is unchanged). */
#define vec_reserve(v, extra) vec_grow_((void **)&(v)->data, &(v)->capacity, (v)->count, (extra), sizeof *(v)->data)

/* Appends one element. 0 or -1. */
#define vec_push(v, ...) (vec_reserve(v, 1) ? -1 : ((v)->data[(v)->count++] = (__VA_ARGS__), 0))

#define vec_free(v)                                                                                                                        \
	do {                                                                                                                               \
		free((v)->data);                                                                                                           \
		(v)->data = NULL;                                                                                                          \
		(v)->count = (v)->capacity = 0;                                                                                            \
	} while (0)

static inline __attribute__((warn_unused_result)) int vec_grow_(void **data, size_t *capacity, size_t count, size_t extra, size_t element)
{
	size_t need, bytes;
	if (__builtin_add_overflow(count, extra, &need))
		return -1;
	if (need <= *capacity)
		return 0;
	size_t wanted = *capacity ? *capacity + *capacity / 2 : 16;
	if (wanted < need)
		wanted = need;
	if (__builtin_mul_overflow(wanted, element, &bytes))
		return -1;
	void *grown = realloc(*data, bytes);
	if (!grown)
		return -1;
	*data = grown;
	*capacity = wanted;
	return 0;
}

#endif
