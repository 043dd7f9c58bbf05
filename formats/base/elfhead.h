/*
 * elfhead: the little of an ELF file that a live process also shows: header, program headers, notes.
 *
 * For programs that must not link an ELF library. Reads through a `struct elf_source`, so a file, a buffer and the memory of another process
 * all serve; every size and offset is checked before use and nothing is allocated. Only 64-bit little-endian x86-64 executables and shared
 * objects are read. Sections, symbols and relocations are not its business.
 *
 * In a file, byte x of a segment stands at p_offset + x; in memory at bias + p_vaddr + x. p_offset and p_vaddr differ in many files, so
 * an address is converted through the segment table (elfhead_vaddr_of_offset, elfhead_bias_of_mapping), never by subtracting the start of a mapping.
 */
#ifndef FORMATS_BASE_ELFHEAD_H
#define FORMATS_BASE_ELFHEAD_H

#include "formats/base/addr.h"
#include "formats/base/err.h"
#include "formats/base/procmaps.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where bytes come from. `read` fills all `size` bytes of position `at`, or returns -1 with errno (EIO: past the end). */
struct elf_source {
	int (*read)(const struct elf_source *source, uint64_t at, void *buffer, size_t size);
	const void *data; /* borrowed: a buffer, or whatever a `read` of your own wants */
	uint64_t size;	  /* of the buffer */
	uint64_t base;	  /* descriptor only: added to every position */
	int fd;		  /* borrowed */
};

struct elf_source elf_source_of_buffer(const void *data, size_t size);
/* A file (base 0), or /proc/PID/mem with the address where the ELF header is mapped (headers) or the load bias (notes). */
struct elf_source elf_source_of_fd(int fd, uint64_t base);

enum { ELFHEAD_SEGMENT_MAX = 64, ELFHEAD_NOTE_MAX = 1 << 16 };

enum { ELFHEAD_LOAD = 1, ELFHEAD_DYNAMIC = 2, ELFHEAD_NOTE = 4, ELFHEAD_EH_FRAME_HDR = 0x6474e550 };
enum { ELFHEAD_EXECUTE = 1, ELFHEAD_WRITE = 2, ELFHEAD_READ = 4 };

struct elf_segment {
	uint32_t type, flags; /* ELFHEAD_LOAD ...; ELFHEAD_EXECUTE | ... */
	uint64_t offset, file_size;
	vaddr address;
	uint64_t memory_size, align;
};

struct elfhead {
	bool dynamic; /* ET_DYN: shared object or PIE; otherwise ET_EXEC */
	vaddr entry;
	uint32_t segment_count;
	struct elf_segment
	    segments[ELFHEAD_SEGMENT_MAX]; /* in table order; PT_LOADs ascend by address, as the ABI asks, and do not overlap */
};

/*
 * Reads and checks the header (at position 0) and the program headers. `name` is for messages.
 * ERR_UNSUPPORTED: an ELF file, but not 64-bit little-endian x86-64 EXEC or DYN, or more than ELFHEAD_SEGMENT_MAX segments. ERR_FORMAT: no ELF
 * file, truncated, no PT_LOAD, or a segment whose numbers overflow, overlap or contradict one another.
 */
int elfhead_read(const struct elf_source *source, const char *name, struct elfhead *ret_head, struct err *e) MUST_CHECK;

/*
 * Copies the GNU build-id (cut to `size` bytes) into `build_id` and its length into *ret_size: 0 when there is none or its note is
 * malformed or unreadable. In a file pass in_memory = false and the source of the file; in a process in_memory = true and a source whose position is a
 * vaddr (base = load bias).
 */
void elfhead_build_id(const struct elfhead *head, const struct elf_source *source, bool in_memory, uint8_t *build_id, size_t size,
		      size_t *ret_size);

/*
 * XXH3-64 over the file bytes of all executable PT_LOAD segments in file order (ascending p_offset), read in pieces. ERR_FORMAT when the
 * file ends inside a segment, ERR_IO when it cannot be read.
 */
int elfhead_text_hash(const struct elfhead *head, const struct elf_source *file, const char *name, uint64_t *ret_hash,
		      struct err *e) MUST_CHECK;

/* The PT_LOAD whose file bytes hold `offset`, executable ones first; NULL when none does. */
const struct elf_segment *elfhead_segment_of_offset(const struct elfhead *head, foff offset);
/* vaddr of the byte at this file offset; false when no PT_LOAD has it. */
bool elfhead_vaddr_of_offset(const struct elfhead *head, foff offset, vaddr *ret_vaddr);
/*
 * Load bias when the byte at file offset `offset` is seen at `address`; false when no PT_LOAD has it, even when whole pages are counted.
 * A file page may belong to two segments and then is mapped twice; the segment that really holds the byte is taken here, which is right for
 * the mapping with the ELF header (offset 0) and may be wrong for any other: use elfhead_bias_of_mapping there.
 */
bool elfhead_bias(const struct elfhead *head, raddr address, foff offset, uint64_t *ret_bias);

/*
 * Load bias of the file that `map` maps, decided by all mappings of the process: of the biases that the segments allow, the one under
 * which most PT_LOADs stand where they should. `maps` may be NULL: then `map` alone decides, executable segments first. False when no PT_LOAD fits.
 */
bool elfhead_bias_of_mapping(const struct elfhead *head, const struct procmaps *maps, const struct procmap *map, uint64_t *ret_bias);

#endif
