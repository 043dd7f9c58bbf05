#include "formats/base/elfhead.h"

#include "formats/base/bytes.h"
#include "formats/base/hash.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_SIZE = 64, ENTRY_SIZE = 56, PAGE = 4096, PIECE = 1 << 16 };
enum { MACHINE_X86_64 = 62, TYPE_EXEC = 2, TYPE_DYN = 3, NOTE_BUILD_ID = 3 };

static int read_buffer(const struct elf_source *source, uint64_t at, void *buffer, size_t size)
{
	if (at > source->size || size > source->size - at) {
		errno = EIO;
		return -1;
	}
	memcpy(buffer, (const uint8_t *)source->data + at, size);
	return 0;
}

static int read_descriptor(const struct elf_source *source, uint64_t at, void *buffer, size_t size)
{
	uint8_t *out = buffer;
	uint64_t position = source->base + at;
	while (size) {
		if (position > INT64_MAX) {
			errno = EIO;
			return -1;
		}
		ssize_t got = pread(source->fd, out, size, (off_t)position);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			errno = got ? errno : EIO;
			return -1;
		}
		out += got;
		position += (size_t)got;
		size -= (size_t)got;
	}
	return 0;
}

struct elf_source elf_source_of_buffer(const void *data, size_t size)
{
	return (struct elf_source){.read = read_buffer, .data = data, .size = size, .fd = -1};
}

struct elf_source elf_source_of_fd(int fd, uint64_t base)
{
	return (struct elf_source){.read = read_descriptor, .fd = fd, .base = base};
}

/* Checks the 64 bytes of the ELF header; where the program headers are goes to *ret_table. */
static int parse_header(const uint8_t *bytes, const char *name, struct elfhead *head, uint64_t *ret_table, struct err *e)
{
	struct reader r = reader_of(bytes, HEADER_SIZE);
	const uint8_t *ident = read_bytes(&r, 16);
	if (memcmp(ident, "\177ELF", 4) != 0)
		return err_set(e, ERR_FORMAT, "%s: not an ELF file", name);
	if (ident[4] != 2 || ident[5] != 1)
		return err_set(e, ERR_UNSUPPORTED, "%s: not a 64-bit little-endian ELF file", name);
	uint16_t type = read_u16(&r), machine = read_u16(&r);
	uint32_t version = read_u32(&r);
	head->entry.v = read_u64(&r);
	*ret_table = read_u64(&r);
	read_u64(&r); /* e_shoff */
	read_u32(&r); /* e_flags */
	uint16_t header_size = read_u16(&r), entry_size = read_u16(&r), count = read_u16(&r);
	if (machine != MACHINE_X86_64)
		return err_set(e, ERR_UNSUPPORTED, "%s: ELF machine %u is not x86-64", name, machine);
	if (type != TYPE_EXEC && type != TYPE_DYN)
		return err_set(e, ERR_UNSUPPORTED, "%s: ELF type %u is neither executable nor shared object", name, type);
	if (ident[6] != 1 || version != 1 || header_size != HEADER_SIZE)
		return err_set(e, ERR_FORMAT, "%s: ELF header of version %u and size %u", name, version, header_size);
	if (entry_size != ENTRY_SIZE)
		return err_set(e, ERR_FORMAT, "%s: program headers of %u bytes, expected %d", name, entry_size, ENTRY_SIZE);
	if (!count)
		return err_set(e, ERR_FORMAT, "%s: no program headers", name);
	if (count > ELFHEAD_SEGMENT_MAX)
		return err_set(e, ERR_UNSUPPORTED, "%s: %u program headers, more than %d", name, count, ELFHEAD_SEGMENT_MAX);
	head->dynamic = type == TYPE_DYN;
	head->segment_count = count;
	return 0;
}

static struct elf_segment parse_segment(struct reader *r)
{
	struct elf_segment s = {.type = read_u32(r), .flags = read_u32(r)};
	s.offset = read_u64(r);
	s.address.v = read_u64(r);
	read_u64(r); /* p_paddr */
	s.file_size = read_u64(r);
	s.memory_size = read_u64(r);
	s.align = read_u64(r);
	return s;
}

static int check_load(const struct elf_segment *s, const struct elf_segment *previous, const char *name, struct err *e)
{
	uint64_t end;
	if (__builtin_add_overflow(s->offset, s->file_size, &end))
		return err_set(e, ERR_FORMAT, "%s: segment at offset 0x%lx passes the end of all files", name, s->offset);
	if (__builtin_add_overflow(s->address.v, s->memory_size, &end))
		return err_set(e, ERR_FORMAT, "%s: segment at vaddr 0x%lx passes the end of the address space", name, s->address.v);
	if (s->file_size > s->memory_size)
		return err_set(e, ERR_FORMAT, "%s: segment at vaddr 0x%lx is larger in the file than in memory", name, s->address.v);
	if ((s->offset ^ s->address.v) & (PAGE - 1))
		return err_set(e, ERR_FORMAT, "%s: segment at vaddr 0x%lx cannot be mapped from offset 0x%lx", name, s->address.v,
			       s->offset);
	if (previous && s->address.v < previous->address.v + previous->memory_size)
		return err_set(e, ERR_FORMAT, "%s: segment at vaddr 0x%lx overlaps or precedes the one before", name, s->address.v);
	return 0;
}

static int parse_segments(const uint8_t *table, const char *name, struct elfhead *head, struct err *e)
{
	struct reader r = reader_of(table, (size_t)head->segment_count * ENTRY_SIZE);
	const struct elf_segment *previous = NULL;
	for (uint32_t i = 0; i < head->segment_count; i++) {
		struct elf_segment *s = &head->segments[i];
		*s = parse_segment(&r);
		if (s->type != ELFHEAD_LOAD)
			continue;
		int status = check_load(s, previous, name, e);
		if (status)
			return status;
		previous = s;
	}
	return previous ? 0 : err_set(e, ERR_FORMAT, "%s: no PT_LOAD segment", name);
}

int elfhead_read(const struct elf_source *source, const char *name, struct elfhead *ret_head, struct err *e)
{
	uint8_t header[HEADER_SIZE], table[ELFHEAD_SEGMENT_MAX * ENTRY_SIZE];
	struct elfhead head = {0};
	uint64_t at = 0, end;
	if (source->read(source, 0, header, sizeof header))
		return err_set(e, ERR_FORMAT, "%s: no ELF header: %s", name, strerror(errno));
	int status = parse_header(header, name, &head, &at, e);
	if (status)
		return status;
	size_t size = (size_t)head.segment_count * ENTRY_SIZE;
	if (__builtin_add_overflow(at, size, &end) || source->read(source, at, table, size))
		return err_set(e, ERR_FORMAT, "%s: %u program headers at offset 0x%lx pass the end", name, head.segment_count, at);
	status = parse_segments(table, name, &head, e);
	if (!status)
		*ret_head = head;
	return status;
}

/* Walks the notes of one segment: {namesz, descsz, type, name padded, desc padded}. */
static size_t find_build_id(const uint8_t *notes, size_t note_size, size_t align, uint8_t *build_id, size_t size)
{
	struct reader r = reader_of(notes, note_size);
	while (reader_left(&r) >= 12) {
		uint32_t name_size = read_u32(&r), size_here = read_u32(&r), type = read_u32(&r);
		const uint8_t *name = read_bytes(&r, name_size);
		read_bytes(&r, -r.position & (align - 1));
		const uint8_t *data = read_bytes(&r, size_here);
		if (r.failed)
			return 0;
		if (type == NOTE_BUILD_ID && name_size == 4 && !memcmp(name, "GNU", 4)) {
			size_t length = size_here < size ? size_here : size;
			memcpy(build_id, data, length);
			return length;
		}
		read_bytes(&r, -r.position & (align - 1)); /* may fail at the end of the last note: nothing follows then */
	}
	return 0;
}

void elfhead_build_id(const struct elfhead *head, const struct elf_source *source, bool in_memory, uint8_t *build_id, size_t size,
		      size_t *ret_size)
{
	uint8_t notes[PIECE];
	*ret_size = 0;
	for (uint32_t i = 0; i < head->segment_count && !*ret_size; i++) {
		const struct elf_segment *s = &head->segments[i];
		if (s->type != ELFHEAD_NOTE || s->file_size > sizeof notes)
			continue;
		if (source->read(source, in_memory ? s->address.v : s->offset, notes, s->file_size))
			continue;
		*ret_size = find_build_id(notes, s->file_size, s->align == 8 ? 8 : 4, build_id, size);
	}
}

static bool is_text(const struct elf_segment *s)
{
	return s->type == ELFHEAD_LOAD && (s->flags & ELFHEAD_EXECUTE);
}

/* The executable PT_LOAD after `previous` (NULL: the first) in the order of offsets, table order among equals. */
static const struct elf_segment *next_text(const struct elfhead *head, const struct elf_segment *previous)
{
	const struct elf_segment *best = NULL;
	for (const struct elf_segment *s = head->segments; s < head->segments + head->segment_count; s++) {
		if (!is_text(s))
			continue;
		if (previous && (s->offset < previous->offset || (s->offset == previous->offset && s <= previous)))
			continue;
		if (!best || s->offset < best->offset)
			best = s;
	}
	return best;
}

static int hash_segment(struct hash_state *state, const struct elf_segment *s, const struct elf_source *file, const char *name,
			struct err *e)
{
	uint8_t piece[PIECE];
	for (uint64_t done = 0; done < s->file_size;) {
		size_t size = s->file_size - done < sizeof piece ? (size_t)(s->file_size - done) : sizeof piece;
		if (file->read(file, s->offset + done, piece, size))
			return err_set(e, errno == EIO ? ERR_FORMAT : ERR_IO, "%s: executable segment at offset 0x%lx cannot be read: %s",
				       name, s->offset, strerror(errno));
		hash_add(state, piece, size);
		done += size;
	}
	return 0;
}

int elfhead_text_hash(const struct elfhead *head, const struct elf_source *file, const char *name, uint64_t *ret_hash, struct err *e)
{
	struct hash_state *state = hash_begin();
	if (!state)
		return err_set(e, ERR_MEMORY, "%s: no memory to hash", name);
	int status = 0;
	for (const struct elf_segment *s = next_text(head, NULL); s && !status; s = next_text(head, s))
		status = hash_segment(state, s, file, name, e);
	uint64_t hash = hash_end(state);
	if (!status)
		*ret_hash = hash;
	return status;
}

/* With slack, the whole pages that the loader maps for the segment count as its bytes. */
static bool covers(const struct elf_segment *s, foff offset, uint64_t slack)
{
	return s->type == ELFHEAD_LOAD && offset.v >= (s->offset & ~slack) && offset.v < s->offset + s->file_size;
}

static const struct elf_segment *find_segment(const struct elfhead *head, foff offset, uint64_t slack)
{
	const struct elf_segment *found = NULL;
	for (uint32_t i = 0; i < head->segment_count; i++) {
		const struct elf_segment *s = &head->segments[i];
		if (covers(s, offset, slack) && (!found || (is_text(s) && !is_text(found))))
			found = s;
	}
	return found;
}

static uint64_t bias_of(const struct elf_segment *s, raddr address, foff offset)
{
	return address.v - (offset.v - s->offset + s->address.v);
}

const struct elf_segment *elfhead_segment_of_offset(const struct elfhead *head, foff offset)
{
	return find_segment(head, offset, 0);
}

bool elfhead_vaddr_of_offset(const struct elfhead *head, foff offset, vaddr *ret_vaddr)
{
	const struct elf_segment *s = find_segment(head, offset, 0);
	if (s)
		ret_vaddr->v = offset.v - s->offset + s->address.v;
	return s != NULL;
}

bool elfhead_bias(const struct elfhead *head, raddr address, foff offset, uint64_t *ret_bias)
{
	const struct elf_segment *s = find_segment(head, offset, 0);
	if (!s)
		s = find_segment(head, offset, PAGE - 1);
	if (s)
		*ret_bias = bias_of(s, address, offset);
	return s != NULL;
}

/* How many PT_LOADs have their first page where this bias puts it. */
static unsigned count_fitting(const struct elfhead *head, const struct procmaps *maps, const struct procmap *map, uint64_t bias)
{
	unsigned fitting = 0;
	for (uint32_t i = 0; i < head->segment_count; i++) {
		const struct elf_segment *s = &head->segments[i];
		raddr page = {(bias + s->address.v) & ~(uint64_t)(PAGE - 1)};
		const struct procmap *m = s->type == ELFHEAD_LOAD && s->file_size ? procmaps_find(maps, page) : NULL;
		fitting += m && m->inode == map->inode && m->device_major == map->device_major && m->device_minor == map->device_minor &&
			   m->offset + (page.v - m->start.v) == (s->offset & ~(uint64_t)(PAGE - 1));
	}
	return fitting;
}

bool elfhead_bias_of_mapping(const struct elfhead *head, const struct procmaps *maps, const struct procmap *map, uint64_t *ret_bias)
{
	unsigned best = 0;
	bool best_text = false, found = false;
	for (uint32_t i = 0; i < head->segment_count; i++) {
		const struct elf_segment *s = &head->segments[i];
		foff offset = {map->offset};
		if (!covers(s, offset, PAGE - 1))
			continue;
		uint64_t bias = bias_of(s, map->start, offset);
		unsigned fitting = maps ? count_fitting(head, maps, map, bias) : 0;
		bool text = is_text(s) == map->execute;
		if (found && (fitting < best || (fitting == best && (best_text || !text))))
			continue;
		*ret_bias = bias;
		best = fitting;
		best_text = text;
		found = true;
	}
	return found;
}
