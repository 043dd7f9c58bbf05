/*
 * Logs of valgrind's lackey as courses. The file that they say is loaded is this program's own, so that its segments are known.
 */
#include "profile/identity.h"
#include "profile/import/lackey.h"
#include "tests/golden/stream_profile.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define OPTIONS "--7--    --vex-guest-chase=no\n--7--    --vex-iropt-unroll-thresh=0\n"
#define LOADED "--7-- Reading syms from /proc/self/exe\n--7--    svma 0x0000001000, avma 0x0070001000\n"
#define BIAS UINT64_C(0x70000000)

static uint64_t code; /* vaddr of the start of this program's code */

static int find_code(void **state)
{
	struct module_identity module;
	struct elfhead head;
	(void)state;
	if (identity_of_path("/proc/self/exe", &module, &head, NULL))
		return -1;
	for (uint32_t i = 0; i < head.segment_count && !code; i++)
		if (head.segments[i].type == ELFHEAD_LOAD && (head.segments[i].flags & ELFHEAD_EXECUTE))
			code = head.segments[i].address.v;
	module_free(&module);
	return code ? 0 : -1;
}

struct outcome {
	struct lackey_result result;
	struct profile_place steps[64];
	struct profile_window windows[16];
	size_t step_count, window_count;
	struct writer file;
	struct profile rest;
};

static int collect(void *context, const struct profile *part, struct err *e)
{
	struct outcome *o = context;
	(void)e;
	for (size_t i = 0; i < part->step_count && o->step_count < 64; i++)
		o->steps[o->step_count++] = part->places[part->steps[i]];
	for (size_t i = 0; i < part->window_count && o->window_count < 16; i++)
		o->windows[o->window_count++] = part->windows[i];
	return 0;
}

static int fd_of(const char *text, size_t size)
{
	int fd = memfd_create("log", 0);
	assert_int_equal(write(fd, text, size), size);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static int import(const char *text, struct outcome *o, struct err *e)
{
	static const struct files_options here = {.root = ""};
	static const struct lackey_options options = {0};
	struct input in;
	struct files *files;
	int fd = fd_of(text, strlen(text)), out = memfd_create("profile", 0);
	*o = (struct outcome){0};
	assert_int_equal(input_of_fd(fd, "log", &in, NULL), 0);
	assert_int_equal(files_new(&here, &files, NULL), 0);
	int status = lackey_read(&in, files, out, "profile", &options, &o->result, e);
	files_free(files);
	input_close(&in);
	close(fd);
	if (status) {
		close(out);
		return status;
	}
	assert_int_equal(stream_take(out, &o->file, NULL), 0);
	assert_int_equal(profile_walk(o->file.data, o->file.size, "profile", collect, o, &o->rest, NULL), 0);
	return 0;
}

static void outcome_free(struct outcome *o)
{
	profile_free(&o->rest);
	writer_free(&o->file);
}

/* "SB ADDRESS\n" for an offset into the code, where it stands with this bias; in one of some buffers. */
static const char *sb(uint64_t offset, uint64_t bias)
{
	static char lines[8][32];
	static unsigned next;
	char *line = lines[next++ % 8];
	snprintf(line, sizeof lines[0], "SB %08llx\n", (unsigned long long)(code + bias + offset));
	return line;
}

static void assert_step(const struct outcome *o, size_t i, uint32_t module, uint64_t address)
{
	assert_int_equal(o->steps[i].module, module);
	assert_int_equal(o->steps[i].address, address);
}

static void steps_are_places_of_loaded_files(void **state)
{
	(void)state;
	struct outcome o;
	char text[1000];
	snprintf(text, sizeof text,
		 "==7== Lackey, an example Valgrind tool\n==7== Command: ./x y\n" OPTIONS LOADED "%s%s%sSB 00000010\nnoise\n",
		 sb(0x10, BIAS), sb(0x20, BIAS), sb(0x10, BIAS));
	assert_int_equal(import(text, &o, NULL), 0);
	assert_int_equal(o.step_count, 4);
	assert_step(&o, 0, 0, code + 0x10);
	assert_step(&o, 1, 0, code + 0x20);
	assert_step(&o, 2, 0, code + 0x10);
	assert_step(&o, 3, PROFILE_NO_MODULE, 0x10);
	assert_int_equal(o.window_count, 1);
	assert_false(o.windows[0].gap);
	assert_int_equal(o.result.steps, 4);
	assert_int_equal(o.result.outside, 1);
	assert_int_equal(o.result.modules, 1);
	assert_int_equal(o.result.threads, 1);
	assert_int_equal(o.result.bytes, o.file.size);
	assert_true(o.rest.complete);
	assert_int_equal(o.rest.info.source, PROFILE_EXACT);
	assert_string_equal(o.rest.info.command, "./x y");
	assert_string_equal(o.rest.modules[0].path, "/proc/self/exe");
	outcome_free(&o);
}

static void files_may_be_loaded_and_unloaded_while_it_runs(void **state)
{
	(void)state;
	struct outcome o;
	char text[1000];
	snprintf(text, sizeof text,
		 OPTIONS LOADED "%s--7-- Discarding syms at 0x%llx-0x%llx in /proc/self/exe (have_dinfo 1)\n%s"
				"--7-- Reading syms from /proc/self/exe\n--7--   svma 0x1000, avma 0x90001000\n%s",
		 sb(4, BIAS), (unsigned long long)(code + BIAS), (unsigned long long)(code + BIAS + 0x1000), sb(4, BIAS),
		 sb(4, 0x90000000));
	assert_int_equal(import(text, &o, NULL), 0);
	assert_int_equal(o.step_count, 3);
	assert_step(&o, 0, 0, code + 4);
	assert_step(&o, 1, PROFILE_NO_MODULE, code + BIAS + 4);
	assert_step(&o, 2, 0, code + 4);
	outcome_free(&o);
}

static void threads_are_told_apart_where_the_log_does(void **state)
{
	(void)state;
	struct outcome o;
	char text[1000];
	snprintf(text, sizeof text,
		 OPTIONS LOADED
		 "--7--   SCHED[1]:  acquired lock (thread_wrapper(starting new thread))\n%s"
		 "--7--   SCHED[2]:  acquired lock (x)\n%s%s--7--   SCHED[2]: releasing lock\n--7--   SCHED[1]:  acquired lock (y)\n%s",
		 sb(4, BIAS), sb(8, BIAS), sb(12, BIAS), sb(16, BIAS));
	assert_int_equal(import(text, &o, NULL), 0);
	assert_int_equal(o.result.threads, 2);
	assert_int_equal(o.window_count, 3);
	static const uint32_t threads[] = {1, 2, 1}, steps[] = {1, 2, 1};
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(o.windows[i].thread, threads[i]);
		assert_int_equal(o.windows[i].step_count, steps[i]);
		assert_false(o.windows[i].gap);
	}
	outcome_free(&o);
}

/* A pipe that broke may have cut an address. */
static void line_without_an_end_is_none(void **state)
{
	(void)state;
	struct outcome o;
	char text[1000];
	snprintf(text, sizeof text, OPTIONS LOADED "%sSB 0001", sb(4, BIAS));
	assert_int_equal(import(text, &o, NULL), 0);
	assert_int_equal(o.step_count, 1);
	outcome_free(&o);
}

static void bad_logs_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum err_code code;
		const char *says;
	} bad[] = {
	    {"", ERR_FORMAT, "no line"},
	    {"hello\n", ERR_FORMAT, "no line"},
	    {OPTIONS "SB 1000\n", ERR_FORMAT, "does not say where"},
	    {OPTIONS "--7-- Reading syms from /nonexistent/x\n--7--  svma 0x1000, avma 0x1000\nSB 1000\n", ERR_FORMAT,
	     "does not say where"},
	    {OPTIONS LOADED "SB 10z0\n", ERR_FORMAT, "log:5: expected an address"},
	    {OPTIONS LOADED "SB \n", ERR_FORMAT, "expected an address"},
	    {OPTIONS LOADED "SB 11112222333344445\n", ERR_FORMAT, "expected an address"},
	    {LOADED "SB 1000\n", ERR_UNSUPPORTED, "--vex-guest-chase=no"},
	    {LOADED "--7--    --vex-guest-chase=no\nSB 1000\n", ERR_UNSUPPORTED, "--vex-iropt-unroll-thresh=0"},
	    {OPTIONS LOADED "SB 1000\n==8== \n", ERR_UNSUPPORTED, "--child-silent-after-fork=yes"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct outcome o;
		struct err e = {0};
		assert_int_equal(import(bad[i].text, &o, &e), -(int)bad[i].code);
		if (!strstr(e.text, bad[i].says))
			fail_msg("'%s' does not say '%s'", e.text, bad[i].says);
	}
}

/* --- the input --- */

struct feeder {
	int fd;
	const char *text;
	size_t size, piece;
};

static void *feed(void *argument)
{
	const struct feeder *f = argument;
	for (size_t i = 0; i < f->size; i += f->piece) {
		size_t n = f->size - i < f->piece ? f->size - i : f->piece;
		if (write(f->fd, f->text + i, n) != (ssize_t)n)
			break;
	}
	close(f->fd);
	return NULL;
}

/* Lines of 1 to 3000 bytes, one of a MiB in between; 4 MiB in all. Every byte of a line is its number modulo 26. */
static char *make_lines(size_t *ret_size, unsigned *ret_count)
{
	size_t capacity = 4u << 20, at = 0;
	char *text = malloc(capacity);
	unsigned n = 0;
	assert_non_null(text);
	for (;; n++) {
		size_t length = n == 500 ? 1u << 20 : n * 7919 % 3000;
		if (at + length + 1 > capacity)
			break;
		memset(text + at, 'a' + (int)(n % 26), length);
		at += length;
		text[at++] = '\n';
	}
	*ret_size = at;
	*ret_count = n;
	return text;
}

static void lines_of_a_pipe_come_whole_and_the_longest_empty(void **state)
{
	(void)state;
	size_t size;
	unsigned count;
	char *text = make_lines(&size, &count);
	static const size_t pieces[] = {1021, 65536};
	for (size_t k = 0; k < 2; k++) {
		struct feeder f = {.text = text, .size = size, .piece = pieces[k]};
		struct input in;
		struct slice line;
		pthread_t thread;
		const void *start;
		size_t peeked;
		bool more = true;
		int ends[2];
		assert_int_equal(pipe(ends), 0);
		f.fd = ends[1];
		assert_int_equal(pthread_create(&thread, NULL, feed, &f), 0);
		assert_int_equal(input_of_fd(ends[0], "pipe", &in, NULL), 0);
		assert_int_equal(input_peek(&in, &start, &peeked, NULL), 0);
		assert_true(peeked >= INPUT_PEEK && !memcmp(start, text, peeked));
		for (unsigned n = 0; n < count; n++) {
			assert_int_equal(input_line(&in, &line, &more, NULL), 0);
			assert_true(more);
			assert_int_equal(slice_size(&line), n == 500 ? 0 : n * 7919 % 3000);
			for (const char *s = line.at; s < line.end; s++)
				assert_int_equal(*s, 'a' + n % 26);
		}
		assert_int_equal(in.line, count);
		assert_int_equal(input_line(&in, &line, &more, NULL), 0);
		assert_false(more);
		pthread_join(thread, NULL);
		input_close(&in);
		close(ends[0]);
	}
	free(text);
}

static void input_is_whole_after_a_look_at_its_start(void **state)
{
	(void)state;
	size_t size, peeked;
	unsigned count;
	char *text = make_lines(&size, &count);
	for (int is_pipe = 0; is_pipe < 2; is_pipe++) {
		struct feeder f = {.text = text, .size = size, .piece = 4096};
		struct file_data file;
		struct input in;
		const void *start;
		pthread_t thread;
		int ends[2] = {-1, -1};
		if (is_pipe) {
			assert_int_equal(pipe(ends), 0);
			f.fd = ends[1];
			assert_int_equal(pthread_create(&thread, NULL, feed, &f), 0);
		} else {
			ends[0] = fd_of(text, size);
		}
		assert_int_equal(input_of_fd(ends[0], "input", &in, NULL), 0);
		assert_int_equal(input_peek(&in, &start, &peeked, NULL), 0);
		assert_int_equal(input_whole(&in, &file, NULL), 0);
		assert_int_equal(file.size, size);
		assert_memory_equal(file.data, text, size);
		if (is_pipe)
			pthread_join(thread, NULL);
		file_data_free(&file);
		input_close(&in);
		close(ends[0]);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(steps_are_places_of_loaded_files),
	    cmocka_unit_test(files_may_be_loaded_and_unloaded_while_it_runs),
	    cmocka_unit_test(threads_are_told_apart_where_the_log_does),
	    cmocka_unit_test(line_without_an_end_is_none),
	    cmocka_unit_test(bad_logs_are_refused),
	    cmocka_unit_test(lines_of_a_pipe_come_whole_and_the_longest_empty),
	    cmocka_unit_test(input_is_whole_after_a_look_at_its_start),
	};
	return cmocka_run_group_tests(tests, find_code, NULL);
}
