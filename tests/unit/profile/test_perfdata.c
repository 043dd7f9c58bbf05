#include "formats/base/file.h"
#include "profile/import/perfdata.h"
#include "tests/unit/profile/perfdata_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

static int read_bytes_as(const void *data, size_t size, const char *event, const char *elf, struct profile *p, struct perfdata_result *r,
			 struct err *e)
{
	struct files *files;
	struct files_options options = {.root = "/nonexistent", .given = &elf, .given_count = elf != NULL};
	int status = files_new(&options, &files, e);
	assert_int_equal(status, 0);
	struct perfdata_input input = {.data = data, .size = size, .name = "file", .event = event, .files = files};
	status = perfdata_read(&input, p, r, e);
	files_free(files);
	return status;
}

static int read_file(const struct writer *w, struct profile *p, struct perfdata_result *r, struct err *e)
{
	return read_bytes_as(w->data, w->size, NULL, NULL, p, r, e);
}

static const char *path_at(const struct profile *p, const struct profile_sample *s)
{
	return s->module == PROFILE_NO_MODULE ? "-" : p->modules[s->module].path;
}

static const struct maker_branch stack[] = {{0x401020, 0x401000, 1}, {0x401040, 0x401010, 2}, {0x7f0010, 0x401030, 0}};

/* Two files in one process, samples in both and outside. */
static struct writer some_records(bool branches)
{
	struct writer w = {0};
	maker_map(&w, 10, 0, (const uint64_t[]){0x400000, 0x2000, 0x1000}, "/bin/main");
	maker_map2(&w, 10, 0, (const uint64_t[]){0x7f0000, 0x1000, 0}, "/lib/one.so", NULL);
	maker_comm(&w, 10, 1, "main", false);
	maker_sample(&w, 10, 100, 0x401004, branches ? stack : NULL, 3);
	maker_sample(&w, 10, 200, 0x7f0020, branches ? stack : NULL, 2);
	maker_lost(&w, 5, 210);
	maker_sample(&w, 10, 300, 0x999999, branches ? stack : NULL, 0);
	maker_task(&w, PERF_RECORD_EXIT, 10, 1, 400);
	return w;
}

static void all_forms_of_the_file_say_the_same(void **state)
{
	(void)state;
	for (int form = 0; form < MAKER_FORM_COUNT; form++) {
		struct writer records = some_records(true), w = maker_form((enum maker_form)form, &records, MAKER_BRANCHES);
		struct profile p;
		struct perfdata_result r;
		struct err e = {0};
		assert_int_equal(read_file(&w, &p, &r, &e), 0);
		assert_int_equal(p.info.source, PROFILE_BRANCH_STACKS);
		assert_string_equal(p.info.event, "cycles");
		assert_string_equal(p.info.kernel, "6.1.0");
		assert_int_equal(p.info.frequency, 4000);
		assert_int_equal(p.info.lost, 5);
		assert_int_equal(p.info.duration_ns, 200);
		assert_int_equal(p.sample_count, 3);
		assert_int_equal(p.branch_count, 5);
		assert_string_equal(path_at(&p, &p.samples[0]), "/bin/main");
		assert_int_equal(p.samples[0].address, 0x2004); /* no file here: the offset in it */
		assert_string_equal(path_at(&p, &p.samples[1]), "/lib/one.so");
		assert_int_equal(p.samples[1].address, 0x20);
		assert_int_equal(p.samples[1].time_ns, 100);
		assert_string_equal(path_at(&p, &p.samples[2]), "-");
		assert_int_equal(p.samples[2].address, 0x999999);
		assert_int_equal(p.samples[2].branch_count, 0);
		assert_true(p.branches[0].mispredicted && !p.branches[1].mispredicted);
		assert_int_equal(p.branches[0].from, 0x2020);
		assert_int_equal(p.branches[2].from, 0x10);
		assert_int_not_equal(p.branches[2].from_module, p.branches[2].to_module);
		assert_int_equal(r.decompressed, form >= MAKER_ZSTD ? records.size : 0);
		profile_free(&p);
		writer_free(&w);
		writer_free(&records);
	}
}

static void plain_samples_of_a_clock_have_that_source(void **state)
{
	(void)state;
	struct writer records = some_records(false), w = maker_form(MAKER_FILE, &records, MAKER_PLAIN);
	struct profile p;
	struct perfdata_result r;
	assert_int_equal(read_file(&w, &p, &r, NULL), 0);
	assert_int_equal(p.info.source, PROFILE_CLOCK);
	assert_string_equal(p.info.event, "cpu-clock");
	assert_int_equal(p.sample_count, 3);
	assert_int_equal(p.branch_count, 0);
	profile_free(&p);
	writer_free(&w);
	writer_free(&records);
}

static void build_id_of_the_record_is_the_identity(void **state)
{
	(void)state;
	struct writer records = {0};
	struct profile p;
	struct perfdata_result r;
	uint8_t first[20], second[20];
	memset(first, 1, sizeof first);
	memset(second, 2, sizeof second);
	/* One path, first one file, then another; and the first file under another path. */
	maker_map2(&records, 10, 1, (const uint64_t[]){0x1000, 0x1000, 0}, "/a", first);
	maker_map2(&records, 11, 2, (const uint64_t[]){0x1000, 0x1000, 0}, "/a", second);
	maker_map2(&records, 12, 3, (const uint64_t[]){0x1000, 0x1000, 0}, "/b", first);
	for (uint32_t i = 0; i < 3; i++)
		maker_sample(&records, 10 + i, 10 + i, 0x1010, NULL, 0);
	struct writer w = maker_form(MAKER_FILE, &records, MAKER_PLAIN);
	assert_int_equal(read_file(&w, &p, &r, NULL), 0);
	assert_int_equal(p.module_count, 2);
	assert_int_equal(p.samples[0].module, p.samples[2].module);
	assert_int_not_equal(p.samples[0].module, p.samples[1].module);
	assert_int_equal(p.modules[p.samples[0].module].build_id_size, 20);
	assert_memory_equal(p.modules[p.samples[1].module].build_id, second, 20);
	profile_free(&p);
	writer_free(&w);
	writer_free(&records);
}

static void fork_shares_exec_forgets_and_a_new_mapping_covers(void **state)
{
	(void)state;
	struct writer records = {0};
	struct profile p;
	struct perfdata_result r;
	static const char *const expected[] = {"/a", "/a", "/b", "/a", "-", "/c", "/a"};
	maker_map(&records, 10, 1, (const uint64_t[]){0x1000, 0x4000, 0}, "/a");
	maker_task(&records, PERF_RECORD_FORK, 11, 10, 2);
	maker_sample(&records, 11, 3, 0x2000, NULL, 0); /* the child has its parent's */
	maker_sample(&records, 10, 4, 0x2000, NULL, 0);
	maker_map(&records, 11, 5, (const uint64_t[]){0x2000, 0x1000, 0}, "/b");
	maker_sample(&records, 11, 6, 0x2000, NULL, 0);
	maker_sample(&records, 10, 7, 0x2000, NULL, 0); /* the parent keeps its own */
	maker_comm(&records, 11, 8, "new", true);
	maker_sample(&records, 11, 9, 0x1000, NULL, 0);
	maker_map(&records, 11, 10, (const uint64_t[]){0x1000, 0x1000, 0}, "/c");
	maker_sample(&records, 11, 11, 0x1000, NULL, 0);
	maker_sample(&records, 10, 12, 0x4fff, NULL, 0);
	struct writer w = maker_form(MAKER_PIPE, &records, MAKER_PLAIN);
	assert_int_equal(read_file(&w, &p, &r, NULL), 0);
	assert_int_equal(p.sample_count, sizeof expected / sizeof *expected);
	for (size_t i = 0; i < p.sample_count; i++)
		assert_string_equal(path_at(&p, &p.samples[i]), expected[i]);
	profile_free(&p);
	writer_free(&w);
	writer_free(&records);
}

/* Buffers of CPUs are written one after the other: a mapping may stand behind the samples in it. */
static void records_are_taken_in_order_of_time(void **state)
{
	(void)state;
	struct writer records = {0};
	struct profile p;
	struct perfdata_result r;
	maker_sample(&records, 10, 50, 0x1004, NULL, 0);
	maker_sample(&records, 10, 20, 0x1008, NULL, 0);
	maker_map(&records, 10, 30, (const uint64_t[]){0x1000, 0x1000, 0}, "/late");
	struct writer w = maker_form(MAKER_FILE, &records, MAKER_PLAIN);
	assert_int_equal(read_file(&w, &p, &r, NULL), 0);
	assert_int_equal(p.sample_count, 2);
	assert_string_equal(path_at(&p, &p.samples[0]), "-");
	assert_int_equal(p.samples[0].address, 0x1008);
	assert_string_equal(path_at(&p, &p.samples[1]), "/late");
	assert_int_equal(p.samples[1].time_ns, 30);
	profile_free(&p);
	writer_free(&w);
	writer_free(&records);
}

static void kernel_samples_and_mappings_are_in_no_module(void **state)
{
	(void)state;
	struct writer records = {0};
	struct profile p;
	struct perfdata_result r;
	maker_map(&records, UINT32_MAX, 0, (const uint64_t[]){0, UINT64_MAX - 0xfff, 0}, "/lib/modules/x.ko");
	maker_map(&records, 10, 0, (const uint64_t[]){0x1000, 0x1000, 0}, "/a");
	maker_map(&records, 10, 0, (const uint64_t[]){0x8000, 0x1000, 0}, "[vdso]");
	maker_sample(&records, 10, 1, 0xffffffff81000000, NULL, 0);
	maker_sample(&records, 10, 2, 0x8010, NULL, 0);
	struct writer w = maker_form(MAKER_FILE, &records, MAKER_PLAIN);
	assert_int_equal(read_file(&w, &p, &r, NULL), 0);
	assert_int_equal(p.module_count, 0);
	assert_true(p.samples[0].address == 0xffffffff81000000);
	profile_free(&p);
	writer_free(&w);
	writer_free(&records);
}

/* In a pipe build-ids come as records, and raw data stand between records. */
static void raw_data_are_stepped_over_and_build_ids_kept(void **state)
{
	(void)state;
	struct writer records = {0};
	struct profile p;
	struct perfdata_result r;
	struct err e;
	uint8_t id[24] = {9, 8, 7, 6};
	id[20] = 4; /* its size */
	size_t at = maker_begin(&records, 67, 1u << 15 | MAKER_USER);
	write_u32(&records, UINT32_MAX);
	write_bytes(&records, id, sizeof id);
	maker_text(&records, "/a");
	maker_end(&records, at);
	at = maker_begin(&records, 71, 0); /* AUXTRACE: size, then what is not shown here */
	write_u64(&records, 1000);
	for (int i = 0; i < 4; i++)
		write_u64(&records, 0);
	maker_end(&records, at);
	size_t raw = records.size;
	for (int i = 0; i < 1000; i++)
		write_u8(&records, 0xff);
	at = maker_begin(&records, 66, 0); /* TRACING_DATA: size of what follows, padded */
	write_u32(&records, 13);
	write_u32(&records, 0);
	maker_end(&records, at);
	write_u64(&records, UINT64_MAX);
	write_u64(&records, UINT64_MAX);
	maker_map(&records, 10, 1, (const uint64_t[]){0x1000, 0x1000, 0}, "/a");
	maker_sample(&records, 10, 2, 0x1008, NULL, 0);
	struct writer w = maker_form(MAKER_PIPE, &records, MAKER_PLAIN);
	assert_int_equal(read_file(&w, &p, &r, &e), 0);
	assert_int_equal(p.sample_count, 1);
	assert_int_equal(p.modules[0].build_id_size, 4);
	assert_memory_equal(p.modules[0].build_id, id, 4);
	profile_free(&p);
	w.data[w.size - records.size + raw - 40 + 4] = 0xff; /* more raw data than there is file */
	assert_int_equal(read_file(&w, &p, &r, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "trace data pass the end"));
	writer_free(&w);
	writer_free(&records);
}

/* Two events with the same layout: one takes samples of time, the other does not. */
static struct writer two_events(uint32_t second_type, uint64_t second_config)
{
	struct writer w = {0};
	write_bytes(&w, "PERFILE2", 8);
	write_u64(&w, 16);
	for (uint64_t i = 0; i < 2; i++) {
		size_t at = maker_begin(&w, 64, 0);
		maker_attr(&w, i ? second_type : PERF_TYPE_SOFTWARE, i ? second_config : PERF_COUNT_SW_PAGE_FAULTS, MAKER_PLAIN);
		write_u64(&w, MAKER_ID + i);
		maker_end(&w, at);
	}
	maker_sample(&w, 10, 1, 0x1000, NULL, 0);
	size_t second = w.size;
	maker_sample(&w, 10, 2, 0x2000, NULL, 0);
	w.data[second + 8] = MAKER_ID + 1;
	size_t unknown = w.size;
	maker_sample(&w, 10, 3, 0x3000, NULL, 0);
	w.data[unknown + 8] = 200;
	return w;
}

static void of_several_events_one_is_taken(void **state)
{
	(void)state;
	struct profile p;
	struct perfdata_result r;
	struct err e;
	struct writer w = two_events(PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS);
	assert_int_equal(read_file(&w, &p, &r, NULL), 0);
	assert_string_equal(p.info.event, "instructions");
	assert_int_equal(p.info.source, PROFILE_CYCLES);
	assert_int_equal(p.sample_count, 1);
	assert_int_equal(p.samples[0].address, 0x2000);
	assert_int_equal(r.other_samples, 2);
	profile_free(&p);
	assert_int_equal(read_bytes_as(w.data, w.size, "type-1-config-0x2", NULL, &p, &r, &e), 0);
	assert_int_equal(p.samples[0].address, 0x1000);
	profile_free(&p);
	assert_int_equal(read_bytes_as(w.data, w.size, "nonsense", NULL, &p, &r, &e), -ERR_USAGE);
	assert_non_null(strstr(e.text, "instructions (1 samples)"));
	writer_free(&w);
	w = two_events(PERF_TYPE_TRACEPOINT, 9);
	assert_int_equal(read_file(&w, &p, &r, &e), -ERR_UNSUPPORTED);
	writer_free(&w);
}

static void wrong_files_are_refused_with_a_reason(void **state)
{
	(void)state;
	struct writer records = some_records(true), w = maker_form(MAKER_FILE, &records, MAKER_BRANCHES);
	struct profile p;
	struct perfdata_result r;
	struct err e;
	static const struct {
		size_t at;
		uint8_t value;
		int code;
		const char *text;
	} cases[] = {
	    {0, 'p', ERR_FORMAT, "no perf.data file"},
	    {8, 17, ERR_FORMAT, "neither of a file"},
	    {16, 1, ERR_FORMAT, "impossible size of an event"},
	    {25, 0xff, ERR_FORMAT, "events passes the end"},
	    {41, 0xff, ERR_FORMAT, "data section passes the end"},
	    {116, 200, ERR_FORMAT, "offset 0x70: impossible size"},
	    {112 + 96 + 16 + 6, 3, ERR_FORMAT, "offset 0xe0: a record shorter than its header"},
	    {112 + 96 + 16 + 7, 0xf0, ERR_FORMAT, "offset 0xe0: a record passes the end"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t old = w.data[cases[i].at];
		w.data[cases[i].at] = cases[i].value;
		assert_int_equal(read_file(&w, &p, &r, &e), -cases[i].code);
		assert_non_null(strstr(e.text, cases[i].text));
		w.data[cases[i].at] = old;
	}
	memcpy(w.data, "2ELIFREP", 8);
	assert_int_equal(read_file(&w, &p, &r, &e), -ERR_UNSUPPORTED);
	assert_non_null(strstr(e.text, "byte order"));
	memcpy(w.data, "PERFFILE", 8);
	assert_int_equal(read_file(&w, &p, &r, &e), -ERR_UNSUPPORTED);
	memcpy(w.data, "PERFILE2", 8);
	memset(w.data + 48, 0, 8); /* perf was killed */
	assert_int_equal(read_file(&w, &p, &r, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "not finished"));
	writer_free(&w);
	writer_free(&records);
}

/* Each cut is refused or read, in memory of just that size; the sanitizers see the rest. */
static void every_prefix_is_refused_or_read(void **state)
{
	(void)state;
	for (int form = 0; form < MAKER_FORM_COUNT; form++) {
		struct writer records = some_records(true), w = maker_form((enum maker_form)form, &records, MAKER_BRANCHES);
		size_t read = 0;
		for (size_t n = 0; n <= w.size; n++) {
			uint8_t *exact = malloc(n ? n : 1);
			struct profile p;
			struct perfdata_result r;
			struct err e = {0};
			memcpy(exact, w.data, n);
			if (!read_bytes_as(exact, n, NULL, NULL, &p, &r, &e)) {
				read++;
				profile_free(&p);
			} else {
				assert_true(e.code == ERR_FORMAT || e.code == ERR_UNSUPPORTED);
				assert_true(strlen(e.text) > 10);
			}
			free(exact);
		}
		assert_true(read >= 1); /* the whole file; of a pipe also cuts between records */
		assert_true(form == MAKER_PIPE || form == MAKER_ZSTD_PIPE || read == 1);
		writer_free(&w);
		writer_free(&records);
	}
}

static void every_flipped_byte_is_refused_or_read(void **state)
{
	(void)state;
	for (int form = 0; form < MAKER_FORM_COUNT; form++) {
		struct writer records = some_records(true), w = maker_form((enum maker_form)form, &records, MAKER_BRANCHES);
		for (size_t i = 0; i < w.size; i++)
			for (int bit = 0; bit < 8; bit += 7) {
				struct profile p;
				struct perfdata_result r;
				w.data[i] ^= (uint8_t)(1u << bit);
				if (!read_file(&w, &p, &r, NULL)) {
					struct writer encoded = {0};
					assert_int_equal(profile_encode(&p, &encoded, NULL), 0);
					writer_free(&encoded);
					profile_free(&p);
				}
				w.data[i] ^= (uint8_t)(1u << bit);
			}
		writer_free(&w);
		writer_free(&records);
	}
}

/* A megabyte of zeros packs into a few bytes: a file may not make us fill the memory. */
static void compressed_bomb_is_refused(void **state)
{
	(void)state;
	struct writer records = {0}, zeros = {0};
	uint8_t *block = calloc(1, 1 << 20);
	struct profile p;
	struct perfdata_result r;
	struct err e;
	for (size_t i = 0; i < 1 << 20; i += 1 << 15) /* records of 32 KiB, of a type nobody knows */
		memcpy(block + i, (const uint8_t[]){60, 0, 0, 0, 0, 0, 0, 0x80}, 8);
	for (int i = 0; i < 100; i++)
		write_bytes(&zeros, block, 1 << 20);
	records = maker_compress(&zeros, 1 << 20, false);
	struct writer w = maker_pipe(&records, PERF_TYPE_HARDWARE, 0, MAKER_PLAIN);
	assert_true(w.size < 64 << 10);
	assert_int_equal(read_file(&w, &p, &r, &e), -ERR_FORMAT);
	assert_non_null(strstr(e.text, "256 times larger"));
	free(block);
	writer_free(&zeros);
	writer_free(&records);
	writer_free(&w);
}

/* Many forks with a new mapping each, all on top of many mappings: n log n, not n * n. */
static void many_forks_of_many_mappings_stay_cheap(void **state)
{
	(void)state;
	enum { COUNT = 50000 };
	struct writer records = {0};
	struct profile p;
	struct perfdata_result r;
	for (uint32_t i = 0; i < COUNT; i++)
		maker_map(&records, 1, 0, (const uint64_t[]){0x100000 + i * 0x1000ull, 0x1000, 0}, "/a");
	for (uint32_t i = 0; i < COUNT; i++) {
		maker_task(&records, PERF_RECORD_FORK, i + 2, i + 1, i + 1);
		maker_map(&records, i + 2, i + 1, (const uint64_t[]){0x100000 + i * 0x1000ull, 0x1000, 0}, "/b");
	}
	maker_sample(&records, COUNT + 1, COUNT + 9, 0x100000, NULL, 0);
	maker_sample(&records, 1, COUNT + 9, 0x100000, NULL, 0);
	maker_sample(&records, COUNT / 2, COUNT + 9, 0x100000 + (COUNT - 1) * 0x1000ull, NULL, 0);
	struct writer w = maker_form(MAKER_FILE, &records, MAKER_PLAIN);
	clock_t start = clock();
	assert_int_equal(read_file(&w, &p, &r, NULL), 0);
	assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 10);
	assert_string_equal(path_at(&p, &p.samples[0]), "/b");
	assert_string_equal(path_at(&p, &p.samples[1]), "/a");
	assert_string_equal(path_at(&p, &p.samples[2]), "/a");
	profile_free(&p);
	writer_free(&w);
	writer_free(&records);
}

/*
 * A real recording of Intel branch stacks; not kept here: LBR_PERF_DATA is google/autofdo's testdata/test.lbr. The program is not needed: it is
 * mapped from offset 0 at 0x400000, and its .text stands at offset 0xb80 to 0x8614.
 */
static void real_branch_stacks_are_found_in_their_program(void **state)
{
	(void)state;
	const char *path = getenv("LBR_PERF_DATA");
	struct file_data file;
	struct profile p;
	struct perfdata_result r;
	struct err e;
	if (!path) {
		print_message("LBR_PERF_DATA is not set\n");
		skip();
	}
	assert_int_equal(file_read(path, &file, &e), 0);
	assert_int_equal(read_bytes_as(file.data, file.size, NULL, NULL, &p, &r, &e), 0);
	assert_string_equal(p.info.event, "br_inst_exec:taken");
	assert_int_equal(p.info.source, PROFILE_BRANCH_STACKS);
	assert_int_equal(p.sample_count, 9232);
	assert_int_equal(p.branch_count, 147712);
	uint64_t inside = 0;
	for (size_t i = 0; i < p.branch_count; i++) {
		const struct profile_branch *b = &p.branches[i];
		bool ours = b->from_module != PROFILE_NO_MODULE && strstr(p.modules[b->from_module].path, "test.binary");
		inside += ours && b->to_module == b->from_module && b->from - 0xb80 < 0x8614 - 0xb80 && b->to - 0xb80 < 0x8614 - 0xb80;
	}
	assert_int_equal(inside, 142282);
	profile_free(&p);
	file_data_free(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_forms_of_the_file_say_the_same),
	    cmocka_unit_test(plain_samples_of_a_clock_have_that_source),
	    cmocka_unit_test(build_id_of_the_record_is_the_identity),
	    cmocka_unit_test(fork_shares_exec_forgets_and_a_new_mapping_covers),
	    cmocka_unit_test(records_are_taken_in_order_of_time),
	    cmocka_unit_test(kernel_samples_and_mappings_are_in_no_module),
	    cmocka_unit_test(raw_data_are_stepped_over_and_build_ids_kept),
	    cmocka_unit_test(of_several_events_one_is_taken),
	    cmocka_unit_test(wrong_files_are_refused_with_a_reason),
	    cmocka_unit_test(every_prefix_is_refused_or_read),
	    cmocka_unit_test(every_flipped_byte_is_refused_or_read),
	    cmocka_unit_test(compressed_bomb_is_refused),
	    cmocka_unit_test(many_forks_of_many_mappings_stay_cheap),
	    cmocka_unit_test(real_branch_stacks_are_found_in_their_program),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
