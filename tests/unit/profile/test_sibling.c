/* sibling: programs in PATH that print JSON, fail with an error of theirs, print nonsense, or are killed. */
#include "profile/exact/sibling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/repave-sibling.XXXXXX";

static void program(const char *name, const char *script)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file, "#!/bin/sh\n%s\n", script);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

static int setup(void **state)
{
	char path[8192];
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof path, "%s:%s", directory, getenv("PATH") ? getenv("PATH") : "/bin");
	return setenv("PATH", path, 1);
}

static int teardown(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", directory);
	return system(command);
}

static int run(const char *name, json_t **ret_json, struct err *e)
{
	const char *const arguments[] = {name, "x", NULL};
	return sibling_run(arguments, ret_json, e);
}

static void last_value_is_the_result(void **state)
{
	(void)state;
	struct err e = {0};
	json_t *json = NULL;
	program("sib-good", "echo '{\"a\": 1}'; echo \"{\\\"b\\\": \\\"$1\\\"}\"");
	assert_int_equal(run("sib-good", &json, &e), 0);
	assert_string_equal(json_string_value(json_object_get(json, "b")), "x");
	json_decref(json);
	assert_int_equal(run("sib-good", NULL, &e), 0);
}

static void its_error_is_ours(void **state)
{
	(void)state;
	struct err e = {0};
	char script[256];
	snprintf(script, sizeof script, "echo '{\"error\": {\"code\": \"%s\", \"text\": \"not today\"}}'; exit 5", err_name(ERR_REFUSED));
	program("sib-refuses", script);
	assert_int_equal(run("sib-refuses", NULL, &e), -ERR_REFUSED);
	assert_non_null(strstr(e.text, "not today"));
	program("sib-silent", "exit 3");
	assert_int_equal(run("sib-silent", NULL, &e), -ERR_INTERNAL);
	program("sib-noise", "echo '{{{{'; exit 1");
	assert_int_equal(run("sib-noise", NULL, &e), -ERR_INTERNAL);
	program("sib-odd", "echo '{\"error\": 7}'; exit 1");
	assert_int_equal(run("sib-odd", NULL, &e), -ERR_INTERNAL);
}

static void killed_and_missing_ones_are_told_apart(void **state)
{
	(void)state;
	struct err e = {0};
	struct sibling s;
	bool killed = false;
	const char *const arguments[] = {"sib-killed", NULL};
	program("sib-killed", "echo '{\"pid\": 1}'; kill -9 $$");
	assert_int_equal(sibling_start(arguments, &s, &e), 0);
	json_t *line = sibling_line(&s);
	assert_non_null(json_object_get(line, "pid"));
	json_decref(line);
	assert_int_equal(sibling_wait(&s, &killed, &e), -ERR_INTERNAL);
	assert_true(killed);
	assert_int_equal(run("sib-is-nowhere", NULL, &e), -ERR_MISSING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(last_value_is_the_result),
	    cmocka_unit_test(its_error_is_ours),
	    cmocka_unit_test(killed_and_missing_ones_are_told_apart),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
