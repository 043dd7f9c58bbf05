/*
 * Any bytes as a profile: see format_oracle.h. What is accepted must also merge, compare and replay as it should: the same sum in any order and
 * grouping, the whole overlap with itself, as many samples after a replay as before, the same sum from two windows as from the whole. A copy of it by
 * a stream, course and all, must read and write the same again.
 */
#include "formats/base/file.h"
#include "profile/merge/diff.h"
#include "profile/merge/merge.h"
#include "profile/merge/replay.h"
#include "tests/fuzz/format_oracle.h"
#include "tests/golden/sample_profile.h"
#include "tests/golden/stream_profile.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                                                    \
	do {                                                                                                                               \
		if (!(condition)) {                                                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                    \
			abort();                                                                                                           \
		}                                                                                                                          \
	} while (0)

struct bytes {
	const uint8_t *data;
	size_t size;
};

static struct bytes of_writer(const struct writer *w)
{
	return (struct bytes){w->data, w->size};
}

static struct bytes of_file(const struct file_data *f)
{
	return (struct bytes){f->data, f->size};
}

/* 0: `w` has the sum of the files, as bytes. */
static int sum(const struct bytes *files, size_t count, uint64_t weight, struct writer *w, struct profile *ret_sum)
{
	struct merge *m;
	struct profile p;
	int status = 0;
	MUST(!merge_new(&m, NULL));
	for (size_t i = 0; i < count && !status; i++)
		status = merge_add(m, files[i].data, files[i].size, "file", weight, NULL);
	if (!status) {
		MUST(!merge_finish(m, &p, NULL));
		MUST(!profile_encode(&p, w, NULL));
		if (ret_sum)
			*ret_sum = p;
		else
			profile_free(&p);
	}
	merge_free(m);
	return status;
}

static void must_be_same(struct writer *a, struct writer *b)
{
	MUST(a->size == b->size && !memcmp(a->data, b->data, a->size));
	writer_free(a);
	writer_free(b);
}

/* Something of the same kind, with modules in common with the corpus. */
static struct writer partner(uint8_t source)
{
	struct profile p = sample_profile();
	struct writer w = {0};
	p.info.source = source;
	if (source != PROFILE_BRANCH_STACKS) {
		for (size_t i = 0; i < p.sample_count; i++)
			p.samples[i].branch_count = 0;
		p.branch_count = 0;
	}
	MUST(!profile_encode(&p, &w, NULL));
	return w;
}

static void check_merge(struct bytes a, bool only_course)
{
	struct profile total;
	struct writer one = {0}, again = {0}, twice = {0}, doubled = {0}, x = {0}, y = {0}, ab = {0}, ba = {0};
	if (sum(&a, 1, 1, &one, &total)) { /* nothing but a course */
		MUST(only_course);
		writer_free(&one);
		return;
	}
	struct writer other = partner(total.info.source);
	struct bytes b = of_writer(&other), s = of_writer(&one);
	MUST(!sum(&s, 1, 1, &again, NULL));
	MUST(!sum((struct bytes[]){a, a}, 2, 1, &twice, NULL) && !sum(&a, 1, 2, &doubled, NULL));
	MUST(!sum((struct bytes[]){a, b}, 2, 1, &ab, NULL) && !sum((struct bytes[]){b, a}, 2, 1, &ba, NULL));
	MUST(!sum((struct bytes[]){of_writer(&ab), a}, 2, 1, &x, NULL) && !sum((struct bytes[]){of_writer(&twice), b}, 2, 1, &y, NULL));
	must_be_same(&one, &again);
	must_be_same(&twice, &doubled);
	must_be_same(&ab, &ba);
	must_be_same(&x, &y);
	writer_free(&other);
	struct profile both[2] = {total, total};
	static const char *const names[2] = {"this", "itself"};
	static const struct diff_options options;
	struct diff d;
	if (!diff_make(both, names, &options, &d, NULL)) {
		MUST(d.blocks.overlap == 1 && !d.mover_count);
		diff_free(&d);
	} else {
		MUST(!total.count_count);
	}
	profile_free(&total);
}

/* False when the window is refused. */
static bool replayed(struct bytes input, const struct replay_window *window, struct file_data *ret_file, uint64_t *ret_samples,
		     uint64_t *ret_steps)
{
	int fd = memfd_create("replay", 0);
	struct replay_writer *writer;
	struct replay_sink sink;
	MUST(fd >= 0 && !replay_writer_new(fd, "replay", window, &writer, &sink, NULL));
	int status = replay_run(input.data, input.size, "input", window, &sink, NULL);
	*ret_samples = replay_writer_samples(writer);
	*ret_steps = replay_writer_steps(writer);
	MUST(!status || status == -ERR_UNSUPPORTED);
	MUST(status || !file_read_fd(fd, "replay", ret_file, NULL));
	replay_writer_free(writer);
	close(fd);
	return !status;
}

static void check_replay(struct bytes a, const struct profile *p)
{
	static const struct replay_window whole = {.whole = true}, early = {0, 3000000, false}, late = {3000000, UINT64_MAX, false};
	struct file_data all, first, second;
	uint64_t count, more, steps, more_steps;
	MUST(replayed(a, &whole, &all, &count, &steps) && count == p->sample_count && steps == p->course.steps);
	MUST(replayed(a, &whole, &first, &count, &steps) && first.size == all.size && !memcmp(first.data, all.data, all.size));
	file_data_free(&first);
	if (replayed(of_file(&all), &early, &first, &count, &steps)) {
		MUST(replayed(of_file(&all), &late, &second, &more, &more_steps));
		MUST(count + more == p->sample_count && steps + more_steps == p->course.steps);
		file_data_free(&first);
		file_data_free(&second);
	}
	file_data_free(&all);
}

static void check_copy(struct bytes a, const struct profile *p)
{
	struct profile again;
	struct writer once = {0}, twice = {0};
	if (stream_copy(a.data, a.size, &once, NULL)) { /* one module twice */
		writer_free(&once);
		return;
	}
	MUST(!stream_copy(once.data, once.size, &twice, NULL));
	MUST(!profile_decode(once.data, once.size, "copy", &again, NULL));
	MUST(again.course.steps == p->course.steps && again.course.gaps == p->course.gaps && again.sample_count == p->sample_count);
	profile_free(&again);
	must_be_same(&once, &twice);
}

static int oracle_all(const uint8_t *data, size_t size)
{
	struct profile p, rest;
	if (!oracle_profile(data, size))
		return 0;
	MUST(!profile_decode(data, size, "input", &p, NULL));
	MUST(!profile_walk(data, size, "input", NULL, NULL, &rest, NULL));
	MUST(rest.module_count == p.module_count && rest.complete == p.complete && rest.info.duration_ns == p.info.duration_ns);
	check_copy((struct bytes){data, size}, &p);
	check_merge((struct bytes){data, size}, p.course.steps && !p.sample_count && !p.count_count && !p.edge_count);
	check_replay((struct bytes){data, size}, &p);
	profile_free(&rest);
	profile_free(&p);
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	oracle_resealed(oracle_all, data, size);
	return 0;
}
