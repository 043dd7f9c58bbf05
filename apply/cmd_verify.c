#include "apply/verbs.h"
#include "apply/verify.h"

#include <jansson.h>
#include <stdio.h>

static int verify_live(const struct cli *cli, const struct target *t, struct err *e)
{
	struct journal *list;
	uint32_t count;
	int status = journals_load(t, &list, &count, e);
	if (status)
		return status;
	const struct journal *live = journals_live(list, count);
	if (!live)
		status = err_set(e, ERR_NO, "process %d: nothing is applied", t->pid);
	else
		status = verify_journal(t, live, e);
	if (!status && cli_json(cli))
		printf("{\"pid\": %d, \"verified\": true, \"patches\": %u}\n", t->pid, live->patch_count);
	else if (!status)
		printf("process %d: %u images and %u patches are as they were written\n", t->pid, live->region_count, live->patch_count);
	journals_free(list, count);
	return status;
}

static int run(const struct cli *cli, struct err *e)
{
	struct target t;
	int status = verb_open_target(cli, &t, e);
	if (status)
		return status;
	status = verify_live(cli, &t, e);
	target_close(&t);
	return status;
}

static const struct cli_option options[] = {VERB_PID_OPTION, {0}};

const struct cli_verb verb_verify = {
    .name = "verify",
    .arguments = "-p PID",
    .summary = "check that all that was applied is still there, byte for byte",
    .details = "Exit status 1: something differs, or nothing is applied. The process is not stopped.",
    .options = options,
    .minimum = 0,
    .maximum = 0,
    .run = run,
};
