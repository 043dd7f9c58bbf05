/*
 * err: what went wrong, where and why.
 *
 * Every fallible function returns 0 or the negated `enum err_code`, and fills a `struct err` that its caller owns (it may be NULL).
 * Library code never prints and never exits; `cli_main` prints the error once and turns its code into the exit status below.
 */
#ifndef FORMATS_BASE_ERR_H
#define FORMATS_BASE_ERR_H

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))

/* X(name, exit status, text) */
#define ERR_CODES(X)                                                                                                                       \
	X(NO, 1, "the answer is no")                                                                                                       \
	X(USAGE, 2, "usage")                                                                                                               \
	X(MISSING, 3, "no such file")                                                                                                      \
	X(FORMAT, 3, "malformed file")                                                                                                     \
	X(UNSUPPORTED, 3, "unsupported input")                                                                                             \
	X(MISMATCH, 3, "file does not match its subject")                                                                                  \
	X(ENVIRONMENT, 4, "the environment cannot do this")                                                                                \
	X(PERMISSION, 4, "permission denied")                                                                                              \
	X(IO, 4, "input/output error")                                                                                                     \
	X(REFUSED, 5, "target refused and untouched")                                                                                      \
	X(GONE, 5, "target is gone")                                                                                                       \
	X(ROLLED_BACK, 6, "failed and rolled back")                                                                                        \
	X(INCONSISTENT, 7, "target may be inconsistent")                                                                                   \
	X(COMMAND, 126, "command cannot be executed")                                                                                      \
	X(NO_COMMAND, 127, "command not found")                                                                                            \
	X(INTERNAL, 70, "internal error")                                                                                                  \
	X(MEMORY, 70, "out of memory")                                                                                                     \
	X(BUSY, 75, "busy, try later")

enum err_code {
	ERR_NONE = 0,
#define X(name, status, text) ERR_##name,
	ERR_CODES(X)
#undef X
	    ERR_CODE_COUNT
};

struct err {
	int code; /* enum err_code, 0 when nothing failed */
	char text[1000];
};

/*
 * Fills `e` (may be NULL) and returns -code. One line, no trailing newline; names the file, offset or address. What is not printable ASCII becomes
 * \xNN, wherever a name came from.
 */
int err_set(struct err *e, enum err_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, with ": strerror(saved_errno)" appended. Code chosen from errno (EPERM/EACCES, ENOENT, ENOMEM, ESRCH; else IO). */
int err_set_errno(struct err *e, int saved_errno, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the text of an error already set; returns -e->code (or -ERR_INTERNAL when `e` is NULL). */
int err_prefix(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Exit status of an error code (0 for ERR_NONE) as in the table of the README. */
int err_exit_status(int code);

/* Short constant name ("format", "refused") and text of a code, for --json and messages. */
const char *err_name(int code);
const char *err_text(int code);

#endif
