#include "formats/base/cli.h"

#include "formats/base/vec.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct given_option {
	const struct cli_option *option;
	const char *value; /* NULL for flags */
	uint64_t number;
	double real;
};

struct cli {
	const struct cli_program *program;
	const struct cli_verb *verb; /* NULL before the verb is known */
	VEC(const char *) arguments;
	VEC(struct given_option) options;
};

static const struct cli_option common_options[] = {
    {"json", 0, CLI_FLAG, NULL, "print results and errors as JSON"},
    {"help", 'h', CLI_FLAG, NULL, "print this help"},
    {0},
};

static const struct cli_option *find_in(const struct cli_option *table, const char *name, size_t length, char letter)
{
	for (; table && table->name; table++) {
		if (letter ? table->letter == letter : strlen(table->name) == length && !strncmp(table->name, name, length))
			return table;
	}
	return NULL;
}

static const struct cli_option *find_option(const struct cli *cli, const char *name, size_t length, char letter)
{
	const struct cli_option *found = find_in(cli->verb->options, name, length, letter);
	return found ? found : find_in(common_options, name, length, letter);
}

static int parse_number(const char *text, uint64_t *ret_number)
{
	char *end;
	errno = 0;
	if (text[0] < '0' || text[0] > '9')
		return -1;
	uint64_t number = strtoull(text, &end, 0);
	unsigned shift = *end == 'k' ? 10 : *end == 'm' ? 20 : *end == 'g' ? 30 : 0;
	if (shift)
		end++;
	if (errno || *end || (shift && number >> (64 - shift)))
		return -1;
	*ret_number = number << shift;
	return 0;
}

static int parse_real(const char *text, double *ret_real)
{
	char *end;
	errno = 0;
	double real = strtod(text, &end);
	if (errno || end == text || *end || !isfinite(real))
		return -1;
	*ret_real = real;
	return 0;
}

static int add_option(struct cli *cli, const struct cli_option *option, const char *value, struct err *e)
{
	struct given_option given = {.option = option, .value = value};
	if (option->kind == CLI_NUMBER && parse_number(value, &given.number))
		return err_set(e, ERR_USAGE, "--%s takes a whole number, not '%s'", option->name, value);
	if (option->kind == CLI_REAL && parse_real(value, &given.real))
		return err_set(e, ERR_USAGE, "--%s takes a number, not '%s'", option->name, value);
	return vec_push(&cli->options, given) ? err_set(e, ERR_MEMORY, "options") : 0;
}

/* One option word; *i is moved past its value when that is the next word. */
static int parse_option(struct cli *cli, int argc, char **argv, int *i, struct err *e)
{
	const char *word = argv[*i], *value = NULL;
	const struct cli_option *option;
	if (word[1] == '-') {
		const char *equals = strchr(word, '=');
		option = find_option(cli, word + 2, equals ? (size_t)(equals - word - 2) : strlen(word + 2), 0);
		value = equals ? equals + 1 : NULL;
	} else {
		option = find_option(cli, NULL, 0, word[1]);
		value = word[2] ? word + 2 : NULL;
	}
	if (!option)
		return err_set(e, ERR_USAGE, "unknown option '%s' (see --help)", word);
	if (option->kind == CLI_FLAG)
		return value ? err_set(e, ERR_USAGE, "--%s takes no value", option->name) : add_option(cli, option, NULL, e);
	if (!value) {
		if (*i + 1 >= argc)
			return err_set(e, ERR_USAGE, "--%s needs a value: %s", option->name, option->argument);
		value = argv[++*i];
	}
	return add_option(cli, option, value, e);
}

static int parse_words(struct cli *cli, int argc, char **argv, struct err *e)
{
	bool only_arguments = false;
	for (int i = 0; i < argc; i++) {
		int status = 0;
		if (!only_arguments && !strcmp(argv[i], "--"))
			only_arguments = true;
		else if (!only_arguments && argv[i][0] == '-' && argv[i][1])
			status = parse_option(cli, argc, argv, &i, e);
		else if (vec_push(&cli->arguments, argv[i]))
			status = err_set(e, ERR_MEMORY, "arguments");
		if (status)
			return status;
	}
	return 0;
}

static void print_options(const struct cli_option *table)
{
	for (; table && table->name; table++) {
		char left[80];
		snprintf(left, sizeof left, "--%s%s%s", table->name, table->argument ? " " : "", table->argument ? table->argument : "");
		if (table->letter)
			printf("  -%c, %-26s %s\n", table->letter, left, table->help);
		else
			printf("      %-26s %s\n", left, table->help);
	}
}

static void print_verb_help(const struct cli *cli)
{
	const struct cli_verb *verb = cli->verb;
	printf("usage: %s%s%s %s\n\n%s\n", cli->program->name, cli->program->only ? "" : " ", cli->program->only ? "" : verb->name,
	       verb->arguments ? verb->arguments : "", verb->summary);
	if (verb->details)
		printf("\n%s\n", verb->details);
	printf("\n");
	print_options(verb->options);
	print_options(common_options);
}

static void print_program_help(const struct cli_program *program)
{
	printf("%s: %s\n\nusage: %s VERB [options] [arguments]\n\n", program->name, program->summary, program->name);
	for (const struct cli_verb *const *verb = program->verbs; *verb; verb++)
		printf("  %-10s %s\n", (*verb)->name, (*verb)->summary);
	printf("\n%s VERB --help tells more. Exit status: 0 done, 1 the answer is no, 2 usage, 3 bad or unsupported input file,\n"
	       "4 the environment cannot, 5 target refused and untouched, 6 failed and rolled back, 7 target may be inconsistent,\n"
	       "70 internal, 75 busy.\n",
	       program->name);
}

/* jansson leaves out what it has no memory for; one look at the end instead of one at each value. */
static bool json_incomplete;

static void *json_allocate(size_t size)
{
	void *memory = malloc(size);
	if (!memory)
		__atomic_store_n(&json_incomplete, true, __ATOMIC_RELAXED);
	return memory;
}

static void print_error(const struct cli *cli, bool json, const struct err *e)
{
	if (!json) {
		fprintf(stderr, "%s%s%s: %s\n", cli->program->name, cli->verb && !cli->program->only ? " " : "",
			cli->verb && !cli->program->only ? cli->verb->name : "", e->text);
		return;
	}
	json_t *object =
	    json_pack("{s:{s:s, s:i, s:s}}", "error", "code", err_name(e->code), "status", err_exit_status(e->code), "text", e->text);
	char *text = object ? json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	printf("%s\n", text ? text : "{\"error\":{\"code\":\"INTERNAL\",\"status\":70,\"text\":\"error text is not UTF-8\"}}");
	free(text);
	json_decref(object);
}

static const struct cli_verb *find_verb(const struct cli_program *program, const char *name)
{
	for (const struct cli_verb *const *verb = program->verbs; *verb; verb++) {
		if (!strcmp((*verb)->name, name))
			return *verb;
	}
	return NULL;
}

static int run_verb(struct cli *cli, int argc, char **argv, struct err *e)
{
	int status = parse_words(cli, argc, argv, e);
	if (status)
		return status;
	if (cli_has(cli, "help")) {
		print_verb_help(cli);
		return 0;
	}
	int count = cli_argument_count(cli);
	if (count < cli->verb->minimum || (cli->verb->maximum >= 0 && count > cli->verb->maximum))
		return err_set(e, ERR_USAGE, "takes: %s (see --help)", cli->verb->arguments ? cli->verb->arguments : "no arguments");
	return cli->verb->run(cli, e);
}

static int choose_and_run(struct cli *cli, int argc, char **argv, struct err *e)
{
	const struct cli_program *program = cli->program;
	cli->verb = program->only;
	if (program->only)
		return run_verb(cli, argc - 1, argv + 1, e);
	if (argc < 2)
		return err_set(e, ERR_USAGE, "which verb? (see --help)");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_program_help(program);
		return 0;
	}
	cli->verb = find_verb(program, argv[1]);
	if (!cli->verb)
		return err_set(e, ERR_USAGE, "no verb '%s' (see --help)", argv[1]);
	return run_verb(cli, argc - 2, argv + 2, e);
}

static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "--json"))
			return true;
	}
	return false;
}

int cli_main(const struct cli_program *program, int argc, char **argv)
{
	struct cli cli = {.program = program};
	struct err e = {0};
	json_set_alloc_funcs(json_allocate, free);
	int status = choose_and_run(&cli, argc, argv, &e);
	if (!status && __atomic_load_n(&json_incomplete, __ATOMIC_RELAXED))
		status = err_set(&e, ERR_MEMORY, "no memory for JSON: the output is not complete");
	if (!status && (fflush(stdout) || ferror(stdout)))
		status = err_set_errno(&e, errno, "stdout");
	if (status) {
		e.code = -status;
		print_error(&cli, wants_json(argc, argv), &e);
	}
	vec_free(&cli.arguments);
	vec_free(&cli.options);
	fflush(stdout);
	return err_exit_status(-status);
}

int cli_argument_count(const struct cli *cli)
{
	return (int)cli->arguments.count;
}

const char *cli_argument(const struct cli *cli, int index)
{
	return index >= 0 && (size_t)index < cli->arguments.count ? cli->arguments.data[index] : NULL;
}

/* The last giving of an option: it wins. */
static const struct given_option *find_given(const struct cli *cli, const char *name)
{
	const struct given_option *found = NULL;
	for (size_t i = 0; i < cli->options.count; i++) {
		if (!strcmp(cli->options.data[i].option->name, name))
			found = &cli->options.data[i];
	}
	return found;
}

bool cli_has(const struct cli *cli, const char *name)
{
	return find_given(cli, name) != NULL;
}

bool cli_json(const struct cli *cli)
{
	return cli_has(cli, "json");
}

const char *cli_string(const struct cli *cli, const char *name, const char *otherwise)
{
	const struct given_option *given = find_given(cli, name);
	return given ? given->value : otherwise;
}

const char *cli_string_at(const struct cli *cli, const char *name, int index)
{
	if (index < 0)
		return NULL;
	size_t seen = 0;
	for (size_t i = 0; i < cli->options.count; i++) {
		if (!strcmp(cli->options.data[i].option->name, name) && seen++ == (size_t)index)
			return cli->options.data[i].value;
	}
	return NULL;
}

uint64_t cli_number(const struct cli *cli, const char *name, uint64_t otherwise)
{
	const struct given_option *given = find_given(cli, name);
	return given ? given->number : otherwise;
}

double cli_real(const struct cli *cli, const char *name, double otherwise)
{
	const struct given_option *given = find_given(cli, name);
	return given ? given->real : otherwise;
}
