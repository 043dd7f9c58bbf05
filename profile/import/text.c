#include "profile/import/text.h"

#include <inttypes.h>
#include <string.h>

struct text text_of(const void *data, size_t size, const char *name, struct err *e)
{
	const char *at = size ? data : "";
	return (struct text){.name = name, .rest = {at, at + size}, .e = e};
}

bool text_line(struct text *text, struct slice *ret_line)
{
	struct slice *rest = &text->rest;
	if (rest->at == rest->end)
		return false;
	const char *newline = memchr(rest->at, '\n', slice_size(rest));
	const char *end = newline ? newline : rest->end;
	*ret_line = (struct slice){rest->at, end > rest->at && end[-1] == '\r' ? end - 1 : end};
	rest->at = newline ? newline + 1 : rest->end;
	text->line++;
	return true;
}

int text_bad(const struct text *text, const char *what)
{
	return err_set(text->e, ERR_FORMAT, "%s:%" PRIu64 ": %s", text->name, text->line, what);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

bool slice_word(struct slice *s, struct slice *ret_word)
{
	while (s->at < s->end && is_blank(*s->at))
		s->at++;
	ret_word->at = s->at;
	while (s->at < s->end && !is_blank(*s->at))
		s->at++;
	ret_word->end = s->at;
	return ret_word->at < ret_word->end;
}

bool slice_starts(const struct slice *s, const char *text)
{
	size_t length = strlen(text);
	return slice_size(s) >= length && !memcmp(s->at, text, length);
}

bool slice_is(const struct slice *s, const char *text)
{
	return slice_size(s) == strlen(text) && slice_starts(s, text);
}

const char *slice_find(const struct slice *s, const char *text)
{
	return memmem(s->at, slice_size(s), text, strlen(text));
}

static unsigned digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if ((c | 32) >= 'a' && (c | 32) <= 'f')
		return (unsigned)((c | 32) - 'a' + 10);
	return 16;
}

bool slice_number(const struct slice *s, unsigned base, uint64_t *ret_number)
{
	const char *at = s->at;
	uint64_t number = 0;
	if (base == 16 && slice_size(s) > 2 && at[0] == '0' && (at[1] | 32) == 'x')
		at += 2;
	if (at == s->end)
		return false;
	for (; at < s->end; at++) {
		unsigned digit = digit_of(*at);
		if (digit >= base || __builtin_mul_overflow(number, (uint64_t)base, &number) ||
		    __builtin_add_overflow(number, (uint64_t)digit, &number))
			return false;
	}
	*ret_number = number;
	return true;
}

bool slice_take(struct slice *s, char byte)
{
	bool is = s->at < s->end && *s->at == byte;
	s->at += is;
	return is;
}

bool slice_until(struct slice *s, char byte, struct slice *ret_before)
{
	const char *found = s->at < s->end ? memchr(s->at, byte, slice_size(s)) : NULL;
	if (!found)
		return false;
	*ret_before = (struct slice){s->at, found};
	s->at = found + 1;
	return true;
}
