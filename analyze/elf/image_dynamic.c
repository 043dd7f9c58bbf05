/*
 * What the dynamic linker would do with the file: PT_DYNAMIC, dynamic symbols and relocations; and .symtab where it is present.
 */
#include "analyze/elf/image_parts.h"
#include "formats/base/vec.h"

#include <stdlib.h>
#include <string.h>

struct table {
	const uint8_t *data;
	size_t size;
};

struct dynamic {
	uint64_t value[40]; /* by tag, 0 = absent */
	struct table strings, symbols;
	size_t symbol_count;
	VEC(struct image_symbol) names;
	VEC(struct image_import) imports;
	VEC(struct image_pointer) pointers;
	VEC(uint64_t) init_fini;
	VEC(uint64_t) resolvers;
	VEC(uint64_t) needed; /* offsets into strings */
	bool no_memory;
};

#define PUSH(d, v, ...) ((d)->no_memory |= vec_push(v, __VA_ARGS__) != 0)

/* A NUL-terminated string inside the table, or NULL. */
static const char *string_at(const struct table *t, uint64_t offset)
{
	if (offset >= t->size || !memchr(t->data + offset, 0, t->size - offset))
		return NULL;
	return (const char *)t->data + offset;
}

static struct table table_at(const struct image *image, uint64_t address, uint64_t size)
{
	struct table t = {size ? image_bytes(image, (vaddr){address}, size) : NULL, size};
	if (!t.data)
		t.size = 0;
	return t;
}

static void read_tags(struct image *image, struct dynamic *d, const Elf64_Phdr *p)
{
	const uint8_t *bytes = image_file_bytes(image, p->p_offset, p->p_filesz);
	struct reader r = reader_of(bytes, bytes ? p->p_filesz : 0);
	uint64_t tag;
	while (reader_left(&r) >= 16 && (tag = read_u64(&r)) != DT_NULL) {
		uint64_t value = read_u64(&r);
		if (tag == DT_NEEDED)
			PUSH(d, &d->needed, value);
		else if (tag < 40 && !d->value[tag])
			d->value[tag] = value;
		else if (tag == DT_GNU_HASH)
			d->value[0] = value; /* DT_NULL's place is free */
	}
	d->strings = table_at(image, d->value[DT_STRTAB], d->value[DT_STRSZ]);
}

/* The loader needs no symbol count; without section headers it follows from the hash table. */
static size_t count_by_hash(const struct image *image, const struct dynamic *d)
{
	size_t left;
	const uint8_t *h = d->value[DT_HASH] ? image_bytes(image, (vaddr){d->value[DT_HASH]}, 8) : NULL;
	if (h)
		return load_u32(h + 4);
	h = d->value[0] ? image_bytes_left(image, (vaddr){d->value[0]}, &left) : NULL;
	if (!h || left < 16)
		return 0;
	uint64_t buckets = load_u32(h), first = load_u32(h + 4), bloom = load_u32(h + 8), last = 0;
	uint64_t at = 16 + bloom * 8;
	if (at + buckets * 4 > left)
		return 0;
	for (uint64_t i = 0; i < buckets; i++)
		if (load_u32(h + at + 4 * i) > last)
			last = load_u32(h + at + 4 * i);
	if (last < first)
		return first;
	for (at += buckets * 4 + (last - first) * 4; at + 4 <= left; at += 4, last++)
		if (load_u32(h + at) & 1)
			return last + 1;
	return 0;
}

static void locate_symbols(const struct image *image, struct dynamic *d, const Elf64_Shdr *section)
{
	size_t left = 0;
	const uint8_t *bytes = d->value[DT_SYMTAB] ? image_bytes_left(image, (vaddr){d->value[DT_SYMTAB]}, &left) : NULL;
	size_t count =
	    section->sh_size && section->sh_addr == d->value[DT_SYMTAB] ? section->sh_size / sizeof(Elf64_Sym) : count_by_hash(image, d);
	if (!bytes)
		count = 0;
	if (count > left / sizeof(Elf64_Sym))
		count = left / sizeof(Elf64_Sym);
	d->symbols = (struct table){bytes, count * sizeof(Elf64_Sym)};
	d->symbol_count = count;
}

static void add_names(const struct image *image, struct dynamic *d, const struct table *symbols, const struct table *strings)
{
	for (size_t i = 0; i < symbols->size / sizeof(Elf64_Sym); i++) {
		Elf64_Sym s;
		memcpy(&s, symbols->data + i * sizeof s, sizeof s);
		unsigned type = ELF64_ST_TYPE(s.st_info), bind = ELF64_ST_BIND(s.st_info);
		if ((type != STT_FUNC && type != STT_GNU_IFUNC) || s.st_shndx == SHN_UNDEF || !image_executable(image, (vaddr){s.st_value}))
			continue;
		const char *name = string_at(strings, s.st_name);
		if (!name)
			continue;
		PUSH(d, &d->names, (struct image_symbol){s.st_value, s.st_size, name, type == STT_GNU_IFUNC, bind != STB_LOCAL});
		if (type == STT_GNU_IFUNC)
			PUSH(d, &d->resolvers, s.st_value);
	}
}

static void add_pointer(const struct image *image, struct dynamic *d, uint64_t place, uint64_t value)
{
	if (image_executable(image, (vaddr){value}))
		PUSH(d, &d->pointers, (struct image_pointer){place, value});
}

static void apply_symbol_relocation(const struct image *image, struct dynamic *d, const Elf64_Rela *r)
{
	uint64_t index = ELF64_R_SYM(r->r_info);
	unsigned type = ELF64_R_TYPE(r->r_info);
	Elf64_Sym s;
	if (!index || index >= d->symbol_count)
		return;
	memcpy(&s, d->symbols.data + index * sizeof s, sizeof s);
	unsigned kind = ELF64_ST_TYPE(s.st_info);
	if (s.st_shndx != SHN_UNDEF)
		add_pointer(image, d, r->r_offset, s.st_value + (type == R_X86_64_64 ? (uint64_t)r->r_addend : 0));
	if (type != R_X86_64_64 && kind != STT_OBJECT && kind != STT_TLS && kind != STT_COMMON)
		PUSH(d, &d->imports, (struct image_import){r->r_offset, string_at(&d->strings, s.st_name)});
}

static void read_relocations(const struct image *image, struct dynamic *d, uint64_t address, uint64_t size)
{
	struct table t = table_at(image, address, size);
	for (size_t i = 0; i < t.size / sizeof(Elf64_Rela); i++) {
		Elf64_Rela r;
		memcpy(&r, t.data + i * sizeof r, sizeof r);
		switch (ELF64_R_TYPE(r.r_info)) {
		case R_X86_64_RELATIVE:
		case R_X86_64_RELATIVE64:
			add_pointer(image, d, r.r_offset, (uint64_t)r.r_addend);
			break;
		case R_X86_64_IRELATIVE:
			PUSH(d, &d->resolvers, (uint64_t)r.r_addend);
			PUSH(d, &d->imports, (struct image_import){r.r_offset, NULL});
			break;
		case R_X86_64_JUMP_SLOT:
		case R_X86_64_GLOB_DAT:
		case R_X86_64_64:
			apply_symbol_relocation(image, d, &r);
			break;
		}
	}
}

static void relr_word(const struct image *image, struct dynamic *d, uint64_t place)
{
	const uint8_t *word = image_bytes(image, (vaddr){place}, 8);
	if (word)
		add_pointer(image, d, place, load_u64(word));
}

/* Packed relative relocations: an even word is a place, an odd one a bitmap of the 63 words after it (generic ABI, DT_RELR). */
static void read_relr(const struct image *image, struct dynamic *d)
{
	struct table t = table_at(image, d->value[DT_RELR], d->value[DT_RELRSZ]);
	uint64_t place = 0;
	for (size_t i = 0; i + 8 <= t.size; i += 8) {
		uint64_t entry = load_u64(t.data + i);
		if (!(entry & 1)) {
			relr_word(image, d, entry);
			place = entry + 8;
			continue;
		}
		for (unsigned bit = 1; bit < 64; bit++)
			if (entry >> bit & 1)
				relr_word(image, d, place + 8 * (bit - 1));
		place += 63 * 8;
	}
}

/* Without relocations any aligned word of data that equals a text address may be a code pointer. */
static void guess_pointers(const struct image *image, struct dynamic *d)
{
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct image_segment *s = &image->segments[i];
		if (s->executable || !s->file_size)
			continue;
		const uint8_t *bytes = image->file.data + s->offset;
		for (uint64_t at = -s->vaddr & 7; at + 8 <= s->file_size; at += 8) {
			uint64_t value = load_u64(bytes + at);
			if (value - image->text_base < image->text_size)
				add_pointer(image, d, s->vaddr + at, value);
		}
	}
}

static int compare_pointers(const void *a, const void *b)
{
	const struct image_pointer *x = a, *y = b;
	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return (x->value > y->value) - (x->value < y->value);
}

static int compare_imports(const void *a, const void *b)
{
	const struct image_import *x = a, *y = b;
	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	return x->name && y->name ? strcmp(x->name, y->name) : !x->name - !y->name;
}

static int compare_symbols(const void *a, const void *b)
{
	const struct image_symbol *x = a, *y = b;
	if (x->vaddr != y->vaddr)
		return x->vaddr < y->vaddr ? -1 : 1;
	if (x->is_global != y->is_global)
		return x->is_global ? -1 : 1;
	return strcmp(x->name, y->name);
}

static void sort_pointers(struct dynamic *d)
{
	bool sorted = true;
	for (size_t i = 1; i < d->pointers.count && sorted; i++)
		sorted = d->pointers.data[i - 1].place < d->pointers.data[i].place;
	if (sorted || !d->pointers.count)
		return;
	qsort(d->pointers.data, d->pointers.count, sizeof *d->pointers.data, compare_pointers);
	size_t kept = 1;
	for (size_t i = 1; i < d->pointers.count; i++)
		if (d->pointers.data[i].place != d->pointers.data[kept - 1].place)
			d->pointers.data[kept++] = d->pointers.data[i];
	d->pointers.count = kept;
}

/* Two relocations of one slot: the first by name stays (the loader would apply both; no linker makes them). */
static void sort_imports(struct dynamic *d)
{
	if (!d->imports.count)
		return;
	qsort(d->imports.data, d->imports.count, sizeof *d->imports.data, compare_imports);
	size_t kept = 1;
	for (size_t i = 1; i < d->imports.count; i++)
		if (d->imports.data[i].slot != d->imports.data[kept - 1].slot)
			d->imports.data[kept++] = d->imports.data[i];
	d->imports.count = kept;
}

/* Init and fini arrays hold pointers that are relocations as well, so they are looked up among the pointers. */
static void add_array(struct image *image, struct dynamic *d, uint64_t address, uint64_t size)
{
	for (size_t i = image_pointer_from(image, address); i < image->pointer_count && image->pointers[i].place - address < size; i++)
		PUSH(d, &d->init_fini, image->pointers[i].value);
}

static void add_code(const struct image *image, struct dynamic *d, uint64_t address)
{
	if (address && image_executable(image, (vaddr){address}))
		PUSH(d, &d->init_fini, address);
}

static void collect_init_fini(struct image *image, struct dynamic *d, uint64_t entry)
{
	const uint64_t *v = d->value;
	add_code(image, d, entry);
	add_code(image, d, v[DT_INIT]);
	add_code(image, d, v[DT_FINI]);
	add_array(image, d, v[DT_INIT_ARRAY], v[DT_INIT_ARRAYSZ]);
	add_array(image, d, v[DT_FINI_ARRAY], v[DT_FINI_ARRAYSZ]);
	add_array(image, d, v[DT_PREINIT_ARRAY], v[DT_PREINIT_ARRAYSZ]);
	image->init_fini = d->init_fini.data;
	image->init_fini_count = image_sort_unique(d->init_fini.data, d->init_fini.count);
}

static void collect_code_pointers(struct image *image, struct dynamic *d)
{
	VEC(uint64_t) values = {0};
	if (vec_reserve(&values, image->pointer_count + image->init_fini_count + image->resolver_count)) {
		d->no_memory = true;
		return;
	}
	for (size_t i = 0; i < image->pointer_count; i++)
		values.data[values.count++] = image->pointers[i].value;
	for (size_t i = 0; i < image->init_fini_count; i++)
		values.data[values.count++] = image->init_fini[i];
	for (size_t i = 0; i < image->resolver_count; i++)
		values.data[values.count++] = image->resolvers[i];
	image->code_pointers = values.data;
	image->code_pointer_count = image_sort_unique(values.data, values.count);
}

static void collect_names(struct image *image, struct dynamic *d)
{
	const char **needed = calloc(d->needed.count + 1, sizeof *needed);
	d->no_memory |= !needed;
	for (size_t i = 0; needed && i < d->needed.count; i++) {
		const char *name = string_at(&d->strings, d->needed.data[i]);
		if (name)
			needed[image->needed_count++] = name;
	}
	image->needed = needed;
	if (d->value[DT_RUNPATH])
		image->runpath = string_at(&d->strings, d->value[DT_RUNPATH]);
	if (d->value[DT_RPATH])
		image->rpath = string_at(&d->strings, d->value[DT_RPATH]);
	if (d->value[DT_SONAME])
		image->soname = string_at(&d->strings, d->value[DT_SONAME]);
}

static void read_symbol_tables(const struct image *image, struct dynamic *d, const struct image_sections *sections)
{
	add_names(image, d, &d->symbols, &d->strings);
	const Elf64_Shdr *s = &sections->symtab, *n = &sections->symtab_strings;
	if (!s->sh_size || !n->sh_size)
		return;
	struct table symbols = {image_file_bytes(image, s->sh_offset, s->sh_size), s->sh_size};
	struct table strings = {image_file_bytes(image, n->sh_offset, n->sh_size), n->sh_size};
	if (symbols.data && strings.data)
		add_names(image, d, &symbols, &strings);
}

int image_read_dynamic(struct image *image, const Elf64_Phdr *dynamic, const struct image_sections *sections, uint64_t entry, struct err *e)
{
	struct dynamic d = {0};
	if (dynamic)
		read_tags(image, &d, dynamic);
	locate_symbols(image, &d, &sections->dynsym);
	read_symbol_tables(image, &d, sections);
	read_relocations(image, &d, d.value[DT_RELA], d.value[DT_RELASZ]);
	if (d.value[DT_JMPREL] && d.value[DT_PLTREL] == DT_RELA)
		read_relocations(image, &d, d.value[DT_JMPREL], d.value[DT_PLTRELSZ]);
	read_relr(image, &d);
	if (!image->pie)
		guess_pointers(image, &d);
	sort_pointers(&d);
	sort_imports(&d);
	if (d.names.count)
		qsort(d.names.data, d.names.count, sizeof *d.names.data, compare_symbols);
	image->pointers = d.pointers.data;
	image->pointer_count = d.pointers.count;
	image->imports = d.imports.data;
	image->import_count = d.imports.count;
	image->symbols = d.names.data;
	image->symbol_count = d.names.count;
	image->resolvers = d.resolvers.data;
	image->resolver_count = image_sort_unique(d.resolvers.data, d.resolvers.count);
	collect_init_fini(image, &d, entry);
	collect_code_pointers(image, &d);
	collect_names(image, &d);
	vec_free(&d.needed);
	return d.no_memory ? err_set(e, ERR_MEMORY, "no memory for symbols and relocations") : 0;
}
