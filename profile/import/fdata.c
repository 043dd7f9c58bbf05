#include "profile/import/totals.h"

#include <stdio.h>
#include <string.h>

enum { NAME_SIZE_MAX = 8192, TYPE_SYMBOL = 1, TYPE_MEMORY = 3, TYPE_MAX = 5 };

/* What one line says of a place. */
struct location {
	unsigned type;
	char name[NAME_SIZE_MAX];
	size_t length;
	uint64_t offset;
};

/* A word in which a backslash makes the next byte part of the name. */
static bool scan_name(struct slice *s, struct location *l)
{
	l->length = 0;
	slice_take(s, ' ');
	for (; s->at < s->end && *s->at != ' '; s->at++) {
		if (*s->at == '\\' && ++s->at == s->end)
			return false;
		if (l->length == sizeof l->name)
			return false;
		l->name[l->length++] = *s->at;
	}
	return l->length > 0;
}

static bool scan_location(struct slice *s, struct location *l)
{
	struct slice word;
	uint64_t type;
	if (!slice_word(s, &word) || slice_size(&word) != 1 || !slice_number(&word, 10, &type) || type > TYPE_MAX)
		return false;
	l->type = (unsigned)type;
	return scan_name(s, l) && slice_word(s, &word) && slice_number(&word, 16, &l->offset);
}

static struct totals_place resolve(const struct totals *t, const struct location *l)
{
	struct totals_place place = {PROFILE_NO_MODULE, 0};
	vaddr start;
	if (l->type == TYPE_SYMBOL && functions_find(t->functions, l->name, l->length, &start)) {
		place.module = 0;
		place.address = start.v + l->offset;
	}
	return place;
}

static bool is_lost(const struct location *l, struct totals_place place)
{
	return l->type == TYPE_SYMBOL && place.module == PROFILE_NO_MODULE;
}

static bool scan_count(struct slice *s, uint64_t *ret_count)
{
	struct slice word;
	return slice_word(s, &word) && slice_number(&word, 10, ret_count);
}

static bool at_end(struct slice *s)
{
	struct slice word;
	return !slice_word(s, &word);
}

static int take_sample(struct text *text, struct totals *t, struct slice *line, const struct location *at)
{
	uint64_t count;
	if (!scan_count(line, &count) || !at_end(line))
		return text_bad(text, "expected TYPE NAME OFFSET COUNT");
	struct totals_place place = resolve(t, at);
	t->result.unresolved += is_lost(at, place);
	return place.module == PROFILE_NO_MODULE ? 0 : totals_add_sample(t, place, count, text->e);
}

static int take_branch(struct text *text, struct totals *t, struct slice *line, const struct location *from)
{
	struct location to;
	uint64_t counts[2];
	if (!scan_location(line, &to) || !scan_count(line, &counts[1]) || !scan_count(line, &counts[0]) || !at_end(line))
		return text_bad(text, "expected TYPE NAME OFFSET TYPE NAME OFFSET MISPREDICTED COUNT");
	struct totals_place source = resolve(t, from), target = resolve(t, &to);
	t->result.unresolved += is_lost(from, source) || is_lost(&to, target);
	if (source.module == PROFILE_NO_MODULE && target.module == PROFILE_NO_MODULE)
		return 0;
	return totals_add_branch(t, source, target, counts, text->e);
}

static void keep_event(struct totals *t, struct slice names)
{
	struct slice word;
	if (slice_word(&names, &word)) {
		if (word.end[-1] == ':')
			word.end--;
		snprintf(t->event, sizeof t->event, "%.*s", (int)(slice_size(&word) < 200 ? slice_size(&word) : 200), word.at);
	}
}

int fdata_read(struct text *text, struct totals *t)
{
	struct slice line, word;
	struct location first;
	bool plain = false;
	int status = 0;
	while (!status && text_line(text, &line)) {
		struct slice rest = line;
		t->result.lines++;
		if (!slice_word(&rest, &word))
			continue;
		if (slice_is(&word, "no_lbr") || slice_is(&word, "boltedcollection")) {
			if (slice_is(&word, "no_lbr")) {
				plain = true;
				keep_event(t, rest);
			}
			continue;
		}
		if (!scan_location(&line, &first))
			return text_bad(text, "expected TYPE NAME OFFSET");
		if (first.type >= TYPE_MEMORY) /* about data, of no use here */
			t->result.memory++;
		else if (plain)
			status = take_sample(text, t, &line, &first);
		else
			status = take_branch(text, t, &line, &first);
	}
	return status;
}
