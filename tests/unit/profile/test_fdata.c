/* BOLT's formats, read and written, for this very program: it has symbols, local ones too, and FDEs. */
#include "profile/export/export.h"
#include "profile/identity.h"
#include "profile/import/totals.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct functions *functions;

static int open_own_program(void **state)
{
	struct err e;
	(void)state;
	return functions_read("/proc/self/exe", &functions, &e);
}

static int close_own_program(void **state)
{
	(void)state;
	functions_free(functions);
	return 0;
}

__attribute__((noinline, used)) static vaddr start_of(const char *name)
{
	vaddr start = {0};
	if (!functions_find(functions, name, strlen(name), &start))
		fail_msg("no function %s", name);
	return start;
}

__attribute__((noinline, used)) static int read_as(int (*read)(struct text *, struct totals *), const char *content, struct profile *p,
						   struct totals_result *r, struct err *e)
{
	struct totals totals;
	struct text text = text_of(content, strlen(content), "text", e);
	totals_init(&totals, functions);
	int status = read(&text, &totals);
	if (!status)
		status = totals_finish(&totals, p, e);
	*r = totals.result;
	totals_free(&totals);
	return status;
}

static void functions_have_the_names_that_bolt_gives_them(void **state)
{
	(void)state;
	vaddr main_start = start_of("main"), local = start_of("start_of/1"), again, none;
	const struct function *f = functions_at(functions, (vaddr){local.v + 3});
	char fde[64];
	struct writer w = {0};
	assert_true(f && f->start == local.v && f->end > local.v + 3);
	functions_put_name(f, true, &w);
	assert_int_equal(w.size, strlen("start_of/1"));
	assert_memory_equal(w.data, "start_of/1", w.size);
	again = start_of("start_of/test_fdata.c/1");
	assert_true(again.v == local.v);
	snprintf(fde, sizeof fde, "__BOLT_FDE_FUNCat%" PRIx64, main_start.v);
	assert_true(start_of(fde).v == main_start.v);
	snprintf(fde, sizeof fde, "__BOLT_FDE_FUNCat%" PRIx64, main_start.v + 1);
	assert_false(functions_find(functions, fde, strlen(fde), &none));
	assert_false(functions_find(functions, "start_of", 8, &none));
	assert_false(functions_find(functions, "main/1", 6, &none));
	writer_free(&w);
}

/* cmocka is a shared library: calls of it go through a stub, which is a function of its own and no part of _init, whose symbol has no size. */
static void stubs_are_functions_named_after_where_they_lead(void **state)
{
	(void)state;
	static const char name[] = "_cmocka_run_group_tests@PLT";
	struct writer w = {0};
	vaddr start = start_of(name), none;
	const struct function *f = functions_at(functions, (vaddr){start.v + 5});
	assert_non_null(f);
	assert_true(f->start == start.v && f->is_stub && (f->end == start.v + 8 || f->end == start.v + 16));
	functions_put_name(f, true, &w);
	assert_int_equal(w.size, sizeof name - 1);
	assert_memory_equal(w.data, name, w.size);
	writer_free(&w);
	assert_false(functions_find(functions, "main@PLT", 8, &none));
}

/* A stock program has no symbols; its FDEs are functions. */
static void stripped_file_has_the_names_of_its_frames(void **state)
{
	(void)state;
	struct functions *stripped;
	struct module_identity module;
	struct elfhead head;
	struct writer w = {0};
	vaddr found;
	assert_int_equal(identity_of_path("/bin/true", &module, &head, NULL), 0);
	assert_int_equal(functions_read("/bin/true", &stripped, NULL), 0);
	const struct function *f = functions_at(stripped, head.entry);
	assert_non_null(f);
	functions_put_name(f, true, &w);
	assert_true(functions_find(stripped, (const char *)w.data, w.size, &found));
	assert_true(found.v == f->start);
	writer_free(&w);
	module_free(&module);
	functions_free(stripped);
}

static void branches_are_resolved_and_their_kind_is_known(void **state)
{
	(void)state;
	struct profile p;
	struct totals_result r;
	struct err e = {0};
	vaddr main_start = start_of("main"), local = start_of("read_as/1");
	assert_int_equal(read_as(fdata_read,
				 "1 main 4 1 main 10 2 30\n1 main 6 1 read_as/test_fdata.c/1 0 0 7\n1 read_as/1 5 1 main b 1 6\n"
				 "0 [unknown] 0 1 main 0 0 5\n1 gone\\ with 3 1 main 8 0 9\n4 main 3 3 x 0 12\n\n",
				 &p, &r, &e),
			 0);
	assert_int_equal(p.info.source, PROFILE_BRANCH_STACKS);
	assert_int_equal(p.edge_count, 5);
	assert_int_equal(r.unresolved, 1);
	assert_int_equal(r.memory, 1);
	assert_int_equal(r.branches, 57);
	unsigned seen = 0;
	for (size_t i = 0; i < p.edge_count; i++) {
		const struct profile_edge *edge = &p.edges[i];
		if (edge->from_module == 0 && edge->from == main_start.v + 4) {
			assert_true(edge->to == main_start.v + 0x10 && edge->count == 30 && edge->mispredicted == 2);
			assert_int_equal(edge->kind, PROFILE_EDGE_JUMP);
			seen |= 1;
		} else if (edge->from_module == 0 && edge->from == main_start.v + 6) {
			assert_true(edge->to == local.v);
			assert_int_equal(edge->kind, PROFILE_EDGE_CALL);
			seen |= 2;
		} else if (edge->from_module == 0) {
			assert_int_equal(edge->kind, PROFILE_EDGE_RETURN);
			seen |= 4;
		}
	}
	assert_int_equal(seen, 7);
	profile_free(&p);
}

static void plain_samples_are_counts(void **state)
{
	(void)state;
	struct profile p;
	struct totals_result r;
	assert_int_equal(read_as(fdata_read, "no_lbr cpu-clock:u:\n1 main 4 17\n1 main 4 3\n", &p, &r, NULL), 0);
	assert_int_equal(p.info.source, PROFILE_CLOCK);
	assert_string_equal(p.info.event, "cpu-clock:u");
	assert_int_equal(p.count_count, 1);
	assert_int_equal(p.counts[0].count, 20);
	profile_free(&p);
}

static void pre_aggregated_lines_of_all_types(void **state)
{
	(void)state;
	struct profile p;
	struct totals_result r;
	struct err e = {0};
	uint64_t base = start_of("main").v;
	char text[1024], id[MODULE_HEX_SIZE];
	module_build_id_hex(functions_module(functions), id);
	snprintf(text, sizeof text,
		 "E cycles\nB %" PRIx64 " %" PRIx64 " 12 3\nB X:0 %" PRIx64 " 4 0\nB X:1 X:2 9 9\nF %" PRIx64 " %" PRIx64 " 5\nf %" PRIx64
		 " 0x%" PRIx64 " 2\nT %" PRIx64 " %" PRIx64 " %" PRIx64 " 8\nS %" PRIx64 " 6\nB 00112233445566:%" PRIx64 " X:0 1\n",
		 base + 4, base + 16, base, base + 16, base + 20, base + 16, base + 20, base + 4, base + 16, base + 20, base + 8, base);
	assert_int_equal(read_as(aggregated_read, text, &p, &r, &e), 0);
	assert_string_equal(p.info.event, "cycles");
	assert_int_equal(p.edge_count, 3);
	assert_int_equal(r.unresolved, 3);
	assert_int_equal(p.edges[0].count, 20); /* B and T add up */
	assert_int_equal(p.edges[0].mispredicted, 3);
	assert_int_equal(p.edges[1].kind, PROFILE_EDGE_RUN);
	assert_int_equal(p.edges[1].count, 15);
	assert_int_equal(p.edges[2].from_module, PROFILE_NO_MODULE);
	assert_int_equal(p.counts[0].count, 6);
	profile_free(&p);
	if (strlen(id) > 8) {
		snprintf(text, sizeof text, "B %s:%" PRIx64 " %.12s:%" PRIx64 " 1\n", id, base + 4, id, base + 16);
		assert_int_equal(read_as(aggregated_read, text, &p, &r, &e), 0);
		assert_int_equal(p.edges[0].from_module, 0);
		assert_int_equal(p.edges[0].to_module, 0);
		profile_free(&p);
	}
}

static void malformed_lines_are_refused_with_their_number(void **state)
{
	(void)state;
	static const struct {
		int (*read)(struct text *, struct totals *);
		const char *text;
	} cases[] = {
	    {fdata_read, "1 main 0 1 main 4 0 1\nx\n"},
	    {fdata_read, "1 main 0 1 main 4 0 1\n6 main 0 1 main 4 0 1\n"},
	    {fdata_read, "1 main 0 1 main 4 0 1\n1 main g 1 main 4 0 1\n"},
	    {fdata_read, "1 main 0 1 main 4 0 1\n1 main 0 1 main 4 0\n"},
	    {fdata_read, "1 main 0 1 main 4 0 1\n1 main 0 1 main 4 0 1 1\n"},
	    {fdata_read, "1 main 0 1 main 4 0 1\n1 main 0 1 main 4 0 99999999999999999999\n"},
	    {fdata_read, "1 main 0 1 main 4 0 1\n1 main\\"},
	    {fdata_read, "no_lbr x\n1 main 0 1 main 4 0 1\n"},
	    {aggregated_read, "B 1 2 3\nQ 1 2 3\n"},
	    {aggregated_read, "B 1 2 3\nB 1 2\n"},
	    {aggregated_read, "B 1 2 3\nB 1 z 3\n"},
	    {aggregated_read, "B 1 2 3\nB 1 2 3 4 5\n"},
	    {aggregated_read, "B 1 2 3\nT 1 2 3\n"},
	    {aggregated_read, "B 1 2 3\nS 1\n"},
	    {aggregated_read, "B 1 2 3\nE\n"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct profile p;
		struct totals_result r;
		struct err e = {0};
		if (read_as(cases[i].read, cases[i].text, &p, &r, &e) != -ERR_FORMAT || !strstr(e.text, "text:2: "))
			fail_msg("case %zu: '%s'", i, e.text);
	}
}

/* What was read, written, and read again. */
static void exported_text_reads_as_the_same_profile(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "1 main 4 1 main 10 2 30\n1 main 6 1 read_as/1 0 0 7\n0 [unknown] 0 1 main 0 0 5\n1 read_as/1 9 0 [unknown] 0 1 4\n",
	    "no_lbr cycles:\n1 main 4 17\n1 read_as/1 2 3\n",
	};
	for (size_t i = 0; i < 2; i++) {
		struct profile first, second;
		struct totals_result r;
		struct export_result x;
		struct writer w = {0}, one = {0}, two = {0};
		assert_int_equal(read_as(fdata_read, texts[i], &first, &r, NULL), 0);
		assert_int_equal(export_fdata(&first, functions, &w, &x, NULL), 0);
		write_u8(&w, 0);
		assert_int_equal(read_as(fdata_read, (const char *)w.data, &second, &r, NULL), 0);
		free(first.info.event); /* fdata names the event only of plain samples */
		first.info.event = strdup(second.info.event);
		assert_int_equal(profile_encode(&first, &one, NULL), 0);
		assert_int_equal(profile_encode(&second, &two, NULL), 0);
		assert_int_equal(one.size, two.size);
		assert_memory_equal(one.data, two.data, one.size);
		assert_int_equal(x.outside, 0);
		writer_free(&w);
		writer_free(&one);
		writer_free(&two);
		profile_free(&first);
		profile_free(&second);
	}
}

/* Stacks are newest first: 0x10 -> 0x20, run to 0x28, -> 0x40. */
static void branch_stacks_become_edges_and_runs(void **state)
{
	(void)state;
	struct profile_branch branches[] = {{0x28, 0x40, 0, 0, 1}, {0x10, 0x20, 0, 0, 0}};
	struct profile_sample samples[] = {{0, 0x44, 0, 1, 0, 2}, {5, 0x44, 0, 1, 0, 2}};
	struct module_identity module = {.path = (char *)(uintptr_t) "/a;b c"};
	struct profile p = {
	    .modules = &module, .module_count = 1, .samples = samples, .branches = branches, .sample_count = 2, .branch_count = 2};
	struct writer w = {0};
	struct export_result r;
	assert_int_equal(export_text(&p, &w, &r, NULL), 0);
	write_u8(&w, 0);
	assert_string_equal((char *)w.data,
			    "# repave profile, source branch-stacks\nmodule 0 - /a;b c\nat 0 0x44 2\nedge jump 0 0x10 0 0x20 2 0\n"
			    "edge run 0 0x20 0 0x28 2 0\nedge jump 0 0x28 0 0x40 2 2\n");
	w.size = 0;
	assert_int_equal(export_folded(&p, NULL, 0, &w, &r, NULL), 0);
	write_u8(&w, 0);
	assert_string_equal((char *)w.data, "/a,b c;page_0x0 2\n");
	assert_int_equal(export_fdata(&p, functions, &w, &r, NULL), -ERR_MISMATCH);
	writer_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(functions_have_the_names_that_bolt_gives_them),
	    cmocka_unit_test(stubs_are_functions_named_after_where_they_lead),
	    cmocka_unit_test(stripped_file_has_the_names_of_its_frames),
	    cmocka_unit_test(branches_are_resolved_and_their_kind_is_known),
	    cmocka_unit_test(plain_samples_are_counts),
	    cmocka_unit_test(pre_aggregated_lines_of_all_types),
	    cmocka_unit_test(malformed_lines_are_refused_with_their_number),
	    cmocka_unit_test(exported_text_reads_as_the_same_profile),
	    cmocka_unit_test(branch_stacks_become_edges_and_runs),
	};
	return cmocka_run_group_tests(tests, open_own_program, close_own_program);
}
