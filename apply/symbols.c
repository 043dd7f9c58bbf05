#include "apply/symbols.h"

#include "formats/base/escape.h"
#include "formats/base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 4096
#define SUFFIX ".repaved"
#define NO_FUNCTION UINT32_MAX
#define TEXT_MAX (128u << 20) /* of names, and of a perf map: the process wrote the journal, it may say anything */

void symbols_free(struct symbols *s)
{
	for (size_t i = 0; i < s->images.count; i++) {
		free(s->images.data[i].code);
		free(s->images.data[i].data);
	}
	vec_free(&s->images);
	vec_free(&s->list);
	writer_free(&s->names);
}

static int out_of_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "no memory for symbols");
}

/* Index into the journal's functions, or NO_FUNCTION. */
static uint32_t function_at(const struct symbols_image *image, uint32_t text_offset)
{
	const struct journal_region *r = image->region;
	const struct journal_function *list = image->journal->functions;
	uint32_t low = r->first_function, high = low + r->function_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (list[middle].start <= text_offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == r->first_function || text_offset - list[low - 1].start >= list[low - 1].size)
		return NO_FUNCTION;
	return low - 1;
}

/* Added code belongs to what it follows, wherever it leads; what counts stands in front of what it counts. */
static uint32_t function_of_run(const struct symbols_image *image, const struct plan_run *run, bool first, uint32_t before)
{
	uint32_t function = function_at(image, run->original);
	bool follows = run->kind == PLAN_RUN_INSERTED || (run->kind == PLAN_RUN_COUNTER && function == NO_FUNCTION);
	return follows && !first ? before : function;
}

/* Appends the name of a function, or of what stands at a text offset in none. What is not printable is escaped; so no name spoils a list of lines. */
static uint32_t add_name(struct symbols *s, const struct symbols_image *image, uint32_t function, uint32_t text_offset)
{
	const struct journal_region *r = image->region;
	const struct journal_function *f = function == NO_FUNCTION ? NULL : &image->journal->functions[function];
	const char *slash = strrchr(r->module.path, '/');
	char text[NAME_SIZE], module[256];
	uint32_t at = (uint32_t)s->names.size;
	if (f && f->name)
		escape(image->journal->strings + f->name, text, sizeof text);
	else
		snprintf(text, sizeof text, "%s+0x%" PRIx64, escape(slash ? slash + 1 : r->module.path, module, sizeof module),
			 r->text_base + (f ? f->start : text_offset));
	write_bytes(&s->names, text, strlen(text));
	write_bytes(&s->names, SUFFIX, sizeof SUFFIX);
	return at;
}

/* `names`: where the name of each of the region's functions is, and behind them that of none; 0: not written yet. */
static int add_symbols(struct symbols *s, uint32_t index, uint32_t *names)
{
	const struct symbols_image *image = &s->images.data[index];
	const struct journal_region *r = image->region;
	const struct plan_run *runs = image->journal->runs + r->first_run;
	uint32_t function = NO_FUNCTION, end = 0;
	bool first = true;
	for (uint32_t i = 0; i < r->run_count; i++) {
		if (!runs[i].image_size || runs[i].image < end || (uint64_t)runs[i].image + runs[i].image_size > r->code_size)
			continue;
		uint32_t now = function_of_run(image, &runs[i], first, function);
		uint32_t *name = &names[now == NO_FUNCTION ? r->function_count : now - r->first_function];
		end = runs[i].image + runs[i].image_size;
		if (!first && now == function) {
			struct symbol *last = &s->list.data[s->list.count - 1];
			last->size = r->code.v + end - last->start.v;
			continue;
		}
		if (s->names.size > TEXT_MAX)
			return -1;
		if (!*name)
			*name = add_name(s, image, now, runs[i].original);
		if (vec_push(&s->list, (struct symbol){{r->code.v + runs[i].image}, runs[i].image_size, index, *name}))
			return -1;
		function = now;
		first = false;
	}
	return 0;
}

static bool is_mapped(const struct target *t, const struct journal_region *r)
{
	const struct procmap *m = procmaps_find(&t->maps, r->code);
	return m && m->execute && !m->inode && m->end.v - r->code.v >= r->code_size;
}

static int add_image(struct symbols *s, const struct journal *j, const struct journal_region *r)
{
	uint32_t *names = calloc((size_t)r->function_count + 1, sizeof *names);
	int failed = !names || vec_push(&s->images, (struct symbols_image){.region = r, .journal = j}) ||
		     add_symbols(s, (uint32_t)s->images.count - 1, names);
	free(names);
	return failed;
}

int symbols_init(const struct target *t, const struct journal *journals, uint32_t count, struct symbols *ret_symbols, struct err *e)
{
	struct symbols s = {0};
	int failed = 0;
	write_u8(&s.names, 0);
	for (uint32_t k = 0; k < count; k++)
		for (uint32_t i = 0; !failed && journal_is_entered(&journals[k]) && i < journals[k].region_count; i++)
			if (journals[k].regions[i].code_size && is_mapped(t, &journals[k].regions[i]))
				failed = add_image(&s, &journals[k], &journals[k].regions[i]);
	if (failed || s.names.failed) {
		symbols_free(&s);
		return out_of_memory(e);
	}
	*ret_symbols = s;
	return 0;
}

/* Code is taken as it is: a debugger may have breakpoints there. Frames are what will be believed. */
static int read_image(const struct target *t, struct symbols_image *image, struct err *e)
{
	const struct journal_region *r = image->region;
	image->code = malloc(r->code_size);
	image->data = malloc(r->data_size + 1);
	if (!image->code || !image->data)
		return out_of_memory(e);
	int status = target_read(t, r->code, image->code, r->code_size, e);
	if (!status && r->data_size)
		status = target_read(t, r->data, image->data, r->data_size, e);
	if (!status && hash_bytes(image->data, r->data_size) != r->data_hash)
		status = err_set(e, ERR_REFUSED, "the unwind data at 0x%" PRIx64 " are not what was written there", r->data.v);
	return status;
}

static struct symbol_file_image file_image(const struct symbols_image *from)
{
	const struct journal_region *r = from->region;
	return (struct symbol_file_image){
	    .code = r->code,
	    .bytes = from->code,
	    .size = r->code_size,
	    .frames = {r->module.path, from->data, r->code.v, (uint32_t)(r->data.v - r->code.v), r->fde_table, r->fde_count, r->eh_frame,
		       r->eh_frame_size},
	};
}

int symbols_write_elf(const struct target *t, struct symbols *s, struct writer *w, struct err *e)
{
	struct symbol_file_image *images = calloc(s->images.count + 1, sizeof *images);
	int status = images ? 0 : out_of_memory(e);
	for (size_t i = 0; !status && i < s->images.count; i++) {
		status = s->images.data[i].code ? 0 : read_image(t, &s->images.data[i], e);
		images[i] = file_image(&s->images.data[i]);
	}
	const struct symbol_file file = {.images = images,
					 .symbols = s->list.data,
					 .names = s->names.data,
					 .image_count = (uint32_t)s->images.count,
					 .symbol_count = (uint32_t)s->list.count,
					 .names_size = (uint32_t)s->names.size};
	if (!status)
		status = symbol_file_write(&file, w, e);
	free(images);
	return status;
}

int symbols_write_perf(const struct symbols *s, struct writer *w, struct err *e)
{
	for (size_t i = 0; i < s->list.count && w->size <= TEXT_MAX; i++) {
		const struct symbol *symbol = &s->list.data[i];
		const char *name = (const char *)s->names.data + symbol->name;
		char numbers[64];
		int length = snprintf(numbers, sizeof numbers, "%" PRIx64 " %" PRIx64 " ", symbol->start.v, symbol->size);
		write_bytes(w, numbers, (size_t)length);
		write_bytes(w, name, strlen(name));
		write_u8(w, '\n');
	}
	return w->failed || w->size > TEXT_MAX ? out_of_memory(e) : 0;
}

uint32_t symbols_without_frames(const struct symbols *s)
{
	uint32_t count = 0;
	for (size_t i = 0; i < s->images.count; i++)
		count += !s->images.data[i].region->fde_count && !s->images.data[i].region->function_count;
	return count;
}
