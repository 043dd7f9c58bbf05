#include "profile/escape.h"

#include <stdio.h>
#include <string.h>

char *escape(const char *text, char *buffer, size_t size)
{
	size_t used = 0;
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		char piece[5] = {(char)c};
		if (c < 0x20 || c > 0x7e || c == '\\')
			snprintf(piece, sizeof piece, "\\x%02x", c);
		size_t length = strlen(piece);
		if (used + length + (text[1] ? 3 : 0) >= size) {
			memcpy(buffer + used, "...", 3);
			used += 3;
			break;
		}
		memcpy(buffer + used, piece, length);
		used += length;
	}
	buffer[used] = 0;
	return buffer;
}
