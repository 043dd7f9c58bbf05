#include "formats/base/bytes.h"
#include "formats/base/file.h"
#include "profile/perfrecord.h"
#include "tests/unit/profile/lbr_records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct perfrecord_format lbr_format = {
    .sample_type = LBR_SAMPLE_TYPE,
    .branch_sample_type = LBR_BRANCH_SAMPLE_TYPE,
    .sample_id_all = LBR_SAMPLE_ID_ALL,
};

static const struct perfrecord_format plain_format = {
    .sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_ID,
    .sample_id_all = true,
};

/* Decodes the record number `index` of recorded bytes. */
static struct perfrecord lbr_record(int index)
{
	struct perfrecord record;
	size_t at = 0, size = 0;
	do {
		at += size;
		assert_int_equal(perfrecord_decode(&lbr_format, lbr_records + at, sizeof lbr_records - at, &record, &size, NULL), 0);
	} while (index--);
	return record;
}

static void recorded_intel_branch_stack_is_decoded(void **state)
{
	(void)state;
	struct perfrecord r = lbr_record(3);
	assert_int_equal(r.type, PERF_RECORD_SAMPLE);
	assert_int_equal(r.misc & PERF_RECORD_MISC_CPUMODE_MASK, PERF_RECORD_MISC_USER);
	assert_int_equal(r.pid, 0x63bc);
	assert_int_equal(r.tid, 0x63bc);
	assert_true(r.time == 0x9e464c53b9cf);
	assert_true(r.address == 0x7ffff7b11b17);
	assert_int_equal(r.branch_count, 16);
	struct perfrecord_branch b = perfrecord_branch_at(&r, 0);
	assert_true(b.from == 0x7ffff7b11bbd && b.to == 0x7ffff7b11b10);
	assert_false(b.mispredicted);
}

static void recorded_mapping_and_names_are_decoded(void **state)
{
	(void)state;
	struct perfrecord r = lbr_record(0);
	assert_int_equal(r.type, PERF_RECORD_MMAP);
	assert_string_equal(r.text, "[kernel.kallsyms]_text");
	assert_true(r.map_start == 0 && r.map_length == 0xffffffff9fffffff);
	r = lbr_record(1);
	assert_int_equal(r.type, PERF_RECORD_COMM);
	assert_string_equal(r.text, "perf");
	r = lbr_record(5);
	assert_int_equal(r.type, PERF_RECORD_EXIT);
	assert_int_equal(r.tid, 0x63bc);
}

/* The data itself is not kept here: set LBR_PERF_DATA to google/autofdo's testdata/test.lbr. */
static void whole_recorded_file_has_all_samples_and_branches(void **state)
{
	(void)state;
	const char *path = getenv("LBR_PERF_DATA");
	struct file_data file;
	struct err e;
	uint64_t samples = 0, branches = 0;
	if (!path) {
		print_message("LBR_PERF_DATA is not set\n");
		skip();
	}
	assert_int_equal(file_read(path, &file, &e), 0);
	size_t at = (size_t)load_u64(file.data + 40), end = at + (size_t)load_u64(file.data + 48), size;
	assert_true(end <= file.size);
	for (; at < end; at += size) {
		struct perfrecord r;
		assert_int_equal(perfrecord_decode(&lbr_format, file.data + at, end - at, &r, &size, &e), 0);
		samples += r.type == PERF_RECORD_SAMPLE;
		branches += r.branch_count;
	}
	assert_int_equal(samples, 9232);
	assert_int_equal(branches, 147712);
	file_data_free(&file);
}

static void mispredicted_bit_and_hardware_index_are_understood(void **state)
{
	(void)state;
	struct perfrecord_format format = plain_format;
	struct writer w = {0};
	struct perfrecord r;
	size_t size;
	format.sample_type |= PERF_SAMPLE_BRANCH_STACK;
	format.branch_sample_type = PERF_SAMPLE_BRANCH_HW_INDEX;
	write_u32(&w, PERF_RECORD_SAMPLE);
	write_u16(&w, PERF_RECORD_MISC_USER);
	write_u16(&w, 8 + 32 + 16 + 48);
	write_u64(&w, 0x1234);
	write_u32(&w, 7);
	write_u32(&w, 8);
	write_u64(&w, 99);
	write_u64(&w, 5);
	write_u64(&w, 2);
	write_u64(&w, 3); /* hardware index */
	for (unsigned i = 0; i < 2; i++) {
		write_u64(&w, 0x100 + i);
		write_u64(&w, 0x200 + i);
		write_u64(&w, i ? 1 : 2);
	}
	assert_int_equal(perfrecord_decode(&format, w.data, w.size, &r, &size, NULL), 0);
	assert_int_equal(size, w.size);
	assert_int_equal(r.id, 5);
	assert_int_equal(r.branch_count, 2);
	assert_false(perfrecord_branch_at(&r, 0).mispredicted);
	assert_true(perfrecord_branch_at(&r, 1).mispredicted);
	assert_true(perfrecord_branch_at(&r, 1).from == 0x101);
	writer_free(&w);
}

static void fields_before_the_branch_stack_are_stepped_over(void **state)
{
	(void)state;
	struct perfrecord_format format = {
	    .sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_ADDR | PERF_SAMPLE_STREAM_ID | PERF_SAMPLE_CPU |
			   PERF_SAMPLE_PERIOD | PERF_SAMPLE_READ | PERF_SAMPLE_CALLCHAIN | PERF_SAMPLE_RAW | PERF_SAMPLE_BRANCH_STACK,
	    .read_format = PERF_FORMAT_GROUP | PERF_FORMAT_ID | PERF_FORMAT_TOTAL_TIME_ENABLED,
	};
	struct writer w = {0};
	struct perfrecord r;
	size_t size;
	write_u64(&w, 0); /* header, below */
	const uint64_t words[] = {42, 0x1000, 1, 2, 3, 777, /* read: group of 2 */ 2, 10, 11, 12, 13, 14, /* chain */ 3, 1, 2, 3};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		write_u64(&w, words[i]);
	write_u32(&w, 4); /* raw */
	write_u32(&w, 0xdeadbeef);
	write_u64(&w, 1);
	write_u64(&w, 0xa);
	write_u64(&w, 0xb);
	write_u64(&w, 0);
	store_u32(w.data, PERF_RECORD_SAMPLE);
	store_u32(w.data + 4, (uint32_t)w.size << 16);
	assert_int_equal(perfrecord_decode(&format, w.data, w.size, &r, &size, NULL), 0);
	assert_int_equal(r.id, 42);
	assert_int_equal(r.period, 777);
	assert_int_equal(r.branch_count, 1);
	assert_true(perfrecord_branch_at(&r, 0).to == 0xb);
	writer_free(&w);
}

static size_t make_mapping(struct writer *w, uint16_t misc)
{
	write_u32(w, PERF_RECORD_MMAP2);
	write_u16(w, misc);
	write_u16(w, 8 + 32 + 24 + 8 + 8 + 24);
	write_u32(w, 10);
	write_u32(w, 11);
	write_u64(w, 0x400000);
	write_u64(w, 0x1000);
	write_u64(w, 0x2000);
	if (misc & PERF_RECORD_MISC_MMAP_BUILD_ID) {
		write_u32(w, 4);
		write_bytes(w, "BUILDIDxxxxxxxxxxxxx", 20);
	} else {
		write_u32(w, 8);
		write_u32(w, 1);
		write_u64(w, 4711);
		write_u64(w, 1);
	}
	write_u32(w, 5);
	write_u32(w, 2);
	write_bytes(w, "/bin/x\0", 8);
	write_u32(w, 10);
	write_u32(w, 12);
	write_u64(w, 1000);
	write_u64(w, 3);
	return w->size;
}

static void mapping_with_inode_or_build_id(void **state)
{
	(void)state;
	struct perfrecord r;
	size_t size;
	for (int i = 0; i < 2; i++) {
		struct writer w = {0};
		make_mapping(&w, i ? PERF_RECORD_MISC_MMAP_BUILD_ID : 0);
		assert_int_equal(perfrecord_decode(&plain_format, w.data, w.size, &r, &size, NULL), 0);
		assert_int_equal(r.pid, 10);
		assert_int_equal(r.time, 1000);
		assert_int_equal(r.map_start, 0x400000);
		assert_int_equal(r.map_offset, 0x2000);
		assert_int_equal(r.map_protection, 5);
		assert_string_equal(r.text, "/bin/x");
		assert_int_equal(r.map_inode, i ? 0 : 4711);
		assert_int_equal(r.map_device_major, i ? 0 : 8);
		assert_int_equal(r.build_id_size, i ? 4 : 0);
		if (i)
			assert_memory_equal(r.build_id, "BUIL", 4);
		writer_free(&w);
	}
}

static void lost_and_fork_are_decoded(void **state)
{
	(void)state;
	struct perfrecord_format format = {.sample_type = PERF_SAMPLE_IP};
	struct perfrecord r;
	size_t size;
	struct writer w = {0};
	write_u32(&w, PERF_RECORD_LOST);
	write_u32(&w, 24u << 16);
	write_u64(&w, 1);
	write_u64(&w, 12345);
	assert_int_equal(perfrecord_decode(&format, w.data, w.size, &r, &size, NULL), 0);
	assert_int_equal(r.lost, 12345);
	w.size = 0;
	write_u32(&w, PERF_RECORD_FORK);
	write_u32(&w, 32u << 16);
	for (uint32_t i = 1; i <= 4; i++)
		write_u32(&w, i);
	write_u64(&w, 55);
	assert_int_equal(perfrecord_decode(&format, w.data, w.size, &r, &size, NULL), 0);
	assert_int_equal(r.pid, 1);
	assert_int_equal(r.parent_pid, 2);
	assert_int_equal(r.tid, 3);
	assert_int_equal(r.parent_tid, 4);
	writer_free(&w);
}

/* Each cut and each changed byte must be refused or read inside the record; a sanitizer sees the rest. */
static void every_truncation_and_flipped_byte_stays_inside(void **state)
{
	(void)state;
	struct perfrecord r;
	size_t size;
	for (size_t n = 0; n < sizeof lbr_records; n++) {
		uint8_t *exact = malloc(n ? n : 1);
		memcpy(exact, lbr_records, n);
		for (size_t at = 0; at < n && !perfrecord_decode(&lbr_format, exact + at, n - at, &r, &size, NULL); at += size)
			assert_true(at + size <= n);
		free(exact);
	}
	for (size_t i = 0; i < 120 + 424; i++) {
		uint8_t *copy = malloc(sizeof lbr_records);
		memcpy(copy, lbr_records, sizeof lbr_records);
		copy[i] ^= 0xff;
		for (size_t at = 0; at < sizeof lbr_records; at += size) {
			if (perfrecord_decode(&lbr_format, copy + at, sizeof lbr_records - at, &r, &size, NULL))
				break;
			for (uint64_t k = 0; k < r.branch_count; k++)
				perfrecord_branch_at(&r, k);
		}
		free(copy);
	}
}

static void wrong_lengths_are_refused_and_leave_the_output_alone(void **state)
{
	(void)state;
	static const uint8_t wrong[][16] = {
	    {9, 0, 0, 0, 0, 0, 0, 0},	/* length 0: would never advance */
	    {9, 0, 0, 0, 0, 0, 7, 0},	/* shorter than its header */
	    {9, 0, 0, 0, 0, 0, 12, 0},	/* not a multiple of 8 */
	    {9, 0, 0, 0, 0, 0, 24, 0},	/* longer than there are bytes */
	    {10, 0, 0, 0, 0, 0, 16, 0}, /* fields pass the end */
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct perfrecord r = {.tid = 4242};
		struct err e;
		size_t size = 4242;
		assert_int_equal(perfrecord_decode(&plain_format, wrong[i], 16, &r, &size, &e), -ERR_FORMAT);
		assert_int_equal(r.tid, 4242);
		assert_int_equal(size, 4242);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(recorded_intel_branch_stack_is_decoded),
	    cmocka_unit_test(recorded_mapping_and_names_are_decoded),
	    cmocka_unit_test(whole_recorded_file_has_all_samples_and_branches),
	    cmocka_unit_test(mispredicted_bit_and_hardware_index_are_understood),
	    cmocka_unit_test(fields_before_the_branch_stack_are_stepped_over),
	    cmocka_unit_test(mapping_with_inode_or_build_id),
	    cmocka_unit_test(lost_and_fork_are_decoded),
	    cmocka_unit_test(every_truncation_and_flipped_byte_stays_inside),
	    cmocka_unit_test(wrong_lengths_are_refused_and_leave_the_output_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
