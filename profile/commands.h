/*
 * commands: the verbs of repave-profile, one cmd_<verb>.c each. They print; the rest of profile/ does not.
 */
#ifndef PROFILE_COMMANDS_H
#define PROFILE_COMMANDS_H

#include "formats/base/cli.h"

extern const struct cli_verb cmd_record, cmd_import, cmd_export, cmd_show, cmd_merge, cmd_diff, cmd_replay;

#endif
