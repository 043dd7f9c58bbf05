/* repave-analyze: everything that is worked out offline. */
#include "analyze/commands.h"

#include <stddef.h>

int main(int argc, char **argv)
{
	static const struct cli_verb *const verbs[] = {&cmd_map,   &cmd_why,	&cmd_plan,     &cmd_flow, &cmd_complete,
						       &cmd_exits, &cmd_verify, &cmd_simulate, NULL};
	static const struct cli_program program = {
	    .name = "repave-analyze",
	    .summary = "map ELF files, plan better layouts from profiles, prove and explain them",
	    .verbs = verbs,
	};
	return cli_main(&program, argc, argv);
}
