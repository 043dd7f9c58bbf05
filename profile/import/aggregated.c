#include "profile/import/totals.h"

#include <stdio.h>
#include <string.h>

enum { BUILD_ID_DIGITS = 8 }; /* a build-id may be cut, but not to less than this */

/* "[BUILDID:]OFFSET"; "X:OFFSET" is in no known file, and so is an offset of another file than ours. */
static bool scan_place(struct totals *t, struct slice *s, struct totals_place *ret_place)
{
	struct slice word, id;
	char hex[MODULE_HEX_SIZE];
	uint64_t address;
	if (!slice_word(s, &word))
		return false;
	bool has_id = slice_until(&word, ':', &id);
	if (!slice_number(&word, 16, &address))
		return false;
	module_build_id_hex(functions_module(t->functions), hex);
	/* 0 and -1 stand for "outside" in traces. */
	bool given = address && address != UINT64_MAX;
	bool ours =
	    !has_id || (slice_size(&id) >= BUILD_ID_DIGITS && slice_size(&id) <= strlen(hex) && !strncasecmp(id.at, hex, slice_size(&id)));
	*ret_place = given && ours ? (struct totals_place){0, address} : (struct totals_place){PROFILE_NO_MODULE, 0};
	return true;
}

static bool scan_count(struct slice *s, uint64_t *ret_count)
{
	struct slice word;
	return slice_word(s, &word) && slice_number(&word, 10, ret_count);
}

static bool is_outside(struct totals_place place)
{
	return place.module == PROFILE_NO_MODULE;
}

/* COUNT [MISPREDICTED] and the end of the line. */
static bool scan_counts(struct slice *s, uint64_t counts[2])
{
	struct slice word;
	counts[1] = 0;
	if (!scan_count(s, &counts[0]))
		return false;
	if (slice_word(s, &word) && !slice_number(&word, 10, &counts[1]))
		return false;
	return !slice_word(s, &word);
}

static int take_branch(struct text *text, struct totals *t, struct slice *line)
{
	struct totals_place from, to;
	uint64_t counts[2];
	if (!scan_place(t, line, &from) || !scan_place(t, line, &to) || !scan_counts(line, counts))
		return text_bad(text, "expected FROM TO COUNT [MISPREDICTED]");
	t->result.unresolved += is_outside(from) || is_outside(to);
	return is_outside(from) && is_outside(to) ? 0 : totals_add_branch(t, from, to, counts, text->e);
}

static int take_run(struct text *text, struct totals *t, struct slice *line)
{
	struct totals_place from, to;
	uint64_t counts[2];
	if (!scan_place(t, line, &from) || !scan_place(t, line, &to) || !scan_counts(line, counts))
		return text_bad(text, "expected FROM TO COUNT");
	bool lost = is_outside(from) || is_outside(to);
	t->result.unresolved += lost;
	return lost ? 0 : totals_add_run(t, from, to, counts[0], text->e);
}

/* A branch and what was run after it. */
static int take_trace(struct text *text, struct totals *t, struct slice *line)
{
	struct totals_place from, to, end;
	uint64_t counts[2];
	if (!scan_place(t, line, &from) || !scan_place(t, line, &to) || !scan_place(t, line, &end) || !scan_counts(line, counts))
		return text_bad(text, "expected FROM TO END COUNT [MISPREDICTED]");
	t->result.unresolved += is_outside(from) || is_outside(to) || is_outside(end);
	int status = is_outside(from) && is_outside(to) ? 0 : totals_add_branch(t, from, to, counts, text->e);
	return status || is_outside(to) || is_outside(end) ? status : totals_add_run(t, to, end, counts[0], text->e);
}

static int take_sample(struct text *text, struct totals *t, struct slice *line)
{
	struct totals_place at;
	uint64_t counts[2];
	if (!scan_place(t, line, &at) || !scan_counts(line, counts))
		return text_bad(text, "expected AT COUNT");
	t->result.unresolved += is_outside(at);
	return is_outside(at) ? 0 : totals_add_sample(t, at, counts[0], text->e);
}

static int take_line(struct text *text, struct totals *t, const struct slice *type, struct slice *line)
{
	struct slice word;
	switch (slice_size(type) == 1 ? type->at[0] : 0) {
	case 'B':
		return take_branch(text, t, line);
	case 'F':
	case 'f':
	case 'r':
		return take_run(text, t, line);
	case 'T':
	case 'R':
		return take_trace(text, t, line);
	case 'S':
		return take_sample(text, t, line);
	case 'E':
		if (!slice_word(line, &word))
			return text_bad(text, "expected the name of an event");
		if (!t->event[0])
			snprintf(t->event, sizeof t->event, "%.*s", (int)(slice_size(&word) < 200 ? slice_size(&word) : 200), word.at);
		return 0;
	default:
		return text_bad(text, "a line that does not begin with B, F, f, r, T, R, S or E");
	}
}

int aggregated_read(struct text *text, struct totals *t)
{
	struct slice line, type;
	int status = 0;
	while (!status && text_line(text, &line)) {
		t->result.lines++;
		if (slice_word(&line, &type) && *type.at != '#')
			status = take_line(text, t, &type, &line);
	}
	return status;
}
