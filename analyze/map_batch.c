#include "analyze/map_batch.h"
#include "analyze/code/map_build.h"
#include "formats/base/file.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int batch_add(struct batch *batch, const char *path, struct err *e)
{
	struct batch_job *grown = realloc(batch->jobs, (batch->count + 1) * sizeof *grown);
	struct stat s;
	if (!grown)
		return err_set(e, ERR_MEMORY, "no memory for %zu files", batch->count + 1);
	batch->jobs = grown;
	struct batch_job *job = &grown[batch->count];
	*job = (struct batch_job){.path = strdup(path)};
	if (!job->path)
		return err_set(e, ERR_MEMORY, "no memory for %zu files", batch->count + 1);
	job->size = stat(path, &s) ? 0 : (uint64_t)s.st_size;
	batch->count++;
	return 0;
}

static int add_line(struct batch *batch, const char *file, char *line, struct err *e)
{
	size_t length = strlen(line);
	while (length && isspace((unsigned char)line[length - 1]))
		line[--length] = 0;
	while (isspace((unsigned char)*line))
		line++;
	if (!*line || *line == '#')
		return 0;
	int status = libraries_add(&batch->libraries, line, e);
	return status ? err_prefix(e, "%s", file) : 0;
}

int batch_add_whitelist(struct batch *batch, const char *file, struct err *e)
{
	FILE *f = fopen(file, "re");
	char *line = NULL;
	size_t capacity = 0;
	int status = 0;
	if (!f)
		return err_set_errno(e, errno, "%s", file);
	while (!status && getline(&line, &capacity, f) >= 0)
		status = add_line(batch, file, line, e);
	if (!status && !feof(f)) /* also for want of memory */
		status = err_set_errno(e, errno, "%s", file);
	free(line);
	fclose(f);
	for (size_t i = 0; i < batch->libraries.count && !status; i++)
		status = batch_add(batch, batch->libraries.paths[i], e);
	return status;
}

int batch_use_directory(struct batch *batch, const char *directory, struct err *e)
{
	if (mkdir(directory, 0777) && errno != EEXIST)
		return err_set_errno(e, errno, "%s", directory);
	for (size_t i = 0; i < batch->count; i++) {
		batch->jobs[i].output = strdup(directory);
		batch->jobs[i].in_directory = true;
		if (!batch->jobs[i].output)
			return err_set(e, ERR_MEMORY, "no memory for names");
	}
	return 0;
}

static int name_output(struct batch_job *job, const struct image *image)
{
	char key[MODULE_HEX_SIZE], *path;
	const char *slash = strrchr(job->path, '/');
	if (image->identity.build_id_size)
		module_build_id_hex(&image->identity, key);
	else
		snprintf(key, sizeof key, "%016" PRIx64, image->identity.text_hash);
	if (asprintf(&path, "%s/%s-%s.rmap", job->output, slash ? slash + 1 : job->path, key) < 0)
		return err_set(&job->error, ERR_MEMORY, "%s: no memory", job->path);
	free(job->output);
	job->output = path;
	job->in_directory = false;
	return 0;
}

/* The map at the output's place is of this very file. One that is damaged or was made by another version is made again. */
static bool up_to_date(const struct batch_job *job, const struct image *image)
{
	struct map old;
	if (!strcmp(job->output, "-") || access(job->output, R_OK) || map_read(job->output, &old, NULL))
		return false;
	bool same = old.mapper == MAP_BUILD_REVISION && module_same(&old.module, &image->identity) &&
		    old.module.file_size == image->identity.file_size && old.module.text_hash == image->identity.text_hash;
	map_free(&old);
	return same;
}

static int write_map(const struct batch_job *job, const struct map *map, struct err *e)
{
	struct writer w = {0};
	int status = map_encode(map, &w, e);
	if (!status)
		status = file_write(job->output, w.data, w.size, e);
	writer_free(&w);
	return status;
}

static int make_map(struct batch_job *job, const struct image *image, unsigned threads)
{
	struct map map;
	int status = map_build(image, threads, &map, &job->error);
	if (status)
		return status;
	map_stats_count(&map, &job->stats);
	job->blocks = map.block_count;
	job->calls = map.call_count;
	job->tables = map.table_count;
	if (job->output)
		status = write_map(job, &map, &job->error);
	map_free(&map);
	return status;
}

static void run_job(struct batch_job *job, unsigned threads, bool force)
{
	struct image image;
	double start = now();
	job->status = image_open(job->path, &image, &job->error);
	if (job->status)
		return;
	if (job->in_directory)
		job->status = name_output(job, &image);
	if (!job->status && job->output && !force && up_to_date(job, &image))
		job->up_to_date = true;
	else if (!job->status)
		job->status = make_map(job, &image, threads);
	image_close(&image);
	job->seconds = now() - start;
}

struct shared {
	struct batch *batch;
	size_t *order;
	size_t next;
	unsigned threads_each;
};

static void *run_some(void *argument)
{
	struct shared *s = argument;
	size_t i;
	while ((i = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < s->batch->count)
		run_job(&s->batch->jobs[s->order[i]], s->threads_each, s->batch->force);
	return NULL;
}

static int compare_sizes(const void *a, const void *b, void *jobs)
{
	const struct batch_job *x = (const struct batch_job *)jobs + *(const size_t *)a,
			       *y = (const struct batch_job *)jobs + *(const size_t *)b;
	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	return (*(const size_t *)a > *(const size_t *)b) - (*(const size_t *)a < *(const size_t *)b);
}

static unsigned thread_count(const struct batch *batch)
{
	long n = batch->threads ? (long)batch->threads : sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : (unsigned)n;
}

/* Several files: one thread each, the largest first. One file: all threads inside it. */
static int run_all(struct batch *batch, struct err *e)
{
	unsigned count = thread_count(batch), started = 0;
	unsigned crew = batch->count < count ? (unsigned)batch->count : count;
	struct shared s = {.batch = batch, .threads_each = crew ? count / crew : 1};
	pthread_t *threads = calloc(crew + 1, sizeof *threads);
	s.order = calloc(batch->count + 1, sizeof *s.order);
	int status = threads && s.order ? 0 : err_set(e, ERR_MEMORY, "no memory for %zu files", batch->count);
	if (!status) {
		for (size_t i = 0; i < batch->count; i++)
			s.order[i] = i;
		qsort_r(s.order, batch->count, sizeof *s.order, compare_sizes, batch->jobs);
		while (started + 1 < crew && !pthread_create(&threads[started], NULL, run_some, &s))
			started++;
		run_some(&s); /* with fewer threads than wished for it only takes longer */
		for (unsigned i = 0; i < started; i++)
			pthread_join(threads[i], NULL);
	}
	free(threads);
	free(s.order);
	return status;
}

int batch_run(struct batch *batch, struct err *e)
{
	struct rusage usage;
	double start = now();
	int status = run_all(batch, e);
	batch->seconds = now() - start;
	if (!getrusage(RUSAGE_SELF, &usage))
		batch->peak_kib = (uint64_t)usage.ru_maxrss;
	return status;
}

void batch_free(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		free(batch->jobs[i].path);
		free(batch->jobs[i].output);
	}
	free(batch->jobs);
	libraries_free(&batch->libraries);
	*batch = (struct batch){0};
}
