#include "formats/base/file.h"
#include "formats/profile_chunks.h"

#include <errno.h>
#include <string.h>

#define FLUSH_BRANCHES 32768u /* about 1 MiB in memory */

struct profile_stream {
	int fd;
	bool failed; /* a write failed: what would follow could not be read */
	char *name;
	struct container_writer cw;
	struct writer w; /* what the next write takes to the file */
	size_t modules_written;
	VEC(struct module_identity) modules;
	VEC(struct profile_sample) samples;
	VEC(struct profile_branch) branches;
	struct profile_course_pending course;
};

void profile_stream_abandon(struct profile_stream *s)
{
	for (size_t i = 0; i < s->modules.count; i++)
		module_free(&s->modules.data[i]);
	vec_free(&s->modules);
	vec_free(&s->samples);
	vec_free(&s->branches);
	profile_course_free(&s->course);
	writer_free(&s->w);
	free(s->name);
	free(s);
}

static int stream_write(struct profile_stream *s, struct err *e)
{
	if (s->failed)
		return err_set(e, ERR_IO, "%s: an earlier write failed", s->name);
	s->failed = true;
	if (s->w.failed)
		return err_set(e, ERR_MEMORY, "%s: no memory to encode samples", s->name);
	if (file_write_all(s->fd, s->w.data, s->w.size) < 0)
		return err_set_errno(e, errno, "%s: write", s->name);
	s->failed = false;
	s->w.size = 0;
	return 0;
}

int profile_stream_open(int fd, const char *name, const struct profile_info *info, struct profile_stream **ret_stream, struct err *e)
{
	struct profile_stream *s = calloc(1, sizeof *s);
	char *copy = strdup(name);
	if (!s || !copy) {
		free(s);
		free(copy);
		return err_set(e, ERR_MEMORY, "%s: no memory", name);
	}
	s->fd = fd;
	s->name = copy;
	container_put_header(&s->cw, &s->w, CONTAINER_PROFILE, PROFILE_MAJOR, PROFILE_MINOR);
	profile_put_info(&s->cw, &s->w, info);
	int status = stream_write(s, e);
	if (status) {
		profile_stream_abandon(s);
		return status;
	}
	*ret_stream = s;
	return 0;
}

int profile_stream_module(struct profile_stream *s, const struct module_identity *module, uint32_t *ret_index, struct err *e)
{
	for (size_t i = 0; i < s->modules.count; i++) {
		if (module_same(&s->modules.data[i], module)) {
			*ret_index = (uint32_t)i;
			return 0;
		}
	}
	struct module_identity copy;
	int status = module_copy(module, &copy, e);
	if (status)
		return status;
	if (vec_push(&s->modules, copy)) {
		module_free(&copy);
		return err_set(e, ERR_MEMORY, "%s: no memory for a module", s->name);
	}
	*ret_index = (uint32_t)(s->modules.count - 1);
	return 0;
}

static int check_modules(const struct profile_stream *s, const struct profile_sample *sample, const struct profile_branch *branches,
			 struct err *e)
{
	size_t count = s->modules.count;
	if (sample->module >= count && sample->module != PROFILE_NO_MODULE)
		return err_set(e, ERR_INTERNAL, "%s: sample names module %u of %zu", s->name, sample->module, count);
	for (unsigned i = 0; i < sample->branch_count; i++)
		if ((branches[i].from_module >= count && branches[i].from_module != PROFILE_NO_MODULE) ||
		    (branches[i].to_module >= count && branches[i].to_module != PROFILE_NO_MODULE) || branches[i].mispredicted > 1)
			return err_set(e, ERR_INTERNAL, "%s: branch %u of a sample names no module that was added", s->name, i);
	return 0;
}

int profile_stream_sample(struct profile_stream *s, const struct profile_sample *sample, const struct profile_branch *branches,
			  struct err *e)
{
	int status = check_modules(s, sample, branches, e);
	if (status)
		return status;
	if (vec_reserve(&s->samples, 1) || vec_reserve(&s->branches, sample->branch_count))
		return err_set(e, ERR_MEMORY, "%s: no memory for a sample", s->name);
	struct profile_sample copy = *sample;
	copy.first_branch = (uint32_t)s->branches.count;
	s->samples.data[s->samples.count++] = copy;
	for (unsigned i = 0; i < sample->branch_count; i++)
		s->branches.data[s->branches.count++] = branches[i];
	if (s->samples.count >= PROFILE_CHUNK_SAMPLES_MAX || s->branches.count >= FLUSH_BRANCHES)
		return profile_stream_flush(s, e);
	return 0;
}

int profile_stream_course(struct profile_stream *s, const struct profile_window *window, const struct profile_place *steps, size_t count,
			  struct err *e)
{
	struct profile_window next = *window;
	for (size_t i = 0; i < count; i++)
		if (steps[i].module >= s->modules.count && steps[i].module != PROFILE_NO_MODULE)
			return err_set(e, ERR_INTERNAL, "%s: step %zu names module %u of %zu", s->name, i, steps[i].module,
				       s->modules.count);
	for (size_t done = 0, part; done < count; done += part) {
		size_t room = PROFILE_CHUNK_STEPS_MAX - s->course.steps.count;
		part = count - done < room ? count - done : room;
		if (profile_course_add(&s->course, &next, steps + done, part))
			return err_set(e, ERR_MEMORY, "%s: no memory for a course", s->name);
		next.gap = false;
		if (s->course.steps.count < PROFILE_CHUNK_STEPS_MAX)
			continue;
		int status = profile_stream_flush(s, e);
		if (status)
			return status;
	}
	return 0;
}

/* Puts what is pending into s->w. */
static void encode_pending(struct profile_stream *s)
{
	if (s->modules_written < s->modules.count) {
		profile_put_modules(&s->cw, &s->w, s->modules.data + s->modules_written, s->modules.count - s->modules_written);
		s->modules_written = s->modules.count;
	}
	if (s->samples.count)
		profile_put_samples(&s->cw, &s->w, s->samples.data, s->samples.count, s->branches.data);
	if (s->course.steps.count)
		profile_put_course(&s->cw, &s->w, &s->course);
	s->samples.count = 0;
	s->branches.count = 0;
}

int profile_stream_flush(struct profile_stream *s, struct err *e)
{
	if (s->failed)
		return err_set(e, ERR_IO, "%s: an earlier write failed", s->name);
	encode_pending(s);
	return s->w.size || s->w.failed ? stream_write(s, e) : 0;
}

int profile_stream_totals(struct profile_stream *s, const struct profile_count *counts, size_t count_count,
			  const struct profile_edge *edges, size_t edge_count, struct err *e)
{
	size_t modules = s->modules.count;
	for (size_t i = 0; i < count_count; i++)
		if (counts[i].module >= modules && counts[i].module != PROFILE_NO_MODULE)
			return err_set(e, ERR_INTERNAL, "%s: count %zu names no module that was added", s->name, i);
	for (size_t i = 0; i < edge_count; i++)
		if ((edges[i].from_module >= modules && edges[i].from_module != PROFILE_NO_MODULE) ||
		    (edges[i].to_module >= modules && edges[i].to_module != PROFILE_NO_MODULE))
			return err_set(e, ERR_INTERNAL, "%s: edge %zu names no module that was added", s->name, i);
	int status = profile_stream_flush(s, e);
	if (status)
		return status;
	profile_put_totals(&s->cw, &s->w, counts, count_count, edges, edge_count);
	return s->w.size || s->w.failed ? stream_write(s, e) : 0;
}

int profile_stream_close(struct profile_stream *s, const struct profile_info *info, struct err *e)
{
	int status = 0;
	if (s->failed) {
		status = err_set(e, ERR_IO, "%s: an earlier write failed; the file ends there", s->name);
	} else {
		encode_pending(s);
		profile_put_info(&s->cw, &s->w, info);
		container_put_end(&s->cw, &s->w);
		status = stream_write(s, e);
	}
	profile_stream_abandon(s);
	return status;
}
