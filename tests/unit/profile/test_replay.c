/* Replays as profiles, and of cut files: what a killed recorder leaves is read up to its last whole frame, at every length. */
#include "formats/base/file.h"
#include "profile/merge/merge.h"
#include "profile/merge/replay.h"
#include "tests/golden/sample_profile.h"
#include "tests/golden/stream_profile.h"
#include "tests/unit/profile/random_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define CHECK(call)                                                                                                                        \
	do {                                                                                                                               \
		struct err e = {0};                                                                                                        \
		if (call)                                                                                                                  \
			fail_msg("%s", e.text);                                                                                            \
	} while (0)

static const struct replay_window whole = {.whole = true};

static struct writer encoded(const struct profile *p)
{
	struct writer w = {0};
	CHECK(profile_encode(p, &w, &e));
	return w;
}

/* The replay of a file as a file. */
static int replayed(const uint8_t *data, size_t size, const struct replay_window *window, struct file_data *ret_file)
{
	int fd = memfd_create("replay", 0);
	struct replay_writer *writer;
	struct replay_sink sink;
	CHECK(replay_writer_new(fd, "replay", window, &writer, &sink, &e));
	int status = replay_run(data, size, "input", window, &sink, NULL);
	if (!status)
		CHECK(file_read_fd(fd, "replay", ret_file, &e));
	replay_writer_free(writer);
	close(fd);
	return status;
}

static struct writer sum_of(const void *data, size_t size, const void *more, size_t more_size)
{
	struct merge *m;
	struct profile p;
	CHECK(merge_new(&m, &e));
	CHECK(merge_add(m, data, size, "first", 1, &e));
	if (more)
		CHECK(merge_add(m, more, more_size, "second", 1, &e));
	CHECK(merge_finish(m, &p, &e));
	merge_free(m);
	/* Windows do not know these. */
	p.info.start_ns = p.info.duration_ns = p.info.lost = p.info.throttled = p.info.target_cpu_ns = p.info.recorder_cpu_ns = 0;
	struct writer w = encoded(&p);
	profile_free(&p);
	return w;
}

static void assert_equal(struct writer a, struct writer b)
{
	assert_int_equal(a.size, b.size);
	assert_memory_equal(a.data, b.data, a.size);
	writer_free(&a);
	writer_free(&b);
}

static void whole_replay_is_the_profile_again(void **state)
{
	(void)state;
	struct random_source r = {3};
	for (int round = 0; round < 100; round++) {
		struct profile p = random_profile(&r, round % 2 ? PROFILE_CLOCK : PROFILE_BRANCH_STACKS), back;
		struct writer file = encoded(&p);
		struct file_data again;
		assert_int_equal(replayed(file.data, file.size, &whole, &again), 0);
		CHECK(profile_decode(again.data, again.size, "again", &back, &e));
		assert_int_equal(back.sample_count, p.sample_count);
		assert_int_equal(back.info.lost, p.info.lost);
		for (size_t i = 0; i < p.sample_count; i++) {
			assert_int_equal(back.samples[i].time_ns, p.samples[i].time_ns);
			assert_int_equal(back.samples[i].address, p.samples[i].address);
			assert_int_equal(back.samples[i].branch_count, p.samples[i].branch_count);
		}
		profile_free(&back);
		profile_free(&p);
		file_data_free(&again);
		writer_free(&file);
	}
}

static void windows_that_follow_one_another_add_up_to_the_whole(void **state)
{
	(void)state;
	struct random_source r = {4};
	for (int round = 0; round < 100; round++) {
		struct profile p = random_profile(&r, round % 2 ? PROFILE_CLOCK : PROFILE_BRANCH_STACKS);
		p.count_count = p.edge_count = 0;
		if (!p.sample_count || (round % 2 == 0 && !p.branch_count)) {
			profile_free(&p);
			continue;
		}
		struct writer file = encoded(&p);
		struct replay_window first = {0, 1000 * random_below(&r, 30000), false}, second = {first.to_ns, UINT64_MAX, false};
		struct file_data a, b;
		assert_int_equal(replayed(file.data, file.size, &first, &a), 0);
		assert_int_equal(replayed(file.data, file.size, &second, &b), 0);
		/* module_same joins in a stream what is known in full and in part, so only what both ways join can be compared: the amounts. */
		struct writer parts = sum_of(a.data, a.size, b.data, b.size), all = sum_of(file.data, file.size, NULL, 0);
		struct profile x, y;
		CHECK(profile_decode(parts.data, parts.size, "parts", &x, &e));
		CHECK(profile_decode(all.data, all.size, "all", &y, &e));
		uint64_t left = 0, right = 0;
		for (size_t i = 0; i < x.count_count; i++)
			left += x.counts[i].count * (x.counts[i].address + 1);
		for (size_t i = 0; i < y.count_count; i++)
			right += y.counts[i].count * (y.counts[i].address + 1);
		assert_int_equal(left, right);
		profile_free(&x);
		profile_free(&y);
		profile_free(&p);
		file_data_free(&a);
		file_data_free(&b);
		writer_free(&file);
		writer_free(&parts);
		writer_free(&all);
	}
}

static void windows_of_clear_modules_add_up_byte_for_byte(void **state)
{
	(void)state;
	struct profile p = sample_profile();
	p.count_count = p.edge_count = 0;
	p.info.source = PROFILE_BRANCH_STACKS;
	struct writer file = encoded(&p);
	for (uint64_t cut = 0; cut <= 8000000; cut += 500000) {
		struct replay_window first = {0, cut, false}, second = {cut, UINT64_MAX, false};
		struct file_data a, b;
		assert_int_equal(replayed(file.data, file.size, &first, &a), 0);
		assert_int_equal(replayed(file.data, file.size, &second, &b), 0);
		assert_equal(sum_of(a.data, a.size, b.data, b.size), sum_of(file.data, file.size, NULL, 0));
		file_data_free(&a);
		file_data_free(&b);
	}
	writer_free(&file);
}

static void totals_have_no_window(void **state)
{
	(void)state;
	struct profile p = sample_profile();
	struct replay_window window = {0, 1000, false};
	struct file_data file;
	p.sample_count = p.branch_count = 0;
	struct writer w = encoded(&p);
	assert_int_equal(replayed(w.data, w.size, &window, &file), -ERR_UNSUPPORTED);
	assert_int_equal(replayed(w.data, w.size, &whole, &file), 0);
	file_data_free(&file);
	writer_free(&w);
}

/* A recorded file of 24 frames of 5 samples, and how many samples each length of it must still give. */
static struct file_data recorded(size_t *ret_ends, size_t *ret_count)
{
	struct random_source r = {9};
	struct profile p = sample_profile();
	struct profile_stream *s;
	uint32_t index;
	int fd = memfd_create("recorded", 0);
	struct file_data file;
	CHECK(profile_stream_open(fd, "recorded", &p.info, &s, &e));
	for (unsigned i = 0; i < 2; i++)
		CHECK(profile_stream_module(s, &p.modules[i], &index, &e));
	for (unsigned i = 0; i < 120; i++) {
		struct profile_branch branches[3] = {{16 * random_below(&r, 50), 32, 0, 1, 0}, {64, 16 * random_below(&r, 50), 1, 1, 1}};
		struct profile_sample sample = {
		    .time_ns = i * 1000000, .address = 16 * random_below(&r, 50), .module = i % 2, .thread = i % 3};
		sample.branch_count = (uint16_t)(i % 4);
		CHECK(profile_stream_sample(s, &sample, branches, &e));
		if (i % 5 < 4)
			continue;
		CHECK(profile_stream_flush(s, &e));
		ret_ends[(*ret_count)++] = (size_t)lseek(fd, 0, SEEK_END);
	}
	CHECK(profile_stream_close(s, &p.info, &e));
	CHECK(file_read_fd(fd, "recorded", &file, &e));
	close(fd);
	return file;
}

static void every_prefix_is_incomplete_or_refused_and_loses_at_most_its_last_frame(void **state)
{
	(void)state;
	size_t ends[64], frames = 0, refused = 0;
	struct file_data file = recorded(ends, &frames);
	assert_int_equal(frames, 24);
	for (size_t size = 0; size < file.size; size++) {
		uint8_t *copy = malloc(size ? size : 1); /* of this very size, so that a read past its end is seen */
		struct profile p;
		struct err refusal = {0};
		size_t whole_frames = 0;
		memcpy(copy, file.data, size);
		while (whole_frames < frames && ends[whole_frames] <= size)
			whole_frames++;
		if (profile_decode(copy, size, "prefix", &p, &refusal)) {
			assert_int_equal(refusal.code, ERR_FORMAT);
			assert_int_equal(whole_frames, 0);
			refused++;
			free(copy);
			continue;
		}
		assert_false(p.complete);
		assert_int_equal(p.sample_count, 5 * whole_frames);
		if (whole_frames)
			assert_true(p.info.duration_ns >= p.samples[p.sample_count - 1].time_ns);
		struct merge *m;
		struct merge_totals t;
		struct file_data again;
		CHECK(merge_new(&m, &e));
		CHECK(merge_add(m, copy, size, "prefix", 1, &e));
		merge_totals_of(m, &t);
		assert_int_equal(t.weight, p.sample_count);
		assert_int_equal(t.incomplete, 1);
		merge_free(m);
		assert_int_equal(replayed(copy, size, &whole, &again), 0);
		file_data_free(&again);
		profile_free(&p);
		free(copy);
	}
	assert_true(refused > 64 && refused < ends[0]); /* only what is cut before the first info is of no use */
	file_data_free(&file);
}

struct course {
	struct profile_window windows[8];
	struct profile_place steps[2 * SAMPLE_COURSE_STEPS];
	size_t window_count, step_count;
};

static int collect_course(void *context, const struct profile *part, struct err *e)
{
	struct course *c = context;
	(void)e;
	for (size_t i = 0; i < part->window_count; i++)
		c->windows[c->window_count++] = part->windows[i];
	for (size_t i = 0; i < part->step_count; i++)
		c->steps[c->step_count++] = part->places[part->steps[i]];
	return 0;
}

static struct course course_of(const struct file_data *file)
{
	struct course c = {0};
	struct profile rest;
	CHECK(profile_walk(file->data, file->size, "replay", collect_course, &c, &rest, &e));
	profile_free(&rest);
	return c;
}

static void course_is_replayed_and_what_is_left_out_is_a_gap(void **state)
{
	(void)state;
	struct profile_window windows[SAMPLE_COURSE_WINDOWS];
	const struct profile_place *steps = sample_course(windows);
	struct writer w = {0};
	struct file_data file;
	CHECK(stream_sample_profile(&w, &e));
	assert_int_equal(replayed(w.data, w.size, &whole, &file), 0);
	struct course c = course_of(&file);
	assert_int_equal(c.step_count, SAMPLE_COURSE_STEPS);
	assert_int_equal(c.window_count, SAMPLE_COURSE_WINDOWS);
	for (size_t i = 0; i < c.step_count; i++)
		assert_true(c.steps[i].address == steps[i].address && (c.steps[i].module == PROFILE_NO_MODULE) == (i == 77));
	for (size_t i = 0; i < c.window_count; i++)
		assert_int_equal(c.windows[i].gap, i == 3);
	file_data_free(&file);
	/* From 2 ms on: without the first window of thread 4000, and with the second. */
	assert_int_equal(replayed(w.data, w.size, &(struct replay_window){2000000, 4000000, false}, &file), 0);
	c = course_of(&file);
	assert_int_equal(c.window_count, 2);
	assert_int_equal(c.windows[0].thread, 4001);
	assert_int_equal(c.windows[0].time_ns, 1000000);
	assert_false(c.windows[0].gap);
	assert_int_equal(c.windows[1].thread, 4000);
	assert_true(c.windows[1].gap);
	assert_int_equal(c.step_count, 50 + 149);
	file_data_free(&file);
	writer_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_replay_is_the_profile_again),
	    cmocka_unit_test(windows_that_follow_one_another_add_up_to_the_whole),
	    cmocka_unit_test(windows_of_clear_modules_add_up_byte_for_byte),
	    cmocka_unit_test(totals_have_no_window),
	    cmocka_unit_test(every_prefix_is_incomplete_or_refused_and_loses_at_most_its_last_frame),
	    cmocka_unit_test(course_is_replayed_and_what_is_left_out_is_a_gap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
