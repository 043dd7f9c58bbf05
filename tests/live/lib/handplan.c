/*
 * handplan VICTIM PLAN [--no-patch NAME] [--spoil NAME] [--behind NAME:BYTES] [--big x]: a plan made by hand for tests: every function of VICTIM whose name begins with "hot_" is
 * copied byte by byte into an image (it must not refer to anything by its own address) and its entry is patched. The image is linked 1 GiB
 * below or above the module, to see that it is placed elsewhere.
 *
 * --no-patch NAME leaves out the patch of one function; --spoil NAME gives one function a wrong hash, so that it is left out when applied;
 * --behind patches one function not at its start but so many bytes behind it, where an instruction must begin; --big pads the code so far that it is worth huge pages.
 */
#include "formats/base/bytes.h"
#include "formats/base/elfhead.h"
#include "formats/base/file.h"
#include "formats/base/hash.h"
#include "formats/plan.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOT_MAX 256

struct hot {
	const char *name;
	uint64_t address, size;
};

static void die(const char *text)
{
	fprintf(stderr, "handplan: %s\n", text);
	exit(2);
}

static int by_address(const void *a, const void *b)
{
	const struct hot *x = a, *y = b;
	return x->address < y->address ? -1 : x->address > y->address;
}

static uint32_t find_hot(const struct file_data *file, struct hot *hot)
{
	const Elf64_Ehdr *header = (const void *)file->data;
	const Elf64_Shdr *sections = (const void *)(file->data + header->e_shoff);
	uint32_t count = 0;
	for (unsigned i = 0; i < header->e_shnum; i++) {
		if (sections[i].sh_type != SHT_SYMTAB)
			continue;
		const Elf64_Sym *symbols = (const void *)(file->data + sections[i].sh_offset);
		const char *names = (const char *)file->data + sections[sections[i].sh_link].sh_offset;
		for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols && count < HOT_MAX; k++)
			if (ELF64_ST_TYPE(symbols[k].st_info) == STT_FUNC && !strncmp(names + symbols[k].st_name, "hot_", 4))
				hot[count++] = (struct hot){names + symbols[k].st_name, symbols[k].st_value, symbols[k].st_size};
	}
	qsort(hot, count, sizeof *hot, by_address);
	return count;
}

static void identify(const struct file_data *file, const char *path, struct plan_module *m, uint64_t *ret_text_offset)
{
	struct elf_source source = elf_source_of_buffer(file->data, file->size);
	struct elfhead head;
	struct err e;
	size_t size;
	if (elfhead_read(&source, path, &head, &e))
		die(e.text);
	elfhead_build_id(&head, &source, false, m->module.build_id, sizeof m->module.build_id, &size);
	m->module.build_id_size = (uint8_t)size;
	m->module.file_size = file->size;
	m->module.path = strdup(path);
	if (elfhead_text_hash(&head, &source, path, &m->module.text_hash, &e))
		die(e.text);
	m->load_low = UINT64_MAX;
	for (uint32_t i = 0; i < head.segment_count; i++) {
		const struct elf_segment *s = &head.segments[i];
		if (s->type != ELFHEAD_LOAD)
			continue;
		if (s->address.v < m->load_low)
			m->load_low = s->address.v & ~(uint64_t)4095;
		m->load_high = (s->address.v + s->memory_size + 4095) & ~(uint64_t)4095;
		if (s->flags & ELFHEAD_EXECUTE && !m->text_size) {
			m->text_base = s->address.v;
			m->text_size = s->file_size;
			*ret_text_offset = s->offset;
		}
	}
	m->region_vaddr = m->load_low < (1u << 30) && !head.dynamic ? 1u << 30 : (uint64_t) - (int64_t)(1 << 30);
}

static void add_function(struct plan_module *m, const struct hot *h, const uint8_t *text, bool patched, bool spoiled, uint32_t behind)
{
	uint32_t at = (m->code_size + 15) & ~15u, start = (uint32_t)(h->address - m->text_base), size = (uint32_t)h->size;
	if (size < behind + PLAN_PATCH_SIZE || size > UINT16_MAX)
		die("a hot_ function is too short or too long");
	memset(m->code + m->code_size, 0xcc, at - m->code_size);
	memcpy(m->code + at, text + start, size);
	m->code_size = at + size;
	m->runs[m->run_count++] = (struct plan_run){
	    .image = at, .original = start, .image_size = (uint16_t)size, .original_size = (uint16_t)size, .kind = PLAN_RUN_COPY};
	struct plan_function *f = &m->functions[m->function_count];
	*f = (struct plan_function){
	    .start = start, .size = size, .hash = hash_bytes(text + start, size) + spoiled, .entry = at, .first_patch = m->patch_count};
	if (patched) {
		struct plan_patch *p = &m->patches[m->patch_count++];
		*p = (struct plan_patch){.at = start + behind, .target = at + behind, .function = m->function_count};
		memcpy(p->original, text + start + behind, PLAN_PATCH_SIZE);
		f->patch_count = 1;
	}
	m->function_count++;
}

int main(int argc, char **argv)
{
	struct err e;
	struct file_data file;
	static struct hot hot[HOT_MAX];
	static char no_strings[1];
	uint64_t text_offset = 0;
	const char *no_patch = "", *spoil = "", *behind = "", *big = NULL;
	if (argc < 3)
		die("usage: handplan VICTIM PLAN [--no-patch NAME] [--spoil NAME] [--behind NAME:BYTES]");
	for (int i = 3; i + 1 < argc; i += 2) {
		const char *option = argv[i];
		*(!strcmp(option, "--spoil")	? &spoil
		  : !strcmp(option, "--behind") ? &behind
		  : !strcmp(option, "--big")	? &big
						: &no_patch) = argv[i + 1];
	}
	if (file_read(argv[1], &file, &e))
		die(e.text);
	struct plan_module m = {.directory = PLAN_NONE, .strings = no_strings, .string_size = 1};
	identify(&file, argv[1], &m, &text_offset);
	uint32_t count = find_hot(&file, hot);
	if (!count)
		die("the victim has no hot_ functions");
	m.code = calloc(count + 2, UINT16_MAX + 16);
	m.functions = calloc(count, sizeof *m.functions);
	m.patches = calloc(count, sizeof *m.patches);
	m.runs = calloc(count, sizeof *m.runs);
	for (uint32_t i = 0; i < count; i++) {
		size_t length = strlen(hot[i].name);
		bool is_behind = !strncmp(behind, hot[i].name, length) && behind[length] == ':';
		add_function(&m, &hot[i], file.data + text_offset, strcmp(hot[i].name, no_patch) != 0, !strcmp(hot[i].name, spoil),
			     is_behind ? (uint32_t)strtoul(behind + length + 1, NULL, 10) : 0);
	}
	if (big)
		m.code_size += PLAN_HUGE_MINIMUM;
	m.data_offset = plan_code_span(m.code_size);
	m.stats.functions = m.function_count;
	struct plan plan = {.modules = &m, .module_count = 1, .inputs_hash = 0x1234, .options = (char[]){"by hand"}};
	struct writer w = {0};
	if (plan_encode(&plan, &w, &e) || file_write(argv[2], w.data, w.size, &e))
		die(e.text);
	return 0;
}
