/*
 * verbs: the table entries of repave-apply's verbs, one per cmd_<verb>.c, and what they share in reading the command line.
 */
#ifndef APPLY_VERBS_H
#define APPLY_VERBS_H

#include "apply/target.h"
#include "formats/base/cli.h"

extern const struct cli_verb verb_apply, verb_status, verb_undo, verb_verify, verb_file, verb_count, verb_exec, verb_symbols;

#define VERB_PID_OPTION                                                                                                                    \
	{                                                                                                                                  \
		"pid", 'p', CLI_NUMBER, "PID", "the process"                                                                               \
	}

/* Opens the process of -p. ERR_USAGE without -p; else as target_open. */
int verb_open_target(const struct cli *cli, struct target *ret_target, struct err *e) MUST_CHECK;

#endif
