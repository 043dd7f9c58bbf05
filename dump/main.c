/* repave-dump: any of repave's files as text or JSON. */
#include "dump/dump.h"
#include "formats/base/cli.h"

static int run(const struct cli *cli, struct err *e)
{
	return dump_file(cli_argument(cli, 0), stdout, cli_json(cli), cli_has(cli, "all"), cli_has(cli, "header"), e);
}

int main(int argc, char **argv)
{
	static const struct cli_option options[] = {
	    {.name = "all", .letter = 'a', .kind = CLI_FLAG, .help = "print every record, not only a summary"},
	    {.name = "header", .kind = CLI_FLAG, .help = "print the envelope only: version, chunks, checksums"},
	    {0},
	};
	static const struct cli_verb verb = {
	    .name = "dump",
	    .arguments = "FILE",
	    .summary = "print a map, profile or plan",
	    .details = "FILE may be - for stdin. Names from files are escaped: nothing in a file can control the terminal.",
	    .options = options,
	    .minimum = 1,
	    .maximum = 1,
	    .run = run,
	};
	static const struct cli_program program = {
	    .name = "repave-dump",
	    .summary = "print a map, profile or plan as text or JSON",
	    .only = &verb,
	};
	return cli_main(&program, argc, argv);
}
