#include "profile/import/callgrind.h"
#include "profile/import/callgrind_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Objects "/a" and "/b" have code at 0x1000..0x3000; everything else is not to be found. */
static int open_object(void *context, const char *path, struct callgrind_object *ret_object, struct err *e)
{
	++*(int *)context;
	if (strcmp(path, "/a") && strcmp(path, "/b"))
		return err_set(e, ERR_MISSING, "%s", path);
	struct callgrind_object object = {.known = true, .code_count = 1};
	object.module.path = strdup(path);
	object.module.file_size = (uint64_t)path[1];
	object.code = malloc(sizeof *object.code);
	object.code[0][0] = 0x1000;
	object.code[0][1] = 0x3000;
	*ret_object = object;
	return 0;
}

static int opened;

static int read_text(const char *text, struct profile *p, struct callgrind_result *r, struct err *e)
{
	struct callgrind_source source = {open_object, &opened};
	FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	opened = 0;
	int status = callgrind_read(file, "text", &source, p, r, e);
	fclose(file);
	return status;
}

static uint64_t count_at(const struct profile *p, uint32_t module, uint64_t address)
{
	for (size_t i = 0; i < p->count_count; i++)
		if (p->counts[i].module == module && p->counts[i].address == address)
			return p->counts[i].count;
	return 0;
}

static const struct profile_edge *edge_at(const struct profile *p, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < p->edge_count; i++)
		if (p->edges[i].from == from && p->edges[i].to == to)
			return &p->edges[i];
	return NULL;
}

#define HEADER "# callgrind format\nversion: 1\ncmd: ./x y\npart: 1\npositions: instr line\nevents: Ir\nsummary: 5\n\n"

static void positions_are_absolute_relative_or_same(void **state)
{
	(void)state;
	struct profile p;
	struct callgrind_result r;
	assert_int_equal(
	    read_text(HEADER "ob=(1) /a\nfl=(1) f.c\nfn=(1) main\n0x1000 5 3\n+4 * 2\n* +1 1\n-2 -3 7\n4112 9 1\n", &p, &r, NULL), 0);
	assert_int_equal(p.count_count, 4);
	assert_int_equal(count_at(&p, 0, 0x1000), 3);
	assert_int_equal(count_at(&p, 0, 0x1004), 3); /* two lines of one instruction add up */
	assert_int_equal(count_at(&p, 0, 0x1002), 7);
	assert_int_equal(count_at(&p, 0, 0x1010), 1);
	assert_int_equal(r.instructions, 14);
	assert_int_equal(p.info.source, PROFILE_EXACT);
	assert_string_equal(p.info.command, "./x y");
	profile_free(&p);
}

static void cost_of_a_call_is_not_the_cost_of_its_instruction(void **state)
{
	(void)state;
	struct profile p;
	struct callgrind_result r;
	assert_int_equal(read_text(HEADER "ob=(1) /a\nfn=(1) main\n0x1000 5 1\ncob=(2) /b\ncfi=(3) g.c\ncfn=(2) g\ncalls=12 0x2000 7\n"
					  "* * 99999\n+5 * 1\ncfn=(3) h\ncalls=2 +0x10 *\n* * 5\n",
				   &p, &r, NULL),
			 0);
	assert_int_equal(count_at(&p, 0, 0x1000), 1);
	assert_int_equal(r.instructions, 2);
	const struct profile_edge *edge = edge_at(&p, 0x1000, 0x2000);
	assert_non_null(edge);
	assert_int_equal(edge->count, 12);
	assert_int_equal(edge->kind, PROFILE_EDGE_CALL);
	assert_int_equal(edge->from_module, 0);
	assert_string_equal(p.modules[edge->to_module].path, "/b");
	/* cob= holds for one call only; the target is relative to the line before */
	edge = edge_at(&p, 0x1005, 0x1015);
	assert_non_null(edge);
	assert_int_equal(edge->to_module, 0);
	profile_free(&p);
}

static void jumps_are_edges_with_the_taken_count(void **state)
{
	(void)state;
	struct profile p;
	struct callgrind_result r;
	assert_int_equal(read_text(HEADER
				   "ob=(1) /a\nfn=(1) main\n0x1010 5 24\njcnd=11/24 +11 *\n* *\n+2 * 13\njump=13 -0x12 *\n* *\n+1 1 1\n"
				   "job=(2) /b\njump=3 0x1800 0\n* *\n",
				   &p, &r, NULL),
			 0);
	assert_int_equal(r.instructions, 38);
	assert_int_equal(edge_at(&p, 0x1010, 0x101b)->count, 11);
	assert_int_equal(edge_at(&p, 0x1010, 0x101b)->kind, PROFILE_EDGE_JUMP);
	assert_int_equal(edge_at(&p, 0x1012, 0x1000)->count, 13);
	assert_int_equal(edge_at(&p, 0x1013, 0x1800)->to_module, 1);
	assert_int_equal(p.edge_count, 3);
	profile_free(&p);
}

static void names_are_defined_once_and_referred_to(void **state)
{
	(void)state;
	struct profile p;
	struct callgrind_result r;
	assert_int_equal(
	    read_text(HEADER "ob=(7) /a\nfn=(1) (below main)\n0x1000 0 1\nob=(0) /b\n0x1000 0 2\nob=(7)\nfi=(9) i.h\n0x1100 0 4\nfe=(8)\n"
			     "0x1200 0 8\nob=(0)\n0x1200 0 16\nob=/a\n0x1200 0 32\n",
		      &p, &r, NULL),
	    0);
	assert_int_equal(p.module_count, 2);
	assert_int_equal(opened, 2);
	assert_int_equal(count_at(&p, 0, 0x1200), 40);
	assert_int_equal(count_at(&p, 1, 0x1200), 16);
	assert_int_equal(count_at(&p, 0, 0x1100), 4);
	profile_free(&p);
}

static void several_parts_add_up_and_may_differ_in_events(void **state)
{
	(void)state;
	struct profile p;
	struct callgrind_result r;
	assert_int_equal(
	    read_text(HEADER "ob=(1) /a\n0x1000 0 1\n\ntotals: 1\n\n# callgrind format\nversion: 1\npart: 2\nthread: 2\ndesc: x\n"
			     "positions: instr\nevents: Dr Ir Dw\n\nob=(1) /b\n0x1000 9 5 9\n+1 9\n+1 1 6\nob=(2) /a\n0x1000 0 10 1\n",
		      &p, &r, NULL),
	    0);
	assert_int_equal(r.parts, 2);
	assert_int_equal(count_at(&p, 0, 0x1000), 11);
	assert_int_equal(count_at(&p, 1, 0x1000), 5);
	assert_int_equal(count_at(&p, 1, 0x1001), 0); /* Ir left out: zero */
	assert_int_equal(count_at(&p, 1, 0x1002), 6);
	profile_free(&p);
}

static void unknown_objects_and_strange_addresses_are_counted(void **state)
{
	(void)state;
	struct profile p;
	struct callgrind_result r;
	assert_int_equal(
	    read_text(HEADER "ob=(1) /a\n0x1000 0 1\n0x3000 0 50\n0xfff 0 2\ncfn=(1)\ncalls=1 0x9000 0\n* * 1\nob=(2) /gone\n0x9 0 3\n"
			     "ob=(3) ???\n0x8888 0 4\nob=(3)\n+1 0 1\n",
		      &p, &r, NULL),
	    0);
	assert_int_equal(r.outside, 52);
	assert_int_equal(r.anonymous, 5);
	assert_int_equal(r.objects, 2);
	assert_int_equal(r.objects_unknown, 1);
	assert_int_equal(p.edge_count, 0);
	assert_string_equal(p.modules[1].path, "/gone");
	assert_int_equal(p.modules[1].file_size, 0);
	assert_int_equal(count_at(&p, PROFILE_NO_MODULE, 0x8888), 4);
	profile_free(&p);
}

static void arrays_are_sorted_and_unique(void **state)
{
	(void)state;
	struct profile p;
	struct callgrind_result r;
	assert_int_equal(read_text(HEADER
				   "ob=(1) /a\n0x1020 0 1\njump=1 0x1000 0\n* *\n0x1000 0 1\njump=1 0x1020 0\n* *\njump=4 0x1010 0\n* *\n"
				   "0x1020 0 1\njcnd=1/1 0x1000 0\n* *\n",
				   &p, &r, NULL),
			 0);
	assert_int_equal(p.count_count, 2);
	assert_int_equal(p.counts[0].address, 0x1000);
	assert_int_equal(p.edge_count, 3);
	assert_int_equal(p.edges[0].to, 0x1010);
	assert_int_equal(p.edges[1].to, 0x1020);
	assert_int_equal(p.edges[2].count, 2);
	profile_free(&p);
}

static void every_malformed_line_is_refused_with_its_number(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
		int code;
	} cases[] = {
	    {"", "no line 'events:'", ERR_FORMAT},
	    {"hello\n", "text:1: unknown line", ERR_FORMAT},
	    {"version: 2\n", "version 2", ERR_UNSUPPORTED},
	    {"positions: line\n", "--dump-instr=yes", ERR_UNSUPPORTED},
	    {"positions: instr bb\n", "text:1: unknown positions", ERR_FORMAT},
	    {"events: Dr Irx\n", "no event Ir", ERR_UNSUPPORTED},
	    {"events: Ir\n0x1 1\n", "text:2: costs before", ERR_FORMAT},
	    {HEADER "0x 1 1\n", "text:9: expected a position", ERR_FORMAT},
	    {HEADER "0x1000x 1 1\n", "expected a position", ERR_FORMAT},
	    {HEADER "0x11111111111111111 1 1\n", "expected a position", ERR_FORMAT},
	    {HEADER "0x1000 1 x\n", "expected a cost", ERR_FORMAT},
	    {HEADER "ob=(3)\n", "not defined", ERR_FORMAT},
	    {HEADER "calls=x 0 0\n", "expected a count", ERR_FORMAT},
	    {HEADER "calls=1\n", "expected a position", ERR_FORMAT},
	    {HEADER "jcnd=1 0x1 1\n", "taken/executed", ERR_FORMAT},
	    {HEADER "jump=1 0x1 1\njump=1 0x1 1\n", "text:10: a call or jump without", ERR_FORMAT},
	    {HEADER "ob=/a\ncalls=1 0x1000 1\n", "ends after a call", ERR_FORMAT},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct profile p = {.count_count = 4242};
		struct callgrind_result r;
		struct err e = {0};
		/* fmemopen refuses an empty buffer: one newline is as empty */
		assert_int_equal(read_text(*cases[i].text ? cases[i].text : "\n", &p, &r, &e), -cases[i].code);
		if (!strstr(e.text, cases[i].message))
			fail_msg("'%s' lacks '%s'", e.text, cases[i].message);
		assert_int_equal(p.count_count, 4242);
	}
}

static void every_truncation_is_read_or_refused(void **state)
{
	(void)state;
	static const char whole[] = HEADER "ob=(1) /a\nfn=(1) main\n0x1000 5 1\ncob=(2) /b\ncalls=12 0x2000 7\n* * 9\njcnd=1/2 +4 *\n* *\n";
	for (size_t n = 1; n < sizeof whole; n++) {
		char *cut = strndup(whole, n);
		struct profile p;
		struct callgrind_result r;
		int status = read_text(cut, &p, &r, NULL);
		assert_true(status == 0 || status == -ERR_FORMAT || status == -ERR_UNSUPPORTED);
		if (!status)
			profile_free(&p);
		free(cut);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(positions_are_absolute_relative_or_same),
	    cmocka_unit_test(cost_of_a_call_is_not_the_cost_of_its_instruction),
	    cmocka_unit_test(jumps_are_edges_with_the_taken_count),
	    cmocka_unit_test(names_are_defined_once_and_referred_to),
	    cmocka_unit_test(several_parts_add_up_and_may_differ_in_events),
	    cmocka_unit_test(unknown_objects_and_strange_addresses_are_counted),
	    cmocka_unit_test(arrays_are_sorted_and_unique),
	    cmocka_unit_test(every_malformed_line_is_refused_with_its_number),
	    cmocka_unit_test(every_truncation_is_read_or_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
