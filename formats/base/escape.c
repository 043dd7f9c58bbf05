#include "formats/base/escape.h"

#include <stdio.h>
#include <string.h>

/* One byte as it is shown: itself or \xNN. Returns the length. */
static size_t show_byte(unsigned char c, char piece[5])
{
	if (c >= 0x20 && c <= 0x7e && c != '\\') {
		piece[0] = (char)c;
		return 1;
	}
	return (size_t)snprintf(piece, 5, "\\x%02x", c);
}

char *escape(const char *text, char *buffer, size_t size)
{
	char piece[5];
	size_t total = 0, used = 0;
	for (const char *s = text; *s; s++)
		total += show_byte((unsigned char)*s, piece);
	size_t room = total < size ? size - 1 : size - 4; /* cut: the dots need three */
	for (; *text; text++) {
		size_t length = show_byte((unsigned char)*text, piece);
		if (used + length > room)
			break;
		memcpy(buffer + used, piece, length);
		used += length;
	}
	if (*text) {
		memcpy(buffer + used, "...", 3);
		used += 3;
	}
	buffer[used] = 0;
	return buffer;
}

const char *escape_shown(const char *text)
{
	static _Thread_local char buffers[ESCAPE_SHOWN][4096];
	static _Thread_local unsigned next;
	unsigned at = next++ % ESCAPE_SHOWN;
	return escape(text ? text : "", buffers[at], sizeof buffers[at]);
}
