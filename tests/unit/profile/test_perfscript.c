#include "profile/import/perfscript.h"

#include "profile/import/import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int read_text(const char *content, struct profile *p, struct perfscript_result *r, struct err *e)
{
	struct files *files;
	struct files_options options = {.root = "/nonexistent"};
	struct text text = text_of(content, strlen(content), "text", e);
	assert_int_equal(files_new(&options, &files, e), 0);
	int status = perfscript_read(&text, files, p, r);
	files_free(files);
	return status;
}

static struct profile read_good(const char *content)
{
	struct profile p;
	struct perfscript_result r;
	struct err e = {0};
	if (read_text(content, &p, &r, &e))
		fail_msg("%s", e.text);
	return p;
}

#define MAP "main 10 1.0: PERF_RECORD_MMAP2 10/10: [0x400000(0x2000) @ 0x1000 08:01 77 0]: r-xp /bin/main\n"

static void what_perf_prints_by_default(void **state)
{
	(void)state;
	struct profile p = read_good(
	    "# comment\n" MAP "            main   10/11   12.500000123:     250000 cpu-clock:u:            401004 work+0x4 (/bin/main)\n"
	    "  Web Content 9     10 [003]   12.600000:     250000 cpu-clock:u:      7f0906f2999a [unknown] ([unknown])\n");
	assert_int_equal(p.info.source, PROFILE_CLOCK);
	assert_string_equal(p.info.event, "cpu-clock:u");
	assert_int_equal(p.sample_count, 2);
	assert_int_equal(p.samples[0].address, 0x2004);
	assert_int_equal(p.samples[0].thread, 11);
	assert_int_equal(p.samples[1].thread, 10);
	assert_int_equal(p.samples[1].time_ns, 99999877);
	assert_int_equal(p.samples[1].module, PROFILE_NO_MODULE);
	profile_free(&p);
}

static void fields_may_be_few(void **state)
{
	(void)state;
	static const char *const lines[] = {
	    "           401004\n",
	    "           401004 add\n", /* a name that could be a number */
	    "           401004 dead (/bin/main)\n",
	    "10           401004\n",
	    "10/10           401004 add\n",
	    "main 10           401004 work\n",
	    "main 10 12.5:           401004 work (/bin/main)\n",
	    "dead 10 12.5:           401004\n",
	    "10 cycles:u:           401004\n",
	    "401004\n",
	    "10 401004\n",
	    "12.5: 401004 x\n",
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		char text[400];
		snprintf(text, sizeof text, MAP "%s", lines[i]);
		struct profile p = read_good(text);
		assert_int_equal(p.sample_count, 1);
		assert_int_equal(p.samples[0].address, 0x2004);
		profile_free(&p);
	}
}

static void branches_of_all_versions(void **state)
{
	(void)state;
	struct profile p =
	    read_good(MAP "           401004 0x401020/0x401000/M/-/-/5  0x401040/0x401010/P/-/-/0/  0x7f0000/0x401000/-/X/A/0/COND/SPEC\n"
			  " 10           401008 work 0x401020/0x401000/P/-/-/1\n");
	assert_int_equal(p.info.source, PROFILE_BRANCH_STACKS);
	assert_int_equal(p.sample_count, 2);
	assert_int_equal(p.branch_count, 4);
	assert_int_equal(p.samples[0].branch_count, 3);
	assert_int_equal(p.branches[0].from, 0x2020);
	assert_int_equal(p.branches[0].mispredicted, 1);
	assert_int_equal(p.branches[1].mispredicted, 0);
	assert_int_equal(p.branches[2].from_module, PROFILE_NO_MODULE);
	assert_int_equal(p.samples[1].first_branch, 3);
	profile_free(&p);
}

static void only_the_first_place_of_a_call_chain_counts(void **state)
{
	(void)state;
	struct profile p =
	    read_good(MAP "main 10 12.5:     250000 cycles: \n\t          401004 work+0x4 (/bin/main)\n\t          401500 main "
			  "(/bin/main)\n\n\t          401008 work\n\t          401500 main\n 0x401020/0x401000/P/-/-/1\n\n");
	assert_int_equal(p.sample_count, 2);
	assert_int_equal(p.samples[0].address, 0x2004);
	assert_int_equal(p.samples[1].address, 0x2008);
	assert_int_equal(p.samples[1].branch_count, 1);
	assert_int_equal(p.branch_count, 1);
	profile_free(&p);
}

/* perf prints offsets in files there, not addresses. */
static void offset_in_a_call_chain_belongs_to_its_file(void **state)
{
	(void)state;
	struct profile p = read_good(MAP "main 10 12.5:     250000 cycles: \n\t           9f557 strnlen+0x7 (/usr/lib/libc.so.6)\n\n");
	assert_int_equal(p.sample_count, 1);
	assert_string_equal(p.modules[p.samples[0].module].path, "/usr/lib/libc.so.6");
	assert_int_equal(p.samples[0].address, 0x9f557);
	assert_int_equal(p.samples[0].thread, 10);
	profile_free(&p);
}

static void processes_have_their_own_mappings(void **state)
{
	(void)state;
	struct profile p = read_good(
	    MAP
	    "main 10 1.1: PERF_RECORD_FORK(11:11):(10:10)\n"
	    " 11           401004 x\n"
	    "x 11 1.2: PERF_RECORD_COMM exec: new name:11/11\n"
	    " 11           401004 x\n"
	    "x 11 1.3: PERF_RECORD_MMAP2 11/11: [0x401000(0x1000) @ 0 <00112233445566778899aabbccddeeff00112233>]: r-xp /bin/with blank\n"
	    " 11           401004 x\n"
	    " 10           401004 x\n"
	    "swapper 0 0.0: PERF_RECORD_MMAP -1/0: [0xffffffff81000000(0x1000) @ 0xffffffff81000000]: x [kernel.kallsyms]_text\n"
	    "swapper 0 0.0: PERF_RECORD_LOST lost 42\n");
	assert_int_equal(p.sample_count, 4);
	assert_string_equal(p.modules[p.samples[0].module].path, "/bin/main");
	assert_int_equal(p.samples[1].module, PROFILE_NO_MODULE);
	assert_string_equal(p.modules[p.samples[2].module].path, "/bin/with blank");
	assert_int_equal(p.modules[p.samples[2].module].build_id[1], 0x11);
	assert_int_equal(p.samples[2].address, 4);
	assert_string_equal(p.modules[p.samples[3].module].path, "/bin/main");
	assert_int_equal(p.info.lost, 42);
	profile_free(&p);
}

static void what_cannot_be_used_is_refused_with_its_line(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
		int code;
	} cases[] = {
	    {"", "no samples", ERR_FORMAT},
	    {MAP "nonsense here\n", "text:2: expected a sample", ERR_FORMAT},
	    {"           401004\n", "--show-mmap-events", ERR_UNSUPPORTED},
	    {MAP "           401004 0x401020\n\n 0x1/0x2/P/-/-/0\n", "text:4: branches without", ERR_FORMAT},
	    {MAP "           401004 0x401020/main+0x5/P/-/-/0\n", "text:2: expected a branch", ERR_FORMAT},
	    {MAP "           401004 0x401020/0x1\n", "text:2: expected a branch", ERR_FORMAT},
	    {MAP "main 10 1.0: PERF_RECORD_MMAP2 10/10: [0x40(0x2000) @ \n", "text:2: an event that is not", ERR_FORMAT},
	    {MAP "main 10 1.0: PERF_RECORD_FORK(1:1)\n", "text:2: an event that is not", ERR_FORMAT},
	    {MAP "x 11 1: PERF_RECORD_MMAP2 11/11: [0x400000(0x2000) @ 0 08:01 77 0]: r-xp /b\n           401004\n",
	     "text:3: several processes", ERR_UNSUPPORTED},
	    {MAP "main 10 12.5:     250000 cycles:           401004\n\twork:\n\t0000000000401004\tinsn: 48 89 e5\n",
	     "brstackinsn leaves out", ERR_UNSUPPORTED},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct profile p;
		struct perfscript_result r;
		struct err e = {0};
		int status = read_text(cases[i].text, &p, &r, &e);
		if (status != -cases[i].code || !strstr(e.text, cases[i].message))
			fail_msg("case %zu: %d '%s'", i, status, e.text);
	}
}

static void formats_are_recognised(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum import_format format;
	} cases[] = {
	    {"PERFILE2xxxxxxx", IMPORT_PERF_DATA},
	    {"2ELIFREPxxxxxxx", IMPORT_PERF_DATA},
	    {"# callgrind format\nversion: 1\n", IMPORT_CALLGRIND},
	    {"version: 1\n", IMPORT_CALLGRIND},
	    {"1 main 3fb 0 [unknown] 0 0 12\n", IMPORT_FDATA},
	    {"4 main 3fb 3 x 0 12\n", IMPORT_FDATA},
	    {"no_lbr cycles:\n1 main 0 4\n", IMPORT_FDATA},
	    {"B 401000 402000 12 0\n", IMPORT_AGGREGATED},
	    {"F X:0 402000 12\n", IMPORT_AGGREGATED},
	    {"E cycles\nS 401000 4\n", IMPORT_AGGREGATED},
	    {MAP, IMPORT_PERF_SCRIPT},
	    {"# header\n# more\n\nmain 10 12.5:     250000 cycles:           401004 x\n", IMPORT_PERF_SCRIPT},
	    {"           401004 0x1/0x2/P/-/-/0\n", IMPORT_PERF_SCRIPT},
	    {"\177ELF", IMPORT_FORMAT_COUNT},
	    {"hello, world\n", IMPORT_FORMAT_COUNT},
	    {"", IMPORT_FORMAT_COUNT},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(import_detect(cases[i].text, strlen(cases[i].text)), cases[i].format);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_perf_prints_by_default),
	    cmocka_unit_test(fields_may_be_few),
	    cmocka_unit_test(branches_of_all_versions),
	    cmocka_unit_test(only_the_first_place_of_a_call_chain_counts),
	    cmocka_unit_test(offset_in_a_call_chain_belongs_to_its_file),
	    cmocka_unit_test(processes_have_their_own_mappings),
	    cmocka_unit_test(what_cannot_be_used_is_refused_with_its_line),
	    cmocka_unit_test(formats_are_recognised),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
