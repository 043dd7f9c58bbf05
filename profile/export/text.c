#include "profile/export/export.h"

#include "formats/base/escape.h"
#include "profile/export/sum.h"
#include "profile/summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PATH_TEXT = 4 * 4096 };

static void put(struct writer *w, const char *text)
{
	write_bytes(w, text, strlen(text));
}

static int finished(const struct writer *w, struct err *e)
{
	return w->failed ? err_set(e, ERR_MEMORY, "no memory for the text") : 0;
}

/* --- folded --- */

/* A frame of a folded stack: the separator must not be in it. */
static void put_frame(struct writer *w, const char *name)
{
	char text[PATH_TEXT];
	escape(name, text, sizeof text);
	for (char *c = text; *c; c++)
		*c = *c == ';' ? ',' : *c;
	put(w, text);
}

static void put_place(struct writer *w, const struct summary_item *item)
{
	char address[64];
	if (item->name) {
		put_frame(w, item->name);
		return;
	}
	snprintf(address, sizeof address, item->is_function ? "function_0x%" PRIx64 : "page_0x%" PRIx64, item->address);
	put(w, address);
}

int export_folded(const struct profile *p, const struct map *maps, size_t map_count, struct writer *w, struct export_result *ret_result,
		  struct err *e)
{
	struct summary summary;
	struct export_result result = {0};
	char weight[32];
	int status = summary_make(p, maps, map_count, &summary, e);
	if (status)
		return status;
	for (size_t i = 0; i < summary.place_count; i++) {
		const struct summary_item *item = &summary.places[i];
		put_frame(w, item->module == PROFILE_NO_MODULE ? "[no file]" : p->modules[item->module].path);
		put(w, ";");
		put_place(w, item);
		snprintf(weight, sizeof weight, " %" PRIu64 "\n", item->weight);
		put(w, weight);
		result.lines++;
		result.weight += item->weight;
	}
	summary_free(&summary);
	*ret_result = result;
	return finished(w, e);
}

/* --- text --- */

static const char *const kind_names[] = {"jump", "call", "return", "run"};

static void put_modules(const struct profile *p, struct writer *w, struct export_result *result)
{
	char id[MODULE_HEX_SIZE], number[64], path[PATH_TEXT];
	for (size_t i = 0; i < p->module_count; i++) {
		module_build_id_hex(&p->modules[i], id);
		snprintf(number, sizeof number, "module %zu ", i);
		put(w, number);
		put(w, id);
		put(w, " ");
		put(w, escape(p->modules[i].path, path, sizeof path));
		put(w, "\n");
		result->lines++;
	}
}

/* "0 0x1234", "- 0x1234" */
static void format_place(char *text, size_t size, uint32_t module, uint64_t address)
{
	if (module == PROFILE_NO_MODULE)
		snprintf(text, size, "- 0x%" PRIx64, address);
	else
		snprintf(text, size, "%" PRIu32 " 0x%" PRIx64, module, address);
}

static void put_totals(const struct profile *sum, struct writer *w, struct export_result *result)
{
	char line[256], from[48], to[48];
	for (size_t i = 0; i < sum->count_count; i++) {
		const struct profile_count *c = &sum->counts[i];
		format_place(from, sizeof from, c->module, c->address);
		snprintf(line, sizeof line, "at %s %" PRIu64 "\n", from, c->count);
		put(w, line);
		result->weight += c->count;
	}
	for (size_t i = 0; i < sum->edge_count; i++) {
		const struct profile_edge *edge = &sum->edges[i];
		format_place(from, sizeof from, edge->from_module, edge->from);
		format_place(to, sizeof to, edge->to_module, edge->to);
		snprintf(line, sizeof line, "edge %s %s %s %" PRIu64 " %" PRIu64 "\n", kind_names[edge->kind], from, to, edge->count,
			 edge->mispredicted);
		put(w, line);
	}
	result->lines += sum->count_count + sum->edge_count;
}

int export_text(const struct profile *p, struct writer *w, struct export_result *ret_result, struct err *e)
{
	struct profile sum;
	struct export_result result = {0};
	char source[64];
	int status = sum_profile(p, &sum, e);
	if (status)
		return status;
	snprintf(source, sizeof source, "# repave profile, source %s\n", profile_source_name(p->info.source));
	put(w, source);
	put_modules(p, w, &result);
	put_totals(&sum, w, &result);
	profile_free(&sum);
	*ret_result = result;
	return finished(w, e);
}
