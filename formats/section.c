#include "formats/section.h"

int section_load(const struct container *c, const struct container_chunk *chunk, struct section *ret_section, struct err *e)
{
	struct section s = {.chunk = *chunk};
	int status = container_load(c, chunk, &s.bytes, e);
	if (status)
		return status;
	s.r = reader_of(s.bytes, (size_t)chunk->raw_length);
	*ret_section = s;
	return 0;
}

void section_free(struct section *s)
{
	free(s->bytes);
	*s = (struct section){0};
}

int section_finish(const struct container *c, struct section *s, struct err *e)
{
	int status = 0;
	unsigned long long at = s->chunk.offset;
	if (s->r.failed)
		status =
		    err_set(e, ERR_FORMAT, "%s: chunk at offset %llu: ends early, or a number is too large, at byte %zu of its contents",
			    c->name, at, s->r.position);
	else if (reader_left(&s->r))
		status = err_set(e, ERR_FORMAT, "%s: chunk at offset %llu: %zu bytes left over", c->name, at, reader_left(&s->r));
	section_free(s);
	return status;
}

int section_count(const struct container *c, struct section *s, unsigned minimum, uint32_t *ret_count, struct err *e)
{
	uint64_t count = column_get(&s->r);
	unsigned long long at = s->chunk.offset;
	if (s->r.failed)
		return err_set(e, ERR_FORMAT, "%s: chunk at offset %llu: no record count", c->name, at);
	/* UINT32_MAX itself means "none" as an index. */
	if (count >= UINT32_MAX || count > reader_left(&s->r) / minimum)
		return err_set(e, ERR_FORMAT, "%s: chunk at offset %llu: %llu records cannot fit in %zu bytes", c->name, at,
			       (unsigned long long)count, reader_left(&s->r));
	*ret_count = (uint32_t)count;
	return 0;
}

void *section_array(const struct container *c, const struct section *s, uint64_t count, size_t size, struct err *e)
{
	void *array = calloc(count ? (size_t)count : 1, size);
	if (!array)
		err_set(e, ERR_MEMORY, "%s: no memory for the %llu records of the chunk at offset %llu", c->name, (unsigned long long)count,
			(unsigned long long)s->chunk.offset);
	return array;
}

static bool next_required(const struct container *c, struct container_chunk *cursor)
{
	bool more = container_next(c, cursor->offset ? cursor : NULL, cursor);
	while (more && !(cursor->flags & CONTAINER_REQUIRED))
		more = container_next(c, cursor, cursor);
	return more;
}

int section_expect(const struct container *c, struct container_chunk *cursor, uint32_t tag, struct section *ret_section, struct err *e)
{
	char wanted[5], found[5];
	container_tag_text(tag, wanted);
	if (!next_required(c, cursor))
		return err_set(e, ERR_FORMAT, "%s: no chunk '%s'", c->name, wanted);
	if (cursor->tag != tag)
		return err_set(e, ERR_FORMAT, "%s: chunk '%s' at offset %llu where '%s' must be", c->name,
			       container_tag_text(cursor->tag, found), (unsigned long long)cursor->offset, wanted);
	return section_load(c, cursor, ret_section, e);
}

bool section_follows(const struct container *c, const struct container_chunk *cursor, uint32_t tag)
{
	struct container_chunk next = *cursor;
	return next_required(c, &next) && next.tag == tag;
}

int section_expect_end(const struct container *c, struct container_chunk *cursor, struct err *e)
{
	char found[5];
	if (!next_required(c, cursor))
		return 0;
	return err_set(e, ERR_FORMAT, "%s: chunk '%s' at offset %llu where none may follow", c->name,
		       container_tag_text(cursor->tag, found), (unsigned long long)cursor->offset);
}
