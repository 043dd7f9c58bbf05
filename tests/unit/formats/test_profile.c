#include "formats/base/file.h"
#include "tests/golden/sample_profile.h"
#include "tests/golden/stream_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
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

static void assert_samples_equal(const struct profile *a, const struct profile *b, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct profile_sample *x = &a->samples[i], *y = &b->samples[i];
		assert_int_equal(x->time_ns, y->time_ns);
		assert_int_equal(x->address, y->address);
		assert_int_equal(x->module, y->module);
		assert_int_equal(x->thread, y->thread);
		assert_int_equal(x->branch_count, y->branch_count);
		for (unsigned j = 0; j < x->branch_count; j++) {
			const struct profile_branch *p = &a->branches[x->first_branch + j], *q = &b->branches[y->first_branch + j];
			assert_int_equal(p->from, q->from);
			assert_int_equal(p->to, q->to);
			assert_int_equal(p->from_module, q->from_module);
			assert_int_equal(p->to_module, q->to_module);
			assert_int_equal(p->mispredicted, q->mispredicted);
		}
	}
}

static void assert_info_equal(const struct profile_info *a, const struct profile_info *b)
{
	assert_int_equal(a->source, b->source);
	assert_string_equal(a->event, b->event);
	assert_string_equal(a->kernel, b->kernel);
	assert_string_equal(a->cpu, b->cpu);
	assert_string_equal(a->command, b->command);
	assert_memory_equal(&a->period, &b->period, sizeof *a - offsetof(struct profile_info, period));
}

static void assert_profiles_equal(const struct profile *a, const struct profile *b)
{
	assert_info_equal(&a->info, &b->info);
	assert_int_equal(a->module_count, b->module_count);
	for (size_t i = 0; i < a->module_count; i++) {
		assert_true(module_same(&a->modules[i], &b->modules[i]));
		assert_int_equal(a->modules[i].file_size, b->modules[i].file_size);
		assert_string_equal(a->modules[i].path, b->modules[i].path);
	}
	assert_int_equal(a->sample_count, b->sample_count);
	assert_samples_equal(a, b, a->sample_count);
	assert_int_equal(a->count_count, b->count_count);
	for (size_t i = 0; i < a->count_count; i++) {
		assert_int_equal(a->counts[i].address, b->counts[i].address);
		assert_int_equal(a->counts[i].count, b->counts[i].count);
		assert_int_equal(a->counts[i].module, b->counts[i].module);
	}
	assert_int_equal(a->edge_count, b->edge_count);
	for (size_t i = 0; i < a->edge_count; i++) {
		assert_memory_equal(&a->edges[i], &b->edges[i], offsetof(struct profile_edge, kind));
		assert_int_equal(a->edges[i].kind, b->edges[i].kind);
	}
}

static void encoded_then_decoded_is_equal(void **state)
{
	(void)state;
	struct profile p = sample_profile(), d;
	struct writer w = {0}, again = {0};
	CHECK(profile_encode(&p, &w, &e));
	CHECK(profile_decode(w.data, w.size, "test", &d, &e));
	assert_true(d.complete);
	assert_profiles_equal(&p, &d);
	CHECK(profile_encode(&d, &again, &e));
	assert_int_equal(again.size, w.size);
	assert_memory_equal(again.data, w.data, w.size);
	assert_int_equal(profile_find_module(&d, &p.modules[1]), 1);
	profile_free(&d);
	writer_free(&w);
	writer_free(&again);
}

static void empty_profile_round_trips(void **state)
{
	(void)state;
	struct profile p = {0}, d;
	struct writer w = {0};
	CHECK(profile_encode(&p, &w, &e));
	CHECK(profile_decode(w.data, w.size, "test", &d, &e));
	assert_string_equal(d.info.command, "");
	assert_int_equal(d.sample_count, 0);
	profile_free(&d);
	writer_free(&w);
}

/* Streams the golden profile's samples in batches into a memory file. */
static int stream_samples(const struct profile *p, unsigned batch, bool close_it)
{
	int fd = memfd_create("profile", 0);
	assert_true(fd >= 0);
	struct profile_stream *s;
	struct profile_info first = p->info;
	first.duration_ns = 0;
	uint32_t index;
	CHECK(profile_stream_open(fd, "memfd", &first, &s, &e));
	for (size_t i = 0; i < p->sample_count; i++) {
		if (i < p->module_count) {
			CHECK(profile_stream_module(s, &p->modules[i], &index, &e));
			assert_int_equal(index, i);
			CHECK(profile_stream_module(s, &p->modules[i], &index, &e));
			assert_int_equal(index, i);
		}
		CHECK(profile_stream_sample(s, &p->samples[i], p->branches + p->samples[i].first_branch, &e));
		if (i % batch == batch - 1)
			CHECK(profile_stream_flush(s, &e));
	}
	if (close_it) {
		CHECK(profile_stream_close(s, &p->info, &e));
		return fd;
	}
	/* A killed recorder: what was not flushed is not in the file. Closing onto a dead descriptor frees the stream. */
	int copy = dup(fd);
	close(fd);
	assert_int_equal(profile_stream_close(s, &p->info, NULL), -ERR_IO);
	return copy;
}

static void streamed_profile_is_equal(void **state)
{
	(void)state;
	struct profile p = sample_profile(), d;
	struct file_data file;
	int fd = stream_samples(&p, 7, true);
	CHECK(file_read_fd(fd, "memfd", &file, &e));
	CHECK(profile_decode(file.data, file.size, "test", &d, &e));
	assert_true(d.complete);
	p.count_count = p.edge_count = 0;
	assert_profiles_equal(&p, &d);
	profile_free(&d);
	file_data_free(&file);
	close(fd);
}

static void killed_recorder_leaves_what_was_flushed(void **state)
{
	(void)state;
	struct profile p = sample_profile(), d;
	struct file_data file;
	int fd = stream_samples(&p, 7, false);
	CHECK(file_read_fd(fd, "memfd", &file, &e));
	CHECK(profile_decode(file.data, file.size, "test", &d, &e));
	assert_false(d.complete);
	assert_int_equal(d.sample_count, 35);
	assert_samples_equal(&d, &p, 35);
	assert_true(d.info.duration_ns >= d.samples[34].time_ns);
	profile_free(&d);
	file_data_free(&file);
	close(fd);
}

static void sample_of_a_module_that_was_not_added_is_refused(void **state)
{
	(void)state;
	int fd = memfd_create("profile", 0);
	struct profile_info info = sample_profile_info();
	struct profile_stream *s;
	CHECK(profile_stream_open(fd, "memfd", &info, &s, &e));
	assert_int_equal(profile_stream_sample(s, &(struct profile_sample){.module = 0}, NULL, NULL), -ERR_INTERNAL);
	CHECK(profile_stream_close(s, &info, &e));
	close(fd);
}

static uint32_t noise(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

/* What a 5 kHz recording of a busy server looks like: 50 threads, 12,000 hot places, two processors. */
static void plain_samples_take_at_most_4_bytes(void **state)
{
	(void)state;
	enum { COUNT = 200000 };
	struct profile p = {.module_count = 2}, d;
	struct module_identity modules[2] = {{.text_hash = 1}, {.text_hash = 2}};
	uint64_t seed = 1, now = 0;
	p.modules = modules;
	p.samples = calloc(COUNT, sizeof *p.samples);
	assert_non_null(p.samples);
	p.sample_count = COUNT;
	for (size_t i = 0; i < COUNT; i++) {
		now += 1000 * (60 + noise(&seed) % 80);
		uint32_t place = noise(&seed) % 110, spread = noise(&seed) % 110;
		p.samples[i] = (struct profile_sample){.time_ns = now,
						       .module = place % 9 == 0,
						       .thread = 1000 + noise(&seed) % 50,
						       .address = 0x600000 + place * spread * 17};
	}
	struct writer w = {0};
	CHECK(profile_encode(&p, &w, &e));
	printf("%.2f bytes per sample\n", (double)w.size / COUNT);
	assert_true(w.size <= 4u * COUNT);
	CHECK(profile_decode(w.data, w.size, "test", &d, &e));
	assert_int_equal(d.sample_count, COUNT);
	assert_samples_equal(&p, &d, COUNT);
	profile_free(&d);
	writer_free(&w);
	free(p.samples);
}

/* All steps and windows of a file, in order. */
struct collected {
	struct profile_place *steps;
	struct profile_window *windows;
	size_t step_count, window_count;
};

static int collect(void *context, const struct profile *part, struct err *e)
{
	struct collected *c = context;
	(void)e;
	assert_true(part->place_count <= part->step_count);
	for (size_t i = 1; i < part->place_count; i++)
		assert_true(part->places[i].module > part->places[i - 1].module || part->places[i].address > part->places[i - 1].address);
	c->steps = realloc(c->steps, (c->step_count + part->step_count + 1) * sizeof *c->steps);
	c->windows = realloc(c->windows, (c->window_count + part->window_count + 1) * sizeof *c->windows);
	assert_true(c->steps && c->windows);
	for (size_t i = 0; i < part->window_count; i++) {
		c->windows[c->window_count] = part->windows[i];
		c->windows[c->window_count++].first_step += (uint32_t)c->step_count;
	}
	for (size_t i = 0; i < part->step_count; i++)
		c->steps[c->step_count++] = part->places[part->steps[i]];
	return 0;
}

static struct collected collect_course(const struct writer *w, struct profile *ret_rest)
{
	struct collected c = {0};
	CHECK(profile_walk(w->data, w->size, "test", collect, &c, ret_rest, &e));
	assert_int_equal(ret_rest->course.steps, c.step_count);
	assert_int_equal(ret_rest->course.windows, c.window_count);
	return c;
}

static void collected_free(struct collected *c)
{
	free(c->steps);
	free(c->windows);
}

static void assert_steps_equal(const struct profile_place *a, const struct profile_place *b, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_true(a[i].address == b[i].address && a[i].module == b[i].module);
}

static void streamed_course_is_equal(void **state)
{
	(void)state;
	struct profile_window windows[SAMPLE_COURSE_WINDOWS];
	const struct profile_place *steps = sample_course(windows);
	struct writer w = {0};
	struct profile rest, d;
	CHECK(stream_sample_profile(&w, &e));
	struct collected c = collect_course(&w, &rest);
	assert_int_equal(c.step_count, SAMPLE_COURSE_STEPS);
	assert_int_equal(c.window_count, SAMPLE_COURSE_WINDOWS);
	assert_steps_equal(c.steps, steps, SAMPLE_COURSE_STEPS);
	for (size_t i = 0; i < c.window_count; i++) {
		assert_int_equal(c.windows[i].time_ns, windows[i].time_ns);
		assert_int_equal(c.windows[i].thread, windows[i].thread);
		assert_int_equal(c.windows[i].first_step, windows[i].first_step);
		assert_int_equal(c.windows[i].step_count, windows[i].step_count);
		assert_int_equal(c.windows[i].gap, windows[i].gap);
	}
	CHECK(profile_decode(w.data, w.size, "test", &d, &e));
	assert_int_equal(d.course.steps, SAMPLE_COURSE_STEPS);
	assert_int_equal(d.course.gaps, 1);
	assert_null(d.steps);
	assert_int_equal(profile_encode(&d, &w, NULL), -ERR_INTERNAL); /* it would be lost */
	collected_free(&c);
	profile_free(&rest);
	profile_free(&d);
	writer_free(&w);
}

/* A loop nest of a hundred places, in calls of odd lengths, longer than a chunk. */
static void long_course_is_cut_into_chunks_and_small(void **state)
{
	(void)state;
	enum { COUNT = 2500000, CALL = 1009 };
	struct module_identity module = {.text_hash = 1};
	struct profile_info info = sample_profile_info();
	struct profile_stream *s;
	struct profile_place *steps = calloc(COUNT, sizeof *steps);
	struct writer w = {0};
	struct profile rest;
	uint64_t seed = 3;
	uint32_t number;
	int fd = memfd_create("profile", 0);
	assert_non_null(steps);
	for (size_t i = 0, at = 0; i < COUNT; i++, at = noise(&seed) % 20 ? at + 1 : noise(&seed) % 100)
		steps[i] = (struct profile_place){0x400000 + 23 * (at % 100), 0};
	CHECK(profile_stream_open(fd, "memfd", &info, &s, &e));
	CHECK(profile_stream_module(s, &module, &number, &e));
	for (size_t i = 0; i < COUNT; i += CALL) {
		struct profile_window window = {.thread = 1, .gap = !i};
		CHECK(profile_stream_course(s, &window, steps + i, COUNT - i < CALL ? COUNT - i : CALL, &e));
	}
	CHECK(profile_stream_close(s, &info, &e));
	CHECK(stream_take(fd, &w, &e));
	struct collected c = collect_course(&w, &rest);
	assert_int_equal(c.step_count, COUNT);
	assert_int_equal(c.window_count, 3);
	assert_int_equal(rest.course.gaps, 1);
	assert_steps_equal(c.steps, steps, COUNT);
	printf("%.3f bytes per step\n", (double)w.size / COUNT);
	assert_true(w.size < COUNT / 3);
	collected_free(&c);
	profile_free(&rest);
	writer_free(&w);
	free(steps);
}

static void step_of_a_module_that_was_not_added_is_refused(void **state)
{
	(void)state;
	struct profile_info info = sample_profile_info();
	struct profile_place step = {.module = 0};
	struct profile_window window = {0};
	struct profile_stream *s;
	int fd = memfd_create("profile", 0);
	CHECK(profile_stream_open(fd, "memfd", &info, &s, &e));
	assert_int_equal(profile_stream_course(s, &window, &step, 1, NULL), -ERR_INTERNAL);
	CHECK(profile_stream_close(s, &info, &e));
	close(fd);
}

static void broken_profiles_are_refused_with_their_own_text(void **state)
{
	(void)state;
#define BREAK(field, count, change, words)                                                                                                 \
	do {                                                                                                                               \
		struct profile p = sample_profile();                                                                                       \
		struct err e = {0};                                                                                                        \
		struct writer w = {0};                                                                                                     \
		typeof(*p.field) *x = malloc((count) * sizeof *x);                                                                         \
		memcpy(x, p.field, (count) * sizeof *x);                                                                                   \
		p.field = x;                                                                                                               \
		change;                                                                                                                    \
		assert_int_equal(profile_encode(&p, &w, &e), -ERR_FORMAT);                                                                 \
		if (!strstr(e.text, words))                                                                                                \
			fail_msg("'%s' does not say '%s'", e.text, words);                                                                 \
		free(x);                                                                                                                   \
		writer_free(&w);                                                                                                           \
	} while (0)
	BREAK(samples, 40, x[3].module = 2, "sample 3: module 2");
	BREAK(samples, 40, x[9].branch_count = 5, "more than there are");
	BREAK(branches, 4, x[1].to_module = 2, "branch 1: module");
	BREAK(branches, 4, x[1].mispredicted = 2, "mispredicted");
	BREAK(counts, 4, x[2].module = 3, "count 2: module 3");
	BREAK(counts, 4, x[1].address = 0x40, "not after the one before");
	BREAK(edges, 4, x[1].kind = 4, "unknown kind");
	BREAK(edges, 4, x[3] = x[2], "not after the one before");
	BREAK(edges, 4, x[0].to_module = 7, "edge 0: module");
	BREAK(modules, 2, x[0].build_id_size = 33, "build-id");
	BREAK(modules, 2, p.info.source = 4, "unknown source");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(encoded_then_decoded_is_equal),
	    cmocka_unit_test(empty_profile_round_trips),
	    cmocka_unit_test(streamed_profile_is_equal),
	    cmocka_unit_test(killed_recorder_leaves_what_was_flushed),
	    cmocka_unit_test(sample_of_a_module_that_was_not_added_is_refused),
	    cmocka_unit_test(streamed_course_is_equal),
	    cmocka_unit_test(long_course_is_cut_into_chunks_and_small),
	    cmocka_unit_test(step_of_a_module_that_was_not_added_is_refused),
	    cmocka_unit_test(plain_samples_take_at_most_4_bytes),
	    cmocka_unit_test(broken_profiles_are_refused_with_their_own_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
