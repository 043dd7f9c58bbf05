#include "analyze/code/insn.h"
#include "analyze/code/map_build.h"
#include "analyze/code/operation.h"
#include "analyze/commands.h"
#include "formats/base/escape.h"
#include "formats/base/file.h"
#include "formats/container.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct subject {
	struct map map;
	struct image image;
	bool has_image; /* a map alone has no bytes to disassemble when its file is gone or another one */
};

static const char *const terminators[] = {"falls", "jump", "branch", "jump-indirect", "return", "call-noreturn", "stop"};
static const char *const table_kinds[] = {"relative32", "absolute64", "absolute32"};

static int open_map(const char *path, struct subject *s, struct err *e)
{
	int status = map_read(path, &s->map, e);
	if (status)
		return status;
	if (!image_open(s->map.module.path, &s->image, NULL)) {
		s->has_image = module_same(&s->image.identity, &s->map.module) && s->image.identity.text_hash == s->map.module.text_hash;
		if (!s->has_image)
			image_close(&s->image);
	}
	return 0;
}

static int open_elf(const char *path, struct subject *s, struct err *e)
{
	int status = image_open(path, &s->image, e);
	if (status)
		return status;
	status = map_build(&s->image, 0, &s->map, e);
	if (status)
		image_close(&s->image);
	else
		s->has_image = true;
	return status;
}

static int open_subject(const char *path, struct subject *s, struct err *e)
{
	struct file_data file;
	int status = file_read(path, &file, e);
	if (status)
		return status;
	bool is_map = container_sniff(file.data, file.size) == CONTAINER_MAP;
	file_data_free(&file);
	return is_map ? open_map(path, s, e) : open_elf(path, s, e);
}

static void close_subject(struct subject *s)
{
	map_free(&s->map);
	if (s->has_image)
		image_close(&s->image);
}

/* A function by name, by the address of any of its bytes, or by an alias that only the file knows. */
static uint32_t find_function(const struct subject *s, const char *what)
{
	char *end;
	for (uint32_t i = 0; i < s->map.function_count; i++) {
		const char *name = map_function_name(&s->map, i);
		if (name && !strcmp(name, what))
			return i;
	}
	for (size_t i = 0; s->has_image && i < s->image.symbol_count; i++)
		if (!strcmp(s->image.symbols[i].name, what))
			return map_function_at(&s->map, map_offset(&s->map, (vaddr){s->image.symbols[i].vaddr}));
	errno = 0;
	uint64_t address = strtoull(what, &end, 16);
	if (errno || end == what || *end)
		return MAP_NONE;
	uint32_t offset = map_offset(&s->map, (vaddr){address});
	return offset == MAP_NONE ? MAP_NONE : map_function_at(&s->map, offset);
}

static unsigned long address_of_block(const struct map *m, uint32_t block)
{
	return (unsigned long)map_vaddr(m, m->blocks[block].start).v;
}

static void print_name(const struct map *m, uint32_t function)
{
	const char *name = map_function_name(m, function);
	printf("%s", escape_shown(name));
}

static void print_head(const struct map *m, uint32_t index)
{
	const struct map_function *f = &m->functions[index];
	unsigned long start = (unsigned long)map_vaddr(m, f->start).v;
	printf("function 0x%lx-0x%lx (%u bytes) ", start, start + f->size, f->size);
	print_name(m, index);
	printf("\ngrade: %s\n", map_grade_name(f->grade));
	for (unsigned r = 0; r < MAP_REASON_COUNT; r++)
		if (f->reasons & 1u << r)
			printf("  because %s: %s\n", map_reason_name(r), map_reason_text(r));
	if (f->flags & MAP_FUNCTION_PART)
		printf("split part of the function at 0x%lx\n", (unsigned long)map_vaddr(m, m->functions[f->parent].start).v);
	if (f->flags & MAP_FUNCTION_LSDA)
		puts("has an exception table");
	if (f->flags & MAP_FUNCTION_ENDBR)
		puts("starts with endbr64");
	if (f->flags & MAP_FUNCTION_BEHIND)
		puts("can be patched behind its first instruction");
	if (f->flags & MAP_FUNCTION_UNKNOWN_JUMP)
		puts("has an indirect jump with unknown targets");
}

static void print_insns(const struct subject *s, const struct map_block *b)
{
	const uint8_t *bytes = image_bytes(&s->image, map_vaddr(&s->map, b->start), b->size);
	char text[160];
	struct insn insn;
	for (uint32_t at = 0; bytes && at < b->size; at += insn.length) {
		vaddr address = map_vaddr(&s->map, b->start + at);
		if (insn_decode(bytes + at, b->size - at, address, &insn) ||
		    operation_format(bytes + at, b->size - at, address, text, sizeof text))
			return;
		printf("    %lx  %s\n", (unsigned long)address.v, text);
	}
}

static void print_calls(const struct map *m, const struct map_block *b)
{
	static const char *const kinds[] = {"call", "call import", "call indirect", "tail call import"};
	for (uint32_t i = map_call_from(m, b->start); i < m->call_count && m->calls[i].site < b->start + b->size; i++) {
		const struct map_call *call = &m->calls[i];
		printf("    # 0x%lx %s ", (unsigned long)map_vaddr(m, call->site).v, kinds[call->kind]);
		if (call->kind == MAP_CALL_IMPORT || call->kind == MAP_TAIL_IMPORT)
			printf("%s", escape_shown(m->strings + m->imports[call->target].name));
		else if (call->target != MAP_NONE && map_function_at(m, call->target) != MAP_NONE)
			print_name(m, map_function_at(m, call->target));
		putchar('\n');
	}
}

static void print_table(const struct map *m, uint32_t block)
{
	for (uint32_t i = 0; i < m->table_count; i++) {
		const struct map_table *t = &m->tables[i];
		if (t->block != block)
			continue;
		printf("    # table at 0x%lx, %s, %s:", (unsigned long)t->address, table_kinds[t->kind], t->proven ? "proven" : "superset");
		for (uint32_t n = 0; n < t->count; n++)
			printf(" %lx", address_of_block(m, m->table_targets[t->first + n]));
		putchar('\n');
	}
}

static void print_block(const struct subject *s, uint32_t index)
{
	const struct map *m = &s->map;
	const struct map_block *b = &m->blocks[index];
	printf("block %u 0x%lx %u bytes %u insns %s", index, address_of_block(m, index), b->size, b->insns, terminators[b->terminator]);
	if (b->taken != MAP_NONE)
		printf(" taken 0x%lx", address_of_block(m, b->taken));
	if (b->next != MAP_NONE)
		printf(" next 0x%lx", address_of_block(m, b->next));
	printf("%s%s%s%s%s\n", b->flags & MAP_BLOCK_ENTRY ? " entry" : "", b->flags & MAP_BLOCK_TARGET ? " target" : "",
	       b->flags & MAP_BLOCK_LANDING_PAD ? " landing-pad" : "", b->flags & MAP_BLOCK_TABLE_TARGET ? " table-target" : "",
	       b->flags & MAP_BLOCK_POINTED ? " pointed" : "");
	if (s->has_image)
		print_insns(s, b);
	print_calls(m, b);
	if (b->terminator == MAP_JUMP_INDIRECT)
		print_table(m, index);
}

static json_t *block_json(const struct map *m, uint32_t index)
{
	const struct map_block *b = &m->blocks[index];
	json_t *o = json_pack("{s:I, s:i, s:i, s:s, s:i}", "start", (json_int_t)address_of_block(m, index), "size", b->size, "insns",
			      b->insns, "terminator", terminators[b->terminator], "flags", b->flags);
	if (b->taken != MAP_NONE)
		json_object_set_new(o, "taken", json_integer((json_int_t)address_of_block(m, b->taken)));
	if (b->next != MAP_NONE)
		json_object_set_new(o, "next", json_integer((json_int_t)address_of_block(m, b->next)));
	return o;
}

static void print_json(const struct map *m, uint32_t index)
{
	const struct map_function *f = &m->functions[index];
	const char *name = map_function_name(m, index);
	json_t *reasons = json_array(), *blocks = json_array();
	for (unsigned r = 0; r < MAP_REASON_COUNT; r++)
		if (f->reasons & 1u << r)
			json_array_append_new(reasons, json_pack("{s:s, s:s}", "name", map_reason_name(r), "text", map_reason_text(r)));
	for (uint32_t i = 0; i < f->block_count; i++)
		json_array_append_new(blocks, block_json(m, f->first_block + i));
	json_t *o = json_pack("{s:I, s:i, s:s, s:o, s:o, s:I, s:i}", "start", (json_int_t)map_vaddr(m, f->start).v, "size", f->size,
			      "grade", map_grade_name(f->grade), "reasons", reasons, "blocks", blocks, "parent",
			      (json_int_t)map_vaddr(m, m->functions[f->parent].start).v, "flags", f->flags);
	if (o && name)
		json_object_set_new(o, "name", json_string(escape_shown(name)));
	char *text = o ? json_dumps(o, JSON_INDENT(1) | JSON_ENSURE_ASCII) : NULL;
	puts(text ? text : "{}");
	free(text);
	json_decref(o);
}

static int run(const struct cli *cli, struct err *e)
{
	struct subject s = {0};
	int status = open_subject(cli_argument(cli, 0), &s, e);
	if (status)
		return status;
	uint32_t index = find_function(&s, cli_argument(cli, 1));
	if (index == MAP_NONE) {
		status = err_set(e, ERR_NO, "%s: no function is called, or lies at, '%s' (addresses are hexadecimal, as linked)",
				 cli_argument(cli, 0), cli_argument(cli, 1));
	} else if (cli_json(cli)) {
		print_json(&s.map, index);
	} else {
		const struct map_function *f = &s.map.functions[index];
		print_head(&s.map, index);
		if (!s.has_image)
			printf("no disassembly: %s is not the file this map was made from\n", escape_shown(s.map.module.path));
		for (uint32_t i = 0; i < f->block_count; i++)
			print_block(&s, f->first_block + i);
	}
	close_subject(&s);
	return status;
}

const struct cli_verb cmd_why = {
    .name = "why",
    .arguments = "ELF|MAP FUNCTION|ADDRESS",
    .summary = "explain one function: its grade and the reasons, blocks, tables, calls and disassembly",
    .details = "The function is named by its symbol or by any address inside it, hexadecimal, as linked.",
    .minimum = 2,
    .maximum = 2,
    .run = run,
};
