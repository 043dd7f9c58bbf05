/*
 * cli: one table per program drives parser, --help and error output.
 *
 * repave-TOOL VERB [options] [arguments]. Options may stand anywhere, "--" ends them, "--name=value" and "--name value" both work. Every verb
 * understands --help and --json (results and errors as JSON on stdout) besides its own options. cli_main prints the error once:
 * "repave-TOOL VERB: text" on stderr, or {"error": {...}} on stdout with --json; and returns the exit status of the error code.
 */
#ifndef FORMATS_BASE_CLI_H
#define FORMATS_BASE_CLI_H

#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum cli_kind { CLI_FLAG, CLI_STRING, CLI_NUMBER, CLI_REAL };

struct cli_option {
	const char *name;     /* without dashes */
	char letter;	      /* short form, 0 = none */
	uint8_t kind;	      /* enum cli_kind */
	const char *argument; /* name of the value in --help, NULL for flags */
	const char *help;
};

struct cli; /* parsed command line; valid while the verb runs */

struct cli_verb {
	const char *name;
	const char *arguments;		  /* for --help: "ELF... [-o DIR]" */
	const char *summary;		  /* one line */
	const char *details;		  /* more for VERB --help, may be NULL */
	const struct cli_option *options; /* ended by a zero entry; may be NULL */
	int minimum, maximum;		  /* positional arguments; maximum -1 = any number */
	/* 0 or a negated error code with `e` filled. */
	int (*run)(const struct cli *cli, struct err *e);
};

struct cli_program {
	const char *name;		     /* "repave-analyze" */
	const char *summary;		     /* one line */
	const struct cli_verb *const *verbs; /* ended by NULL */
	/* When set, the program has this one verb and takes no verb name (repave-dump). */
	const struct cli_verb *only;
};

/* Parses, runs, prints the error if any; returns the exit status. */
int cli_main(const struct cli_program *program, int argc, char **argv);

int cli_argument_count(const struct cli *cli);
const char *cli_argument(const struct cli *cli, int index);
bool cli_has(const struct cli *cli, const char *name); /* was the option given? */
bool cli_json(const struct cli *cli);
const char *cli_string(const struct cli *cli, const char *name, const char *otherwise);
/* Numbers take 0x and the suffixes k, m, g; checked by the parser. For several values of one option: cli_string_at(…, i). */
uint64_t cli_number(const struct cli *cli, const char *name, uint64_t otherwise);
double cli_real(const struct cli *cli, const char *name, double otherwise);
const char *cli_string_at(const struct cli *cli, const char *name, int index); /* NULL past the last */

#endif
