#include "profile/import/lackey.h"

#include "formats/base/vec.h"
#include "profile/idmap.h"
#include "profile/import/spaces.h"
#include "profile/output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CACHE_SLOTS (1u << 16)
#define BATCH 4096u /* steps handed on at a time */
#define PROGRESS_STEPS (UINT64_C(1) << 20)
#define COMMAND_MAX 4000u
#define THE_PROCESS 1 /* there is one */

static const char how_to_run[] = "valgrind --tool=lackey -v -v --vex-guest-chase=no --vex-iropt-unroll-thresh=0 --basic-counts=no "
				 "--trace-superblocks=yes";

/* Address -> place, so that most lines need no search. */
struct slot {
	uint64_t address;
	struct profile_place place;
	uint32_t mappings; /* when it was found; 0: empty */
};

/* A file that was loaded. */
struct loaded {
	uint64_t bias;
	uint32_t module; /* of `files` */
};

struct log {
	struct input *in;
	struct files *files;
	const struct lackey_options *options;
	struct lackey_result result;
	struct err *e;
	/* where what is */
	struct spaces *spaces; /* of numbers of `loaded` */
	VEC(struct loaded) loaded;
	VEC(uint32_t) numbers; /* in the stream, of modules of `files`; PROFILE_NO_MODULE: not named so far */
	struct slot *cache;
	uint32_t mappings;			/* changed so often, plus 1: places that were found before are void */
	char *announced;			/* file whose load address comes next; owned, NULL: none */
	uint64_t pid;				/* 0: not seen so far */
	bool ends_at_branches, unrolls_nothing; /* the options say so */
	struct idmap threads;
	/* what is written */
	int fd;
	const char *name;
	struct profile_stream *stream; /* NULL before the first step */
	struct profile_info info;
	char command[COMMAND_MAX + 1];
	struct profile_place *batch; /* [BATCH] */
	size_t batch_count;
	struct profile_window window;
};

static int bad(const struct log *l, const char *what)
{
	return err_set(l->e, ERR_FORMAT, "%s:%" PRIu64 ": %s", l->in->name, l->in->line, what);
}

static int no_memory(const struct log *l)
{
	return err_set(l->e, ERR_MEMORY, "%s: no memory", l->in->name);
}

/* --- what is written --- */

static int begin(struct log *l)
{
	if (!l->ends_at_branches || !l->unrolls_nothing)
		return err_set(l->e, ERR_UNSUPPORTED, "%s: a superblock may hold several rounds of a loop or go on behind a jump: run %s",
			       l->in->name, how_to_run);
	int status = output_empty(l->fd, l->name, l->e);
	return status ? status : profile_stream_open(l->fd, l->name, &l->info, &l->stream, l->e);
}

static int flush_batch(struct log *l)
{
	if (!l->batch_count)
		return 0;
	int status = profile_stream_course(l->stream, &l->window, l->batch, l->batch_count, l->e);
	l->batch_count = 0;
	return status;
}

static int switch_thread(struct log *l, uint32_t thread)
{
	if (idmap_get(&l->threads, (uint64_t)thread + 1) == IDMAP_NONE) {
		if (idmap_set(&l->threads, (uint64_t)thread + 1, 0))
			return no_memory(l);
		l->result.threads++;
	}
	int status = flush_batch(l);
	l->window.thread = thread;
	return status;
}

/* --- where what is --- */

static int map_range(struct log *l, uint64_t start, uint64_t end, uint32_t number)
{
	if (++l->mappings == 0)
		return err_set(l->e, ERR_FORMAT, "%s: more mappings than can be", l->in->name);
	return start < end ? spaces_map(l->spaces, THE_PROCESS, (raddr){start}, (raddr){end}, number, l->e) : 0;
}

/* The executable segments of the announced file stand at their vaddrs plus `bias`. */
static int load(struct log *l, uint64_t bias)
{
	uint32_t module;
	const struct elfhead *head;
	int status = files_open(l->files, l->announced, &module, &head, l->e);
	if (status || !head)
		return status;
	if (l->loaded.count >= SPACES_NONE || vec_push(&l->loaded, (struct loaded){bias, module}))
		return no_memory(l);
	for (uint32_t i = 0; i < head->segment_count && !status; i++) {
		const struct elf_segment *s = &head->segments[i];
		if (s->type == ELFHEAD_LOAD && (s->flags & ELFHEAD_EXECUTE))
			status = map_range(l, s->address.v + bias, s->address.v + bias + s->memory_size, (uint32_t)l->loaded.count - 1);
	}
	return status;
}

/* The number of a module of `files` in the stream, where it is written when it is named first. */
static int number_of(struct log *l, uint32_t module, uint32_t *ret_number)
{
	while (l->numbers.count <= module)
		if (vec_push(&l->numbers, PROFILE_NO_MODULE))
			return no_memory(l);
	uint32_t *number = &l->numbers.data[module];
	if (*number == PROFILE_NO_MODULE) {
		int status = profile_stream_module(l->stream, files_module(l->files, module), number, l->e);
		if (status)
			return status;
		l->result.modules++;
	}
	*ret_number = *number;
	return 0;
}

static int find(struct log *l, uint64_t address, struct profile_place *ret_place)
{
	uint32_t number = spaces_find(l->spaces, THE_PROCESS, (raddr){address});
	*ret_place = (struct profile_place){address, PROFILE_NO_MODULE};
	if (number == SPACES_NONE)
		return 0;
	ret_place->address -= l->loaded.data[number].bias;
	return number_of(l, l->loaded.data[number].module, &ret_place->module);
}

/* --- lines --- */

static int add_step(struct log *l, uint64_t address)
{
	struct slot *s = &l->cache[(address * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (CACHE_SLOTS - 1)];
	int status = l->result.steps++ ? 0 : begin(l);
	if (!status && (s->address != address || s->mappings != l->mappings)) {
		status = find(l, address, &s->place);
		s->address = address;
		s->mappings = status ? 0 : l->mappings;
	}
	if (status)
		return status;
	l->result.outside += s->place.module == PROFILE_NO_MODULE;
	l->batch[l->batch_count++] = s->place;
	if (l->options->progress && l->result.steps % PROGRESS_STEPS == 0)
		l->options->progress(l->options->context, l->result.steps);
	return l->batch_count == BATCH ? flush_batch(l) : 0;
}

/* "SB " and hexadecimal digits. By hand: there is one every few instructions that were executed. */
static bool read_address(const struct slice *line, uint64_t *ret_address)
{
	uint64_t address = 0;
	const char *s = line->at + 3;
	for (; s < line->end; s++) {
		unsigned digit = *s >= '0' && *s <= '9' ? (unsigned)(*s - '0') : *s >= 'a' && *s <= 'f' ? (unsigned)(*s - 'a' + 10) : 16;
		if (digit > 15 || address >> 60)
			return false;
		address = address << 4 | digit;
	}
	*ret_address = address;
	return s > line->at + 3;
}

static void skip_blanks(struct slice *s)
{
	while (s->at < s->end && *s->at == ' ')
		s->at++;
}

/* Moves behind `text`; false, and nothing is moved, where something else stands. */
static bool take(struct slice *s, const char *text)
{
	if (!slice_starts(s, text))
		return false;
	s->at += strlen(text);
	return true;
}

/* "0x4a040", and moves behind it. */
static bool take_hex(struct slice *s, uint64_t *ret_value)
{
	struct slice digits = *s;
	if (!take(&digits, "0x"))
		return false;
	const char *end = digits.at;
	while (end < digits.end && strchr("0123456789abcdefABCDEF", *end) && *end)
		end++;
	s->at = end;
	digits.end = end;
	return slice_number(&digits, 16, ret_value);
}

/* "--PID-- " or "==PID== ", and moves behind it. */
static bool take_pid(struct slice *s, uint64_t *ret_pid)
{
	struct slice digits = *s, rest;
	const char *mark = *s->at == '-' ? "--" : "==";
	if (!take(&digits, mark) || !slice_until(&digits, *mark, &rest) || !slice_number(&rest, 10, ret_pid) || !*ret_pid ||
	    !slice_take(&digits, *mark))
		return false;
	skip_blanks(&digits);
	*s = digits;
	return true;
}

static int announce(struct log *l, const struct slice *path)
{
	free(l->announced);
	l->announced = strndup(path->at, slice_size(path));
	return l->announced ? 0 : no_memory(l);
}

static void read_command(struct log *l, const struct slice *text)
{
	size_t size = slice_size(text) < COMMAND_MAX ? slice_size(text) : COMMAND_MAX;
	if (*l->command || memchr(text->at, 0, size))
		return;
	memcpy(l->command, text->at, size);
	l->command[size] = 0;
}

/* What valgrind itself says: "Reading syms from PATH", then "svma 0xA, avma 0xB"; "Discarding syms at 0xA-0xB in"; "SCHED[2]:  acquired lock". */
static int read_remark(struct log *l, struct slice line)
{
	uint64_t pid, from, to;
	struct slice number;
	if (!take_pid(&line, &pid))
		return 0;
	if (l->pid && l->pid != pid)
		return err_set(l->e, ERR_UNSUPPORTED,
			       "%s:%" PRIu64 ": two processes (%" PRIu64 ", %" PRIu64
			       ") write into this log, and their superblocks cannot be told apart: --child-silent-after-fork=yes",
			       l->in->name, l->in->line, l->pid, pid);
	l->pid = pid;
	l->ends_at_branches |= slice_is(&line, "--vex-guest-chase=no");
	l->unrolls_nothing |= slice_is(&line, "--vex-iropt-unroll-thresh=0");
	if (take(&line, "Reading syms from "))
		return announce(l, &line);
	if (take(&line, "Command: ")) {
		read_command(l, &line);
	} else if (l->announced && take(&line, "svma ") && take_hex(&line, &from) && take(&line, ", avma ") && take_hex(&line, &to)) {
		int status = load(l, to - from);
		free(l->announced);
		l->announced = NULL;
		return status;
	} else if (take(&line, "Discarding syms at ") && take_hex(&line, &from) && take(&line, "-") && take_hex(&line, &to)) {
		return map_range(l, from, to, SPACES_NONE);
	} else if (take(&line, "SCHED[") && slice_until(&line, ']', &number) && slice_find(&line, "acquired lock") &&
		   slice_number(&number, 10, &from) && from <= UINT32_MAX) {
		return switch_thread(l, (uint32_t)from);
	}
	return 0;
}

static int read_line(struct log *l, const struct slice *line)
{
	uint64_t address;
	if (slice_starts(line, "SB "))
		return read_address(line, &address) ? add_step(l, address) : bad(l, "expected an address after SB");
	return slice_size(line) && (*line->at == '-' || *line->at == '=') ? read_remark(l, *line) : 0;
}

bool lackey_is_line(const struct slice *line)
{
	struct slice rest = *line;
	uint64_t address;
	if (slice_starts(line, "SB "))
		return read_address(line, &address);
	return slice_size(line) && *line->at == '=' && take_pid(&rest, &address) && slice_starts(&rest, "Lackey, an example Valgrind tool");
}

/* --- all of it --- */

static int read_all(struct log *l)
{
	struct slice line;
	bool more = true;
	int status = 0;
	while (!status) {
		status = input_line(l->in, &line, &more, l->e);
		if (status || !more)
			break;
		status = read_line(l, &line);
	}
	l->result.lines = l->in->line;
	if (!status && !l->result.steps)
		return err_set(l->e, ERR_FORMAT, "%s has no line \"SB address\": run %s", l->in->name, how_to_run);
	if (!status && !l->loaded.count)
		return err_set(l->e, ERR_FORMAT, "%s does not say where a file that is here was loaded (valgrind -v -v does)", l->in->name);
	return status;
}

static int finish(struct log *l)
{
	int status = flush_batch(l);
	struct profile_stream *stream = l->stream;
	if (status)
		return status;
	l->stream = NULL;
	status = profile_stream_close(stream, &l->info, l->e);
	off_t end = lseek(l->fd, 0, SEEK_CUR);
	l->result.bytes = end > 0 ? (uint64_t)end : 0;
	l->result.threads += !l->result.threads;
	return status;
}

static void log_free(struct log *l)
{
	if (l->stream)
		profile_stream_abandon(l->stream);
	if (l->spaces)
		spaces_free(l->spaces);
	vec_free(&l->loaded);
	vec_free(&l->numbers);
	idmap_free(&l->threads);
	free(l->announced);
	free(l->cache);
	free(l->batch);
}

int lackey_read(struct input *in, struct files *files, int fd, const char *name, const struct lackey_options *options,
		struct lackey_result *ret_result, struct err *e)
{
	static char event[] = "lackey:superblocks", nothing[] = "";
	struct log l = {.in = in, .files = files, .options = options, .fd = fd, .name = name, .e = e, .mappings = 1, .window.thread = 1};
	l.info = (struct profile_info){.source = PROFILE_EXACT, .event = event, .kernel = nothing, .cpu = nothing, .command = l.command};
	l.cache = calloc(CACHE_SLOTS, sizeof *l.cache);
	l.batch = malloc(BATCH * sizeof *l.batch);
	int status = l.cache && l.batch ? spaces_new(&l.spaces, e) : no_memory(&l);
	if (!status)
		status = read_all(&l);
	if (!status)
		status = finish(&l);
	if (!status)
		*ret_result = l.result;
	log_free(&l);
	return status;
}
