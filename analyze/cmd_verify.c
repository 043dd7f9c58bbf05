#include "analyze/commands.h"
#include "analyze/emit/validate.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Among the files on the command line the one that is this module, else the path that the plan names. */
static int open_module(const struct cli *cli, const struct plan_module *module, struct image *ret_image, struct err *e)
{
	for (int i = 1; i < cli_argument_count(cli); i++) {
		int status = image_open(cli_argument(cli, i), ret_image, e);
		if (status)
			return status;
		if (module_same(&ret_image->identity, &module->module))
			return 0;
		image_close(ret_image);
	}
	int status = image_open(module->module.path, ret_image, e);
	if (status || module_same(&ret_image->identity, &module->module))
		return status;
	image_close(ret_image);
	return err_set(e, ERR_MISMATCH, "%s is not the file that the plan is for", module->module.path);
}

static int verify_module(const struct cli *cli, const struct plan_module *module, json_t *ret_modules, struct err *e)
{
	struct image image;
	int status = open_module(cli, module, &image, e);
	if (status)
		return status;
	status = validate_module(&image, module, e);
	image_close(&image);
	if (status)
		return status;
	char id[MODULE_HEX_SIZE];
	module_build_id_hex(&module->module, id);
	json_t *path = json_string(module->module.path);
	json_array_append_new(ret_modules, json_pack("{s:o, s:s, s:I, s:I, s:I}", "path", path ? path : json_null(), "build_id", id,
						     "functions", (json_int_t)module->function_count, "patches",
						     (json_int_t)module->patch_count, "code_bytes", (json_int_t)module->code_size));
	return 0;
}

static void print_text(const json_t *modules)
{
	size_t i;
	json_t *m;
	json_array_foreach(modules, i, m)
	{
		const char *path = json_string_value(json_object_get(m, "path"));
		for (const char *c = path ? path : "?"; *c; c++)
			putchar(*c >= ' ' && *c < 127 ? *c : '?');
		printf(": proven (%d functions, %d patches, %d bytes of code)\n", (int)json_integer_value(json_object_get(m, "functions")),
		       (int)json_integer_value(json_object_get(m, "patches")), (int)json_integer_value(json_object_get(m, "code_bytes")));
	}
}

static int run(const struct cli *cli, struct err *e)
{
	struct plan plan;
	int status = plan_read(cli_argument(cli, 0), &plan, e);
	if (status)
		return status;
	json_t *root = json_pack("{s:b, s:[]}", "proven", 1, "modules"), *modules = json_object_get(root, "modules");
	if (!root)
		status = err_set(e, ERR_MEMORY, "no memory for JSON");
	for (uint32_t i = 0; i < plan.module_count && !status; i++)
		status = verify_module(cli, &plan.modules[i], modules, e);
	plan_free(&plan);
	if (!status && cli_json(cli)) {
		json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
	} else if (!status) {
		print_text(modules);
	}
	json_decref(root);
	return status;
}

const struct cli_verb cmd_verify = {
    .name = "verify",
    .arguments = "PLAN [ELF...]",
    .summary = "prove that a plan does what the original code does",
    .details =
	"Decodes the new code beside the original, instruction by instruction and edge by edge, with another decoder than made it. Exit\n"
	"status 1, with the place and what differs, when that fails. The ELF files are those the plan names unless others are given.\n",
    .minimum = 1,
    .maximum = -1,
    .run = run,
};
