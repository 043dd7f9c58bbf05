#include "formats/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name, *text;
	int status;
} codes[ERR_CODE_COUNT] = {[ERR_NONE] = {"none", "no error", 0},
#define X(name, status, text) [ERR_##name] = {#name, text, status},
			   ERR_CODES(X)
#undef X
};

/* Names in it may come from a target or a file: nothing that controls a terminal, or is no text in JSON, may stay. A backslash stays. */
static __attribute__((format(printf, 3, 0))) void put_text(char *to, size_t size, const char *format, va_list args)
{
	char text[sizeof((struct err *)0)->text];
	size_t used = 0;
	vsnprintf(text, sizeof text, format, args);
	for (const char *c = text; *c && used + 5 < size; c++) {
		if (*c >= 0x20 && *c <= 0x7e)
			to[used++] = *c;
		else
			used += (size_t)snprintf(to + used, size - used, "\\x%02x", (unsigned char)*c);
	}
	to[used] = 0;
}

static __attribute__((format(printf, 3, 0))) void format_text(struct err *e, enum err_code code, const char *format, va_list args)
{
	if (!e)
		return;
	e->code = code;
	put_text(e->text, sizeof e->text, format, args);
}

int err_set(struct err *e, enum err_code code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	format_text(e, code, format, args);
	va_end(args);
	return -(int)code;
}

static enum err_code code_of_errno(int saved_errno)
{
	switch (saved_errno) {
	case EPERM:
	case EACCES:
		return ERR_PERMISSION;
	case ENOENT:
		return ERR_MISSING;
	case ENOMEM:
		return ERR_MEMORY;
	case ESRCH:
		return ERR_GONE;
	default:
		return ERR_IO;
	}
}

int err_set_errno(struct err *e, int saved_errno, const char *format, ...)
{
	enum err_code code = code_of_errno(saved_errno);
	va_list args;
	va_start(args, format);
	format_text(e, code, format, args);
	va_end(args);
	if (e) {
		size_t used = strlen(e->text);
		snprintf(e->text + used, sizeof e->text - used, ": %s", strerror(saved_errno));
	}
	return -(int)code;
}

int err_prefix(struct err *e, const char *format, ...)
{
	if (!e)
		return -ERR_INTERNAL;
	struct err inner = *e;
	va_list args;
	va_start(args, format);
	put_text(e->text, sizeof e->text, format, args);
	va_end(args);
	size_t used = strlen(e->text);
	snprintf(e->text + used, sizeof e->text - used, ": %.*s", (int)(sizeof e->text - 3), inner.text);
	return -inner.code;
}

int err_exit_status(int code)
{
	return code >= 0 && code < ERR_CODE_COUNT ? codes[code].status : 70;
}

const char *err_name(int code)
{
	return code >= 0 && code < ERR_CODE_COUNT ? codes[code].name : "UNKNOWN";
}

const char *err_text(int code)
{
	return code >= 0 && code < ERR_CODE_COUNT ? codes[code].text : "unknown error";
}
