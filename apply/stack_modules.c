#include "apply/stack_modules.h"

#include "formats/base/bytes.h"
#include "formats/base/elfhead.h"
#include "formats/base/vec.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* .eh_frame_hdr as every linker writes it: version 1, pcrel|sdata4, udata4, datarel|sdata4 (LSB 5.0, section 10.6.2). */
enum { HEADER_SIZE = 12, ENCODING_FRAME = 0x1b, ENCODING_COUNT = 0x03, ENCODING_TABLE = 0x3b };
enum { UNWIND_BYTES_MAX = 1 << 28 };

static bool read_memory(int memory, uint64_t at, void *bytes, size_t size)
{
	uint8_t *p = bytes;
	while (size) {
		ssize_t got = pread(memory, p, size, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		p += got;
		at += (uint64_t)got;
		size -= (size_t)got;
	}
	return true;
}

static const struct elf_segment *find_header_segment(const struct elfhead *head)
{
	for (uint32_t i = 0; i < head->segment_count; i++) {
		if (head->segments[i].type == ELFHEAD_EH_FRAME_HDR)
			return &head->segments[i];
	}
	return NULL;
}

static const struct elf_segment *find_load(const struct elfhead *head, uint64_t address)
{
	for (uint32_t i = 0; i < head->segment_count; i++) {
		const struct elf_segment *s = &head->segments[i];
		if (s->type == ELFHEAD_LOAD && address - s->address.v < s->file_size)
			return s;
	}
	return NULL;
}

static void measure_span(const struct elfhead *head, uint64_t bias, struct stack_module *module)
{
	module->low = UINT64_MAX;
	for (uint32_t i = 0; i < head->segment_count; i++) {
		const struct elf_segment *s = &head->segments[i];
		if (s->type != ELFHEAD_LOAD)
			continue;
		uint64_t low = s->address.v + bias, high = low + s->memory_size;
		module->low = low < module->low ? low : module->low;
		module->high = high > module->high ? high : module->high;
	}
}

/* Checks the header of the table inside the copied bytes and fills table and count. */
static bool parse_header(struct stack_module *module)
{
	size_t at = (size_t)(module->header - module->bytes_at);
	struct reader r = reader_of(module->bytes, module->size);
	r.position = at;
	uint8_t version = read_u8(&r), frame = read_u8(&r), count = read_u8(&r), table = read_u8(&r);
	read_u32(&r);
	uint32_t pairs = read_u32(&r);
	if (r.failed || version != 1 || frame != ENCODING_FRAME || count != ENCODING_COUNT || table != ENCODING_TABLE)
		return false;
	if (!pairs || pairs > (module->size - r.position) / 8)
		return false;
	module->table = r.position;
	module->count = pairs;
	return true;
}

/* 1: module read. 0: no ELF file here, or none with a table. Negative: error. */
static int read_module(int memory, const struct procmap *map, struct stack_module *module, struct err *e)
{
	struct elf_source source = elf_source_of_fd(memory, map->start.v);
	struct elfhead head;
	uint64_t bias;
	if (elfhead_read(&source, map->path, &head, NULL) || !elfhead_bias(&head, map->start, (foff){0}, &bias))
		return 0;
	const struct elf_segment *table = find_header_segment(&head);
	const struct elf_segment *load = table ? find_load(&head, table->address.v) : NULL;
	uint8_t fixed[HEADER_SIZE];
	if (!load || !read_memory(memory, table->address.v + bias, fixed, sizeof fixed))
		return 0;
	measure_span(&head, bias, module);
	module->header = table->address.v + bias;
	/* .eh_frame stands after its table in every linker's output; if not, start the copy at it. */
	uint64_t frames = module->header + 4 + (uint64_t)(int64_t)(int32_t)load_u32(fixed + 4);
	uint64_t load_low = load->address.v + bias, load_high = load_low + load->file_size;
	module->bytes_at = frames < module->header ? frames : module->header;
	if (module->bytes_at < load_low || load_high - module->bytes_at > UNWIND_BYTES_MAX)
		return 0;
	module->size = (size_t)(load_high - module->bytes_at);
	module->bytes = malloc(module->size);
	if (!module->bytes)
		return err_set(e, ERR_MEMORY, "unwind tables of %s: %zu bytes", map->path, module->size);
	if (read_memory(memory, module->bytes_at, module->bytes, module->size) && parse_header(module))
		return 1;
	free(module->bytes);
	module->bytes = NULL;
	return 0;
}

static int compare_low(const void *a, const void *b)
{
	const struct stack_module *left = a, *right = b;
	return left->low < right->low ? -1 : left->low > right->low;
}

int stack_modules_read(int memory, const struct procmaps *maps, struct stack_modules *ret_modules, struct err *e)
{
	VEC(struct stack_module) list = {0};
	for (size_t i = 0; i < maps->count; i++) {
		const struct procmap *map = &maps->maps[i];
		struct stack_module module = {0};
		if (map->offset || !map->read || map->shared || !map->path[0]) /* to read shared memory would make pages of it */
			continue;
		int found = read_module(memory, map, &module, e);
		if (found > 0 && vec_push(&list, module)) {
			free(module.bytes);
			found = err_set(e, ERR_MEMORY, "unwind tables");
		}
		if (found < 0) {
			struct stack_modules partial = {list.data, list.count};
			stack_modules_free(&partial);
			return found;
		}
	}
	if (list.count)
		qsort(list.data, list.count, sizeof list.data[0], compare_low);
	ret_modules->modules = list.data;
	ret_modules->count = list.count;
	return 0;
}

void stack_modules_free(struct stack_modules *modules)
{
	for (size_t i = 0; i < modules->count; i++)
		free(modules->modules[i].bytes);
	free(modules->modules);
	*modules = (struct stack_modules){0};
}

static const struct stack_module *find_module(const struct stack_modules *modules, uint64_t pc)
{
	size_t low = 0, high = modules->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (modules->modules[middle].low <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	return low && pc < modules->modules[low - 1].high ? &modules->modules[low - 1] : NULL;
}

static uint64_t table_value(const struct stack_module *module, size_t index, size_t field)
{
	return module->header + (uint64_t)(int64_t)(int32_t)load_u32(module->bytes + module->table + 8 * index + 4 * field);
}

bool stack_modules_find(const struct stack_modules *modules, uint64_t pc, const struct stack_module **ret_module, uint64_t *ret_fde)
{
	const struct stack_module *module = find_module(modules, pc);
	if (!module)
		return false;
	size_t low = 0, high = module->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (table_value(module, middle, 0) <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return false;
	*ret_module = module;
	*ret_fde = table_value(module, low - 1, 1);
	return true;
}
