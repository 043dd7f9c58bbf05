#include "profile/import/callgrind_scan.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

static int digit_of(char c, unsigned base)
{
	int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
	return value < (int)base ? value : -1;
}

bool callgrind_scan_number(const char **p, uint64_t *ret_value)
{
	const char *s = *p;
	unsigned base = 10;
	uint64_t value = 0;
	if (s[0] == '0' && s[1] == 'x') {
		base = 16;
		s += 2;
	}
	const char *first = s;
	for (int digit; (digit = digit_of(*s, base)) >= 0; s++)
		if (__builtin_mul_overflow(value, (uint64_t)base, &value) || __builtin_add_overflow(value, (uint64_t)digit, &value))
			return false;
	if (s == first)
		return false;
	*p = s;
	*ret_value = value;
	return true;
}

bool callgrind_scan_position(const char **p, uint64_t last, uint64_t *ret_value)
{
	const char *s = *p + strspn(*p, " \t");
	char sign = *s;
	uint64_t value = 0;
	if (sign == '*') {
		s++;
	} else {
		s += sign == '+' || sign == '-';
		if (!callgrind_scan_number(&s, &value))
			return false;
	}
	if (*s && !isspace((unsigned char)*s))
		return false;
	*p = s;
	*ret_value = sign == '*' ? last : sign == '+' ? last + value : sign == '-' ? last - value : value;
	return true;
}

bool callgrind_scan_name(const char *p, uint64_t *ret_id, const char **ret_text)
{
	uint64_t id;
	if (*p != '(') {
		*ret_id = 0;
		*ret_text = p;
		return *p != 0;
	}
	const char *s = p + 1;
	if (!callgrind_scan_number(&s, &id) || *s != ')' || id == UINT64_MAX) {
		/* "(below main)" is a plain name */
		*ret_id = 0;
		*ret_text = p;
		return true;
	}
	s++;
	s += strspn(s, " \t");
	*ret_id = id + 1;
	*ret_text = *s ? s : NULL;
	return true;
}

const char *callgrind_scan_key(const char *line, const char *key)
{
	size_t length = strlen(key);
	if (strncmp(line, key, length) || (line[length] != '=' && line[length] != ':'))
		return NULL;
	line += length + 1;
	return line + strspn(line, " \t");
}
