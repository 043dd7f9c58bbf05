#include "profile/callgrind.h"
#include "profile/commands.h"
#include "profile/escape.h"
#include "profile/identity.h"

#include "formats/base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The objects of a callgrind profile are files of this machine, or of an image of it under --root. */
static int open_object(void *context, const char *path, struct callgrind_object *ret_object, struct err *e)
{
	const char *root = context;
	struct callgrind_object object = {.known = true};
	struct elfhead head;
	char full[8192];
	if ((size_t)snprintf(full, sizeof full, "%s%s", root, path) >= sizeof full)
		return err_set(e, ERR_MISSING, "%s: path too long", path);
	int status = identity_of_path(full, &object.module, &head, e);
	if (status)
		return status;
	char *own_path = strdup(path);
	object.code = calloc(head.segment_count, sizeof *object.code);
	if (!own_path || !object.code) {
		free(own_path);
		free(object.code);
		module_free(&object.module);
		return err_set(e, ERR_MEMORY, "%s", path);
	}
	free(object.module.path);
	object.module.path = own_path;
	for (uint32_t i = 0; i < head.segment_count; i++) {
		const struct elf_segment *s = &head.segments[i];
		if (s->type != ELFHEAD_LOAD || !(s->flags & ELFHEAD_EXECUTE))
			continue;
		object.code[object.code_count][0] = s->address.v;
		object.code[object.code_count++][1] = s->address.v + s->memory_size;
	}
	*ret_object = object;
	return 0;
}

static int write_profile(const struct profile *profile, const char *output, struct err *e)
{
	struct writer w = {0};
	int status = profile_encode(profile, &w, e);
	if (!status)
		status = file_write(output, w.data, w.size, e);
	writer_free(&w);
	return status;
}

static int print_json(FILE *out, const struct profile *p, const struct callgrind_result *r, struct err *e)
{
	json_t *root =
	    json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "source", profile_source_name(p->info.source), "parts",
		      (json_int_t)r->parts, "instructions", (json_int_t)r->instructions, "outside", (json_int_t)r->outside, "anonymous",
		      (json_int_t)r->anonymous, "addresses", (json_int_t)p->count_count, "edges", (json_int_t)p->edge_count, "modules",
		      (json_int_t)r->objects, "modules_unknown", (json_int_t)r->objects_unknown);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static void print_text(FILE *out, const struct profile *p, const struct callgrind_result *r)
{
	fprintf(out, "%" PRIu64 " instructions executed at %zu addresses, %zu jumps and calls, in %u modules (%" PRIu64 " parts)\n",
		r->instructions, p->count_count, p->edge_count, r->objects, r->parts);
	if (r->objects_unknown)
		fprintf(out, "%u modules have no identity: their files cannot be read here (--root DIR)\n", r->objects_unknown);
	if (r->outside)
		fprintf(out, "%" PRIu64 " instructions dropped: outside the code of their module (was its file replaced?)\n", r->outside);
	if (r->anonymous)
		fprintf(out, "%" PRIu64 " instructions in no file\n", r->anonymous);
}

static int import_callgrind(const struct cli *cli, const char *path, struct err *e)
{
	const char *root = cli_string(cli, "root", ""), *output = cli_string(cli, "output", "callgrind.rprof");
	struct callgrind_source source = {.open_object = open_object, .context = (void *)(uintptr_t)root};
	struct callgrind_result result;
	struct profile profile;
	bool is_stdin = !strcmp(path, "-");
	FILE *file = is_stdin ? stdin : fopen(path, "re");
	if (!file)
		return err_set_errno(e, errno, "%s", path);
	int status = callgrind_read(file, is_stdin ? "stdin" : path, &source, &profile, &result, e);
	if (!is_stdin)
		fclose(file);
	if (status)
		return status;
	status = write_profile(&profile, output, e);
	FILE *out = strcmp(output, "-") ? stdout : stderr;
	if (!status && cli_json(cli))
		status = print_json(out, &profile, &result, e);
	else if (!status)
		print_text(out, &profile, &result);
	profile_free(&profile);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	const char *from = cli_string(cli, "from", NULL);
	if (!from)
		return err_set(e, ERR_USAGE, "--from what? Known: callgrind");
	if (strcmp(from, "callgrind"))
		return err_set(e, ERR_USAGE, "--from %.40s is not known; known: callgrind", from);
	return import_callgrind(cli, cli_argument(cli, 0), e);
}

static const struct cli_option options[] = {
    {"from", 0, CLI_STRING, "FORMAT", "callgrind: made with --dump-instr=yes --collect-jumps=yes"},
    {"output", 'o', CLI_STRING, "FILE", "the profile, \"-\" for stdout (default callgrind.rprof)"},
    {"root", 0, CLI_STRING, "DIR", "look for the modules' files below this directory"},
    {0},
};

const struct cli_verb cmd_import = {
    .name = "import",
    .arguments = "--from callgrind FILE [-o OUT]",
    .summary = "make a profile of what another tool measured",
    .details = "callgrind counts each executed instruction, jump and call exactly and needs no hardware counters:\n"
	       "  valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes PROGRAM",
    .options = options,
    .minimum = 1,
    .maximum = 1,
    .run = run,
};
