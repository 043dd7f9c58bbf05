/*
 * out: one description of what is printed, as text or as JSON, streamed.
 *
 * Everything is fields in objects and arrays. As JSON: just that. As text: a field is a line "name: value", an object is indented below its
 * name, and an object inside an array is one line "[index] name=value ...". Texts from files are escaped in both: no control character, and no
 * byte outside ASCII, ever reaches the output (\xNN as text, \u00NN as JSON).
 */
#ifndef DUMP_OUT_H
#define DUMP_OUT_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define OUT_DEPTH_MAX 8

struct out {
	FILE *file;
	bool json;
	unsigned depth;
	struct {
		bool array, inline_object;
		uint64_t count;
	} levels[OUT_DEPTH_MAX];
};

/* Opens the outermost object. */
void out_begin(struct out *o, FILE *file, bool json);
/* Closes it and flushes. ERR_IO when something could not be written. */
int out_end(struct out *o, struct err *e) MUST_CHECK;

/* `name` is NULL for elements of an array, and only for those. */
void out_open_object(struct out *o, const char *name);
void out_open_array(struct out *o, const char *name);
void out_close(struct out *o);
void out_number(struct out *o, const char *name, uint64_t value);
void out_hex(struct out *o, const char *name, uint64_t value); /* a number in JSON too */
void out_bool(struct out *o, const char *name, bool value);
void out_text(struct out *o, const char *name, const char *value);		    /* NULL: left out */
void out_bytes(struct out *o, const char *name, const uint8_t *bytes, size_t size); /* lower-case hex digits */

#endif
