#include "analyze/simulate/lackey.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_LENGTH 8192
#define CACHE_SLOTS (1u << 18)
#define PROGRESS_LINES (1u << 20)

/* Address -> node, so that most lines need no search. */
struct slot {
	uint64_t address;
	uint32_t node;
	bool starts;
};

struct loaded {
	uint64_t bias;
	bool is_known;
};

struct reader_state {
	const char *name;
	const struct program *p;
	struct follow *f;
	struct lackey_result *result;
	struct slot *cache;
	struct loaded *modules; /* [module_count] */
	uint32_t announced;	/* module whose load address comes next, or PROGRAM_NONE */
	uint64_t lines, previous;
	struct err *e;
};

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* The map of the file at `path`: the same path, else the same name. */
static uint32_t module_of_path(const struct program *p, const char *path)
{
	uint32_t same_name = PROGRAM_NONE;
	for (uint32_t m = 0; m < p->module_count; m++) {
		const char *own = p->modules[m].map->module.path;
		if (!strcmp(own, path))
			return m;
		if (!strcmp(base_name(own), base_name(path)))
			same_name = m;
	}
	return same_name;
}

/* A line of valgrind's own: "--PID-- Reading syms from PATH", "--PID--    svma 0xA, avma 0xB". */
static void read_remark(struct reader_state *r, char *line)
{
	char *syms = strstr(line, "-- Reading syms from "), *svma = strstr(line, "-- "), *end;
	if (syms) {
		r->announced = module_of_path(r->p, syms + strlen("-- Reading syms from "));
		return;
	}
	if (!svma || r->announced == PROGRAM_NONE)
		return;
	svma += 2 + strspn(svma + 2, " ");
	if (strncmp(svma, "svma 0x", 7))
		return;
	uint64_t linked = strtoull(svma + 5, &end, 16);
	if (strncmp(end, ", avma 0x", 9))
		return;
	uint64_t actual = strtoull(end + 7, NULL, 16);
	r->modules[r->announced] = (struct loaded){actual - linked, true};
	r->announced = PROGRAM_NONE;
	memset(r->cache, 0xff, CACHE_SLOTS * sizeof *r->cache);
}

static struct slot find(const struct reader_state *r, uint64_t address)
{
	struct slot found = {address, PROGRAM_NONE, false};
	for (uint32_t m = 0; m < r->p->module_count && found.node == PROGRAM_NONE; m++)
		if (r->modules[m].is_known)
			found.node = program_node_at(r->p, m, address - r->modules[m].bias, &found.starts);
	return found;
}

static struct slot look_up(struct reader_state *r, uint64_t address)
{
	struct slot *s = &r->cache[(address * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (CACHE_SLOTS - 1)];
	if (s->address != address)
		*s = find(r, address);
	return *s;
}

/* Blocks that end without a branch are run through: the superblock goes on in the next one, up to the address that comes next. */
static void run_through(struct reader_state *r, uint32_t next)
{
	const struct program *p = r->p;
	for (int steps = 0; steps < 256; steps++) {
		const struct program_node *node = &p->nodes[r->f->last];
		const struct program_module *m = &p->modules[node->module];
		const struct map_block *block = &m->map->blocks[node->block];
		if (node->kind != PROGRAM_FLOW || block->terminator != MAP_FALLS || block->next == MAP_NONE)
			return;
		uint32_t follower = m->node_of_block[block->next];
		if (follower == PROGRAM_NONE || follower == next)
			return;
		follow_arc(r->f, follower);
		/* Interrupted inside by the limit on a superblock: `next` goes on in the middle of what was just run. */
	}
}

static void enter(struct reader_state *r, uint64_t address)
{
	struct slot s = look_up(r, address);
	struct follow *f = r->f;
	bool again = address == r->previous;
	r->previous = address;
	r->result->superblocks++;
	if (s.node == PROGRAM_NONE) {
		r->result->outside++;
		f->last = PROGRAM_NONE;
		return;
	}
	if (f->last != PROGRAM_NONE && (s.node != f->last || s.starts))
		run_through(r, s.node);
	/* In the middle of the node that was just executed whole: a superblock cut by its limit, a system call, a repeated string instruction. */
	if (s.node == f->last && !s.starts) {
		f->machine->insns += again ? PROGRAM_INSN_UNIT : 0;
		return;
	}
	follow_to(f, s.node);
}

/* "SB " and hexadecimal digits. */
static int read_superblock(struct reader_state *r, const char *line)
{
	uint64_t address = 0;
	const char *s = line + 3;
	for (; *s; s++) {
		unsigned digit = *s >= '0' && *s <= '9' ? (unsigned)(*s - '0') : *s >= 'a' && *s <= 'f' ? (unsigned)(*s - 'a' + 10) : 16;
		if (digit > 15 || address >> 60)
			break;
		address = address << 4 | digit;
	}
	if (*s || s == line + 3)
		return err_set(r->e, ERR_FORMAT, "%s:%" PRIu64 ": expected an address after SB", r->name, r->lines);
	enter(r, address);
	return 0;
}

static int read_line(struct reader_state *r, char *line)
{
	size_t length = strlen(line);
	r->lines++;
	if (length && line[length - 1] == '\n')
		line[--length] = 0;
	if (!strncmp(line, "SB ", 3))
		return read_superblock(r, line);
	if (line[0] == '-')
		read_remark(r, line);
	return 0;
}

static int judge(const struct reader_state *r)
{
	for (uint32_t m = 0; m < r->p->module_count; m++)
		r->result->modules += r->modules[m].is_known;
	if (!r->result->superblocks)
		return err_set(r->e, ERR_FORMAT,
			       "%s has no line \"SB address\": run valgrind --tool=lackey -v -v --vex-guest-chase=no --basic-counts=no "
			       "--trace-superblocks=yes",
			       r->name);
	if (!r->result->modules)
		return err_set(r->e, ERR_MISMATCH, "%s does not say where one of the maps' files was loaded (valgrind -v -v does)",
			       r->name);
	return 0;
}

static int read_all(struct reader_state *r, FILE *file, const struct lackey_options *o)
{
	char *line = malloc(LINE_MAX_LENGTH);
	int status = line ? 0 : err_set(r->e, ERR_MEMORY, "simulate: no memory");
	uint64_t limit = o->instructions ? o->instructions * PROGRAM_INSN_UNIT : UINT64_MAX;
	while (!status && r->f->machine->insns < limit && fgets(line, LINE_MAX_LENGTH, file)) {
		status = read_line(r, line);
		if (o->progress && r->lines % PROGRESS_LINES == 0)
			o->progress(o->context, r->lines);
	}
	free(line);
	if (!status && ferror(file))
		status = err_set_errno(r->e, errno, "%s", r->name);
	return status ? status : judge(r);
}

int lackey_replay(FILE *file, const char *name, const struct lackey_options *options, struct follow *f, struct lackey_result *ret_result,
		  struct err *e)
{
	struct lackey_result result = {0};
	struct reader_state r = {
	    .name = name, .p = f->program, .f = f, .result = &result, .announced = PROGRAM_NONE, .e = e, .previous = UINT64_MAX};
	r.cache = malloc(CACHE_SLOTS * sizeof *r.cache);
	r.modules = calloc(f->program->module_count + (size_t)1, sizeof *r.modules);
	int status;
	if (r.cache && r.modules) {
		memset(r.cache, 0xff, CACHE_SLOTS * sizeof *r.cache);
		status = read_all(&r, file, options);
	} else {
		status = err_set(e, ERR_MEMORY, "simulate: no memory");
	}
	free(r.cache);
	free(r.modules);
	if (!status)
		*ret_result = result;
	return status;
}
