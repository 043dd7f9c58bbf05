#include "apply/apply.h"
#include "apply/exec_follow.h"
#include "apply/exec_helper.h"
#include "apply/exec_plans.h"
#include "apply/exec_privilege.h"
#include "apply/verbs.h"
#include "formats/base/escape.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PAUSE 2000000000ull /* it has not begun: nobody waits for it but its starter */
#define TRIES 10

struct exec_run {
	struct exec_plans plans;
	struct exec_follow_options options;
	struct exec_follow *follow; /* in the helper */
	int report;		    /* -1: none */
	bool json, quiet;
};

static const char *const outcomes[] = {
    [EXEC_APPLIED] = "applied", [EXEC_UNCHANGED] = "unchanged", [EXEC_REFUSED] = "not run", [EXEC_FOLLOWED] = "followed"};

static void find_program(pid_t pid, char path[PATH_MAX])
{
	char link[64];
	snprintf(link, sizeof link, "/proc/%d/exe", pid);
	ssize_t length = readlink(link, path, PATH_MAX - 1);
	path[length > 0 ? length : 0] = 0;
}

static json_t *applied_json(const struct exec_event *event)
{
	const struct apply_report *r = event->report;
	json_t *modules = json_array();
	for (uint32_t i = 0; i < r->module_count; i++) {
		const struct apply_module *m = &r->modules[i];
		if (!m->skipped[0])
			json_array_append_new(modules, json_pack("{s:s, s:I, s:I, s:i}", "path", escape_shown(m->path), "address",
								 (json_int_t)m->code.v, "code_bytes", (json_int_t)m->code_size, "left_out",
								 (int)m->left_out));
	}
	return json_pack("{s:i, s:f, s:o}", "patches", (int)r->patches[PATCH_WANTED], "apply_ms", (double)(r->stage_time + r->pause) / 1e6,
			 "modules", modules);
}

/* One line of JSON, in one write: several runs may share a file. */
static void write_json(int fd, const struct exec_event *event, const char *program)
{
	json_t *path = json_string(escape_shown(program));
	json_t *root = json_pack("{s:i, s:o, s:s, s:f}", "pid", (int)event->pid, "program", path ? path : json_null(), "outcome",
				 outcomes[event->outcome], "held_ms", (double)event->held / 1e6);
	if (root && event->report) {
		json_t *more = applied_json(event);
		json_object_update(root, more);
		json_decref(more);
	}
	if (root && event->why)
		json_object_set_new(root, "reason", json_string(event->why->text));
	char *text = root ? json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	if (text)
		dprintf(fd, "%s\n", text);
	free(text);
	json_decref(root);
}

/* `name` is of a process, or of a command that none runs yet. */
static void tell_event(const struct exec_run *run, const struct exec_event *event, const char *name, const char *program)
{
	bool matters = event->outcome == EXEC_UNCHANGED || event->outcome == EXEC_REFUSED;
	if (run->report >= 0)
		write_json(run->report, event, program);
	if (run->json && !run->quiet)
		write_json(STDERR_FILENO, event, program);
	else if (matters && !run->quiet)
		dprintf(STDERR_FILENO, "repave-apply exec: %s %s: %s\n", name,
			event->outcome == EXEC_REFUSED ? "is not run" : "runs unchanged", event->why->text);
}

/* In the helper. Once the command is gone nobody who reads its stderr shall wait for us. */
static void tell_helper(void *context, const struct exec_event *event)
{
	const struct exec_run *run = context;
	char name[64], path[PATH_MAX];
	if (event->outcome == EXEC_ENDED) {
		dup2(STDIN_FILENO, STDERR_FILENO);
		return;
	}
	target_name(event->pid, name, sizeof name);
	find_program(event->pid, path);
	tell_event(run, event, name, path);
}

static int attach(void *context, pid_t program, struct err *e)
{
	struct exec_run *run = context;
	return exec_follow_attach(program, &run->options, &run->follow, e);
}

static void follow(void *context)
{
	const struct exec_run *run = context;
	exec_follow_run(run->follow);
}

/* The file that execvp would take, if any. */
static void resolve(const char *name, char path[PATH_MAX])
{
	const char *directories = getenv("PATH");
	if (strchr(name, '/')) {
		snprintf(path, PATH_MAX, "%s", name);
		return;
	}
	for (const char *at = directories ? directories : "/bin:/usr/bin"; at; at = strchr(at, ':')) {
		struct stat s;
		at += *at == ':';
		int length = (int)strcspn(at, ":");
		if (snprintf(path, PATH_MAX, "%.*s%s%s", length, at, length ? "/" : "", name) < PATH_MAX && !stat(path, &s) &&
		    S_ISREG(s.st_mode) && !access(path, X_OK))
			return;
	}
	path[0] = 0;
}

static int read_plans(const struct cli *cli, struct exec_plans *plans, struct err *e)
{
	const char *path;
	int status = 0;
	for (int i = 0; !status && (path = cli_string_at(cli, "plan", i)); i++)
		status = strcmp(path, "-") ? exec_plans_add(plans, path, e) : err_set(e, ERR_USAGE, "stdin is the command's");
	return status;
}

/* Everything up to the moment when the command may be executed. An error says why it gets no plan. */
static int prepare(const struct cli *cli, struct exec_run *run, struct err *e)
{
	char path[PATH_MAX];
	int status = read_plans(cli, &run->plans, e);
	if (status)
		return status;
	resolve(cli_argument(cli, 0), path);
	if (exec_privilege_needed(path))
		return err_set(e, ERR_REFUSED, "it runs with other privileges, so it may not be traced");
	if (path[0] && !faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) && faccessat(AT_FDCWD, path, R_OK, AT_EACCESS))
		return err_set_errno(e, errno, "%s", path);
	run->options = (struct exec_follow_options){
	    .plans = &run->plans,
	    .apply = {.max_pause = MAX_PAUSE,
		      .tries = TRIES,
		      .no_huge = cli_has(cli, "no-huge"),
		      .without_unwind = cli_has(cli, "without-unwind")},
	    .children = cli_has(cli, "follow") || (!cli_has(cli, "no-follow") && exec_plans_have_programs(&run->plans)),
	    .always = cli_has(cli, "follow"),
	    .strict = cli_has(cli, "strict"),
	    .tell = tell_helper,
	    .context = run,
	};
	const struct exec_helper_work work = {.attach = attach, .work = follow, .context = run, .keep = run->report};
	return exec_helper_start(&work, e);
}

/* Returns only when it cannot be executed. */
static int execute(const struct cli *cli, struct err *e)
{
	int count = cli_argument_count(cli);
	const char **arguments = calloc((size_t)count + 1, sizeof *arguments);
	if (!arguments)
		return err_set(e, ERR_MEMORY, "no memory for %d arguments", count);
	for (int i = 0; i < count; i++)
		arguments[i] = cli_argument(cli, i);
	execvp(arguments[0], (char *const *)(uintptr_t)arguments);
	int cause = errno;
	free(arguments);
	return err_set(e, cause == ENOENT || cause == ENOTDIR ? ERR_NO_COMMAND : ERR_COMMAND, "%s: %s", cli_argument(cli, 0),
		       strerror(cause));
}

static int open_report(const char *path, int *ret_report, struct err *e)
{
	*ret_report = -1;
	if (!path)
		return 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0)
		return err_set_errno(e, errno, "%s", path);
	*ret_report = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	close(fd);
	return *ret_report < 0 ? err_set_errno(e, errno, "%s", path) : 0;
}

static int run_command(const struct cli *cli, struct err *e)
{
	struct exec_run run = {.json = cli_json(cli), .quiet = cli_has(cli, "quiet")};
	struct err why = {0};
	if (!cli_has(cli, "plan"))
		return err_set(e, ERR_USAGE, "which plan? give --plan FILE");
	if (cli_has(cli, "follow") && cli_has(cli, "no-follow"))
		return err_set(e, ERR_USAGE, "--follow or --no-follow?");
	int status = open_report(cli_string(cli, "report", NULL), &run.report, e);
	if (status)
		return status;
	status = prepare(cli, &run, &why);
	if (status && cli_has(cli, "strict")) {
		*e = why;
	} else {
		const struct exec_event event = {.pid = getpid(), .outcome = EXEC_UNCHANGED, .why = &why};
		if (status)
			tell_event(&run, &event, cli_argument(cli, 0), cli_argument(cli, 0));
		status = execute(cli, e);
	}
	exec_plans_free(&run.plans);
	return status;
}

static const struct cli_option options[] = {
    {"plan", 0, CLI_STRING, "FILE", "a plan; may be given several times"},
    {"follow", 0, CLI_FLAG, NULL, "follow all that is started, also by programs that took a plan"},
    {"no-follow", 0, CLI_FLAG, NULL, "the plan is for CMD alone"},
    {"strict", 0, CLI_FLAG, NULL, "if CMD itself cannot take the plan, do not run it (exit 3, 4, 5)"},
    {"quiet", 'q', CLI_FLAG, NULL, "do not say why a program runs unchanged"},
    {"report", 0, CLI_STRING, "FILE", "append what became of each program, as lines of JSON"},
    {"no-huge", 0, CLI_FLAG, NULL, "do not ask for huge pages"},
    {"without-unwind", 0, CLI_FLAG, NULL, "apply although C++ exceptions could not pass through moved code"},
    {0},
};

const struct cli_verb verb_exec = {
    .name = "exec",
    .arguments = "--plan FILE... [--] CMD [ARGUMENT...]",
    .summary = "run a command with a plan applied to it at its entry point",
    .details =
	"The command takes the place of this process: its number, its descriptors, its exit status. Whatever keeps the plan from being\n"
	"applied, it runs, unchanged, and one line on stderr says why. If the plan is for another program than CMD, what CMD starts is "
	"followed\n"
	"until it executes that program: exec --plan cc1plus.rplan -- g++ ... Libraries that a program loads later are not changed.\n"
	"Exit status: the command's own; 127 not found, 126 cannot be executed.",
    .options = options,
    .minimum = 1,
    .maximum = -1,
    .run = run_command,
};
