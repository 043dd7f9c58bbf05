#include "profile/merge/replay.h"

#include "formats/base/vec.h"
#include "profile/output.h"
#include "profile/tally.h"

#include <string.h>

/* Modules get their number in the new file when something names them, so that a window has only its own. */
struct replay_writer {
	int fd;
	char *name;
	uint64_t from_ns;
	struct profile_stream *stream;
	VEC(struct module_identity) modules;
	VEC(uint32_t) numbers; /* in the new file, PROFILE_NO_MODULE = not yet */
	VEC(struct profile_branch) branches;
	VEC(struct profile_place) steps;
	struct tally totals; /* new numbers may order them in another way */
	uint64_t samples, step_count;
};

static int no_memory(const struct replay_writer *w, struct err *e)
{
	return err_set(e, ERR_MEMORY, "%s: no memory", w->name);
}

static int begin(void *context, const struct profile_info *info, struct err *e)
{
	struct replay_writer *w = context;
	int status = output_empty(w->fd, w->name, e);
	return status ? status : profile_stream_open(w->fd, w->name, info, &w->stream, e);
}

static int add_module(void *context, uint32_t number, const struct module_identity *module, struct err *e)
{
	struct replay_writer *w = context;
	struct module_identity copy;
	(void)number;
	int status = module_copy(module, &copy, e);
	if (status)
		return status;
	if (vec_reserve(&w->modules, 1) || vec_push(&w->numbers, PROFILE_NO_MODULE)) {
		module_free(&copy);
		return no_memory(w, e);
	}
	w->modules.data[w->modules.count++] = copy;
	return 0;
}

static int renumber(struct replay_writer *w, uint32_t *module, struct err *e)
{
	if (*module == PROFILE_NO_MODULE)
		return 0;
	uint32_t *number = &w->numbers.data[*module];
	int status = *number == PROFILE_NO_MODULE ? profile_stream_module(w->stream, &w->modules.data[*module], number, e) : 0;
	*module = *number;
	return status;
}

static int add_sample(void *context, const struct profile_sample *sample, const struct profile_branch *branches, struct err *e)
{
	struct replay_writer *w = context;
	struct profile_sample copy = *sample;
	copy.time_ns -= w->from_ns;
	w->branches.count = 0;
	int status = renumber(w, &copy.module, e);
	for (uint32_t i = 0; i < sample->branch_count && !status; i++) {
		struct profile_branch b = branches[i];
		status = renumber(w, &b.from_module, e);
		if (!status)
			status = renumber(w, &b.to_module, e);
		if (!status && vec_push(&w->branches, b))
			status = no_memory(w, e);
	}
	if (status)
		return status;
	w->samples++;
	return profile_stream_sample(w->stream, &copy, w->branches.data, e);
}

static int add_window(void *context, const struct profile_window *window, const struct profile_place *places, const uint32_t *steps,
		      struct err *e)
{
	struct replay_writer *w = context;
	struct profile_window copy = *window;
	int status = 0;
	copy.time_ns -= w->from_ns;
	w->steps.count = 0;
	for (uint32_t i = 0; i < window->step_count && !status; i++) {
		struct profile_place place = places[steps[i]];
		status = renumber(w, &place.module, e);
		if (!status && vec_push(&w->steps, place))
			status = no_memory(w, e);
	}
	if (status)
		return status;
	w->step_count += window->step_count;
	return profile_stream_course(w->stream, &copy, w->steps.data, w->steps.count, e);
}

static int add_count(void *context, const struct profile_count *count, struct err *e)
{
	struct replay_writer *w = context;
	struct profile_count copy = *count;
	int status = copy.count ? renumber(w, &copy.module, e) : 0; /* none says nothing, and names no module */
	return status ? status : tally_add_count(&w->totals, &copy, e);
}

static int add_edge(void *context, const struct profile_edge *edge, struct err *e)
{
	struct replay_writer *w = context;
	struct profile_edge copy = *edge;
	int status = copy.count ? renumber(w, &copy.from_module, e) : 0;
	if (!status && copy.count)
		status = renumber(w, &copy.to_module, e);
	return status ? status : tally_add_edge(&w->totals, &copy, e);
}

static int end(void *context, const struct profile_info *info, bool complete, struct err *e)
{
	struct replay_writer *w = context;
	struct profile totals = {0};
	(void)complete;
	tally_finish(&w->totals, NULL, &totals);
	int status = profile_stream_totals(w->stream, totals.counts, totals.count_count, totals.edges, totals.edge_count, e);
	profile_free(&totals);
	if (status)
		return status;
	struct profile_stream *stream = w->stream;
	w->stream = NULL;
	return profile_stream_close(stream, info, e);
}

int replay_writer_new(int fd, const char *name, const struct replay_window *window, struct replay_writer **ret_writer,
		      struct replay_sink *ret_sink, struct err *e)
{
	struct replay_writer *w = calloc(1, sizeof *w);
	char *copy = strdup(name);
	if (!w || !copy) {
		free(w);
		free(copy);
		return err_set(e, ERR_MEMORY, "%s: no memory", name);
	}
	w->fd = fd;
	w->name = copy;
	w->from_ns = window->whole ? 0 : window->from_ns;
	*ret_writer = w;
	*ret_sink = (struct replay_sink){w, begin, add_module, add_sample, add_window, add_count, add_edge, end};
	return 0;
}

uint64_t replay_writer_samples(const struct replay_writer *writer)
{
	return writer->samples;
}

uint64_t replay_writer_steps(const struct replay_writer *writer)
{
	return writer->step_count;
}

void replay_writer_free(struct replay_writer *writer)
{
	if (!writer)
		return;
	if (writer->stream)
		profile_stream_abandon(writer->stream);
	for (size_t i = 0; i < writer->modules.count; i++)
		module_free(&writer->modules.data[i]);
	vec_free(&writer->modules);
	vec_free(&writer->numbers);
	vec_free(&writer->branches);
	vec_free(&writer->steps);
	tally_free(&writer->totals);
	free(writer->name);
	free(writer);
}
