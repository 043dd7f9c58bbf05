#include "profile/import/sections.h"

#include "formats/base/bytes.h"

#include <string.h>

enum { HEADER_SIZE = 64, NAME_MAX_SIZE = 4096 };

static struct section read_section(struct reader *r)
{
	struct section s = {.name = read_u32(r)};
	s.type = read_u32(r);
	s.flags = read_u64(r);
	s.address = read_u64(r);
	s.offset = read_u64(r);
	s.size = read_u64(r);
	s.link = read_u32(r);
	read_bytes(r, 20);
	return s;
}

int sections_read(const uint8_t *file, size_t size, struct sections *ret_sections, struct err *e)
{
	struct sections s = {.file = file, .size = size};
	struct reader r = reader_of(file, size);
	read_bytes(&r, 40);
	uint64_t table = read_u64(&r);
	read_bytes(&r, 10);
	uint16_t entry = read_u16(&r), count = read_u16(&r);
	s.names = read_u16(&r);
	if (r.failed || entry != HEADER_SIZE || table > size || count > (size - table) / HEADER_SIZE)
		count = 0; /* no table of sections: as good as stripped */
	if (vec_reserve(&s.list, count))
		return err_set(e, ERR_MEMORY, "no memory for %u sections", count);
	if (count)
		r = reader_of(file + table, (size_t)count * HEADER_SIZE);
	for (uint16_t i = 0; i < count; i++)
		s.list.data[s.list.count++] = read_section(&r);
	*ret_sections = s;
	return 0;
}

void sections_free(struct sections *s)
{
	vec_free(&s->list);
}

const struct section *sections_get(const struct sections *s, uint32_t index)
{
	return index && index < s->list.count ? &s->list.data[index] : NULL;
}

bool sections_inside(const struct sections *s, const struct section *section)
{
	return section->offset <= s->size && section->size <= s->size - section->offset;
}

const char *sections_string(const struct sections *s, const struct section *strings, uint32_t offset)
{
	if (offset >= strings->size)
		return NULL;
	const char *text = (const char *)s->file + strings->offset + offset;
	uint64_t left = strings->size - offset;
	return memchr(text, 0, left < NAME_MAX_SIZE ? (size_t)left : NAME_MAX_SIZE) ? text : NULL;
}

const char *sections_name(const struct sections *s, const struct section *section)
{
	const struct section *names = sections_get(s, s->names);
	return names && sections_inside(s, names) ? sections_string(s, names, section->name) : NULL;
}

const struct section *sections_of_code(const struct sections *s, uint64_t address)
{
	for (size_t i = 0; i < s->list.count; i++) {
		const struct section *section = &s->list.data[i];
		if (section->flags & SECTION_FLAG_EXECUTE && address - section->address < section->size)
			return section;
	}
	return NULL;
}

bool sections_is_linkage(const struct sections *s, const struct section *section)
{
	const char *name = section->flags & SECTION_FLAG_EXECUTE ? sections_name(s, section) : NULL;
	return name && !strncmp(name, ".plt", 4);
}
