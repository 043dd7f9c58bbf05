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

#define VERB_CUT_OPTION                                                                                                                    \
	{                                                                                                                                  \
		"cut-calls", 0, CLI_FLAG, NULL, "stop threads even where a write in progress then returns the part that is done"           \
	}

#define VERB_LIMITS_OPTION                                                                                                                 \
	{                                                                                                                                  \
		"show-limits", 0, CLI_FLAG, NULL, "waits with a time limit that would begin anew return EINTR instead, as after SIGCONT"   \
	}

/* Says so, if calls returned only a part. */
void verb_print_cut(uint32_t calls);

/* Opens the process of -p, with --cut-calls and --show-limits in it. ERR_USAGE without -p; else as target_open. */
int verb_open_target(const struct cli *cli, struct target *ret_target, struct err *e) MUST_CHECK;

#endif
