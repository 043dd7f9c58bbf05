/*
 * commands: the verbs of repave-analyze, one cmd_<verb>.c each. They print; the rest of analyze/ does not.
 */
#ifndef ANALYZE_COMMANDS_H
#define ANALYZE_COMMANDS_H

#include "formats/base/cli.h"

extern const struct cli_verb cmd_map, cmd_why, cmd_plan, cmd_complete, cmd_exits, cmd_flow, cmd_verify, cmd_simulate;

#endif
