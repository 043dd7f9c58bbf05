#include "profile/perfset.h"

#include "formats/base/bytes.h"
#include "formats/base/vec.h"
#include "profile/idmap.h"
#include "profile/ring.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { PASSES_MAX = 8, SPARE_DESCRIPTORS = 64, PAGES_PLAIN = 128, PAGES_BRANCHES = 512 };

struct watched_cpu {
	int cpu;
	int leader; /* descriptor whose ring the others of this CPU share, -1 = none yet */
	struct ring ring;
};

struct pending {
	uint64_t time;
	size_t offset, sequence;
};

struct perfset {
	struct event event;
	struct perfrecord_format format;
	pid_t pid;
	bool whole_cpus;
	size_t threads;
	VEC(struct watched_cpu) cpus;
	VEC(int) descriptors;
	VEC(struct pending) pending;
	struct writer bytes;	  /* of the pending records */
	struct idmap openers;	  /* event id -> number of the thread it was opened on */
	struct idmap seen_opener; /* tid -> the opener whose samples count */
	struct idmap opened;	  /* tid -> 1 */
};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Reads a list like "0-3,7". */
static int list_cpus(struct perfset *set, struct err *e)
{
	static const char path[] = "/sys/devices/system/cpu/online";
	char text[4096];
	FILE *file = fopen(path, "re");
	bool read = file && fgets(text, sizeof text, file);
	if (file)
		fclose(file);
	if (!read)
		return err_set(e, ERR_ENVIRONMENT, "%s cannot be read", path);
	for (char *p = text; *p && *p != '\n';) {
		long first = strtol(p, &p, 10), last = first;
		if (*p == '-')
			last = strtol(p + 1, &p, 10);
		for (long cpu = first; cpu <= last; cpu++)
			if (vec_push(&set->cpus, (struct watched_cpu){.cpu = (int)cpu, .leader = -1}))
				return err_set(e, ERR_MEMORY, "no memory for CPU %ld", cpu);
		p += *p == ',';
	}
	return 0;
}

static int attach_ring(struct perfset *set, struct watched_cpu *cpu, int fd, struct err *e)
{
	if (cpu->leader >= 0)
		return ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, cpu->leader)
			   ? err_set_errno(e, errno, "perf event: shared ring of CPU %d", cpu->cpu)
			   : 0;
	size_t pages = set->event.source == PROFILE_BRANCH_STACKS ? PAGES_BRANCHES : PAGES_PLAIN;
	int status = ring_map(fd, pages, &cpu->ring, e);
	if (!status)
		cpu->leader = fd;
	return status;
}

/* Opens the event of one thread (or of all, -1) on one CPU. *ret_errno is set when the kernel refused. */
static int open_one(struct perfset *set, pid_t tid, uint32_t opener, struct watched_cpu *cpu, int *ret_errno, struct err *e)
{
	*ret_errno = 0;
	int fd = event_open(&set->event, tid, cpu->cpu);
	if (fd < 0) {
		*ret_errno = errno;
		return event_explain(errno, set->event.name, tid, e);
	}
	uint64_t id;
	if (vec_push(&set->descriptors, fd)) {
		close(fd);
		return err_set(e, ERR_MEMORY, "no memory for perf events");
	}
	if (ioctl(fd, PERF_EVENT_IOC_ID, &id))
		return err_set_errno(e, errno, "perf event: id");
	if (idmap_set(&set->openers, id, opener))
		return err_set(e, ERR_MEMORY, "no memory for perf events");
	return attach_ring(set, cpu, fd, e);
}

/* A thread that is gone by now is no error; neither is a CPU that went offline. */
static int open_thread(struct perfset *set, pid_t tid, struct err *e)
{
	uint32_t opener = (uint32_t)set->threads;
	for (size_t i = 0; i < set->cpus.count; i++) {
		int refused, status = open_one(set, tid, opener, &set->cpus.data[i], &refused, e);
		if (refused == ESRCH)
			return 0;
		if (status && refused != ENODEV)
			return status;
	}
	set->threads++;
	return idmap_set(&set->opened, (uint64_t)tid, 1) ? err_set(e, ERR_MEMORY, "no memory for threads") : 0;
}

static int list_threads(pid_t pid, DIR **ret_directory, struct err *e)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	*ret_directory = opendir(path);
	if (!*ret_directory)
		return err_set(e, ERR_GONE, "process %d does not exist", (int)pid);
	return 0;
}

/* Opens what is not open yet; *ret_new: how many threads that were. */
static int open_pass(struct perfset *set, size_t *ret_new, struct err *e)
{
	DIR *directory;
	size_t before = set->threads;
	int status = list_threads(set->pid, &directory, e);
	if (status)
		return status;
	for (struct dirent *entry; !status && (entry = readdir(directory));) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (tid > 0 && idmap_get(&set->opened, (uint64_t)tid) == IDMAP_NONE)
			status = open_thread(set, tid, e);
	}
	closedir(directory);
	*ret_new = set->threads - before;
	return status;
}

static int open_threads(struct perfset *set, struct err *e)
{
	size_t found = 1;
	for (int pass = 0; pass < PASSES_MAX && found; pass++) {
		int status = open_pass(set, &found, e);
		if (status)
			return status;
	}
	return set->threads ? 0 : err_set(e, ERR_GONE, "process %d has no running thread", (int)set->pid);
}

static void close_events(struct perfset *set)
{
	for (size_t i = 0; i < set->cpus.count; i++) {
		ring_unmap(&set->cpus.data[i].ring);
		set->cpus.data[i].leader = -1;
	}
	for (size_t i = 0; i < set->descriptors.count; i++)
		close(set->descriptors.data[i]);
	set->descriptors.count = 0;
}

/* On failure nothing stays open and the event is as before. */
static int open_cpus(struct perfset *set, struct err *e)
{
	struct event by_threads = set->event;
	int status = 0;
	set->event.attr.inherit = set->event.attr.inherit_thread = 0;
	for (size_t i = 0; i < set->cpus.count && !status; i++) {
		int refused;
		status = open_one(set, -1, 0, &set->cpus.data[i], &refused, e);
		if (refused == ENODEV)
			status = 0;
	}
	set->whole_cpus = !status;
	if (status) {
		close_events(set);
		set->event = by_threads;
	}
	return status;
}

static size_t count_threads(pid_t pid)
{
	DIR *directory;
	size_t count = 0;
	if (list_threads(pid, &directory, NULL))
		return 0;
	for (struct dirent *entry; (entry = readdir(directory));)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

/* Makes room for `wanted` descriptors as far as we may; true when they fit. */
static bool raise_descriptor_limit(size_t wanted)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return false;
	if (limit.rlim_cur >= wanted)
		return true;
	struct rlimit more = {.rlim_cur = wanted, .rlim_max = wanted > limit.rlim_max ? wanted : limit.rlim_max};
	if (!setrlimit(RLIMIT_NOFILE, &more))
		return true;
	more = (struct rlimit){limit.rlim_max, limit.rlim_max};
	if (setrlimit(RLIMIT_NOFILE, &more))
		return false;
	return limit.rlim_max >= wanted;
}

static int open_events(struct perfset *set, enum perfset_way way, struct err *e)
{
	size_t threads = count_threads(set->pid), wanted = threads * set->cpus.count + SPARE_DESCRIPTORS;
	bool cpus_first = way == PERFSET_CPUS || (way == PERFSET_AUTO && set->event.source == PROFILE_CLOCK);
	if (!threads)
		return err_set(e, ERR_GONE, "process %d does not exist", (int)set->pid);
	if (cpus_first) {
		int status = open_cpus(set, e);
		set->threads = status ? 0 : threads;
		if (!status || way == PERFSET_CPUS)
			return status;
	}
	if (raise_descriptor_limit(wanted))
		return open_threads(set, e);
	int status = way == PERFSET_AUTO && !cpus_first ? open_cpus(set, e) : -ERR_ENVIRONMENT;
	set->threads = threads;
	if (!status)
		return 0;
	return err_set(e, ERR_ENVIRONMENT,
		       "%zu threads on %zu CPUs need %zu descriptors, over the limit (ulimit -n), and whole CPUs may not be watched",
		       threads, set->cpus.count, wanted);
}

int perfset_open(const struct event *event, pid_t pid, enum perfset_way way, struct perfset **ret_set, struct err *e)
{
	struct perfset *set = calloc(1, sizeof *set);
	if (!set)
		return err_set(e, ERR_MEMORY, "no memory for perf events");
	set->event = *event;
	set->pid = pid;
	set->format = (struct perfrecord_format){
	    .sample_type = event->attr.sample_type,
	    .branch_sample_type = event->attr.branch_sample_type,
	    .sample_id_all = true,
	};
	int status = list_cpus(set, e);
	if (!status)
		status = open_events(set, way, e);
	if (status)
		perfset_close(set);
	else
		*ret_set = set;
	return status;
}

void perfset_shape(const struct perfset *set, struct perfset_shape *ret_shape)
{
	*ret_shape = (struct perfset_shape){
	    .threads = set->threads,
	    .cpus = set->cpus.count,
	    .events = set->descriptors.count,
	    .whole_cpus = set->whole_cpus,
	};
}

void perfset_close(struct perfset *set)
{
	if (!set)
		return;
	close_events(set);
	vec_free(&set->cpus);
	vec_free(&set->descriptors);
	vec_free(&set->pending);
	writer_free(&set->bytes);
	idmap_free(&set->openers);
	idmap_free(&set->seen_opener);
	idmap_free(&set->opened);
	free(set);
}

/* Lists the records in bytes[from, size). */
static int index_records(struct perfset *set, size_t from, struct err *e)
{
	while (from < set->bytes.size) {
		struct perfrecord record;
		size_t size;
		int status = perfrecord_decode(&set->format, set->bytes.data + from, set->bytes.size - from, &record, &size, e);
		if (status)
			return status;
		struct pending p = {.time = record.time, .offset = from, .sequence = set->pending.count};
		if (vec_push(&set->pending, p))
			return err_set(e, ERR_MEMORY, "no memory for perf records");
		from += size;
	}
	return 0;
}

static int by_time(const void *left, const void *right)
{
	const struct pending *a = left, *b = right;
	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	return a->sequence < b->sequence ? -1 : 1;
}

/* Is this sample one of the process's, and not the second of a thread that has inherited and own events? */
static bool is_wanted(struct perfset *set, const struct perfrecord *record)
{
	if (record->type == PERF_RECORD_LOST || record->type == PERF_RECORD_LOST_SAMPLES || record->type == PERF_RECORD_THROTTLE)
		return true;
	if (record->pid != (uint32_t)set->pid)
		return false;
	if (record->type == PERF_RECORD_EXIT)
		idmap_remove(&set->seen_opener, record->tid);
	if (record->type != PERF_RECORD_SAMPLE || set->whole_cpus)
		return true;
	uint32_t opener = idmap_get(&set->openers, record->id), seen = idmap_get(&set->seen_opener, record->tid);
	if (seen != IDMAP_NONE)
		return seen == opener;
	return idmap_set(&set->seen_opener, record->tid, opener) == 0;
}

static int hand_out(struct perfset *set, size_t count, perfset_handler *handler, void *context, struct err *e)
{
	for (size_t i = 0; i < count; i++) {
		struct perfrecord record;
		size_t size, offset = set->pending.data[i].offset;
		int status = perfrecord_decode(&set->format, set->bytes.data + offset, set->bytes.size - offset, &record, &size, e);
		if (!status && is_wanted(set, &record))
			status = handler(context, &record, e);
		if (status)
			return status;
	}
	return 0;
}

/* Drops the first `count` pending records; the rest moves to the front of a new buffer. */
static int keep_rest(struct perfset *set, size_t count, struct err *e)
{
	struct writer rest = {0};
	size_t kept = 0;
	for (size_t i = count; i < set->pending.count; i++) {
		struct pending p = set->pending.data[i];
		const uint8_t *record = set->bytes.data + p.offset;
		p.offset = rest.size;
		p.sequence = kept;
		write_bytes(&rest, record, (size_t)(record[6] | record[7] << 8)); /* perf_event_header.size */
		set->pending.data[kept++] = p;
	}
	if (rest.failed) {
		writer_free(&rest);
		return err_set(e, ERR_MEMORY, "no memory for perf records");
	}
	set->pending.count = kept;
	set->bytes.size = 0;
	if (rest.size)
		write_bytes(&set->bytes, rest.data, rest.size); /* it held them before: no growth, no failure */
	writer_free(&rest);
	return 0;
}

int perfset_drain(struct perfset *set, bool last, perfset_handler *handler, void *context, double *ret_fill, struct err *e)
{
	uint64_t horizon = last ? UINT64_MAX : now_ns();
	double fill = 0;
	for (size_t i = 0; i < set->cpus.count; i++) {
		struct ring *ring = &set->cpus.data[i].ring;
		size_t from = set->bytes.size, taken;
		if (!ring->memory)
			continue;
		int status = ring_take(ring, &set->bytes, &taken, e);
		if (!status)
			status = index_records(set, from, e);
		if (status)
			return status;
		if ((double)taken / (double)ring->data_size > fill)
			fill = (double)taken / (double)ring->data_size;
	}
	if (set->pending.count)
		qsort(set->pending.data, set->pending.count, sizeof *set->pending.data, by_time);
	size_t ready = 0;
	while (ready < set->pending.count && set->pending.data[ready].time < horizon)
		ready++;
	int status = hand_out(set, ready, handler, context, e);
	if (!status)
		status = keep_rest(set, ready, e);
	if (!status && ret_fill)
		*ret_fill = fill;
	return status;
}
