#include "profile/import/import.h"

#include "profile/identity.h"
#include "profile/import/lackey.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DETECT_LINES = 200 };

static const char *const format_names[] = {
#define X(name, text) text,
    IMPORT_FORMATS(X)
#undef X
};

const char *import_format_name(enum import_format format)
{
	return format < IMPORT_FORMAT_COUNT ? format_names[format] : "unknown";
}

enum import_format import_format_of_name(const char *name)
{
	int i = 0;
	while (i < IMPORT_FORMAT_COUNT && strcmp(name, format_names[i]) != 0)
		i++;
	return (enum import_format)i;
}

static bool is_callgrind_line(const struct slice *line)
{
	static const char *const starts[] = {"# callgrind format", "version: ", "creator: ", "positions: ", "events: ", "cmd: ", "pid: "};
	for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
		if (slice_starts(line, starts[i]))
			return true;
	return false;
}

/* "B 400 500 1", "E cycles" */
static bool is_aggregated_line(struct slice line)
{
	struct slice word, rest;
	uint64_t number;
	if (!slice_word(&line, &word) || slice_size(&word) != 1 || !strchr("BFfrTRSE", *word.at) || !slice_word(&line, &word))
		return false;
	if (slice_until(&word, ':', &rest) && !slice_size(&word))
		return false;
	return slice_number(&word, 16, &number) || !slice_word(&line, &rest);
}

/* "1 main 3fb ..." */
static bool is_fdata_line(struct slice line)
{
	struct slice word;
	uint64_t type;
	if (slice_starts(&line, "no_lbr") || slice_starts(&line, "boltedcollection"))
		return true;
	if (!slice_word(&line, &word) || slice_size(&word) != 1 || !slice_number(&word, 10, &type) || type > 5)
		return false;
	return line.at < line.end && *line.at == ' ' && slice_find(&line, " ") && word.at[0] >= '0' && slice_word(&line, &word) &&
	       slice_word(&line, &word) && slice_number(&word, 16, &type) && slice_word(&line, &word);
}

enum import_format import_detect(const void *data, size_t size)
{
	struct text text = text_of(data, size, "", NULL);
	struct slice line;
	if (perfdata_is(data, size))
		return IMPORT_PERF_DATA;
	while (text.line < DETECT_LINES && text_line(&text, &line)) {
		if (is_callgrind_line(&line))
			return IMPORT_CALLGRIND;
		if (lackey_is_line(&line))
			return IMPORT_LACKEY;
		if (line.at == line.end || *line.at == '#')
			continue;
		if (is_aggregated_line(line))
			return IMPORT_AGGREGATED;
		if (is_fdata_line(line))
			return IMPORT_FDATA;
		return perfscript_is_line(line) ? IMPORT_PERF_SCRIPT : IMPORT_FORMAT_COUNT;
	}
	return IMPORT_FORMAT_COUNT;
}

/* --- callgrind: objects are files of this machine, or of an image of it --- */

static int open_object(void *context, const char *path, struct callgrind_object *ret_object, struct err *e)
{
	const char *root = context;
	struct callgrind_object object = {.known = true};
	struct elfhead head;
	char full[8192];
	if ((size_t)snprintf(full, sizeof full, "%s%s", root, path) >= sizeof full)
		return err_set(e, ERR_MISSING, "%s: path too long", path);
	int status = identity_of_path(full, &object.module, &head, e);
	if (status)
		return status;
	char *own_path = strdup(path);
	object.code = calloc(head.segment_count, sizeof *object.code);
	if (!own_path || !object.code) {
		free(own_path);
		free(object.code);
		module_free(&object.module);
		return err_set(e, ERR_MEMORY, "%s", path);
	}
	free(object.module.path);
	object.module.path = own_path;
	for (uint32_t i = 0; i < head.segment_count; i++) {
		const struct elf_segment *s = &head.segments[i];
		if (s->type != ELFHEAD_LOAD || !(s->flags & ELFHEAD_EXECUTE))
			continue;
		object.code[object.code_count][0] = s->address.v;
		object.code[object.code_count++][1] = s->address.v + s->memory_size;
	}
	*ret_object = object;
	return 0;
}

static int read_callgrind(const struct import_request *r, struct profile *profile, struct import_result *result, struct err *e)
{
	const char *root = r->files.root ? r->files.root : "";
	struct callgrind_source source = {.open_object = open_object, .context = (void *)(uintptr_t)root};
	FILE *file = fmemopen((void *)(uintptr_t)(r->size ? r->data : "\n"), r->size ? r->size : 1, "r");
	if (!file)
		return err_set_errno(e, errno, "%s", r->name);
	int status = callgrind_read(file, r->name, &source, profile, &result->callgrind, e);
	fclose(file);
	if (!status)
		result->modules_unknown = result->callgrind.objects_unknown;
	return status;
}

/* --- perf --- */

static int read_perf(const struct import_request *r, enum import_format format, struct profile *profile, struct import_result *result,
		     struct err *e)
{
	struct files *files;
	int status = files_new(&r->files, &files, e);
	if (status)
		return status;
	if (format == IMPORT_PERF_DATA) {
		struct perfdata_input input = {.data = r->data, .size = r->size, .name = r->name, .event = r->event, .files = files};
		status = perfdata_read(&input, profile, &result->perfdata, e);
	} else {
		struct text text = text_of(r->data, r->size, r->name, e);
		status = perfscript_read(&text, files, profile, &result->perfscript);
	}
	if (!status) {
		const char *path = files_unknown_path(files);
		result->modules_unknown = files_unknown(files);
		result->unknown_path = path ? strdup(path) : NULL;
	}
	files_free(files);
	return status;
}

/* --- BOLT --- */

static int read_totals(const struct import_request *r, enum import_format format, struct profile *profile, struct import_result *result,
		       struct err *e)
{
	struct functions *functions;
	struct totals totals;
	struct text text = text_of(r->data, r->size, r->name, e);
	if (r->files.given_count != 1)
		return err_set(e, ERR_USAGE, "%s: %s does not say which file it is of: name it with one --elf FILE", r->name,
			       import_format_name(format));
	int status = functions_read(r->files.given[0], &functions, e);
	if (status)
		return status;
	totals_init(&totals, functions);
	status = format == IMPORT_FDATA ? fdata_read(&text, &totals) : aggregated_read(&text, &totals);
	if (!status)
		status = totals_finish(&totals, profile, e);
	if (!status)
		result->totals = totals.result;
	totals_free(&totals);
	functions_free(functions);
	return status;
}

int import_read(const struct import_request *r, enum import_format format, struct profile *ret_profile, struct import_result *ret_result,
		struct err *e)
{
	struct import_result result = {.format = format};
	int status;
	switch (format) {
	case IMPORT_CALLGRIND:
		status = read_callgrind(r, ret_profile, &result, e);
		break;
	case IMPORT_PERF_DATA:
	case IMPORT_PERF_SCRIPT:
		status = read_perf(r, format, ret_profile, &result, e);
		break;
	case IMPORT_FDATA:
	case IMPORT_AGGREGATED:
		status = read_totals(r, format, ret_profile, &result, e);
		break;
	default:
		return err_set(e, ERR_FORMAT, "%s is in no format that is known here", r->name);
	}
	if (!status)
		*ret_result = result;
	return status;
}

void import_result_free(struct import_result *result)
{
	free(result->unknown_path);
	result->unknown_path = NULL;
}
