#include "profile/import/functions.h"

#include "formats/base/elfhead.h"
#include "formats/base/file.h"
#include "formats/base/hash.h"
#include "formats/base/vec.h"
#include "profile/identity.h"
#include "profile/idmap.h"
#include "profile/import/frames.h"
#include "profile/import/sections.h"
#include "profile/import/stubs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SYMBOL_SIZE = 24, NAME_MAX_SIZE = 4096, ALIAS_SIZE = 2 * NAME_MAX_SIZE + 32, INDEX_ABSOLUTE = 0xfff1 };
enum { SYMBOL_NONE = 0, SYMBOL_FUNCTION = 2, SYMBOL_SECTION = 3, SYMBOL_FILE = 4, SYMBOL_IFUNC = 10 };

static const char fde_prefix[] = "__BOLT_FDE_FUNCat";
static const char stub_suffix[] = "@PLT";

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
	bool is_stub;
	uint64_t start;
};

struct functions {
	struct file_data file;
	struct module_identity module;
	struct elfhead head;
	VEC(struct function) list; /* sorted by start */
	VEC(struct alias) aliases; /* sorted by hash */
	struct sections sections;
	VEC(struct symbol) symbols;
};

/* --- reading symbols --- */

static int read_symbols(struct functions *f, const struct section *table, const struct section *strings, struct err *e)
{
	struct reader r = reader_of(f->file.data + table->offset, (size_t)table->size);
	const char *file = NULL;
	for (uint32_t i = 0; reader_left(&r) >= SYMBOL_SIZE; i++) {
		uint32_t name_offset = read_u32(&r);
		uint8_t info = read_u8(&r);
		read_u8(&r);
		uint16_t index = read_u16(&r);
		struct symbol s = {.address = read_u64(&r),
				   .name = sections_string(&f->sections, strings, name_offset),
				   .index = i,
				   .local = !(info >> 4)};
		s.size = read_u64(&r);
		unsigned type = info & 15;
		const struct section *section = sections_get(&f->sections, index);
		if (!s.name)
			continue;
		if (type == SYMBOL_FILE) {
			file = *s.name && strcmp(s.name, "ld-temp.o") != 0 ? s.name : NULL;
			continue;
		}
		bool in_memory = index == INDEX_ABSOLUTE || (section && (section->flags & SECTION_FLAG_ALLOC));
		if (!index || !in_memory || !s.address || !*s.name || type == SYMBOL_SECTION)
			continue;
		s.is_function = type == SYMBOL_FUNCTION || type == SYMBOL_IFUNC;
		s.is_code = section && (section->flags & SECTION_FLAG_EXECUTE) && (s.is_function || type == SYMBOL_NONE);
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
	return (size_t)snprintf(text, ALIAS_SIZE, "%s%s%s%s%s", a->name, a->file ? "/" : "", a->file ? a->file : "", number,
				a->is_stub ? stub_suffix : "");
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

/* The PLT's own FDE makes no function: its stubs are functions, one by one. */
static bool is_linkage(const struct functions *f, uint64_t address)
{
	const struct section *section = sections_of_code(&f->sections, address);
	return section && sections_is_linkage(&f->sections, section);
}

/* Symbols without a size reach to the next function, or to the end of their section; nothing overlaps. */
static void set_ends(struct functions *f)
{
	for (size_t i = 0; i < f->list.count; i++) {
		struct function *a = &f->list.data[i];
		uint64_t limit = i + 1 < f->list.count ? f->list.data[i + 1].start : UINT64_MAX;
		const struct section *section = a->end == a->start ? sections_of_code(&f->sections, a->start) : NULL;
		if (section)
			a->end = section->address + section->size;
		else if (a->end == a->start && limit != UINT64_MAX)
			a->end = limit;
		a->end = a->end > limit ? limit : a->end;
	}
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
		else if ((before && start < before->end) || is_linkage(f, start))
			continue;
		else if (vec_push(&f->list, (struct function){.start = start, .end = end}))
			return -1;
	}
	if (f->list.count)
		qsort(f->list.data, f->list.count, sizeof *f->list.data, by_start);
	set_ends(f);
	return 0;
}

/* The last function that begins at or before `address`, or NULL. */
static const struct function *last_before(const struct functions *f, uint64_t address)
{
	size_t low = 0, high = f->list.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (f->list.data[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &f->list.data[low - 1] : NULL;
}

static bool is_free(const struct functions *f, const struct stub *stub)
{
	const struct function *before = last_before(f, stub->start + stub->size - 1);
	return !before || before->end <= stub->start;
}

/* Stubs are functions where nothing else is. Those of one name: the first has it. */
static int add_stubs(struct functions *f, const struct stub *stubs, size_t count)
{
	VEC(struct function) added = {0};
	int failed = vec_reserve(&added, count);
	for (size_t i = 0; !failed && i < count; i++) {
		struct alias alias = {.name = stubs[i].name, .is_stub = true, .start = stubs[i].start};
		char text[ALIAS_SIZE];
		alias.hash = hash_of(text, alias_text(&alias, text));
		if (!is_free(f, &stubs[i]))
			continue;
		added.data[added.count++] = (struct function){
		    .start = stubs[i].start, .end = stubs[i].start + stubs[i].size, .name = stubs[i].name, .is_stub = true};
		failed = vec_push(&f->aliases, alias);
	}
	failed = failed || vec_reserve(&f->list, added.count);
	for (size_t i = 0; !failed && i < added.count; i++)
		f->list.data[f->list.count++] = added.data[i];
	vec_free(&added);
	if (!failed && f->list.count)
		qsort(f->list.data, f->list.count, sizeof *f->list.data, by_start);
	return failed;
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
	for (size_t i = 0; i < f->sections.list.count; i++) {
		const struct section *table = &f->sections.list.data[i];
		if (table->type != SECTION_SYMTAB || table->link >= f->sections.list.count)
			continue;
		const struct section *strings = &f->sections.list.data[table->link];
		if (!sections_inside(&f->sections, table) || !sections_inside(&f->sections, strings))
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
	return failed ? err_set(e, ERR_MEMORY, "no memory for functions") : 0;
}

static int read_frames(struct functions *f, struct err *e)
{
	struct frame *frames;
	size_t count;
	int status = frames_read(f->file.data, f->file.size, &f->head, &frames, &count, e);
	if (status)
		return status;
	if (add_frames(f, frames, count))
		status = err_set(e, ERR_MEMORY, "no memory for functions");
	free(frames);
	return status;
}

static int read_stubs(struct functions *f, struct err *e)
{
	struct stub *stubs;
	size_t count;
	int status = stubs_read(&f->sections, &stubs, &count, e);
	if (status)
		return status;
	if (add_stubs(f, stubs, count))
		status = err_set(e, ERR_MEMORY, "no memory for functions");
	free(stubs);
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
	if (!status)
		status = sections_read(f->file.data, f->file.size, &f->sections, e);
	if (!status)
		status = read_names(f, e);
	if (!status)
		status = read_frames(f, e);
	if (!status)
		status = read_stubs(f, e);
	if (f->aliases.count)
		qsort(f->aliases.data, f->aliases.count, sizeof *f->aliases.data, by_hash);
	vec_free(&f->symbols);
	sections_free(&f->sections);
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
	sections_free(&f->sections);
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
	const struct function *found = last_before(f, address.v);
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
	if (function->is_stub)
		write_bytes(w, stub_suffix, sizeof stub_suffix - 1);
}
