/*
 * escape: names that come from a target or a file, made harmless for a terminal and for JSON.
 */
#ifndef PROFILE_ESCAPE_H
#define PROFILE_ESCAPE_H

#include <stddef.h>

/*
 * Copies `text` with every byte that is not printable ASCII, and the backslash, written as \xNN. Cut to fit, with "..." at the end; `size`
 * must be at least 4. Returns `buffer`.
 */
char *escape(const char *text, char *buffer, size_t size);

#endif
