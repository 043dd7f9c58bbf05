#include "profile/import/perfscript_line.h"

#include <string.h>

enum { IP_WIDTH = 16 }; /* perf prints instruction pointers right-justified in as many columns, nothing else */

/* --- samples --- */

/* "4242" or "4242/4243" */
static bool scan_pid(struct slice word, uint32_t *ret_pid, uint32_t *ret_tid)
{
	struct slice first;
	uint64_t pid, tid;
	bool both = slice_until(&word, '/', &first);
	if (!slice_number(&word, 10, &tid) || tid > INT32_MAX)
		return false;
	pid = tid;
	if (both && (!slice_number(&first, 10, &pid) || pid > INT32_MAX))
		return false;
	*ret_pid = (uint32_t)pid;
	*ret_tid = (uint32_t)tid;
	return true;
}

/* "695.699391:" to ns. */
static bool scan_time(struct slice word, uint64_t *ret_ns)
{
	struct slice seconds;
	uint64_t whole, fraction;
	if (slice_size(&word) < 4 || word.end[-1] != ':')
		return false;
	word.end--;
	if (!slice_until(&word, '.', &seconds) || !slice_number(&seconds, 10, &whole) || !slice_number(&word, 10, &fraction))
		return false;
	size_t digits = slice_size(&word);
	if (digits > 9 || whole > UINT64_MAX / 1000000000 - 1)
		return false;
	for (; digits < 9; digits++)
		fraction *= 10;
	*ret_ns = whole * 1000000000 + fraction;
	return true;
}

static bool is_event(const struct slice *word)
{
	return slice_size(word) > 1 && word->end[-1] == ':' && word->at[0] != '(';
}

/* A word that can be nothing but a branch: it has a slash and begins with 0x. */
static bool is_branch(const struct slice *word)
{
	return slice_starts(word, "0x") && memchr(word->at, '/', slice_size(word));
}

static const char *find_branches(struct slice line)
{
	struct slice word;
	while (slice_word(&line, &word))
		if (is_branch(&word))
			return word.at;
	return line.end;
}

/* The address is the next word, if it is one. */
static void take_ip(struct slice rest, struct perfscript_line *l)
{
	struct slice word;
	l->has_ip = slice_word(&rest, &word) && !slice_starts(&word, "0x") && slice_number(&word, 16, &l->ip);
}

/* Pid and cpu before the time or the event; the name of the program may have blanks, so the last fitting word counts. */
static void take_task(struct slice head, struct perfscript_line *l)
{
	struct slice word;
	while (slice_word(&head, &word))
		l->has_pid |= scan_pid(word, &l->pid, &l->tid);
}

static bool is_ip(const struct slice *word, const char *before, uint64_t *ret_ip)
{
	return !slice_starts(word, "0x") && word->end - before >= IP_WIDTH && slice_number(word, 16, ret_ip);
}

/* With a time or an event: what stands where is certain. */
static bool scan_header(struct slice line, struct perfscript_line *l)
{
	struct slice all = line, word, behind = line, number = {0};
	for (const char *before = line.at; slice_word(&line, &word); before = line.at) {
		bool is_time = !l->has_time && scan_time(word, &l->time_ns), is_last = !is_time && is_event(&word);
		if ((is_time || is_last) && !l->has_header)
			take_task((struct slice){all.at, word.at}, l);
		if (is_time) {
			l->has_time = l->has_header = true;
		} else if (is_last) {
			l->event = (struct slice){word.at, word.end - 1};
			l->has_header = true;
		} else if (l->has_header && (is_ip(&word, before, &l->ip) || !slice_number(&word, 10, &l->period))) {
			break; /* a time without an event */
		} else {
			number = word;
		}
		behind = line;
		if (is_last)
			break;
	}
	if (l->has_header)
		take_ip(behind, l);
	if (l->has_time && !l->has_ip && l->event.at == l->event.end &&
	    number.at) /* an address of decimal digits only, not in its columns */
		l->has_ip = slice_number(&number, 16, &l->ip);
	return l->has_header;
}

/* Without: [COMM] [PID] IP ..., told apart by the width of the address, else by order. */
static void scan_bare(struct slice line, struct perfscript_line *l)
{
	struct slice word, all = line;
	uint64_t number;
	for (int words = 0; words < 4; words++) {
		const char *before = line.at;
		if (!slice_word(&line, &word))
			break;
		if (!is_ip(&word, before, &number))
			continue;
		l->has_ip = true;
		l->ip = number;
		take_task((struct slice){all.at, word.at}, l);
		return;
	}
	struct slice second;
	line = all;
	if (!slice_word(&line, &word))
		return;
	bool two = slice_word(&line, &second) && !slice_starts(&second, "0x") && slice_number(&second, 16, &number);
	if (two && scan_pid(word, &l->pid, &l->tid)) {
		l->has_pid = l->has_ip = true;
		l->ip = number;
	} else {
		take_ip(all, l);
	}
}

void perfscript_scan(struct slice line, struct perfscript_line *ret_line)
{
	struct perfscript_line l = {0};
	const char *branches = find_branches(line);
	l.branches = (struct slice){branches, line.end};
	line.end = branches;
	l.event = (struct slice){line.at, line.at};
	if (!scan_header(line, &l))
		scan_bare(line, &l);
	*ret_line = l;
}

/* An address with 0x. */
static bool scan_address(struct slice *s, uint64_t *ret_address)
{
	struct slice part;
	return slice_until(s, '/', &part) && slice_starts(&part, "0x") && slice_number(&part, 16, ret_address);
}

int perfscript_scan_branch(struct slice *branches, struct profile_branch *ret_branch)
{
	struct slice word;
	struct profile_branch b = {0};
	if (!slice_word(branches, &word))
		return 0;
	if (!scan_address(&word, &b.from) || !scan_address(&word, &b.to))
		return -1;
	/* What follows is a letter, M, P, N or -, and fields that differ between versions. */
	b.mispredicted = slice_size(&word) && word.at[0] == 'M';
	*ret_branch = b;
	return 1;
}

/* --- other records --- */

static bool scan_hex_until(struct slice *s, char byte, uint64_t *ret_number)
{
	struct slice part;
	return slice_until(s, byte, &part) && slice_number(&part, 16, ret_number);
}

/* "4242/4242:" (pid -1: the kernel) */
static bool scan_owner(struct slice *s, uint32_t *ret_pid)
{
	struct slice word, pid;
	uint64_t number;
	if (!slice_word(s, &word) || !slice_until(&word, '/', &pid))
		return false;
	*ret_pid = UINT32_MAX;
	if (slice_is(&pid, "-1"))
		return true;
	if (!slice_number(&pid, 10, &number) || number > INT32_MAX)
		return false;
	*ret_pid = (uint32_t)number;
	return true;
}

static bool scan_build_id(struct slice word, struct perfscript_event *event)
{
	size_t digits = slice_size(&word);
	if (digits % 2 || digits / 2 > sizeof event->build_id)
		return false;
	for (size_t i = 0; i < digits / 2; i++) {
		uint64_t byte;
		struct slice two = {word.at + 2 * i, word.at + 2 * i + 2};
		if (!slice_number(&two, 16, &byte) || byte > 255)
			return false;
		event->build_id[i] = (uint8_t)byte;
	}
	event->map.build_id_size = (uint8_t)(digits / 2);
	return true;
}

/* "[0x55(0x1000) @ 0x2000 08:01 1234 5]: r-xp /path", "[0x55(0x1000) @ 0 <buildid>]: ..." or, of MMAP, "[0x55(0x1000) @ 0x2000]: x /path" */
static bool scan_map(struct slice s, struct perfscript_event *event)
{
	struct slice inner, word;
	uint64_t start, length;
	event->kind = PERFSCRIPT_MAP;
	if (!scan_owner(&s, &event->pid))
		return false;
	while (slice_take(&s, ' '))
		;
	if (!slice_take(&s, '[') || !slice_until(&s, ']', &inner) || !slice_take(&s, ':'))
		return false;
	if (!scan_hex_until(&inner, '(', &start) || !scan_hex_until(&inner, ')', &length))
		return false;
	if (!slice_word(&inner, &word) || !slice_is(&word, "@") || !slice_word(&inner, &word) ||
	    !slice_number(&word, 16, &event->map.offset))
		return false;
	if (slice_word(&inner, &word) && *word.at == '<') {
		word.at++;
		word.end -= word.end[-1] == '>';
		if (word.end < word.at || !scan_build_id(word, event))
			return false;
	}
	event->map.start = start;
	event->map.end = start + length;
	if (!slice_word(&s, &word))
		return false;
	event->execute = memchr(word.at, 'x', slice_size(&word)) != NULL;
	while (slice_take(&s, ' '))
		;
	event->path = s;
	return true;
}

/* "(CHILD:TID):(PARENT:TID)" */
static bool scan_fork(struct slice s, struct perfscript_event *event)
{
	struct slice child, parent;
	uint64_t pid, parent_pid;
	event->kind = PERFSCRIPT_FORK;
	if (!slice_take(&s, '(') || !slice_until(&s, ':', &child) || !slice_until(&s, '(', &parent) || !slice_until(&s, ':', &parent))
		return false;
	if (!slice_number(&child, 10, &pid) || !slice_number(&parent, 10, &parent_pid) || pid > INT32_MAX || parent_pid > INT32_MAX)
		return false;
	event->pid = (uint32_t)pid;
	event->parent = (uint32_t)parent_pid;
	return true;
}

/* " exec: NAME:PID/TID"; without exec it is only a new name. */
static bool scan_comm(struct slice s, struct perfscript_event *event)
{
	struct slice word;
	uint32_t tid;
	if (!slice_word(&s, &word) || !slice_is(&word, "exec:"))
		return true;
	event->kind = PERFSCRIPT_EXEC;
	const char *colon = s.at < s.end ? memrchr(s.at, ':', slice_size(&s)) : NULL;
	return colon && scan_pid((struct slice){colon + 1, s.end}, &event->pid, &tid);
}

static bool scan_lost(struct slice s, struct perfscript_event *event)
{
	struct slice word;
	event->kind = PERFSCRIPT_LOST;
	return slice_word(&s, &word) && slice_number(&word, 10, &event->lost);
}

bool perfscript_scan_event(struct slice line, struct perfscript_event *ret_event)
{
	struct slice s = {slice_find(&line, "PERF_RECORD_"), line.end};
	*ret_event = (struct perfscript_event){.kind = PERFSCRIPT_OTHER};
	s.at += strlen("PERF_RECORD_");
	static const struct {
		const char *name;
		bool (*scan)(struct slice s, struct perfscript_event *event);
	} known[] = {{"MMAP2 ", scan_map}, {"MMAP ", scan_map}, {"FORK", scan_fork}, {"COMM", scan_comm}, {"LOST lost ", scan_lost}};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (slice_starts(&s, known[i].name)) {
			s.at += strlen(known[i].name);
			return known[i].scan(s, ret_event);
		}
	return true;
}
