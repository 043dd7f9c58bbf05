#include "formats/base/bytes.h"
#include "formats/base/elfhead.h"
#include "formats/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

enum { NOTE_AT = 64 + 3 * 56, TEXT_AT = 0x740, TEXT_SIZE = 100, FILE_SIZE = TEXT_AT + TEXT_SIZE };

struct sample {
	uint8_t bytes[FILE_SIZE];
};

static void put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}

static void put64(uint8_t *p, uint64_t value)
{
	store_u32(p, (uint32_t)value);
	store_u32(p + 4, (uint32_t)(value >> 32));
}

static uint8_t *segment(struct sample *s, int index)
{
	return s->bytes + 64 + index * 56;
}

static void put_segment(struct sample *s, int index, uint32_t type, uint32_t flags, const uint64_t numbers[4])
{
	uint8_t *p = segment(s, index);
	store_u32(p, type);
	store_u32(p + 4, flags);
	put64(p + 8, numbers[0]);
	put64(p + 16, numbers[1]);
	put64(p + 32, numbers[2]);
	put64(p + 40, numbers[3]);
	put64(p + 48, type == ELFHEAD_LOAD ? 4096 : 4);
}

/* A shared object with headers at 0, text at offset 0x740 and vaddr 0x1740, build-id 01..05. */
static struct sample sample_make(void)
{
	struct sample s = {{0}};
	memcpy(s.bytes, "\177ELF\2\1\1", 7);
	put16(s.bytes + 16, 3);
	put16(s.bytes + 18, 62);
	store_u32(s.bytes + 20, 1);
	put64(s.bytes + 24, 0x1750);
	put64(s.bytes + 32, 64);
	put16(s.bytes + 52, 64);
	put16(s.bytes + 54, 56);
	put16(s.bytes + 56, 3);
	put_segment(&s, 0, ELFHEAD_LOAD, ELFHEAD_READ, (uint64_t[]){0, 0, TEXT_AT, TEXT_AT});
	put_segment(&s, 1, ELFHEAD_LOAD, ELFHEAD_READ | ELFHEAD_EXECUTE, (uint64_t[]){TEXT_AT, 0x1740, TEXT_SIZE, TEXT_SIZE + 7});
	put_segment(&s, 2, ELFHEAD_NOTE, ELFHEAD_READ, (uint64_t[]){NOTE_AT, NOTE_AT, 16 + 5, 16 + 5});
	store_u32(s.bytes + NOTE_AT, 4);
	store_u32(s.bytes + NOTE_AT + 4, 5);
	store_u32(s.bytes + NOTE_AT + 8, 3);
	memcpy(s.bytes + NOTE_AT + 12, "GNU\0\1\2\3\4\5", 9);
	for (int i = 0; i < TEXT_SIZE; i++)
		s.bytes[TEXT_AT + i] = (uint8_t)(i * 7 + 1);
	return s;
}

static int sample_read(const struct sample *s, struct elfhead *head, struct err *e)
{
	struct elf_source source = elf_source_of_buffer(s->bytes, sizeof s->bytes);
	return elfhead_read(&source, "sample", head, e);
}

static void sample_gives_segments_and_build_id(void **state)
{
	(void)state;
	struct sample s = sample_make();
	struct elf_source source = elf_source_of_buffer(s.bytes, sizeof s.bytes);
	struct elfhead head;
	struct err e;
	uint8_t id[32], cut[3];
	size_t size;
	assert_int_equal(elfhead_read(&source, "sample", &head, &e), 0);
	assert_true(head.dynamic);
	assert_int_equal(head.entry.v, 0x1750);
	assert_int_equal(head.segment_count, 3);
	assert_int_equal(head.segments[1].address.v, 0x1740);
	assert_int_equal(head.segments[1].memory_size, TEXT_SIZE + 7);
	elfhead_build_id(&head, &source, false, id, sizeof id, &size);
	assert_int_equal(size, 5);
	assert_memory_equal(id, "\1\2\3\4\5", 5);
	elfhead_build_id(&head, &source, true, cut, sizeof cut, &size);
	assert_int_equal(size, 3);
}

static void offset_and_vaddr_that_differ_are_converted_by_segment(void **state)
{
	(void)state;
	struct sample s = sample_make();
	struct elfhead head;
	vaddr v;
	uint64_t bias;
	assert_int_equal(sample_read(&s, &head, NULL), 0);
	assert_true(elfhead_vaddr_of_offset(&head, (foff){TEXT_AT + 5}, &v));
	assert_int_equal(v.v, 0x1745);
	assert_true(elfhead_vaddr_of_offset(&head, (foff){TEXT_AT - 1}, &v));
	assert_int_equal(v.v, TEXT_AT - 1);
	assert_false(elfhead_vaddr_of_offset(&head, (foff){FILE_SIZE}, &v));
	assert_true(elfhead_bias(&head, (raddr){0x7f0000000000}, (foff){0}, &bias));
	assert_int_equal(bias, 0x7f0000000000);
	assert_true(elfhead_segment_of_offset(&head, (foff){FILE_SIZE}) == NULL);
}

/* File page 0 holds both segments and is mapped twice, with the same offset. */
static void page_mapped_twice_has_one_bias(void **state)
{
	(void)state;
	struct sample s = sample_make();
	struct procmap list[] = {
	    {.start.v = 0x7f0000000000, .end.v = 0x7f0000001000, .inode = 9, .read = true},
	    {.start.v = 0x7f0000001000, .end.v = 0x7f0000002000, .inode = 9, .read = true, .execute = true},
	    {.start.v = 0x7f0000002000, .end.v = 0x7f0000003000, .inode = 8, .read = true, .execute = true},
	};
	struct procmaps maps = {.maps = list, .count = 3};
	struct elfhead head;
	uint64_t bias;
	assert_int_equal(sample_read(&s, &head, NULL), 0);
	for (int i = 0; i < 2; i++) {
		bias = 0;
		assert_true(elfhead_bias_of_mapping(&head, &maps, &list[i], &bias));
		assert_int_equal(bias, 0x7f0000000000);
		assert_true(elfhead_bias_of_mapping(&head, NULL, &list[i], &bias));
		assert_int_equal(bias, 0x7f0000000000);
	}
	/* Two executable segments of one page, as linkers make with -Ttext: only the other mappings tell them apart. */
	put_segment(&s, 0, ELFHEAD_LOAD, ELFHEAD_EXECUTE, (uint64_t[]){0, 0, 0x700, 0x700});
	list[0].execute = true;
	assert_int_equal(sample_read(&s, &head, NULL), 0);
	for (int i = 0; i < 2; i++) {
		bias = 0;
		assert_true(elfhead_bias_of_mapping(&head, &maps, &list[i], &bias));
		assert_int_equal(bias, 0x7f0000000000);
	}
	list[0].offset = 0x1000;
	assert_false(elfhead_bias_of_mapping(&head, &maps, &list[0], &bias));
}

static void text_hash_covers_the_text_only(void **state)
{
	(void)state;
	struct sample s = sample_make();
	struct elf_source source = elf_source_of_buffer(s.bytes, sizeof s.bytes);
	struct elfhead head;
	uint64_t hash = 0;
	assert_int_equal(sample_read(&s, &head, NULL), 0);
	assert_int_equal(elfhead_text_hash(&head, &source, "sample", &hash, NULL), 0);
	assert_true(hash == XXH3_64bits(s.bytes + TEXT_AT, TEXT_SIZE));
	source.size--;
	assert_int_equal(elfhead_text_hash(&head, &source, "sample", &hash, NULL), -ERR_FORMAT);
}

static void text_hash_takes_two_segments_in_file_order(void **state)
{
	(void)state;
	struct sample s = sample_make();
	struct elf_source source = elf_source_of_buffer(s.bytes, sizeof s.bytes);
	struct elfhead head;
	uint64_t hash = 0;
	put_segment(&s, 0, ELFHEAD_LOAD, ELFHEAD_EXECUTE, (uint64_t[]){TEXT_AT + 50, 0x0790 - 0x1e, 10, 10});
	put_segment(&s, 1, ELFHEAD_LOAD, ELFHEAD_EXECUTE, (uint64_t[]){TEXT_AT + 40, 0x1768, 10, 10});
	assert_int_equal(sample_read(&s, &head, NULL), 0);
	assert_int_equal(elfhead_text_hash(&head, &source, "sample", &hash, NULL), 0);
	assert_true(hash == XXH3_64bits(s.bytes + TEXT_AT + 40, 20));
}

struct change {
	size_t at;
	uint8_t value;
	int code;
	const char *text;
};

static void each_wrong_field_is_refused_with_its_own_text(void **state)
{
	(void)state;
	static const struct change changes[] = {
	    {0, 0x7e, ERR_FORMAT, "not an ELF file"},
	    {4, 1, ERR_UNSUPPORTED, "64-bit"},
	    {5, 2, ERR_UNSUPPORTED, "little-endian"},
	    {6, 9, ERR_FORMAT, "version"},
	    {16, 4, ERR_UNSUPPORTED, "type 4"},
	    {18, 3, ERR_UNSUPPORTED, "machine 3"},
	    {52, 65, ERR_FORMAT, "size 65"},
	    {54, 32, ERR_FORMAT, "32 bytes"},
	    {56, 0, ERR_FORMAT, "no program headers"},
	    {56, 65, ERR_UNSUPPORTED, "65 program headers"},
	    {32 + 7, 0xff, ERR_FORMAT, "pass the end"},
	    {64 + 56 + 9, 0x08, ERR_FORMAT, "cannot be mapped from offset 0x840"},
	    {64 + 56 + 32 + 7, 0xff, ERR_FORMAT, "larger in the file"},
	    {64 + 56 + 40, 0, ERR_FORMAT, "larger in the file"},
	    {64 + 56 + 16, 0x41, ERR_FORMAT, "cannot be mapped"},
	    {64 + 56 + 17, 0x07, ERR_FORMAT, NULL},
	};
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		struct sample s = sample_make();
		struct elfhead head = {.segment_count = 77};
		struct err e = {0};
		s.bytes[changes[i].at] = changes[i].value;
		if (!changes[i].text) { /* the segment moves, but stays legal */
			assert_int_equal(sample_read(&s, &head, &e), 0);
			continue;
		}
		assert_int_equal(sample_read(&s, &head, &e), -changes[i].code);
		assert_int_equal(head.segment_count, 77);
		if (!strstr(e.text, changes[i].text))
			fail_msg("change %zu: \"%s\" lacks \"%s\"", i, e.text, changes[i].text);
	}
}

static void overlapping_segments_are_refused(void **state)
{
	(void)state;
	struct sample s = sample_make();
	struct elfhead head;
	struct err e;
	put_segment(&s, 1, ELFHEAD_LOAD, ELFHEAD_EXECUTE, (uint64_t[]){0x100, 0x100, 10, 10});
	assert_int_equal(sample_read(&s, &head, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "overlaps"));
	store_u32(segment(&s, 0), 6);
	store_u32(segment(&s, 1), 6);
	assert_int_equal(sample_read(&s, &head, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "no PT_LOAD"));
}

static void segments_that_wrap_are_refused(void **state)
{
	(void)state;
	struct sample s = sample_make();
	struct elfhead head;
	struct err e;
	put_segment(&s, 1, ELFHEAD_LOAD, ELFHEAD_EXECUTE, (uint64_t[]){0x740, 0x1740, 1, UINT64_MAX - 0x1000});
	assert_int_equal(sample_read(&s, &head, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "end of the address space"));
	put_segment(&s, 1, ELFHEAD_LOAD, ELFHEAD_EXECUTE, (uint64_t[]){0x740, 0x1740, UINT64_MAX - 0x100, 1});
	assert_int_equal(sample_read(&s, &head, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "end of all files"));
}

static void every_truncation_is_refused_or_read_alike(void **state)
{
	(void)state;
	struct sample s = sample_make();
	for (size_t size = 0; size <= sizeof s.bytes; size++) {
		uint8_t *exact = malloc(size ? size : 1); /* its own block, so that a sanitizer sees a read past the end */
		struct elfhead head;
		struct err e;
		uint8_t id[32];
		size_t id_size;
		memcpy(exact, s.bytes, size);
		struct elf_source source = elf_source_of_buffer(exact, size);
		int status = elfhead_read(&source, "cut", &head, &e);
		assert_int_equal(status, size < 64 + 3 * 56 ? -ERR_FORMAT : 0);
		if (!status) {
			elfhead_build_id(&head, &source, false, id, sizeof id, &id_size);
			assert_int_equal(id_size, size < NOTE_AT + 21 ? 0 : 5);
		}
		free(exact);
	}
}

static void malformed_notes_give_no_build_id(void **state)
{
	(void)state;
	static const struct change changes[] = {{NOTE_AT, 5, 0, NULL},	   {NOTE_AT + 3, 0xff, 0, NULL}, {NOTE_AT + 7, 0xff, 0, NULL},
						{NOTE_AT + 4, 6, 0, NULL}, {NOTE_AT + 8, 2, 0, NULL},	 {NOTE_AT + 12, 'X', 0, NULL}};
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		struct sample s = sample_make();
		struct elf_source source = elf_source_of_buffer(s.bytes, sizeof s.bytes);
		struct elfhead head;
		uint8_t id[32];
		size_t size = 9;
		s.bytes[changes[i].at] = changes[i].value;
		assert_int_equal(sample_read(&s, &head, NULL), 0);
		elfhead_build_id(&head, &source, false, id, sizeof id, &size);
		assert_int_equal(size, 0);
	}
}

/* Marks where this program's own text stands in memory. */
static void own_memory_gives_the_same_as_own_file(void **state)
{
	(void)state;
	extern const uint8_t __ehdr_start[];
	struct file_data file;
	struct elfhead on_disk, in_memory;
	struct err e;
	uint8_t id_file[32], id_memory[32];
	size_t size_file, size_memory;
	uint64_t bias, base = (uint64_t)(uintptr_t)__ehdr_start;
	assert_int_equal(file_read("/proc/self/exe", &file, &e), 0);
	struct elf_source disk = elf_source_of_buffer(file.data, file.size);
	struct elf_source memory = elf_source_of_buffer((const void *)(uintptr_t)base, 4096);
	assert_int_equal(elfhead_read(&disk, "exe", &on_disk, &e), 0);
	assert_int_equal(elfhead_read(&memory, "memory", &in_memory, &e), 0);
	assert_int_equal(on_disk.segment_count, in_memory.segment_count);
	assert_memory_equal(on_disk.segments, in_memory.segments, on_disk.segment_count * sizeof *on_disk.segments);
	assert_true(elfhead_bias(&on_disk, (raddr){base}, (foff){0}, &bias));
	memory = elf_source_of_buffer((const void *)(uintptr_t)bias, 1 << 30);
	elfhead_build_id(&on_disk, &disk, false, id_file, sizeof id_file, &size_file);
	elfhead_build_id(&in_memory, &memory, true, id_memory, sizeof id_memory, &size_memory);
	assert_int_equal(size_file, 20);
	assert_int_equal(size_memory, 20);
	assert_memory_equal(id_file, id_memory, 20);
	file_data_free(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sample_gives_segments_and_build_id),
	    cmocka_unit_test(offset_and_vaddr_that_differ_are_converted_by_segment),
	    cmocka_unit_test(page_mapped_twice_has_one_bias),
	    cmocka_unit_test(text_hash_covers_the_text_only),
	    cmocka_unit_test(text_hash_takes_two_segments_in_file_order),
	    cmocka_unit_test(each_wrong_field_is_refused_with_its_own_text),
	    cmocka_unit_test(overlapping_segments_are_refused),
	    cmocka_unit_test(segments_that_wrap_are_refused),
	    cmocka_unit_test(every_truncation_is_refused_or_read_alike),
	    cmocka_unit_test(malformed_notes_give_no_build_id),
	    cmocka_unit_test(own_memory_gives_the_same_as_own_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
