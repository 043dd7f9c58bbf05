#include "profile/import/callgrind.h"

#include "formats/base/vec.h"
#include "profile/import/callgrind_scan.h"
#include "profile/idmap.h"
#include "profile/tally.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { POSITIONS_MAX = 2 };

/* What the next line with a position means. */
enum expect { EXPECT_COST, EXPECT_CALL_SOURCE, EXPECT_JUMP_SOURCE };

struct object {
	struct callgrind_object file;
	uint64_t instructions;
};

struct parser {
	const char *name;
	const struct callgrind_source *source;
	struct err *e;
	VEC(struct object) objects;
	struct idmap object_ids; /* id of the format -> index of objects */
	struct tally tally;
	struct callgrind_result result;
	char *command;
	/* from the header of the part */
	int position_count, instr_position, cost_index;
	/* running state */
	uint32_t object, call_object; /* index, PROFILE_NO_MODULE = "???" */
	uint64_t position[POSITIONS_MAX];
	enum expect expect;
	struct profile_edge edge; /* from a calls=, jump= or jcnd= line, until its source line comes */
};

static int bad(struct parser *p, const char *what)
{
	return err_set(p->e, ERR_FORMAT, "%s:%" PRIu64 ": %s", p->name, p->result.lines, what);
}

static int no_memory(struct parser *p)
{
	return err_set(p->e, ERR_MEMORY, "%s: no memory", p->name);
}

/* Index of the object with this path, opened on first sight. */
static int object_of_path(struct parser *p, const char *path, uint32_t *ret_object)
{
	*ret_object = PROFILE_NO_MODULE;
	if (!strcmp(path, "???"))
		return 0;
	for (uint32_t i = 0; i < p->objects.count; i++)
		if (!strcmp(p->objects.data[i].file.module.path, path)) {
			*ret_object = i;
			return 0;
		}
	struct object object = {0};
	int status = p->source->open_object(p->source->context, path, &object.file, p->e);
	if (status == -ERR_MEMORY)
		return status;
	object.file.known = !status;
	if (status) {
		object.file = (struct callgrind_object){.module.path = strdup(path)};
		if (!object.file.module.path)
			return no_memory(p);
	}
	if (vec_push(&p->objects, object)) {
		module_free(&object.file.module);
		free(object.file.code);
		return no_memory(p);
	}
	*ret_object = (uint32_t)p->objects.count - 1;
	return 0;
}

static int parse_object(struct parser *p, const char *text, uint32_t *ret_object)
{
	uint64_t id;
	const char *path;
	uint32_t object;
	if (!callgrind_scan_name(text, &id, &path))
		return bad(p, "object without a name");
	if (!path) {
		/* "???" is kept as an id without an index, so it and an unknown id must be told apart: ids of "???" map to IDMAP_NONE - 1 */
		uint32_t known = idmap_get(&p->object_ids, id);
		if (known == IDMAP_NONE)
			return bad(p, "object number that was not defined");
		*ret_object = known == IDMAP_NONE - 1 ? PROFILE_NO_MODULE : known;
		return 0;
	}
	int status = object_of_path(p, path, &object);
	if (status)
		return status;
	if (id && idmap_set(&p->object_ids, id, object == PROFILE_NO_MODULE ? IDMAP_NONE - 1 : object))
		return no_memory(p);
	*ret_object = object;
	return 0;
}

/* "instr line": which of the positions is the instruction's address. */
static int parse_positions(struct parser *p, const char *text)
{
	char words[64], *save = NULL;
	if (strlen(text) >= sizeof words)
		return bad(p, "unknown positions");
	strcpy(words, text);
	p->position_count = 0;
	p->instr_position = -1;
	for (char *word = strtok_r(words, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		if (p->position_count == POSITIONS_MAX || (strcmp(word, "instr") && strcmp(word, "line")))
			return bad(p, "unknown positions");
		if (!strcmp(word, "instr"))
			p->instr_position = p->position_count;
		p->position_count++;
	}
	if (p->instr_position < 0)
		return err_set(p->e, ERR_UNSUPPORTED,
			       "%s has no instruction addresses: run callgrind with --dump-instr=yes --collect-jumps=yes", p->name);
	return 0;
}

/* "Ir Dr Dw": which of the costs is the number of executed instructions. */
static int parse_events(struct parser *p, const char *text)
{
	int index = 0;
	p->cost_index = -1;
	for (const char *s = text; *s; s += strspn(s, " \t")) {
		size_t length = strcspn(s, " \t");
		if (length == 2 && !strncmp(s, "Ir", 2))
			p->cost_index = index;
		index++;
		s += length;
	}
	if (p->cost_index < 0)
		return err_set(p->e, ERR_UNSUPPORTED, "%s: no event Ir (instructions executed) in '%.100s'", p->name, text);
	return 0;
}

static int parse_line_positions(struct parser *p, const char **s, uint64_t *positions)
{
	if (p->position_count <= 0 || p->cost_index < 0)
		return bad(p, "costs before the lines 'positions' and 'events'");
	for (int i = 0; i < p->position_count; i++)
		if (!callgrind_scan_position(s, p->position[i], &positions[i]))
			return bad(p, "expected a position");
	return 0;
}

static bool is_code(const struct callgrind_object *file, uint64_t address)
{
	for (uint32_t i = 0; i < file->code_count; i++)
		if (address >= file->code[i][0] && address < file->code[i][1])
			return true;
	return !file->known;
}

/* Costs after the first that is needed may be left out by the writer when they are zero. */
static int parse_cost(struct parser *p, const char *s, uint64_t *ret_cost)
{
	uint64_t cost = 0;
	for (int i = 0; i <= p->cost_index; i++) {
		s += strspn(s, " \t");
		cost = 0;
		if (*s && !callgrind_scan_number(&s, &cost))
			return bad(p, "expected a cost");
	}
	*ret_cost = cost;
	return 0;
}

static int add_cost(struct parser *p, uint64_t address, uint64_t cost)
{
	struct profile_count count = {.address = address, .count = cost, .module = p->object};
	p->result.instructions += cost;
	if (p->object == PROFILE_NO_MODULE) {
		p->result.anonymous += cost;
	} else if (!is_code(&p->objects.data[p->object].file, address)) {
		p->result.outside += cost;
		return 0;
	} else {
		p->objects.data[p->object].instructions += cost;
	}
	return tally_add_count(&p->tally, &count, p->e);
}

static int add_edge(struct parser *p, uint64_t from)
{
	p->edge.from = from;
	p->edge.from_module = p->object;
	bool inside = (p->object == PROFILE_NO_MODULE || is_code(&p->objects.data[p->object].file, from)) &&
		      (p->edge.to_module == PROFILE_NO_MODULE || is_code(&p->objects.data[p->edge.to_module].file, p->edge.to));
	return inside ? tally_add_edge(&p->tally, &p->edge, p->e) : 0;
}

/* A line that starts with a position: a cost of its own, or the source of the call or jump announced before. */
static int parse_position_line(struct parser *p, const char *s)
{
	uint64_t positions[POSITIONS_MAX], cost = 0;
	int status = parse_line_positions(p, &s, positions);
	if (status)
		return status;
	memcpy(p->position, positions, sizeof positions);
	uint64_t address = positions[p->instr_position];
	enum expect expect = p->expect;
	p->expect = EXPECT_COST;
	if (expect != EXPECT_COST) /* what follows on a call's line is the cost of the callee */
		return add_edge(p, address);
	status = parse_cost(p, s, &cost);
	return status ? status : add_cost(p, address, cost);
}

/* calls=COUNT TARGET, jump=COUNT TARGET, jcnd=TAKEN/EXECUTED TARGET. The target is relative to the last line's position and does not move it. */
static int parse_transfer(struct parser *p, const char *s, enum profile_edge_kind kind, bool conditional)
{
	uint64_t count, executed, target[POSITIONS_MAX];
	if (p->expect != EXPECT_COST)
		return bad(p, "a call or jump without its source line");
	if (!callgrind_scan_number(&s, &count))
		return bad(p, "expected a count");
	if (conditional && (*s++ != '/' || !callgrind_scan_number(&s, &executed)))
		return bad(p, "expected taken/executed");
	int status = parse_line_positions(p, &s, target);
	if (status)
		return status;
	p->edge =
	    (struct profile_edge){.to = target[p->instr_position], .to_module = p->call_object, .count = count, .kind = (uint8_t)kind};
	p->call_object = p->object;
	p->expect = kind == PROFILE_EDGE_CALL ? EXPECT_CALL_SOURCE : EXPECT_JUMP_SOURCE;
	return 0;
}

static int begin_part(struct parser *p)
{
	p->result.parts++;
	p->object = p->call_object = PROFILE_NO_MODULE;
	memset(p->position, 0, sizeof p->position);
	return 0;
}

static int parse_header_line(struct parser *p, const char *line)
{
	const char *value;
	if ((value = callgrind_scan_key(line, "positions")))
		return parse_positions(p, value);
	if ((value = callgrind_scan_key(line, "events"))) {
		int status = parse_events(p, value);
		return status ? status : begin_part(p);
	}
	if ((value = callgrind_scan_key(line, "version")))
		return strcmp(value, "1") ? err_set(p->e, ERR_UNSUPPORTED, "%s: callgrind format version %.20s", p->name, value) : 0;
	if ((value = callgrind_scan_key(line, "cmd")) && !p->command) {
		p->command = strdup(value);
		return p->command ? 0 : no_memory(p);
	}
	static const char *const ignored[] = {"creator", "pid", "part", "desc", "summary", "totals", "event", "target", "thread", "cmd"};
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		if (callgrind_scan_key(line, ignored[i]))
			return 0;
	return bad(p, "unknown line");
}

/* Names of functions and files say nothing that addresses do not; lines that carry only those are stepped over. */
static int parse_line(struct parser *p, const char *line)
{
	static const char *const names[] = {"fl", "fi", "fe", "fn", "cfi", "cfl", "cfn", "jfi", "jfn", "rcalls", "frfn"};
	const char *value;
	if (!*line || *line == '#')
		return 0;
	if (strchr("0123456789+-*", *line))
		return parse_position_line(p, line);
	if ((value = callgrind_scan_key(line, "calls")))
		return parse_transfer(p, value, PROFILE_EDGE_CALL, false);
	if ((value = callgrind_scan_key(line, "jcnd")))
		return parse_transfer(p, value, PROFILE_EDGE_JUMP, true);
	if ((value = callgrind_scan_key(line, "jump")))
		return parse_transfer(p, value, PROFILE_EDGE_JUMP, false);
	if ((value = callgrind_scan_key(line, "ob"))) {
		int status = parse_object(p, value, &p->object);
		p->call_object = p->object;
		return status;
	}
	if ((value = callgrind_scan_key(line, "cob")) || (value = callgrind_scan_key(line, "job")))
		return parse_object(p, value, &p->call_object);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (callgrind_scan_key(line, names[i]))
			return 0;
	return parse_header_line(p, line);
}

static int parse_file(struct parser *p, FILE *file)
{
	char *line = NULL;
	size_t capacity = 0;
	int status = 0;
	for (ssize_t length; !status && (length = getline(&line, &capacity, file)) >= 0;) {
		p->result.lines++;
		while (length && (line[length - 1] == '\n' || line[length - 1] == '\r' || line[length - 1] == ' '))
			line[--length] = 0;
		status = strlen(line) == (size_t)length ? parse_line(p, line) : bad(p, "a NUL byte in the text");
	}
	free(line);
	if (!status && !feof(file)) /* also for want of memory, which is no error of the stream */
		status = err_set_errno(p->e, errno, "%s", p->name);
	if (!status && p->expect != EXPECT_COST)
		status = bad(p, "ends after a call or jump without its source line");
	if (!status && !p->result.parts)
		status = err_set(p->e, ERR_FORMAT, "%s is no callgrind profile: no line 'events:'", p->name);
	return status;
}

/* Moves what was read into a profile: objects become modules, same numbers. */
static int make_profile(struct parser *p, struct profile *profile)
{
	profile->modules = calloc(p->objects.count + 1, sizeof *profile->modules);
	profile->info = (struct profile_info){
	    .source = PROFILE_EXACT,
	    .event = strdup("callgrind:Ir"),
	    .kernel = strdup(""),
	    .cpu = strdup(""),
	    .command = p->command ? p->command : strdup(""),
	};
	p->command = NULL;
	if (!profile->modules || !profile->info.event || !profile->info.kernel || !profile->info.cpu || !profile->info.command)
		return no_memory(p);
	for (size_t i = 0; i < p->objects.count; i++) {
		profile->modules[i] = p->objects.data[i].file.module;
		p->objects.data[i].file.module = (struct module_identity){0};
		p->result.objects += p->objects.data[i].instructions != 0;
		p->result.objects_unknown += p->objects.data[i].instructions && !p->objects.data[i].file.known;
	}
	profile->module_count = p->objects.count;
	profile->complete = true;
	tally_finish(&p->tally, NULL, profile);
	return 0;
}

static void parser_free(struct parser *p)
{
	for (size_t i = 0; i < p->objects.count; i++) {
		module_free(&p->objects.data[i].file.module);
		free(p->objects.data[i].file.code);
	}
	vec_free(&p->objects);
	idmap_free(&p->object_ids);
	tally_free(&p->tally);
	free(p->command);
}

int callgrind_read(FILE *file, const char *name, const struct callgrind_source *source, struct profile *ret_profile,
		   struct callgrind_result *ret_result, struct err *e)
{
	struct err own;
	struct parser p = {.name = name, .source = source, .e = e ? e : &own, .cost_index = -1, .instr_position = -1};
	struct profile profile = {0};
	p.object = p.call_object = PROFILE_NO_MODULE;
	int status = parse_file(&p, file);
	if (!status)
		status = make_profile(&p, &profile);
	if (status) {
		profile_free(&profile);
	} else {
		*ret_profile = profile;
		*ret_result = p.result;
	}
	parser_free(&p);
	return status;
}
