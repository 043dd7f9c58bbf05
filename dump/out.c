#include "dump/out.h"

#include <errno.h>
#include <inttypes.h>

static void indent(struct out *o)
{
	for (unsigned i = 1; i < o->depth; i++)
		fputs("  ", o->file);
}

static bool on_one_line(const struct out *o)
{
	return o->levels[o->depth - 1].inline_object;
}

static bool in_array(const struct out *o)
{
	return o->levels[o->depth - 1].array;
}

static void put_escaped(struct out *o, const char *text)
{
	for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
		if (*p < 0x20 || *p >= 0x7f)
			fprintf(o->file, o->json ? "\\u%04x" : "\\x%02x", *p);
		else if (*p == '\\' || (o->json && *p == '"'))
			fprintf(o->file, "\\%c", *p);
		else
			fputc(*p, o->file);
	}
}

/* What stands before a value: comma, line, name. */
static void begin_value(struct out *o, const char *name)
{
	uint64_t index = o->levels[o->depth - 1].count++;
	if (o->json) {
		if (index)
			fputc(',', o->file);
		if (!on_one_line(o))
			fputc('\n', o->file);
		if (name)
			fprintf(o->file, "\"%s\":", name);
		return;
	}
	if (on_one_line(o)) {
		fprintf(o->file, " %s=", name ? name : "");
		return;
	}
	indent(o);
	if (name)
		fprintf(o->file, "%s:", name);
	else
		fprintf(o->file, "[%" PRIu64 "]", index);
}

static void begin_scalar(struct out *o, const char *name)
{
	begin_value(o, name);
	if (!o->json && !on_one_line(o))
		fputc(' ', o->file);
}

static void end_scalar(struct out *o)
{
	if (!o->json && !on_one_line(o))
		fputc('\n', o->file);
}

static void open_level(struct out *o, bool array, bool one_line)
{
	o->levels[o->depth].array = array;
	o->levels[o->depth].inline_object = one_line;
	o->levels[o->depth].count = 0;
	o->depth++;
}

void out_begin(struct out *o, FILE *file, bool json)
{
	*o = (struct out){.file = file, .json = json};
	if (json)
		fputc('{', file);
	open_level(o, false, false);
}

int out_end(struct out *o, struct err *e)
{
	if (o->json)
		fputs("\n}\n", o->file);
	errno = 0;
	if (fflush(o->file) || ferror(o->file))
		return err_set_errno(e, errno ? errno : EIO, "output");
	return 0;
}

void out_open_object(struct out *o, const char *name)
{
	bool one_line = on_one_line(o) || in_array(o);
	begin_value(o, name);
	if (o->json)
		fputc('{', o->file);
	else if (!one_line)
		fputc('\n', o->file);
	open_level(o, false, one_line);
}

/* An array inside of a record is written as "name=" and its elements. */
void out_open_array(struct out *o, const char *name)
{
	bool one_line = on_one_line(o);
	begin_value(o, name);
	if (o->json)
		fputc('[', o->file);
	else if (!one_line)
		fputc('\n', o->file);
	open_level(o, true, one_line);
}

void out_close(struct out *o)
{
	bool array = in_array(o), one_line = on_one_line(o);
	o->depth--;
	if (o->json) {
		if (!one_line)
			fputc('\n', o->file);
		fputc(array ? ']' : '}', o->file);
	} else if (one_line && !on_one_line(o)) {
		fputc('\n', o->file);
	}
}

void out_number(struct out *o, const char *name, uint64_t value)
{
	begin_scalar(o, name);
	fprintf(o->file, "%" PRIu64, value);
	end_scalar(o);
}

void out_hex(struct out *o, const char *name, uint64_t value)
{
	begin_scalar(o, name);
	fprintf(o->file, o->json ? "%" PRIu64 : "0x%" PRIx64, value);
	end_scalar(o);
}

void out_bool(struct out *o, const char *name, bool value)
{
	begin_scalar(o, name);
	fputs(value ? "true" : "false", o->file);
	end_scalar(o);
}

void out_text(struct out *o, const char *name, const char *value)
{
	if (!value)
		return;
	begin_scalar(o, name);
	if (o->json)
		fputc('"', o->file);
	put_escaped(o, value);
	if (o->json)
		fputc('"', o->file);
	end_scalar(o);
}

void out_bytes(struct out *o, const char *name, const uint8_t *bytes, size_t size)
{
	begin_scalar(o, name);
	if (o->json)
		fputc('"', o->file);
	for (size_t i = 0; i < size; i++)
		fprintf(o->file, "%02x", bytes[i]);
	if (o->json)
		fputc('"', o->file);
	end_scalar(o);
}
