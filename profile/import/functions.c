#include "profile/import/functions.h"

#include "formats/base/elfhead.h"
#include "formats/base/file.h"
#include "formats/base/hash.h"
#include "formats/base/vec.h"
#include "profile/identity.h"
#include "profile/idmap.h"
#include "profile/import/frames.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SECTION_SIZE = 64, SYMBOL_SIZE = 24, NAME_MAX_SIZE = 4096, STUBS_MAX = 8, ALIAS_SIZE = 2 * NAME_MAX_SIZE + 32 };
enum { SECTION_SYMTAB = 2, FLAG_ALLOC = 2, FLAG_EXECUTE = 4, INDEX_ABSOLUTE = 0xfff1 };
enum { SYMBOL_NONE = 0, SYMBOL_FUNCTION = 2, SYMBOL_SECTION = 3, SYMBOL_FILE = 4, SYMBOL_IFUNC = 10 };

static const char fde_prefix[] = "__BOLT_FDE_FUNCat";

struct section {
	uint32_t name, type, link;
	uint64_t flags, address, offset, size;
};

struct symbol {
	uint64_t address, size;
	const char *name, *file; /* file: NULL for globals and where none precedes */
	uint32_t index;
	bool local, is_function, is_code;
};

/* A name by which a function may be called. */
struct alias {
	uint64_t hash; /* of the text as it is written */
	const char *name, *file;
	uint32_t number; /* 0 = global */
	uint64_t start;
};

struct functions {
	struct file_data file;
	struct module_identity module;
	struct elfhead head;
	VEC(struct function) list; /* sorted by start */
	VEC(struct alias) aliases; /* sorted by hash */
	VEC(struct section) sections;
	uint16_t section_names;			/* index of the section with their names */
	const struct section *stubs[STUBS_MAX]; /* into sections, while they are there */
	size_t stub_count;
	VEC(struct symbol) symbols;
};

/* --- reading symbols --- */

static void read_sections(struct functions *f)
{
	struct reader r = reader_of(f->file.data, f->file.size);
	read_bytes(&r, 40);
	uint64_t table = read_u64(&r);
	read_bytes(&r, 10);
	uint16_t entry = read_u16(&r), count = read_u16(&r);
	f->section_names = read_u16(&r);
	if (r.failed || entry != SECTION_SIZE || table > f->file.size || count > (f->file.size - table) / SECTION_SIZE)
		return; /* no table of sections: as good as stripped */
	r = reader_of(f->file.data + table, (size_t)count * SECTION_SIZE);
	if (vec_reserve(&f->sections, count))
		return;
	for (uint16_t i = 0; i < count; i++) {
		struct section s = {.name = read_u32(&r)};
		s.type = read_u32(&r);
		s.flags = read_u64(&r);
		s.address = read_u64(&r);
		s.offset = read_u64(&r);
		s.size = read_u64(&r);
		s.link = read_u32(&r);
		read_bytes(&r, 20);
		f->sections.data[f->sections.count++] = s;
	}
}

static bool inside(const struct functions *f, const struct section *s)
{
	return s->offset <= f->file.size && s->size <= f->file.size - s->offset;
}

/* NULL when it passes the end of the table or is absurdly long. */
static const char *name_at(const struct functions *f, const struct section *strings, uint32_t offset)
{
	if (offset >= strings->size)
		return NULL;
	const char *name = (const char *)f->file.data + strings->offset + offset;
	uint64_t left = strings->size - offset;
	return memchr(name, 0, left < NAME_MAX_SIZE ? (size_t)left : NAME_MAX_SIZE) ? name : NULL;
}

static const struct section *section_of(const struct functions *f, uint16_t index)
{
	return index && index < f->sections.count ? &f->sections.data[index] : NULL;
}

static int read_symbols(struct functions *f, const struct section *table, const struct section *strings, struct err *e)
{
	struct reader r = reader_of(f->file.data + table->offset, (size_t)table->size);
	const char *file = NULL;
	for (uint32_t i = 0; reader_left(&r) >= SYMBOL_SIZE; i++) {
		uint32_t name_offset = read_u32(&r);
		uint8_t info = read_u8(&r);
		read_u8(&r);
		uint16_t index = read_u16(&r);
		struct symbol s = {.address = read_u64(&r), .name = name_at(f, strings, name_offset), .index = i, .local = !(info >> 4)};
		s.size = read_u64(&r);
		unsigned type = info & 15;
		const struct section *section = section_of(f, index);
		if (!s.name)
			continue;
		if (type == SYMBOL_FILE) {
			file = *s.name && strcmp(s.name, "ld-temp.o") != 0 ? s.name : NULL;
			continue;
		}
		bool in_memory = index == INDEX_ABSOLUTE || (section && (section->flags & FLAG_ALLOC));
		if (!index || !in_memory || !s.address || !*s.name || type == SYMBOL_SECTION)
			continue;
		s.is_function = type == SYMBOL_FUNCTION || type == SYMBOL_IFUNC;
		s.is_code = section && (section->flags & FLAG_EXECUTE) && (s.is_function || type == SYMBOL_NONE);
		s.file = s.local && s.is_function ? file : NULL;
		if (vec_push(&f->symbols, s))
			return err_set(e, ERR_MEMORY, "no memory for symbols");
	}
	return 0;
}

static int by_address(const void *left, const void *right)
{
	const struct symbol *a = left, *b = right;
	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	if (a->is_function != b->is_function)
		return b->is_function - a->is_function;
	return a->index < b->index ? -1 : a->index > b->index;
}

/* --- names --- */

static uint64_t hash_of(const char *name, size_t length)
{
	uint64_t hash = hash_bytes(name, length);
	return hash ? hash : 1;
}

/* What is written for this name: its length, at most ALIAS_SIZE. */
static size_t alias_text(const struct alias *a, char *text)
{
	char number[16] = "";
	if (a->number)
		snprintf(number, sizeof number, "/%" PRIu32, a->number);
	return (size_t)snprintf(text, ALIAS_SIZE, "%s%s%s%s", a->name, a->file ? "/" : "", a->file ? a->file : "", number);
}

/* The next number of this key. */
static int count_up(struct idmap *numbers, uint64_t key, uint32_t *ret_number)
{
	uint32_t last = idmap_get(numbers, key);
	*ret_number = last == IDMAP_NONE ? 1 : last + 1;
	return idmap_set(numbers, key, *ret_number);
}

static int add_alias(struct functions *f, const struct symbol *s, const char *file, uint32_t number)
{
	struct alias alias = {.name = s->name, .file = file, .number = number, .start = s->address};
	char text[ALIAS_SIZE];
	alias.hash = hash_of(text, alias_text(&alias, text));
	return vec_push(&f->aliases, alias);
}

/* Every local name gets its number, whether it is a function's or not; *ret_number is that of name/N. */
static int name_symbol(struct functions *f, const struct symbol *s, struct idmap *numbers, uint32_t *ret_number)
{
	uint32_t number = 0, in_file = 0;
	uint64_t hash = hash_of(s->name, strlen(s->name));
	if (s->local && count_up(numbers, hash, &number))
		return -1;
	if (s->file) {
		uint64_t key = hash * 0x9e3779b97f4a7c15u ^ hash_of(s->file, strlen(s->file));
		if (count_up(numbers, key ? key : 1, &in_file) || (s->is_code && add_alias(f, s, s->file, in_file)))
			return -1;
	}
	*ret_number = number;
	return s->is_code ? add_alias(f, s, NULL, number) : 0;
}

/* Symbols, sorted by address, into functions. One inside the function before it is another entry of that. */
static int make_functions(struct functions *f, struct idmap *numbers)
{
	for (size_t i = 0; i < f->symbols.count; i++) {
		const struct symbol *s = &f->symbols.data[i];
		uint32_t number;
		if (name_symbol(f, s, numbers, &number))
			return -1;
		struct function *last = f->list.count ? &f->list.data[f->list.count - 1] : NULL;
		uint64_t end = s->address + s->size < s->address ? UINT64_MAX : s->address + s->size;
		if (!s->is_code || (last && s->address < last->end && s->address != last->start))
			continue;
		if (last && s->address == last->start) {
			last->end = end > last->end ? end : last->end;
			continue;
		}
		if (vec_push(&f->list, (struct function){.start = s->address, .end = end, .name = s->name, .number = number}))
			return -1;
	}
	return 0;
}

static int by_start(const void *left, const void *right)
{
	const struct function *a = left, *b = right;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return !a->name - !b->name; /* one with a name first */
}

/* Linkage stubs (.plt, .plt.got, .plt.sec): llvm-bolt has no function with a profile there, whatever the FDE says. */
static void find_stubs(struct functions *f)
{
	const struct section *names = section_of(f, f->section_names);
	for (size_t i = 0; names && inside(f, names) && i < f->sections.count; i++) {
		const struct section *s = &f->sections.data[i];
		const char *name = s->flags & FLAG_EXECUTE ? name_at(f, names, s->name) : NULL;
		if (name && !strncmp(name, ".plt", 4) && f->stub_count < STUBS_MAX)
			f->stubs[f->stub_count++] = s;
	}
}

static bool is_stub(const struct functions *f, uint64_t address)
{
	for (size_t i = 0; i < f->stub_count; i++)
		if (address >= f->stubs[i]->address && address - f->stubs[i]->address < f->stubs[i]->size)
			return true;
	return false;
}

/* FDEs make functions where no symbol does, and lengthen those that say less. */
static int add_frames(struct functions *f, const struct frame *frames, size_t count)
{
	size_t symbols = f->list.count, next = 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t start = frames[i].start, end = start + frames[i].size;
		while (next < symbols && f->list.data[next].start <= start)
			next++;
		struct function *before = next ? &f->list.data[next - 1] : NULL;
		if (before && before->start == start)
			before->end = end > before->end ? end : before->end;
		else if ((before && start < before->end) || is_stub(f, start))
			continue;
		else if (vec_push(&f->list, (struct function){.start = start, .end = end}))
			return -1;
	}
	if (f->list.count)
		qsort(f->list.data, f->list.count, sizeof *f->list.data, by_start);
	/* Symbols without a size reach to the next function; nothing overlaps. */
	for (size_t i = 0; i + 1 < f->list.count; i++) {
		struct function *a = &f->list.data[i];
		uint64_t limit = f->list.data[i + 1].start;
		if (a->end == a->start || a->end > limit)
			a->end = limit;
	}
	return 0;
}

static int by_hash(const void *left, const void *right)
{
	const struct alias *a = left, *b = right;
	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return a->start < b->start ? -1 : a->start > b->start;
}

static int read_names(struct functions *f, struct err *e)
{
	for (size_t i = 0; i < f->sections.count; i++) {
		const struct section *table = &f->sections.data[i];
		if (table->type != SECTION_SYMTAB || table->link >= f->sections.count)
			continue;
		const struct section *strings = &f->sections.data[table->link];
		if (!inside(f, table) || !inside(f, strings))
			return err_set(e, ERR_FORMAT, "%s: the symbol table passes the end of the file", f->module.path);
		int status = read_symbols(f, table, strings, e);
		if (status)
			return status;
	}
	struct idmap numbers = {0};
	if (f->symbols.count)
		qsort(f->symbols.data, f->symbols.count, sizeof *f->symbols.data, by_address);
	int failed = make_functions(f, &numbers);
	idmap_free(&numbers);
	if (f->aliases.count)
		qsort(f->aliases.data, f->aliases.count, sizeof *f->aliases.data, by_hash);
	return failed ? err_set(e, ERR_MEMORY, "no memory for functions") : 0;
}

static int read_frames(struct functions *f, struct err *e)
{
	struct frame *frames;
	size_t count;
	int status = frames_read(f->file.data, f->file.size, &f->head, &frames, &count, e);
	if (status)
		return status;
	find_stubs(f);
	if (add_frames(f, frames, count))
		status = err_set(e, ERR_MEMORY, "no memory for functions");
	free(frames);
	return status;
}

int functions_read(const char *path, struct functions **ret_functions, struct err *e)
{
	struct functions *f = calloc(1, sizeof *f);
	if (!f)
		return err_set(e, ERR_MEMORY, "no memory for functions");
	int status = identity_of_path(path, &f->module, &f->head, e);
	if (!status)
		status = file_read(path, &f->file, e);
	if (!status) {
		read_sections(f);
		status = read_names(f, e);
	}
	if (!status)
		status = read_frames(f, e);
	vec_free(&f->symbols);
	vec_free(&f->sections);
	if (status) {
		functions_free(f);
		return status;
	}
	*ret_functions = f;
	return 0;
}

void functions_free(struct functions *f)
{
	if (!f)
		return;
	vec_free(&f->list);
	vec_free(&f->aliases);
	vec_free(&f->symbols);
	vec_free(&f->sections);
	module_free(&f->module);
	file_data_free(&f->file);
	free(f);
}

/* --- asking --- */

const struct module_identity *functions_module(const struct functions *f)
{
	return &f->module;
}

const struct function *functions_at(const struct functions *f, vaddr address)
{
	size_t low = 0, high = f->list.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (f->list.data[middle].start <= address.v)
			low = middle + 1;
		else
			high = middle;
	}
	const struct function *found = low ? &f->list.data[low - 1] : NULL;
	return found && address.v < found->end ? found : NULL;
}

/* "__BOLT_FDE_FUNCat401000": the address is in the name. */
static bool address_in_name(const char *name, size_t length, uint64_t *ret_address)
{
	size_t prefix = sizeof fde_prefix - 1, digits = length - prefix;
	uint64_t value = 0;
	if (length <= prefix || digits > 16 || memcmp(name, fde_prefix, prefix) != 0)
		return false;
	for (size_t i = prefix; i < length; i++) {
		const char *digit = name[i] ? strchr("0123456789abcdef", name[i] | ('A' <= name[i] && name[i] <= 'F' ? 32 : 0)) : NULL;
		if (!digit)
			return false;
		value = value << 4 | (uint64_t)(digit - "0123456789abcdef");
	}
	*ret_address = value;
	return true;
}

static bool find_alias(const struct functions *f, const char *text, size_t length, uint64_t *ret_start)
{
	char written[ALIAS_SIZE];
	uint64_t hash = hash_of(text, length);
	size_t low = 0, high = f->aliases.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (f->aliases.data[middle].hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == f->aliases.count || f->aliases.data[low].hash != hash)
		return false;
	if (alias_text(&f->aliases.data[low], written) != length || memcmp(text, written, length) != 0)
		return false;
	*ret_start = f->aliases.data[low].start;
	return true;
}

bool functions_find(const struct functions *f, const char *text, size_t length, vaddr *ret_start)
{
	if (find_alias(f, text, length, &ret_start->v))
		return true;
	uint64_t address;
	if (!address_in_name(text, length, &address))
		return false;
	const struct function *function = functions_at(f, (vaddr){address});
	if (!function || function->start != address)
		return false;
	ret_start->v = address;
	return true;
}

void functions_put_name(const struct function *function, bool escaped, struct writer *w)
{
	char number[64];
	if (!function->name) {
		write_bytes(w, number, (size_t)snprintf(number, sizeof number, "%s%" PRIx64, fde_prefix, function->start));
		return;
	}
	for (const char *c = function->name; *c; c++) {
		if (escaped && (*c == ' ' || *c == '\\'))
			write_u8(w, '\\');
		write_u8(w, (uint8_t)*c);
	}
	if (function->number)
		write_bytes(w, number, (size_t)snprintf(number, sizeof number, "/%" PRIu32, function->number));
}
