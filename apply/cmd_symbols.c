#include "apply/core.h"
#include "apply/perf_map.h"
#include "apply/symbols.h"
#include "apply/verbs.h"
#include "formats/base/escape.h"
#include "formats/base/file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct outcome {
	const char *output;		   /* NULL: no symbol file */
	char perf_map[PERF_MAP_PATH_SIZE]; /* empty: none */
};

static void print_text(FILE *out, const struct target *t, const struct symbols *s, const struct outcome *o)
{
	fprintf(out, "process %d: %zu images, %zu pieces of functions\n", t->pid, s->images.count, s->list.count);
	if (symbols_without_frames(s))
		fprintf(out, "  %u images were made by an older repave-apply: no frames, no names of functions\n",
			symbols_without_frames(s));
	if (o->output)
		fprintf(out, "  %s: in gdb, add-symbol-file %s\n", escape_shown(o->output), escape_shown(o->output));
	if (o->perf_map[0])
		fprintf(out, "  %s: for perf, removed by undo\n", o->perf_map);
}

static int print_json(FILE *out, const struct target *t, const struct symbols *s, const struct outcome *o, struct err *e)
{
	json_t *root = json_pack("{s:i, s:i, s:i, s:i, s:s?, s:s?}", "pid", (int)t->pid, "images", (int)s->images.count, "symbols",
				 (int)s->list.count, "images_without_frames", (int)symbols_without_frames(s), "output",
				 o->output ? escape_shown(o->output) : NULL, "perf_map", o->perf_map[0] ? o->perf_map : NULL);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for the report");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
}

static int write_elf(const struct target *t, struct symbols *s, const char *path, struct err *e)
{
	struct writer w = {0};
	int status = symbols_write_elf(t, s, &w, e);
	if (!status && !strcmp(path, "-"))
		status = file_write_all(STDOUT_FILENO, w.data, w.size) ? err_set_errno(e, errno, "stdout") : 0;
	else if (!status)
		status = file_write(path, w.data, w.size, e);
	writer_free(&w);
	return status;
}

static int write_perf(const struct target *t, const struct symbols *s, struct outcome *o, struct err *e)
{
	struct writer w = {0};
	char path[PERF_MAP_PATH_SIZE];
	int status = perf_map_path(t, path, e);
	if (!status)
		status = symbols_write_perf(s, &w, e);
	if (!status)
		status = perf_map_write(t, &w, e);
	if (!status)
		memcpy(o->perf_map, path, sizeof path);
	writer_free(&w);
	return status;
}

static int write_and_report(const struct cli *cli, const struct target *t, struct symbols *s, struct err *e)
{
	struct outcome o = {.output = cli_string(cli, "output", NULL)};
	if (!s->images.count)
		return err_set(e, ERR_REFUSED, "process %d: nothing is applied", t->pid);
	int status = o.output ? write_elf(t, s, o.output, e) : 0;
	if (!status && cli_has(cli, "perf-map"))
		status = write_perf(t, s, &o, e);
	if (status)
		return status;
	FILE *out = o.output && !strcmp(o.output, "-") ? stderr : stdout;
	if (cli_json(cli))
		return print_json(out, t, s, &o, e);
	print_text(out, t, s, &o);
	return 0;
}

static int work(const struct cli *cli, const struct target *t, struct err *e)
{
	struct journal *list;
	struct symbols s;
	uint32_t count;
	int status = journals_load(t, &list, &count, e);
	if (status)
		return status;
	status = symbols_init(t, list, count, &s, e);
	if (!status) {
		status = write_and_report(cli, t, &s, e);
		symbols_free(&s);
	}
	journals_free(list, count);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct target t;
	const char *core = cli_string(cli, "core", NULL);
	if (!cli_has(cli, "output") && !cli_has(cli, "perf-map"))
		return err_set(e, ERR_USAGE, "what for? give -o FILE for a debugger, or --perf-map");
	if (core && (cli_has(cli, "pid") || cli_has(cli, "perf-map")))
		return err_set(e, ERR_USAGE, "--core stands alone with -o FILE");
	int status = core ? core_open(core, &t, e) : verb_open_target(cli, &t, e);
	if (status)
		return status;
	status = work(cli, &t, e);
	target_close(&t);
	return status;
}

static const struct cli_option options[] = {
    VERB_PID_OPTION,
    {"core", 0, CLI_STRING, "CORE", "instead of a process: the core file of one that a plan was applied to"},
    {"output", 'o', CLI_STRING, "FILE", "write an ELF symbol file (- for stdout)"},
    {"perf-map", 0, CLI_FLAG, NULL, "make /tmp/perf-PID.map, where perf looks"},
    {0},
};

const struct cli_verb verb_symbols = {
    .name = "symbols",
    .arguments = "-p PID|--core CORE [-o FILE] [--perf-map]",
    .summary = "tell debuggers and profilers of moved code: names and frames",
    .details =
	"Needs no plan: the process says it all, and is neither stopped nor changed. To gdb:\n"
	"    gdb -p PID -ex 'add-symbol-file FILE' -ex bt        gdb EXE CORE -ex 'add-symbol-file FILE' -ex bt\n"
	"Moved functions are named NAME.repaved, or MODULE+0xADDRESS.repaved where none is known. The perf map is made as the user of the\n"
	"process, in its own /tmp and under its own number; one that is there already, of a JIT compiler, is left alone (exit 5). Undo "
	"removes\n"
	"it when it holds exactly what was written, so report before you undo; perf run by root needs --force to read another user's map.",
    .options = options,
    .minimum = 0,
    .maximum = 0,
    .run = run,
};
