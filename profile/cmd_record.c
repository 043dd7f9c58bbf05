#include "profile/commands.h"
#include "profile/output.h"
#include "profile/record.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

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

/* Own CPU time as a share of the target's. The kernel's part of sampling is charged to the target itself and not in it. */
static double overhead_percent(const struct profile_info *info)
{
	return info->target_cpu_ns ? 100.0 * (double)info->recorder_cpu_ns / (double)info->target_cpu_ns : 0;
}

static void print_text(FILE *out, const struct record_result *r, const char *name)
{
	const struct profile_info *i = &r->info;
	fprintf(out, "source: %s, %s", profile_source_name(i->source), i->event);
	if (i->frequency)
		fprintf(out, ", %" PRIu64 " per second of CPU time\n", i->frequency);
	else
		fprintf(out, ", one in %" PRIu64 "\n", i->period);
	char tried[sizeof r->tried], *save = NULL;
	memcpy(tried, r->tried, sizeof tried);
	for (char *line = strtok_r(tried, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		fprintf(out, "  not available: %s\n", line);
	fprintf(out, "%" PRIu64 " samples", r->samples);
	if (r->branches)
		fprintf(out, " with %" PRIu64 " branches", r->branches);
	fprintf(out,
		" of %" PRIu64 " threads in %" PRIu64 " modules (%" PRIu64 " outside any) in %.2f s; %" PRIu64 " lost, throttled %" PRIu64
		" times\n",
		r->threads, r->modules, r->unattributed, (double)i->duration_ns / 1e9, i->lost, i->throttled);
	if (r->shape.whole_cpus)
		fprintf(out, "watched: %zu whole CPUs, of which what is the target's was kept\n", r->shape.cpus);
	else
		fprintf(out, "watched: %zu threads and those born later, on %zu CPUs, by %zu events\n", r->shape.threads, r->shape.cpus,
			r->shape.events);
	if (i->source == PROFILE_CLOCK && !r->shape.whole_cpus)
		fprintf(out,
			"note: clock events per thread slow down threads that switch often; with CAP_PERFMON whole CPUs are watched\n");
	fprintf(out, "CPU time: target %.3f s, recorder %.3f s (%.2f %%)\n", (double)i->target_cpu_ns / 1e9,
		(double)i->recorder_cpu_ns / 1e9, overhead_percent(i));
	if (r->target_exited)
		fprintf(out, "the target exited while it was recorded\n");
	if (r->bytes)
		fprintf(out, "%s: %" PRIu64 " bytes (%.2f per sample)\n", name, r->bytes,
			r->samples ? (double)r->bytes / (double)r->samples : 0);
}

static int print_json(FILE *out, const struct record_result *r, const char *name, struct err *e)
{
	const struct profile_info *i = &r->info;
	json_t *root = json_pack(
	    "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:b, s:b, s:I, s:I}", "file", name,
	    "source", profile_source_name(i->source), "event", i->event, "frequency", (json_int_t)i->frequency, "period",
	    (json_int_t)i->period, "samples", (json_int_t)r->samples, "branches", (json_int_t)r->branches, "unattributed",
	    (json_int_t)r->unattributed, "threads", (json_int_t)r->threads, "modules", (json_int_t)r->modules, "seconds",
	    (double)i->duration_ns / 1e9, "lost", (json_int_t)i->lost, "throttled", (json_int_t)i->throttled, "target_cpu_ns",
	    (json_int_t)i->target_cpu_ns, "recorder_cpu_ns", (json_int_t)i->recorder_cpu_ns, "overhead_percent", overhead_percent(i),
	    "events", (json_int_t)r->shape.events, "threads_at_start", (json_int_t)r->shape.threads, "whole_cpus", r->shape.whole_cpus,
	    "target_exited", r->target_exited, "bytes", (json_int_t)r->bytes, "longest_look_ns", (json_int_t)r->pause_max_ns);
	if (!root)
		return err_set(e, ERR_MEMORY, "no memory for JSON");
	json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(root);
	return 0;
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
		status = print_json(out, &result, output.name, e);
	else
		print_text(out, &result, output.name);
	record_result_free(&result);
	return status;
}

static const struct cli_option options[] = {
    {"pid", 'p', CLI_NUMBER, "PID", "the process to record"},
    {"seconds", 0, CLI_REAL, "N", "stop after so long (default: on Ctrl-C, or when the target exits)"},
    {"rate", 0, CLI_NUMBER, "HZ", "samples per second of CPU time (default 799 for clock events, else 1999)"},
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
    .details = "All threads are recorded, also those born later; child processes are not. The event is chosen: cycles with branch\n"
	       "stacks, else cycles, else cpu-clock; the output says which. The file stays readable when the recorder is killed.",
    .options = options,
    .run = run,
};
