#include "profile/commands.h"
#include "profile/emulate/emulate.h"
#include "profile/exact/exact.h"
#include "profile/output.h"
#include "profile/record.h"
#include "profile/record_report.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { EXACT_RATE = 4999, EXACT_ROUNDS = 2 };
enum { EMULATE_WINDOW = 50000, EMULATE_WINDOW_MAX = 10000000 };
/* As much of a saturated CPU as nine ordinary threads get (kernel/sched/core.c, sched_prio_to_weight). */
enum { RECORDER_NICE = -10 };
static const double EMULATE_SECONDS = 5, EMULATE_SHARE = 0.25;
static const double EXACT_SAMPLE_SECONDS = 2, EXACT_MAX_SECONDS = 1.5, EXACT_MAX_SLOWDOWN = 3;

/* Ctrl-C and its relatives become readable instead of deadly, so that the file gets its end. */
static int open_stop_signals(struct err *e)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, not a silent death */
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? err_set_errno(e, errno, "signalfd") : fd;
}

static void show_progress(void *context, const struct record_progress *p)
{
	(void)context;
	fprintf(stderr, "\r%5.1f s  %" PRIu64 " samples  %" PRIu64 " lost ", (double)p->elapsed_ns / 1e9, p->samples, p->lost);
}

static int read_options(const struct cli *cli, struct record_options *ret_options, struct err *e)
{
	uint64_t pid = cli_number(cli, "pid", 0), rate = cli_number(cli, "rate", 0);
	double seconds = cli_real(cli, "seconds", 0);
	if (cli_has(cli, "whole-cpus") && cli_has(cli, "per-thread"))
		return err_set(e, ERR_USAGE, "--whole-cpus and --per-thread exclude each other");
	if (!pid || pid > INT_MAX)
		return err_set(e, ERR_USAGE, "which process? -p PID is needed");
	if ((!rate && cli_has(cli, "rate")) || rate > 1000000)
		return err_set(e, ERR_USAGE, "--rate %" PRIu64 " is not between 1 and 1000000", rate);
	if (!(seconds >= 0 && seconds <= 1e6))
		return err_set(e, ERR_USAGE, "--seconds must be between 0 and 1000000");
	*ret_options = (struct record_options){
	    .pid = (pid_t)pid,
	    .event = {.name = cli_string(cli, "event", NULL), .rate = rate, .kernel = cli_has(cli, "kernel")},
	    .seconds = seconds,
	    .way = cli_has(cli, "whole-cpus")	? PERFSET_CPUS
		   : cli_has(cli, "per-thread") ? PERFSET_THREADS
						: PERFSET_AUTO,
	    .stop_fd = -1,
	    .progress = isatty(STDERR_FILENO) ? show_progress : NULL,
	};
	return 0;
}

/* --- live counting --- */

static void show_step(void *context, const char *what)
{
	(void)context;
	fprintf(stderr, "\r\033[K%s ...", what);
}

static int read_exact_options(const struct cli *cli, struct exact_options *o, struct err *e)
{
	*o = (struct exact_options){
	    .pid = (pid_t)cli_number(cli, "pid", 0),
	    .sample_seconds = cli_real(cli, "seconds", EXACT_SAMPLE_SECONDS),
	    .rate = cli_number(cli, "rate", EXACT_RATE),
	    .max_seconds = cli_real(cli, "max-seconds", EXACT_MAX_SECONDS),
	    .max_slowdown = cli_real(cli, "max-slowdown", EXACT_MAX_SLOWDOWN),
	    .cut_calls = cli_has(cli, "cut-calls"),
	    .show_limits = cli_has(cli, "show-limits"),
	    .rounds = EXACT_ROUNDS,
	    .step = isatty(STDERR_FILENO) ? show_step : NULL,
	};
	if (!(o->max_seconds >= 0.01 && o->max_seconds <= 60))
		return err_set(e, ERR_USAGE, "--max-seconds must be between 0.01 and 60");
	if (!(o->max_slowdown >= 1))
		return err_set(e, ERR_USAGE, "--max-slowdown must be at least 1");
	if (!(o->sample_seconds > 0 && o->sample_seconds <= 3600))
		return err_set(e, ERR_USAGE, "--seconds must be above 0 and at most 3600");
	return 0;
}

static int run_exact(const struct cli *cli, const char *name, int stop, struct err *e)
{
	struct exact_options options;
	struct exact_result result;
	char cache[PATH_MAX];
	int status = read_exact_options(cli, &options, e);
	if (!status)
		status = exact_cache(cache, sizeof cache, e);
	if (status)
		return status;
	options.cache = cache;
	options.stop_fd = stop;
	status = exact_record(&options, name, &result, e);
	if (options.step)
		fputs("\r\033[K", stderr);
	if (status)
		return status;
	FILE *out = strcmp(name, "-") ? stdout : stderr;
	if (cli_json(cli))
		return report_exact_json(out, &result, name, e);
	report_exact(out, &result, name);
	return 0;
}

/* --- emulation --- */

static void show_windows(void *context, const struct emulate_progress *p)
{
	(void)context;
	fprintf(stderr, "\r%5.1f s  %" PRIu64 " windows  %.1f million instructions ", (double)p->elapsed_ns / 1e9, p->windows,
		(double)p->instructions / 1e6);
}

static int read_emulate_options(const struct cli *cli, int stop, struct emulate_options *ret_options, struct err *e)
{
	*ret_options = (struct emulate_options){
	    .pid = (pid_t)cli_number(cli, "pid", 0),
	    .seconds = cli_real(cli, "seconds", EMULATE_SECONDS),
	    .instructions = cli_number(cli, "window", EMULATE_WINDOW),
	    .share = cli_real(cli, "share", EMULATE_SHARE),
	    .stop_fd = stop,
	    .progress = isatty(STDERR_FILENO) ? show_windows : NULL,
	};
	if (!ret_options->instructions || ret_options->instructions > EMULATE_WINDOW_MAX)
		return err_set(e, ERR_USAGE, "--window must be between 1 and %d", EMULATE_WINDOW_MAX);
	if (!(ret_options->share > 0 && ret_options->share <= 1))
		return err_set(e, ERR_USAGE, "--share must be above 0 and at most 1");
	return 0;
}

static int run_emulated(const struct cli *cli, const char *path, int stop, struct err *e)
{
	struct emulate_options options;
	struct emulate_result result;
	struct output output;
	int status = read_emulate_options(cli, stop, &options, e);
	if (!status)
		status = output_open(path, &output, e);
	if (status)
		return status;
	status = emulate_run(&options, output.fd, output.name, &result, e);
	if (options.progress)
		fputs("\r\033[K", stderr);
	if (status) {
		output_abandon(&output);
		return status;
	}
	status = output_close(&output, e);
	FILE *out = output.is_stdout ? stderr : stdout;
	if (!status && cli_json(cli))
		status = report_emulated_json(out, &result, output.name, e);
	else if (!status)
		report_emulated(out, &result, output.name);
	emulate_result_free(&result);
	return status;
}

/* Nothing that belongs to sampling was asked for, and the samples would have no branch stacks. */
static bool chooses_exact(const struct cli *cli, const struct record_options *o)
{
	static const char *const samplings[] = {"samples", "seconds", "rate", "event", "kernel", "whole-cpus", "per-thread"};
	struct event event;
	char tried[512];
	struct err ignored;
	if (cli_has(cli, "exact"))
		return true;
	for (size_t i = 0; i < sizeof samplings / sizeof *samplings; i++)
		if (cli_has(cli, samplings[i]))
			return false;
	return !event_choose(&o->event, o->pid, &event, tried, sizeof tried, &ignored) && event.source != PROFILE_BRANCH_STACKS;
}

static bool was_told_to_stop(int stop)
{
	struct pollfd p = {.fd = stop, .events = POLLIN};
	return poll(&p, 1, 0) > 0;
}

/* Is that the end, or may the next worse source be tried? */
static bool is_final(int status, int stop)
{
	return !status || status == -ERR_INCONSISTENT || status == -ERR_GONE || was_told_to_stop(stop);
}

/* Live counting or emulation, if asked for or if the choice is left to us; false: samples are left. */
static bool run_better(const struct cli *cli, const struct record_options *o, const char *path, int *ret_status, struct err *e)
{
	if (cli_has(cli, "emulate")) {
		*ret_status = run_emulated(cli, path, o->stop_fd, e);
		return true;
	}
	if (!chooses_exact(cli, o))
		return false;
	*ret_status = run_exact(cli, path, o->stop_fd, e);
	if (cli_has(cli, "exact") || is_final(*ret_status, o->stop_fd))
		return true;
	fprintf(stderr, "repave-profile: no live counting (%s); emulating instead\n", e->text);
	*ret_status = run_emulated(cli, path, o->stop_fd, e);
	if (is_final(*ret_status, o->stop_fd))
		return true;
	fprintf(stderr, "repave-profile: no emulation (%s); sampling until Ctrl-C\n", e->text);
	return false;
}

static int run(const struct cli *cli, struct err *e)
{
	struct record_options options;
	struct record_result result;
	struct output output;
	char name[64];
	int status = read_options(cli, &options, e);
	if (status)
		return status;
	snprintf(name, sizeof name, "%d.rprof", (int)options.pid);
	int stop = open_stop_signals(e);
	if (stop < 0)
		return stop;
	options.stop_fd = stop;
	/*
	 * Two hundred busy threads of the target would leave a recorder, and what it has planned meanwhile, a hundredth of a CPU: samples are lost, and
	 * the plan comes too late. Best effort, since it takes privilege.
	 */
	setpriority(PRIO_PROCESS, 0, RECORDER_NICE);
	if (run_better(cli, &options, cli_string(cli, "output", name), &status, e)) {
		close(stop);
		return status;
	}
	status = output_open(cli_string(cli, "output", name), &output, e);
	if (!status) {
		status = record_run(&options, output.fd, output.name, &result, e);
		if (options.progress)
			fputs("\r\033[K", stderr);
		if (status)
			output_abandon(&output);
		else if ((status = output_close(&output, e)))
			record_result_free(&result);
	}
	close(stop);
	if (status)
		return status;
	FILE *out = output.is_stdout ? stderr : stdout;
	if (cli_json(cli))
		status = report_samples_json(out, &result, output.name, e);
	else
		report_samples(out, &result, output.name);
	record_result_free(&result);
	return status;
}

static const struct cli_option options[] = {
    {"pid", 'p', CLI_NUMBER, "PID", "the process to record"},
    {"seconds", 0, CLI_REAL, "N", "sample for so long (default: until Ctrl-C or the target exits; with --exact 2)"},
    {"exact", 0, CLI_FLAG, NULL, "live counting: exact executions and branches without a PMU; changes the process for a moment"},
    {"max-seconds", 0, CLI_REAL, "S", "with --exact: count for at most so long (default 1.5)"},
    {"max-slowdown", 0, CLI_REAL, "X", "with --exact: stop when the process becomes so many times slower (default 3)"},
    {"cut-calls", 0, CLI_FLAG, NULL, "with --exact: begin even where a write in progress then returns the part that is done"},
    {"show-limits", 0, CLI_FLAG, NULL,
     "with --exact: waits with a time limit that would begin anew return EINTR instead, as after SIGCONT"},
    {"emulate", 0, CLI_FLAG, NULL, "branch stacks without hardware: works out what a stopped thread will execute; changes nothing"},
    {"window", 0, CLI_NUMBER, "N", "with --emulate: instructions in a row (default 50000)"},
    {"share", 0, CLI_REAL, "X", "with --emulate: part of the time that one thread stands still (default 0.25)"},
    {"samples", 0, CLI_FLAG, NULL, "samples only: never change the process"},
    {"rate", 0, CLI_NUMBER, "HZ", "samples per second of CPU time (default 97 for clock events, else 1999)"},
    {"event", 'e', CLI_STRING, "EVENT", "event name for libpfm4, e.g. cycles, cpu-clock (default: the best there is)"},
    {"output", 'o', CLI_STRING, "FILE", "the profile, \"-\" for stdout (default PID.rprof)"},
    {"kernel", 0, CLI_FLAG, NULL, "samples from the kernel too"},
    {"whole-cpus", 0, CLI_FLAG, NULL, "watch whole CPUs and keep what is the target's (default for clock events; needs CAP_PERFMON)"},
    {"per-thread", 0, CLI_FLAG, NULL, "watch each thread of the target (default for hardware events)"},
    {0},
};

const struct cli_verb cmd_record = {
    .name = "record",
    .arguments = "-p PID [--seconds N] [--rate HZ] [-e EVENT] [-o FILE|-]",
    .summary = "sample a running process",
    .details =
	"All threads are recorded, also those born later; child processes are not. The event is chosen: cycles with branch\n"
	"stacks, else cycles, else cpu-clock; the output says which. The file stays readable when the recorder is killed.\n"
	"With no more than -p and -o the best source there is: branch stacks where the CPU has them, else live counting (--exact): hot\n"
	"functions are found by samples, and then a copy of them that counts runs for a moment and is taken out again; else emulation\n"
	"(--emulate): one thread after the other is stopped for some milliseconds, while what it will execute is worked out from its\n"
	"registers and a copy of its memory.",
    .options = options,
    .run = run,
};
