/*
 * stream_profile: profiles written by a stream, as recorders do: the only way to write a recorded course. stream_sample_profile is what
 * tests/golden/profile-1.1.rprof holds.
 */
#ifndef TESTS_GOLDEN_STREAM_PROFILE_H
#define TESTS_GOLDEN_STREAM_PROFILE_H

#include "formats/base/file.h"
#include "tests/golden/sample_profile.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SAMPLE_COURSE_STEPS 300u
#define SAMPLE_COURSE_WINDOWS 4u

/* A loop of some places in three modules and none, by two threads, one of them with a gap. Points into static arrays: not to be freed. */
static inline const struct profile_place *sample_course(struct profile_window *ret_windows)
{
	static struct profile_place steps[SAMPLE_COURSE_STEPS];
	static const struct profile_window windows[SAMPLE_COURSE_WINDOWS] = {
	    {0, 4000, 0, 100, false}, {3000000, 4001, 100, 50, false}, {2000000, 4000, 150, 149, false}, {9000000, 4001, 299, 1, true}};
	for (uint32_t i = 0; i < SAMPLE_COURSE_STEPS; i++)
		steps[i] = (struct profile_place){0x1000 + 16 * (i % 7) * (i % 5), i % 7 > 4};
	steps[77] = (struct profile_place){0xffffffffff600000, PROFILE_NO_MODULE};
	for (uint32_t i = 0; i < SAMPLE_COURSE_WINDOWS; i++)
		ret_windows[i] = windows[i];
	return steps;
}

/* `*modules` of the part's modules were written with parts before it. ERR_FORMAT when two are the same: the copy would number them anew. */
static inline int stream_part(struct profile_stream *s, const struct profile *part, size_t *modules, struct err *e)
{
	struct profile_place *steps = calloc(part->step_count + 1, sizeof *steps);
	uint32_t number;
	int status = steps ? 0 : err_set(e, ERR_MEMORY, "no memory");
	for (; *modules < part->module_count && !status; *modules += !status) {
		status = profile_stream_module(s, &part->modules[*modules], &number, e);
		if (!status && number != *modules)
			status = err_set(e, ERR_FORMAT, "module %zu is there twice", *modules);
	}
	for (size_t i = 0; i < part->sample_count && !status; i++)
		status = profile_stream_sample(s, &part->samples[i], part->branches + part->samples[i].first_branch, e);
	for (size_t i = 0; i < part->step_count && !status; i++)
		steps[i] = part->places[part->steps[i]];
	for (size_t i = 0; i < part->window_count && !status; i++)
		status = profile_stream_course(s, &part->windows[i], steps + part->windows[i].first_step, part->windows[i].step_count, e);
	free(steps);
	if (!status && (part->count_count || part->edge_count))
		status = profile_stream_totals(s, part->counts, part->count_count, part->edges, part->edge_count, e);
	return status;
}

/* Appends what was written to `fd` to `w`; closes it. */
static inline int stream_take(int fd, struct writer *w, struct err *e)
{
	struct file_data file = {0};
	int status = file_read_fd(fd, "memfd", &file, e);
	if (!status)
		write_bytes(w, file.data, file.size);
	file_data_free(&file);
	close(fd);
	return status;
}

static inline int stream_sample_profile(struct writer *w, struct err *e)
{
	struct profile p = sample_profile(), totals = p;
	struct profile_window windows[SAMPLE_COURSE_WINDOWS];
	const struct profile_place *steps = sample_course(windows);
	struct profile_stream *s;
	size_t modules = 0;
	int fd = memfd_create("profile", 0), status = profile_stream_open(fd, "memfd", &p.info, &s, e);
	if (status)
		return status;
	p.count_count = p.edge_count = 0;
	status = stream_part(s, &p, &modules, e);
	for (size_t i = 0; i < SAMPLE_COURSE_WINDOWS && !status; i++)
		status = profile_stream_course(s, &windows[i], steps + windows[i].first_step, windows[i].step_count, e);
	if (!status)
		status = profile_stream_totals(s, totals.counts, totals.count_count, totals.edges, totals.edge_count, e);
	if (status)
		profile_stream_abandon(s);
	else
		status = profile_stream_close(s, &p.info, e);
	int taken = stream_take(fd, w, e);
	return status ? status : taken;
}

struct stream_copy {
	struct profile_stream *stream;
	size_t modules;
	int fd;
};

static inline int stream_copy_part(void *context, const struct profile *part, struct err *e)
{
	struct stream_copy *copy = context;
	int status = copy->stream ? 0 : profile_stream_open(copy->fd, "memfd", &part->info, &copy->stream, e);
	return status ? status : stream_part(copy->stream, part, &copy->modules, e);
}

/* Everything in the profile `data`, its course too, written again. */
static inline int stream_copy(const void *data, size_t size, struct writer *w, struct err *e)
{
	struct stream_copy copy = {.fd = memfd_create("copy", 0)};
	struct profile rest;
	int status = profile_walk(data, size, "input", stream_copy_part, &copy, &rest, e);
	if (!status) {
		status = profile_stream_close(copy.stream, &rest.info, e);
		profile_free(&rest);
	} else if (copy.stream) {
		profile_stream_abandon(copy.stream);
	}
	int taken = stream_take(copy.fd, w, e);
	return status ? status : taken;
}

#endif
