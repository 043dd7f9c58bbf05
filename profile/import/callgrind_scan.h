/*
 * callgrind_scan: the words of the callgrind format: compressed names and relative positions. No domain objects, one line at a time.
 */
#ifndef PROFILE_IMPORT_CALLGRIND_SCAN_H
#define PROFILE_IMPORT_CALLGRIND_SCAN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A number of the format, "0x1f" or "31", at *p; moves *p behind it. False when there is none or it does not fit.
 */
bool callgrind_scan_number(const char **p, uint64_t *ret_value);

/* A position: number, "+n", "-n" relative to `last`, or "*" = last. Skips blanks before it. False when it is none of these. */
bool callgrind_scan_position(const char **p, uint64_t last, uint64_t *ret_value);

/*
 * A name: "(id) text" defines, "(id)" refers, "text" is plain. *ret_id is 0 for plain; *ret_text is NULL for a reference. Ids are those
 * of the format plus one, so 0 is free.
 */
bool callgrind_scan_name(const char *p, uint64_t *ret_id, const char **ret_text);

/* If the line starts with `key` and '=' or ':', what follows without blanks; otherwise NULL. */
const char *callgrind_scan_key(const char *line, const char *key);

#endif
