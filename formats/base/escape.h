/*
 * escape: names that come from a target or a file, made harmless for a terminal and for JSON.
 */
#ifndef FORMATS_BASE_ESCAPE_H
#define FORMATS_BASE_ESCAPE_H

#include <stddef.h>

/*
 * Copies `text` with every byte that is not printable ASCII, and the backslash, written as \xNN. Cut to fit, with "..." at the end; `size`
 * must be at least 4. Returns `buffer`.
 */
char *escape(const char *text, char *buffer, size_t size);

/*
 * The same for a call of printf or json_pack: in a buffer of this thread that is used again by the ESCAPE_SHOWN-th call after this one. NULL: "".
 */
enum { ESCAPE_SHOWN = 8 };
const char *escape_shown(const char *text);

#endif
