/*
 * text: lines and words of a text file in memory, without copies. Nothing in it need be NUL-terminated.
 */
#ifndef PROFILE_IMPORT_TEXT_H
#define PROFILE_IMPORT_TEXT_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is left of a line, or one word of it. */
struct slice {
	const char *at, *end;
};

struct text {
	const char *name; /* for messages */
	struct slice rest;
	uint64_t line; /* number of the line last read, from 1 */
	struct err *e;
};

struct text text_of(const void *data, size_t size, const char *name, struct err *e);
/* The next line without its end; false at the end of the text. */
bool text_line(struct text *text, struct slice *ret_line);
/* ERR_FORMAT "NAME:LINE: what". */
int text_bad(const struct text *text, const char *what);

static inline size_t slice_size(const struct slice *s)
{
	return (size_t)(s->end - s->at);
}

/* The next run of bytes that are no blanks or tabs; false when the line has no more. */
bool slice_word(struct slice *s, struct slice *ret_word);
bool slice_is(const struct slice *s, const char *text);
bool slice_starts(const struct slice *s, const char *text);
/* Where `text` first stands in the slice, NULL if nowhere. */
const char *slice_find(const struct slice *s, const char *text);
/* The whole slice is a number; `base` 10, or 16 with or without 0x. False: it is not, or passes 64 bits. */
bool slice_number(const struct slice *s, unsigned base, uint64_t *ret_number);
/* Takes the byte off if it is the next one. */
bool slice_take(struct slice *s, char byte);
/* What stands before `byte`, and moves behind it; false (nothing moved) when it is not there. */
bool slice_until(struct slice *s, char byte, struct slice *ret_before);

#endif
