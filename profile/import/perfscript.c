#include "profile/import/perfscript.h"

#include "profile/import/gather.h"
#include "profile/import/perfscript_line.h"

#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 4096, PAGE = 4096 };

struct script {
	struct text *text;
	struct gather gather;
	struct perfscript_result result;
	struct perfscript_line sample; /* the one that is open */
	bool open, has_branches, has_instructions;
	uint64_t time;		/* of the last sample with one */
	uint32_t only_pid;	/* of the first process with mappings */
	bool several_processes; /* with mappings */
	char event[256];
};

static int unsupported(struct script *s, const char *what)
{
	return err_set(s->text->e, ERR_UNSUPPORTED, "%s:%llu: %s", s->text->name, (unsigned long long)s->text->line, what);
}

static uint32_t pid_of(const struct script *s)
{
	return s->sample.has_pid ? s->sample.pid : s->only_pid;
}

static int close_sample(struct script *s)
{
	const struct perfscript_line *l = &s->sample;
	if (!s->open)
		return 0;
	s->open = false;
	if (s->has_instructions && !s->has_branches)
		return unsupported(s, "brstackinsn leaves out what perf could not read: print brstack too (-F +brstack)");
	s->has_instructions = s->has_branches = false;
	if (!l->has_ip) {
		s->result.without++;
		gather_drop(&s->gather);
		return 0;
	}
	if (!l->has_pid && s->several_processes)
		return unsupported(s, "several processes, and samples without a pid: print it too (-F +pid)");
	struct gather_sample sample = {.time = s->time, .address = l->ip, .pid = pid_of(s), .tid = l->has_pid ? l->tid : s->only_pid};
	return gather_sample(&s->gather, &sample, s->text->e);
}

static int take_branches(struct script *s, struct slice branches)
{
	struct profile_branch raw;
	int found, status = 0;
	while (!status && (found = perfscript_scan_branch(&branches, &raw)) != 0) {
		if (found < 0)
			return text_bad(s->text, "expected a branch 0xFROM/0xTO/...");
		s->has_branches = true;
		status = gather_branch(&s->gather, pid_of(s), &raw, s->text->e);
	}
	return status;
}

static int open_sample(struct script *s, const struct perfscript_line *l)
{
	int status = close_sample(s);
	if (status)
		return status;
	s->sample = *l;
	s->open = true;
	if (l->has_time)
		s->time = l->time_ns;
	size_t size = (size_t)(l->event.end - l->event.at);
	if (!s->event[0] && size)
		snprintf(s->event, sizeof s->event, "%.*s", (int)(size < 200 ? size : 200), l->event.at);
	return take_branches(s, l->branches);
}

/*
 * A place of a call chain. perf prints the offset in the file there, not the address (since 4.x, of user code), and the file behind it: made an
 * address again by a mapping of that one page. The sample then belongs to a process of its own, which has only that.
 */
static int take_frame(struct script *s, struct slice line, const struct perfscript_line *l)
{
	if (s->open && (s->sample.has_ip || s->has_branches))
		return 0;
	if (!s->open) {
		int status = open_sample(s, l);
		if (status)
			return status;
	}
	s->sample.has_ip = l->has_ip;
	s->sample.ip = l->ip;
	const char *file = slice_size(&line) && line.end[-1] == ')' ? memrchr(line.at, '(', slice_size(&line)) : NULL;
	char path[PATH_SIZE];
	if (!l->has_ip || !file || spaces_find(s->gather.spaces, pid_of(s), (raddr){l->ip}) != SPACES_NONE)
		return 0;
	size_t size = (size_t)(line.end - 1 - (file + 1));
	if (size >= sizeof path || file[1] != '/')
		return 0;
	memcpy(path, file + 1, size);
	path[size] = 0;
	struct files_mapping page = {.start = l->ip & ~(uint64_t)(PAGE - 1), .path = path};
	page.end = page.start + PAGE;
	page.offset = page.start;
	s->sample.has_pid = true;
	s->sample.tid = pid_of(s);
	s->sample.pid = UINT32_MAX;
	return gather_map(&s->gather, UINT32_MAX, &page, true, s->text->e);
}

static int take_map(struct script *s, const struct perfscript_event *event)
{
	char path[PATH_SIZE];
	struct files_mapping map = event->map;
	size_t size = slice_size(&event->path);
	if (event->pid == UINT32_MAX)
		return 0;
	if (size >= sizeof path || memchr(event->path.at, 0, size))
		return text_bad(s->text, "a path that is too long");
	memcpy(path, event->path.at, size);
	path[size] = 0;
	map.path = path;
	map.build_id = event->build_id;
	s->several_processes |= s->result.mappings && event->pid != s->only_pid;
	if (!s->result.mappings++)
		s->only_pid = event->pid;
	return gather_map(&s->gather, event->pid, &map, event->execute, s->text->e);
}

static int take_event(struct script *s, struct slice line)
{
	struct perfscript_event event;
	int status = close_sample(s);
	if (status)
		return status;
	if (!perfscript_scan_event(line, &event))
		return text_bad(s->text, "an event that is not of the form perf prints");
	switch (event.kind) {
	case PERFSCRIPT_MAP:
		return take_map(s, &event);
	case PERFSCRIPT_FORK:
		return event.pid != event.parent ? spaces_fork(s->gather.spaces, event.parent, event.pid, s->text->e) : 0;
	case PERFSCRIPT_EXEC:
		spaces_exec(s->gather.spaces, event.pid);
		return 0;
	case PERFSCRIPT_LOST:
		s->result.lost += event.lost;
		return 0;
	default:
		return 0;
	}
}

static bool is_comment(const struct slice *line)
{
	return line->at < line->end && line->at[0] == '#';
}

static int take_line(struct script *s, struct slice line)
{
	struct perfscript_line l;
	struct slice rest = line, word;
	if (!slice_word(&rest, &word))
		return close_sample(s);
	if (is_comment(&line))
		return 0;
	if (slice_find(&line, "PERF_RECORD_"))
		return take_event(s, line);
	if (slice_find(&line, "\tinsn:") || slice_find(&line, " insn:")) {
		s->has_instructions = true;
		return 0;
	}
	perfscript_scan(line, &l);
	bool branches = slice_size(&l.branches) > 0;
	if (l.has_header)
		return open_sample(s, &l);
	if (line.at[0] == '\t' && l.has_ip && !branches)
		return take_frame(s, line, &l);
	if (!l.has_ip && branches && s->open && !s->has_branches) /* behind a call chain */
		return take_branches(s, l.branches);
	if (l.has_ip)
		return open_sample(s, &l);
	if (s->open && s->has_instructions) /* a symbol between instructions */
		return 0;
	return text_bad(s->text, branches ? "branches without the address of a sample: print it too (-F +ip)"
					  : "expected a sample: [COMM] [PID] [TIME:] [EVENT:] ADDRESS ...");
}

static int make_profile(struct script *s, struct profile *p)
{
	bool clock = strstr(s->event, "clock") != NULL;
	size_t count = s->gather.branches.count;
	p->complete = true;
	p->info = (struct profile_info){
	    .source = count   ? PROFILE_BRANCH_STACKS
		      : clock ? PROFILE_CLOCK
			      : PROFILE_CYCLES,
	    .event = strdup(s->event[0] ? s->event : "unknown"),
	    .kernel = strdup(""),
	    .cpu = strdup(""),
	    .command = strdup(""),
	    .lost = s->result.lost,
	};
	if (!p->info.event || !p->info.kernel || !p->info.cpu || !p->info.command)
		return err_set(s->text->e, ERR_MEMORY, "no memory for a profile");
	return gather_finish(&s->gather, p, s->text->e);
}

int perfscript_read(struct text *text, struct files *files, struct profile *ret_profile, struct perfscript_result *ret_result)
{
	struct script s = {.text = text};
	struct profile profile = {0};
	struct slice line;
	int status = gather_init(&s.gather, files, text->e);
	if (status)
		return status;
	while (!status && text_line(text, &line))
		status = take_line(&s, line);
	if (!status)
		status = close_sample(&s);
	s.result.lines = text->line;
	if (!status && !s.gather.samples.count)
		status = err_set(text->e, ERR_FORMAT, "%s has no samples", text->name);
	if (!status && !s.result.mappings)
		status = err_set(text->e, ERR_UNSUPPORTED, "%s does not say where files were mapped: print it too (--show-mmap-events)",
				 text->name);
	if (!status)
		status = make_profile(&s, &profile);
	gather_free(&s.gather);
	if (status) {
		profile_free(&profile);
		return status;
	}
	*ret_profile = profile;
	*ret_result = s.result;
	return 0;
}

bool perfscript_is_line(struct slice line)
{
	struct perfscript_line l;
	if (slice_find(&line, "PERF_RECORD_"))
		return true;
	perfscript_scan(line, &l);
	return l.has_header || (l.has_ip && (slice_size(&l.branches) || line.at[0] == '\t' || line.at[0] == ' '));
}
