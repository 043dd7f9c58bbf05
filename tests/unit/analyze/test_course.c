/*
 * A course of a small program, assembled by hand, and what must be counted of it.
 *
 *   main  0 xor; loop: 1 call leaf | 2 call *rax | 3 dec, jne loop; 4 rep stosb; 5 jmp other
 *   leaf  ret        other  jmp *rax
 */
#include "analyze/code/map_build.h"
#include "analyze/layout/course.h"
#include "analyze/layout/flow.h"
#include "tests/golden/stream_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BODY                                                                                                                               \
	".text\n"                                                                                                                          \
	".globl main_, leaf_, other_\n"                                                                                                    \
	"main_: .cfi_startproc\n xor %edx, %edx\n nop\n"                                                                                   \
	"loop_: call leaf_\n"                                                                                                              \
	"back_: call *%rax\n"                                                                                                              \
	"again_: dec %ecx\n jne loop_\n"                                                                                                   \
	"rep_: mov $1, %al\n"                                                                                                              \
	"stos_: rep stosb\n"                                                                                                               \
	"tail_: jmp other_\n .cfi_endproc\n"                                                                                               \
	"leaf_: .cfi_startproc\n nop\n ret\n .cfi_endproc\n"                                                                               \
	"other_: .cfi_startproc\n nop\n jmp *%rax\n .cfi_endproc\n"
/* vaddrs in the text, from the encodings */
enum {
	MAIN = 0,
	LOOP = 3,   /* xor 2, nop 1 */
	BACK = 8,   /* call 5 */
	AGAIN = 10, /* call *%rax 2 */
	JNE = 12,
	REP = 14,
	STOS = 16,
	TAIL = 18,
};

struct fixture {
	char directory[64], object[96];
	struct map map;
	uint64_t text, leaf, other;
};

static uint64_t function_after(const struct map *m, uint64_t start)
{
	for (uint32_t f = 0; f < m->function_count; f++)
		if (map_vaddr(m, m->functions[f].start).v > start)
			return map_vaddr(m, m->functions[f].start).v;
	return 0;
}

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof *x);
	struct image image;
	char path[96], command[300];
	strcpy(x->directory, "/tmp/test_course.XXXXXX");
	if (!mkdtemp(x->directory))
		return -1;
	snprintf(path, sizeof path, "%s/a.s", x->directory);
	snprintf(x->object, sizeof x->object, "%s/a.so", x->directory);
	FILE *f = fopen(path, "w");
	if (!f || fputs(BODY, f) < 0 || fclose(f))
		return -1;
	snprintf(command, sizeof command, "cc -nostdlib -shared -Wl,-Bsymbolic,--build-id -o %s %s", x->object, path);
	if (system(command) || image_open(x->object, &image, NULL) || map_build(&image, 1, &x->map, NULL))
		return -1;
	image_close(&image);
	unlink(path);
	x->text = map_vaddr(&x->map, x->map.functions[0].start).v;
	x->leaf = function_after(&x->map, x->text);
	x->other = function_after(&x->map, x->leaf);
	*state = x;
	return x->map.function_count == 3 ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *x = *state;
	unlink(x->object);
	rmdir(x->directory);
	map_free(&x->map);
	free(x);
	return 0;
}

struct recording {
	int fd;
	struct profile_stream *stream;
	uint32_t module;
};

static struct recording begin(const struct fixture *x)
{
	struct profile_info info = sample_profile_info();
	struct recording r = {.fd = memfd_create("course", 0)};
	if (profile_stream_open(r.fd, "memfd", &info, &r.stream, NULL) || profile_stream_module(r.stream, &x->map.module, &r.module, NULL))
		fail();
	return r;
}

static void record(const struct recording *r, uint32_t thread, bool gap, const uint64_t *steps, size_t count)
{
	struct profile_window window = {.thread = thread, .gap = gap};
	struct profile_place places[32];
	for (size_t i = 0; i < count; i++)
		places[i] = (struct profile_place){steps[i], steps[i] ? r->module : PROFILE_NO_MODULE};
	assert_int_equal(profile_stream_course(r->stream, &window, places, count, NULL), 0);
}
#define RECORD(r, thread, gap, ...)                                                                                                        \
	do {                                                                                                                               \
		const uint64_t steps_[] = {__VA_ARGS__};                                                                                   \
		record(r, thread, gap, steps_, sizeof steps_ / sizeof *steps_);                                                            \
	} while (0)

static struct profile counted(const struct fixture *x, struct recording *r)
{
	struct profile_info info = sample_profile_info();
	const struct map *maps[] = {&x->map};
	struct writer w = {0};
	struct profile p;
	struct err e = {0};
	if (profile_stream_close(r->stream, &info, &e) || stream_take(r->fd, &w, &e) || profile_decode(w.data, w.size, "course", &p, &e))
		fail_msg("%s", e.text);
	assert_true(course_is_all(&p));
	if (course_count(w.data, w.size, "course", maps, 1, &p, &e))
		fail_msg("%s", e.text);
	writer_free(&w);
	assert_int_equal(p.info.source, PROFILE_EXACT);
	return p;
}

static uint64_t count_at(const struct profile *p, uint64_t address)
{
	uint64_t count = 0;
	for (size_t i = 0; i < p->count_count; i++)
		if (p->counts[i].address == address)
			count += p->counts[i].count;
	return count;
}

static uint64_t edge_between(const struct profile *p, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < p->edge_count; i++)
		if (p->edges[i].from == from && p->edges[i].to == to)
			return p->edges[i].count;
	return 0;
}

/* Two rounds of the loop, by valgrind's superblocks. */
#define ROUND LEAF, t + BACK, LEAF, t + AGAIN
static void blocks_branches_calls_and_repetitions_are_counted(void **state)
{
	const struct fixture *x = *state;
	const uint64_t t = x->text, LEAF = x->leaf;
	struct recording r = begin(x);
	RECORD(&r, 1, false, t + MAIN, ROUND, t + LOOP, ROUND, t + REP, t + STOS, t + STOS, t + STOS, t + TAIL, x->other, 0, t + MAIN);
	struct profile p = counted(x, &r);
	assert_int_equal(count_at(&p, t + MAIN), 2);
	assert_int_equal(count_at(&p, t + LOOP), 3);  /* fallen into twice, jumped to once */
	assert_int_equal(count_at(&p, t + AGAIN), 3); /* of the block of the loop; the last round ends within it */
	assert_int_equal(count_at(&p, LEAF), 4);
	assert_int_equal(count_at(&p, t + REP), 1);
	assert_int_equal(count_at(&p, t + STOS), 1 + 2);
	assert_int_equal(count_at(&p, t + TAIL), 1);
	assert_int_equal(count_at(&p, x->other), 1);
	assert_int_equal(edge_between(&p, t + LOOP, LEAF), 3); /* direct: from the counts */
	assert_int_equal(edge_between(&p, t + BACK, LEAF), 2); /* indirect: seen */
	assert_int_equal(edge_between(&p, t + JNE, t + LOOP), 1);
	assert_int_equal(edge_between(&p, t + TAIL, x->other), 1);
	assert_int_equal(edge_between(&p, x->other + 1, 0), 1);
	assert_int_equal(count_at(&p, 0), 1); /* outside: the step itself */
	profile_free(&p);
}

static void every_instruction_as_a_step_counts_the_same(void **state)
{
	const struct fixture *x = *state;
	const uint64_t t = x->text, LEAF = x->leaf;
	struct recording r = begin(x);
	RECORD(&r, 1, false, t, t + 2, t + LOOP, LEAF, LEAF + 1, t + BACK, LEAF, LEAF + 1, t + AGAIN, t + JNE, t + LOOP, LEAF);
	struct profile p = counted(x, &r);
	assert_int_equal(count_at(&p, t), 1);
	assert_int_equal(count_at(&p, t + LOOP), 2);
	assert_int_equal(count_at(&p, LEAF), 3);
	assert_int_equal(edge_between(&p, t + JNE, t + LOOP), 1);
	profile_free(&p);
}

/* Pieces of two threads in turn: each goes on where it was; over a gap nothing leads. */
static void threads_go_on_where_they_were_and_gaps_do_not(void **state)
{
	const struct fixture *x = *state;
	const uint64_t t = x->text, LEAF = x->leaf;
	struct recording r = begin(x);
	RECORD(&r, 1, false, t + MAIN, LEAF);
	RECORD(&r, 2, false, t + AGAIN);
	RECORD(&r, 1, false, t + BACK);
	RECORD(&r, 2, false, t + LOOP);
	RECORD(&r, 1, true, LEAF);
	struct profile p = counted(x, &r);
	assert_int_equal(edge_between(&p, t + JNE, t + LOOP), 1);
	assert_int_equal(edge_between(&p, t + BACK, LEAF), 0);
	assert_int_equal(count_at(&p, LEAF), 2);
	assert_int_equal(count_at(&p, t + LOOP), 2);
	profile_free(&p);
}

static void flow_of_a_course_is_exact(void **state)
{
	const struct fixture *x = *state;
	const uint64_t t = x->text, LEAF = x->leaf;
	struct recording r = begin(x);
	struct flow flow;
	RECORD(&r, 1, false, t + MAIN, ROUND, t + LOOP, ROUND, t + REP, t + TAIL, x->other);
	struct profile p = counted(x, &r);
	assert_int_equal(flow_infer(&x->map, &p, 0, &flow, NULL), 0);
	uint32_t loop = map_block_at(&x->map, map_offset(&x->map, (vaddr){t + LOOP}));
	assert_int_equal(flow.block[loop], 2);
	assert_int_equal(flow.taken[loop], 1);
	assert_int_equal(flow.arc_count, 1);
	assert_int_equal(flow.arcs[0].count, 2);
	flow_free(&flow);
	profile_free(&p);
}

static void without_the_file_a_step_counts_for_itself(void **state)
{
	struct fixture x = *(struct fixture *)*state;
	const uint64_t t = x.text, LEAF = x.leaf;
	x.map.module.path = (char *)"/nonexistent";
	struct recording r = begin(&x);
	RECORD(&r, 1, false, t + MAIN, ROUND, t + LOOP);
	struct profile p = counted(&x, &r);
	assert_int_equal(p.count_count, 5);
	assert_int_equal(count_at(&p, t + BACK), 1);
	assert_int_equal(count_at(&p, LEAF), 2);
	assert_int_equal(p.edge_count, 0);
	profile_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(blocks_branches_calls_and_repetitions_are_counted),
	    cmocka_unit_test(every_instruction_as_a_step_counts_the_same),
	    cmocka_unit_test(threads_go_on_where_they_were_and_gaps_do_not),
	    cmocka_unit_test(flow_of_a_course_is_exact),
	    cmocka_unit_test(without_the_file_a_step_counts_for_itself),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
