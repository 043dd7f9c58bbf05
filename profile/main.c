/* repave-profile: where processes spend their time. */
#include "profile/commands.h"

int main(int argc, char **argv)
{
	static const struct cli_verb *const verbs[] = {&cmd_record, &cmd_import, &cmd_export, &cmd_show,
						       &cmd_merge,  &cmd_diff,	 &cmd_replay, NULL};
	static const struct cli_program program = {
	    .name = "repave-profile",
	    .summary = "record, import, show, merge, compare and replay profiles of running programs",
	    .verbs = verbs,
	};
	return cli_main(&program, argc, argv);
}
