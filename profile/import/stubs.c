#include "profile/import/stubs.h"

#include "formats/base/bytes.h"

#include <string.h>

enum { RELA_SIZE = 24, SYMBOL_SIZE = 24, JUMP_SIZE = 6, LAZY_SIZE = 16, DENSE_SIZE = 8 };

struct slot {
	uint64_t address;
	const char *name;
};

struct slots {
	VEC(struct slot) list; /* sorted by address */
};

struct stub_list {
	VEC(struct stub) list;
};

static int by_address(const void *left, const void *right)
{
	const struct slot *a = left, *b = right;
	return a->address < b->address ? -1 : a->address > b->address;
}

static int by_start(const void *left, const void *right)
{
	const struct stub *a = left, *b = right;
	return a->start < b->start ? -1 : a->start > b->start;
}

/* Name of a symbol of this table; NULL when there is none. */
static const char *symbol_name(const struct sections *s, const struct section *symbols, uint32_t index)
{
	const struct section *strings = sections_get(s, symbols->link);
	if (!strings || !sections_inside(s, strings) || index >= symbols->size / SYMBOL_SIZE)
		return NULL;
	struct reader r = reader_of(s->file + symbols->offset + (size_t)index * SYMBOL_SIZE, SYMBOL_SIZE);
	const char *name = sections_string(s, strings, read_u32(&r));
	return name && *name ? name : NULL;
}

static int add_slots(const struct sections *s, const struct section *table, struct slots *slots)
{
	const struct section *symbols = sections_get(s, table->link);
	if (!sections_inside(s, table) || !symbols || !sections_inside(s, symbols))
		return 0;
	struct reader r = reader_of(s->file + table->offset, (size_t)table->size);
	while (reader_left(&r) >= RELA_SIZE) {
		struct slot slot = {.address = read_u64(&r)};
		uint64_t info = read_u64(&r);
		read_u64(&r);
		slot.name = symbol_name(s, symbols, (uint32_t)(info >> 32));
		if (slot.name && vec_push(&slots->list, slot))
			return -1;
	}
	return 0;
}

static const char *name_of_slot(const struct slots *slots, uint64_t address)
{
	const struct slot key = {.address = address};
	const struct slot *found = slots->list.count ? bsearch(&key, slots->list.data, slots->list.count, sizeof key, by_address) : NULL;
	return found ? found->name : NULL;
}

/* The slot that the code from `at` on jumps through: ff 25 disp32, behind whatever else the piece holds (endbr64, bnd). 0: there is no jump. */
static uint64_t slot_of_piece(const struct sections *s, const struct section *section, uint64_t at, uint64_t size)
{
	const uint8_t *code = s->file + section->offset + at;
	for (uint64_t i = 0; i < size && section->size - at - i >= JUMP_SIZE; i++)
		if (code[i] == 0xff && code[i + 1] == 0x25)
			return section->address + at + i + JUMP_SIZE + (uint64_t)(int64_t)(int32_t)load_u32(code + i + 2);
	return 0;
}

static int add_stubs(const struct sections *s, const struct section *section, const struct slots *slots, struct stub_list *stubs)
{
	uint64_t size = strcmp(sections_name(s, section), ".plt") ? DENSE_SIZE : LAZY_SIZE;
	if (!sections_inside(s, section))
		return 0;
	for (uint64_t at = 0; section->size >= size && at <= section->size - size; at += size) {
		struct stub stub = {section->address + at, size, name_of_slot(slots, slot_of_piece(s, section, at, size))};
		if (stub.name && vec_push(&stubs->list, stub))
			return -1;
	}
	return 0;
}

/* Sections of a bad file may overlap. */
static void drop_overlapping(struct stub_list *stubs)
{
	size_t kept = 0;
	for (size_t i = 0; i < stubs->list.count; i++) {
		const struct stub *last = kept ? &stubs->list.data[kept - 1] : NULL;
		if (!last || stubs->list.data[i].start - last->start >= last->size)
			stubs->list.data[kept++] = stubs->list.data[i];
	}
	stubs->list.count = kept;
}

int stubs_read(const struct sections *s, struct stub **ret_stubs, size_t *ret_count, struct err *e)
{
	struct slots slots = {0};
	struct stub_list stubs = {0};
	int failed = 0;
	for (size_t i = 0; !failed && i < s->list.count; i++)
		if (s->list.data[i].type == SECTION_RELA && s->list.data[i].flags & SECTION_FLAG_ALLOC)
			failed = add_slots(s, &s->list.data[i], &slots);
	if (slots.list.count)
		qsort(slots.list.data, slots.list.count, sizeof *slots.list.data, by_address);
	for (size_t i = 0; !failed && i < s->list.count; i++)
		if (sections_is_linkage(s, &s->list.data[i]))
			failed = add_stubs(s, &s->list.data[i], &slots, &stubs);
	vec_free(&slots.list);
	if (failed) {
		vec_free(&stubs.list);
		return err_set(e, ERR_MEMORY, "no memory for linkage stubs");
	}
	if (stubs.list.count)
		qsort(stubs.list.data, stubs.list.count, sizeof *stubs.list.data, by_start);
	drop_overlapping(&stubs);
	*ret_stubs = stubs.list.data;
	*ret_count = stubs.list.count;
	return 0;
}
