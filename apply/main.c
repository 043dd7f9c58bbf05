#include "apply/verbs.h"
#include "apply/witness.h"

#include "formats/base/cli.h"
#include "formats/base/err.h"

static const struct cli_verb *const verbs[] = {&verb_apply, &verb_status, &verb_undo,	 &verb_verify, &verb_file,
					       &verb_exec,  &verb_count,  &verb_symbols, NULL};

static const struct cli_program program = {
    .name = "repave-apply",
    .summary = "lay a plan into a running process and take it back, into a new one, or into a file",
    .verbs = verbs,
};

int main(int argc, char **argv)
{
	int status = cli_main(&program, argc, argv);
	return witness_differences() ? err_exit_status(ERR_INTERNAL) : status;
}
